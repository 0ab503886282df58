"""The first process of a PID namespace: runs a command beside other processes.

    unshare --pid --fork --mount-proc python namespace.py OTHERS COMMAND [ARGUMENT ...]

The other processes have nothing to do with the command, and the lowest PIDs. A line names each that
the command ended. The command's stdout becomes stderr.
"""

import subprocess
import sys

ENDED = "ended an innocent process: PID"


def main() -> int:
    others = [subprocess.Popen(["sleep", "3600"]) for _ in range(int(sys.argv[1]))]
    code = subprocess.call(sys.argv[2:], stdout=2)
    for each in others:
        if each.poll() is not None:
            print("%s %d" % (ENDED, each.pid), file=sys.stderr)
        each.kill()
    for each in others:
        each.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
