"""Formats the results of trials as a table and as docs/reliability.md."""

import os
import platform
from collections import Counter
from typing import Dict, List

from tests.torture.commands import COMMANDS
from tests.torture.faults import FAULTS

PAGE = """# Reliability

`make torture` runs each command on the miniature of `demo/` with a fault at a random moment, then
once more without. A trial passes when the exit codes are documented ones, no traceback is printed,
no process is left running, and the second run succeeds with the same files and bytes as an
undisturbed run: no file is missing or stray, and no lock is left.

%(count)d trials, seed %(seed)d, %(machine)s; %(passed)d passed.

%(table)s

Each cell: trials passed of all trials, and the exit codes of the runs with the fault (for two at
once: of both runs). 0: the run ended before the fault, or does not need what failed; 1: it printed
what is wrong; -N: it was ended by signal N (128+N in a shell). Column s: seconds of an undisturbed
run.

* kill -9 and SIGTERM are sent to the command, SIGHUP to all its processes, as when a terminal
  closes. Training saves a checkpoint and ends at SIGTERM and SIGHUP.
* full disk: a tmpfs with room for a random share of what the command writes (a limit on file sizes
  where no tmpfs can be mounted).
* no permission: all folders become read-only; a command of root runs without the capability to
  ignore that.
* clock jumps: by up to thirty years back or ten years ahead.
* network fails: the loopback server closes its connections and refuses new ones.
* two at once: a second run starts at the random moment.

Compared by meaning instead of by bytes:

%(why)s
"""


def table(results: Dict[str, Dict]) -> List[str]:
    """Lines of a Markdown table, commands by faults: passed trials, all trials, exit codes."""
    known = [command.name for command in COMMANDS]
    names = [name for name in known if name in results]
    lines = ["| command | s | " + " | ".join(FAULTS) + " |", "|---|---|" + "---|" * len(FAULTS)]
    for name in names + [name for name in results if name not in known]:
        result = results[name]
        cells = [
            _cell([each for each in result["trials"] if each["fault"] == fault]) for fault in FAULTS
        ]
        facts = (result["title"], result["seconds"], " | ".join(cells))
        lines.append("| %s | %.1f | %s |" % facts)
    return lines


def _cell(trials: List[Dict]) -> str:
    if not trials:
        return "–"
    codes = Counter(str(code) for each in trials for code in each["codes"])
    listed = ", ".join(
        code if count == 1 else "%s ×%d" % (code, count) for code, count in sorted(codes.items())
    )
    return "%d/%d (%s)" % (passed(trials), len(trials), listed)


def passed(trials: List[Dict]) -> int:
    return sum(not each["problems"] for each in trials)


def page(results: Dict[str, Dict], seed: int) -> str:
    """The text of docs/reliability.md."""
    trials = [each for result in results.values() for each in result["trials"]]
    reasons = [(each["title"], each["why"]) for each in results.values() if each["why"]]
    return PAGE % {
        "count": len(trials),
        "passed": passed(trials),
        "seed": seed,
        "table": "\n".join(table(results)),
        "machine": "%d cores, %s" % (os.cpu_count() or 1, platform.system()),
        "why": "\n".join("* %s: %s" % reason for reason in reasons),
    }
