"""The figures of a torture, as a table and as docs/reliability.md."""

import os
import platform
from collections import Counter
from typing import Dict, List

from tests.torture.commands import COMMANDS
from tests.torture.faults import FAULTS

PAGE = """# What a disturbance does

`make torture` runs each command on the miniature of `demo/`, disturbs it at random moments, and runs it once more. A trial is well when the
exit codes are documented ones, no traceback is shown, no process is left running, and the run after it ends well with exactly the files
and the bytes of an undisturbed run: nothing missing, nothing stray, no lock.

%(count)d moments, seed %(seed)d, %(machine)s; %(well)d well.

%(table)s

The codes are those of the disturbed run and, of two at once, of both: 0 is a run that was over before the fault struck or does without what
failed, 1 a line that says what is wrong, -N death by signal N (128+N in a shell). Times are of undisturbed runs.

* kill -9 and SIGTERM go to the command, SIGHUP to all its processes, as when a terminal closes. Training saves and ends at the last two.
* a full disk: a tmpfs that has room for a random share of what the command writes (a limit on the size of files where none can be mounted).
* no permission: all folders become read-only at the moment; a command of root gives up the right to write nevertheless.
* the clock jumps, by up to thirty years back or ten years ahead.
* the network fails: the server on loopback hangs up and refuses.
* two at once: a second one starts at the moment.

What is compared by its content's meaning and not by its bytes: %(why)s.
"""


def table(results: Dict[str, Dict]) -> List[str]:
    """Rows of a Markdown table: command by fault, trials that were well of all, and their exit codes."""
    names = [command.name for command in COMMANDS if command.name in results] + [
        name for name in results if name not in _known()
    ]
    lines = ["| command | s | " + " | ".join(FAULTS) + " |", "|---|---|" + "---|" * len(FAULTS)]
    for name in names:
        cells = [
            _cell([each for each in results[name]["trials"] if each["fault"] == fault])
            for fault in FAULTS
        ]
        lines.append(
            "| %s | %.1f | %s |"
            % (results[name]["title"], results[name]["seconds"], " | ".join(cells))
        )
    return lines


def _known() -> List[str]:
    return [command.name for command in COMMANDS]


def _cell(trials: List[Dict]) -> str:
    if not trials:
        return "–"
    codes = Counter(str(code) for each in trials for code in each["codes"])
    well = sum(not each["problems"] for each in trials)
    listed = ", ".join(
        "%s%s" % (code, " ×%d" % count if count > 1 else "")
        for code, count in sorted(codes.items())
    )
    return "%d/%d (%s)" % (well, len(trials), listed)


def page(results: Dict[str, Dict], seed: int) -> str:
    trials = [each for result in results.values() for each in result["trials"]]
    values = {
        "count": len(trials),
        "well": sum(not each["problems"] for each in trials),
        "seed": seed,
        "table": "\n".join(table(results)),
    }
    values["machine"] = "%d cores, %s" % (os.cpu_count() or 1, platform.system())
    values["why"] = "; ".join(
        "%s: %s" % (result["title"], result["why"]) for result in results.values() if result["why"]
    )
    return PAGE % values
