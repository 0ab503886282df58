"""Fuzzes every parser, each in a process of its own; then runs the commands on damaged inputs.

    make fuzz [MINUTES=5] [TARGET=tar] [DAMAGES=100] [SEED=0] [WORK=DIR] [WRITE=1]

Exits with 1 when there is a finding; its input is kept in WORK.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

from tests.fuzz import damages
from tests.fuzz.targets import TARGETS
from tests.helpers.places import REPO
from todus import variables
from todus.command import Parser, run, say
from todus.errors import TodusError, UsageError

SLACK = 300  # seconds that a process may take longer


def main(argv=None) -> int:
    Parser("tests.fuzz.run", __doc__).parse_args(argv)
    one = os.environ.get("TARGET", "")
    if one and one not in TARGETS:
        raise UsageError("TARGET=%s is no parser; choose from: %s" % (one, ", ".join(TARGETS)))
    names = [one] if one else list(TARGETS)
    minutes, count, seed, write = (
        variables.value(name, "fuzz") for name in ("MINUTES", "DAMAGES", "SEED", "WRITE")
    )
    default = os.path.join(tempfile.gettempdir(), "todus-fuzz-%d" % os.geteuid())
    work = Path(os.environ.get("WORK") or default)
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    findings: List[str] = []
    for name in names if minutes else ():
        findings += fuzz(name, minutes * 60 / len(names), seed, work / name.replace(" ", "-"))
    if count and not one:
        findings += damages.main(count, seed, work, write)
    if findings:
        raise TodusError("%d findings; their inputs are in %s" % (len(findings), work))
    return 0


def fuzz(name: str, seconds: float, seed: int, folder: Path) -> List[str]:
    """The findings of a parser in this time, a line each; they are printed too."""
    found = folder / "findings"
    for old in found.glob("*") if found.is_dir() else ():
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="todus-fuzz-") as scratch:
        command = [sys.executable, "-m", "tests.fuzz.one", name, "%g" % seconds, str(seed)]
        environment = dict(os.environ, TMPDIR=scratch, PYTHONPATH=str(REPO), TODUS_HOME=scratch)
        environment.update(TF_CPP_MIN_LOG_LEVEL="3", NO_PROXY="*", COLUMNS="80")
        log = folder / "log"
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            try:
                process = subprocess.run(
                    command + [str(folder)],
                    cwd=str(REPO),
                    env=environment,
                    stdout=file,
                    stderr=file,
                    timeout=seconds + SLACK,
                )
                ended = "" if process.returncode == 0 else "ended with %d" % process.returncode
            except subprocess.TimeoutExpired:
                ended = "hangs"
    lines = [path.read_text(encoding="utf-8").strip() for path in sorted(found.glob("*.txt"))]
    if ended:
        lines.append("the process %s; see %s" % (ended, log))
    runs = re.search(r"number_of_executed_units: *([0-9]+)", log.read_text(errors="replace"))
    corpus = folder / "corpus"
    kept = len(list(corpus.iterdir())) if corpus.is_dir() else 0
    say(
        "%-16s %8s inputs, %5d kept, %d findings"
        % (name, runs.group(1) if runs else "?", kept, len(lines))
    )
    for line in lines:
        say("    " + line)
    return ["%s: %s" % (name, line) for line in lines]


if __name__ == "__main__":
    sys.exit(run("fuzz", main))
