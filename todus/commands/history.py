"""make history."""

import sys

from todus import command, paths, text
from todus.training import history


def main(_argv=None) -> int:
    lines = history.table()
    if len(lines) == 1:
        command.say("history: no run under %s yet" % paths.models_folder())
        return 0
    print("\n".join(text.table(lines, len(lines[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(command.run("history", main))
