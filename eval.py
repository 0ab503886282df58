"""COCO average precision of a model: python -m eval --help."""

import sys

from todus.command import run_in_environment

if __name__ == "__main__":
    sys.exit(run_in_environment("eval", "todus.commands.evaluate"))
