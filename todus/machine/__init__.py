"""This machine: cores, memory, GPUs and installed packages."""
