"""Runs every command with faults at random moments, then again; compares with an undisturbed run.

    make torture [COMMANDS="export model"] [TRIALS=200] [SEED=0] [WORK=DIR] [WRITE=1]

docs/reliability.md lists the faults and what a trial must fulfil. Results are kept in WORK and add
up over calls; WRITE=1 writes them to docs/reliability.md. Exits with 1 when a trial failed.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

from tests.torture import report, trial
from tests.torture.commands import COMMANDS, REPO, Command, named
from tests.torture.faults import usual_of
from tests.torture.trial import Trial
from tests.torture.world import World
from todus import files, locks, variables
from todus.command import Parser, run, say
from todus.errors import TodusError, UsageError


def main(argv=None) -> int:
    Parser("tests.torture.run", __doc__).parse_args(argv)
    try:
        chosen = named(os.environ.get("COMMANDS", ""))
    except KeyError as error:
        known = " ".join(command.name for command in COMMANDS)
        raise UsageError("COMMANDS: no command %s; choose from: %s" % (error, known))
    total, seed, write = (variables.value(name, "torture") for name in ("TRIALS", "SEED", "WRITE"))
    default = os.path.join(tempfile.gettempdir(), "todus-torture-%d" % os.geteuid())
    folder = Path(os.environ.get("WORK") or default)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "results.json"
    results: Dict[str, Dict] = files.read_json(path) if path.exists() else {}
    with locks.exclusive(folder / "trial", str(folder)), World(folder) as world:
        for command in chosen:
            results[command.name] = disturb(world, command, seed, share(command, total))
            files.write_json(path, results)
    print("\n".join(report.table(results)))
    if write:
        path = REPO / "docs" / "reliability.md"
        _, heading, rest = path.read_text(encoding="utf-8").partition("\n## ")
        files.write_text(path, report.page(results, seed) + heading + rest)
    trials = [each for command in chosen for each in results[command.name]["trials"]]
    failed = len(trials) - report.passed(trials)
    if failed:
        raise TodusError("%d trials failed; they are listed above and in %s" % (failed, path))
    return 0


def share(command: Command, total: int) -> int:
    """The trials of a command, of `total` for all COMMANDS."""
    return max(1, round(command.trials * total / sum(each.trials for each in COMMANDS)))


def disturb(world: World, command: Command, seed: int, count: int) -> Dict:
    """Runs `count` trials of the command; returns its entry of results.json."""
    try:
        usual = usual_of(world, command)
    except AssertionError as error:
        raise TodusError(str(error))
    say("%s: %.1f s undisturbed; %d trials" % (command.name, usual.seconds, count))
    trials: List[Trial] = []
    for fault, moment in trial.moments(command, seed, count):
        done = trial.run(world, command, fault, moment, usual)
        trials.append(done)
        line = "%s: %s at %.2f: %s" % (command.name, fault, done.moment, done.codes)
        say("\n    ".join([line] + done.problems))
    return {
        "title": command.title,
        "seconds": round(usual.seconds, 1),
        "why": command.why,
        "trials": [each._asdict() for each in trials],
    }


if __name__ == "__main__":
    sys.exit(run("torture", main))
