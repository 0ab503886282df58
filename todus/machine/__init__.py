"""This machine: cores, memory, GPUs, the environment's packages."""
