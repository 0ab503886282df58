"""Checks the environment variables of a command; the scripts run this first.

  python -m todus.commands.variables COMMAND

For a value out of its range, or a variable with nearly the name of one of COMMAND's, prints a line
and exits with 2. Needs the standard library alone, so it also runs before make install.
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
