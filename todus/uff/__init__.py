"""A frozen graph as a UFF file for TensorRT."""
