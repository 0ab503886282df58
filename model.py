"""Fetches a zoo model and limits it to the classes you need: python -m model --help. The work is in todus/commands/model.py."""

import sys

from todus.command import run_in_environment

if __name__ == "__main__":
    sys.exit(run_in_environment("model", "todus.commands.model"))
