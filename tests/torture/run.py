"""Disturbs every command at random moments, runs it again, and compares what it made with an undisturbed run's.

    make torture [COMMANDS="export model"] [TRIALS=200] [SEED=0] [WORK=DIR] [WRITE=1]

The faults: kill -9, SIGTERM, SIGHUP (to all its processes), a disk that is full, no permission to write, a clock that jumps, a network that
fails, a second one beside it. Well is a trial whose exit codes are documented, that shows no traceback, leaves nothing running, and after
which one more run ends well with exactly the files and bytes of an undisturbed one: nothing stray, no lock. Results are kept in WORK and
added up over calls; WRITE=1 writes their table into docs/reliability.md. Exits with 1 when a trial was not well.
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
        raise UsageError(
            "COMMANDS has %s; there is: %s"
            % (error, " ".join(command.name for command in COMMANDS))
        )
    total, seed, write = (variables.value(name, "torture") for name in ("TRIALS", "SEED", "WRITE"))
    folder = Path(
        os.environ.get("WORK")
        or os.path.join(tempfile.gettempdir(), "todus-torture-%d" % os.geteuid())
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = folder / "results.json"
    results: Dict[str, Dict] = files.read_json(kept) if kept.exists() else {}
    with locks.exclusive(folder / "trial", "%s" % folder), World(folder) as world:
        for command in chosen:
            results[command.name] = disturb(world, command, seed, share(command, chosen, total))
            files.write_json(kept, results)
    print("\n".join(report.table(results)))
    if write:
        files.write_text(REPO / "docs" / "reliability.md", report.page(results, seed))
    wrong = sum(
        bool(each["problems"]) for command in chosen for each in results[command.name]["trials"]
    )
    if wrong:
        raise TodusError("%d trials were not well; they are above, and in %s" % (wrong, kept))
    return 0


def share(command: Command, chosen: List[Command], total: int) -> int:
    """How many of TRIALS a command gets: its share of all commands', whichever are chosen."""
    return max(1, round(command.trials * total / sum(each.trials for each in COMMANDS)))


def disturb(world: World, command: Command, seed: int, count: int) -> Dict:
    """The command's results, as they are kept."""
    try:
        usual = usual_of(world, command)
    except AssertionError as error:
        raise TodusError(str(error))
    say("%s: %.1f s undisturbed; %d moments" % (command.name, usual.seconds, count))
    trials: List[Trial] = []
    for fault, moment in trial.moments(command, seed, count):
        trials.append(trial.run(world, command, fault, moment, usual))
        done = trials[-1]
        say(
            "%s: %s at %.2f: %s%s"
            % (
                command.name,
                fault,
                done.moment,
                done.codes,
                "".join("\n    " + each for each in done.problems),
            )
        )
    return {
        "title": command.title,
        "seconds": round(usual.seconds, 1),
        "why": command.why,
        "trials": [each._asdict() for each in trials],
    }


if __name__ == "__main__":
    sys.exit(run("torture", main))
