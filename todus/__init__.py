"""The library behind the commands at the top of the repository."""

__version__ = "0.1.0"
