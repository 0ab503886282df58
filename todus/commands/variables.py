"""Checks the environment variables of a command before anything else; the scripts call this.

  python -m todus.commands.variables COMMAND

Exits with 2, after a line that names what is wrong, for a value out of its range and for a variable that is nearly one that COMMAND obeys.
Needs the standard library alone, and so runs before make install.
"""

import os
import sys
from typing import List, Optional

from todus import command, variables


def main(argv: Optional[List[str]] = None) -> int:
    parser = command.Parser("todus.commands.variables", __doc__)
    parser.add_argument("command", metavar="COMMAND")
    name = parser.parse_args(argv).command
    for line in variables.check(name, os.environ):
        command.say("%s: %s" % (name, line))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(sys.argv[-1], main))
