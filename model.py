"""Fetches a zoo model and limits it to your classes: python -m model --help."""

import sys

from todus.command import run_in_environment

if __name__ == "__main__":
    sys.exit(run_in_environment("model", "todus.commands.model"))
