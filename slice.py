"""python -m slice: see todus/slicing/command.py."""

from todus.slicing.command import entry

if __name__ == "__main__":
    entry()
