"""Benchmarks: each section is a module that prints ratios measured on this machine."""
