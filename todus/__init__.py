"""The library that the commands at the top of the repository call."""

__version__ = "0.1.0"
