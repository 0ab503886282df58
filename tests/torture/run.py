"""Runs every command with faults at random moments, then again; compares with an undisturbed run.

    make torture [COMMANDS="export model"] [TRIALS=250] [SEED=0] [WORK=DIR] [WRITE=1]
                 [CONTAINERS=1] [JOBS=1]

docs/reliability.md lists the faults and what a trial must fulfil. Results are kept in WORK and add
up over calls, apart for each setting (CONTAINERS, JOBS); WRITE=1 writes those of all settings to
docs/reliability.md. Exits with 1 when a trial failed.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Sequence

from tests.torture import faults, report, trial
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
    total, seed, write, containers, jobs = (
        variables.value(name, "torture")
        for name in ("TRIALS", "SEED", "WRITE", "CONTAINERS", "JOBS")
    )
    if containers and not faults.containers_are_possible():
        say("torture: skipped: CONTAINERS=1 needs unshare (util-linux) and the right to use it")
        return 0
    setting = report.Setting(containers, jobs)
    chosen = [command for command in chosen if applies(setting, command)]
    default = os.path.join(tempfile.gettempdir(), "todus-torture-%d" % os.geteuid())
    folder = Path(os.environ.get("WORK") or default)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / setting.file
    results: Dict[str, Dict] = files.read_json(path) if path.exists() else {}
    more = {"JOBS": str(jobs)} if jobs else {}
    only = faults.CONTAINERS if containers else ""
    with locks.exclusive(folder / "trial", str(folder)), World(folder, more) as world:
        for command in chosen:
            count = share(command, total, [each for each in COMMANDS if applies(setting, each)])
            results[command.name] = disturb(world, command, seed, count, only)
            files.write_json(path, results)
    print("\n".join(report.table(results)))
    if write:
        page = REPO / "docs" / "reliability.md"
        _, heading, rest = page.read_text(encoding="utf-8").partition("\n## ")
        files.write_text(page, report.page(report.read(folder)) + heading + rest)
    trials = [each for command in chosen for each in results[command.name]["trials"]]
    failed = len(trials) - report.passed(trials)
    if failed:
        raise TodusError("%d trials failed; they are listed above and in %s" % (failed, path))
    return 0


def applies(setting: report.Setting, command: Command) -> bool:
    """Whether a setting makes a difference to a command."""
    obeyed = {row.name for row in variables.of_command(command.begins)}
    return not setting.jobs or "JOBS" in obeyed


def share(command: Command, total: int, among: Sequence[Command] = COMMANDS) -> int:
    """The trials of a command, of `total` for all commands of `among`."""
    place, everything = among.index(command), sum(each.trials for each in among)
    before = sum(each.trials for each in among[:place])
    cuts = [round(each * total / everything) for each in (before, before + command.trials)]
    return max(1, cuts[1] - cuts[0])


def disturb(world: World, command: Command, seed: int, count: int, only: str = "") -> Dict:
    """Runs `count` trials of the command, with all faults or only one; returns its results."""
    try:
        usual = usual_of(world, command)
    except AssertionError as error:
        raise TodusError(str(error))
    say("%s: %.1f s undisturbed; %d trials" % (command.name, usual.seconds, count))
    trials: List[Trial] = []
    for fault, moment in trial.moments(command, seed, count, only):
        done = trial.run(world, command, fault, moment, usual)
        trials.append(done)
        line = "%s: %s at %.2f: %s" % (command.name, fault, done.moment, done.codes)
        say("\n    ".join([line] + done.problems))
    return {
        "title": command.title,
        "seconds": round(usual.seconds, 1),
        "seed": seed,
        "why": command.why,
        "trials": [each._asdict() for each in trials],
    }


if __name__ == "__main__":
    sys.exit(run("torture", main))
