"""Converts an SSD to UFF, for TensorRT: python -m convert_uff --help."""

import sys

from todus.command import run_in_environment

if __name__ == "__main__":
    sys.exit(run_in_environment("convert_uff", "todus.commands.convert_uff"))
