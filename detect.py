"""Detects objects in images and videos: python -m detect --help."""

import sys

from todus.command import run_in_environment

if __name__ == "__main__":
    sys.exit(run_in_environment("detect", "todus.commands.detect"))
