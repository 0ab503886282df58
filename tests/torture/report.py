"""Formats the results of trials as a table and as docs/reliability.md."""

import os
import platform
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from tests.torture.commands import COMMANDS
from tests.torture.faults import FAULTS
from todus import files

PAGE = """# Reliability

`make torture` runs each command on the miniature of `demo/` with a fault at a random moment, then
once more without. A trial passes when the exit codes are documented ones, no traceback is printed,
no process is left running, and the second run succeeds with the same files and bytes as an
undisturbed run: no file is missing or stray, and no lock is left.

%(parts)s

Each cell: trials passed of all trials, and the exit codes of the runs with the fault (for two at
once: of both runs). 0: the run ended before the fault, or does not need what failed; 1: it printed
what is wrong; -N: it was ended by signal N (128+N in a shell). Column s: seconds of an undisturbed
run, on a machine that may have had other work.

* kill -9 and SIGTERM are sent to the command, SIGHUP to all its processes, as when a terminal
  closes. Training saves a checkpoint and ends at SIGTERM and SIGHUP.
* full disk: a tmpfs with room for a random share of what the command writes (a limit on file sizes
  where no tmpfs can be mounted).
* no permission: all folders become read-only; a command of root runs without the capability to
  ignore that.
* clock jumps: by up to thirty years back or ten years ahead.
* network fails: the loopback server closes its connections and refuses new ones.
* two at once: a second run starts at the random moment.
* two containers (`CONTAINERS=1`): the same, each run in a PID namespace of its own, with one host
  name. In half of them other processes have, in the second namespace, the PIDs of the first run.
  Beside a training, `--status` or `--stop` is typed in some. No process is ended or named that was
  not meant.

`JOBS=1` disturbs only the commands that obey it. Compared by meaning instead of by bytes:

%(why)s
"""


class Setting(NamedTuple):
    """What distinguishes results that are kept apart."""

    containers: bool = False
    jobs: Optional[int] = None

    @property
    def file(self) -> str:
        words = ["containers"] * self.containers + (["jobs-%d" % self.jobs] if self.jobs else [])
        return "-".join(["results"] + words) + ".json"

    @property
    def typed(self) -> str:
        containers = " `CONTAINERS=1`" * self.containers
        return containers + (" `JOBS=%d`" % self.jobs if self.jobs else "")


SETTINGS = [Setting(), Setting(containers=True), Setting(jobs=1)]


def read(folder: Path) -> Dict[Setting, Dict[str, Dict]]:
    """The results of each setting that was run."""
    return {
        setting: files.read_json(folder / setting.file)
        for setting in SETTINGS
        if (folder / setting.file).exists()
    }


def table(results: Dict[str, Dict]) -> List[str]:
    """Lines of a Markdown table, commands by faults: passed trials, all trials, exit codes."""
    known = [command.name for command in COMMANDS]
    names = [name for name in known if name in results]
    names += [name for name in results if name not in known]
    tried = {each["fault"] for name in names for each in results[name]["trials"]}
    columns = [fault for fault in FAULTS if fault in tried]
    lines = ["| command | s | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for name in names:
        result = results[name]
        cells = [
            _cell([each for each in result["trials"] if each["fault"] == fault])
            for fault in columns
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


def page(results: Dict[Setting, Dict[str, Dict]]) -> str:
    """The first section of docs/reliability.md: a table for each setting."""
    entries = [entry for of_setting in results.values() for entry in of_setting.values()]
    reasons = {each["title"]: each["why"] for each in entries if each["why"]}
    return PAGE % {
        "parts": "\n\n".join(_part(*each) for each in results.items()),
        "why": "\n".join("* %s: %s" % reason for reason in reasons.items()),
    }


def _part(setting: Setting, results: Dict[str, Dict]) -> str:
    """A table, and a line above it that counts its trials."""
    trials = [each for result in results.values() for each in result["trials"]]
    seeds = sorted({result["seed"] for result in results.values()})
    facts = (
        len(trials),
        " with" + setting.typed if setting.typed else "",
        ", ".join(map(str, seeds)),
        os.cpu_count() or 1,
        platform.system(),
        passed(trials),
    )
    text = "%d trials%s, seed %s, %d cores, %s; %d passed." % facts
    return "\n".join([text, ""] + table(results))
