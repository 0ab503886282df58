"""A trial: a run with a fault, a run after it, and the checks of both."""

import random
import re
from typing import List, NamedTuple, Sequence

from tests.torture import faults, tree
from tests.torture.commands import Command
from tests.torture.faults import Moment, Usual
from tests.torture.namespace import ENDED
from tests.torture.process import Ended
from tests.torture.world import World


class Trial(NamedTuple):
    """The result of one fault at one moment.

    Attributes:
      moment: share of the usual run's time, or of its bytes for a full disk.
      codes: exit codes of the run with the fault; two for two runs at once.
      problems: empty when the trial passed.
    """

    command: str
    fault: str
    moment: float
    codes: List[int]
    problems: List[str]


def moments(command: Command, seed: int, count: int, only: str = "") -> List[tuple]:
    """`count` pairs of a fault and its random Moment; `only` is the one fault, else they alternate.

    Of a command with `kills`, the first ones are KILL.
    """
    chance = random.Random("%s %d" % (command.name, seed))
    names = [only] if only else faults.possible_for(command)
    first = [] if only else [faults.KILL] * command.kills
    found = (first + names * count)[:count]
    return [(name, Moment(chance.uniform(0.0, 1.05), chance.random())) for name in found]


def run(world: World, command: Command, fault: str, moment: Moment, usual: Usual) -> Trial:
    """Runs the command with a fault, then again, and compares the outputs with the usual ones."""
    faults.prepare(world, command, fault)
    try:
        run_with_fault, allowed = faults.FAULTS[fault]
        ended = run_with_fault(world, command, usual, moment)
        codes = [each.code for each in ended]
        problems: List[str] = []
        for each in ended:
            problems += problems_of(command, each, allowed)
            if fault == faults.CONTAINERS:
                problems += confusions(each.stderr)
        if fault in (faults.TWO, faults.CONTAINERS) and 0 not in codes:
            problems.append("neither of two at once exits with 0")
        again = faults.start(world, command).end(faults.timeout(usual))
        problems += ["run again: %s" % each for each in problems_of(command, again, (0,))]
        contents = tree.contents(world.trial, command.loose, command.ignored)
        problems += tree.differences(usual.contents, contents)[:6]
    finally:
        world.unmount()
    return Trial(command.name, fault, round(moment.share, 3), codes, problems)


def problems_of(command: Command, ended: Ended, allowed: Sequence[int]) -> List[str]:
    """The problems of one run: its exit code, processes left running, its messages."""
    problems = ["leaves running: %s" % left for left in ended.left]
    lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["nothing"]
    if ended.code not in allowed:
        problems.append("exits with %s: %s" % (ended.code, ended.stderr.strip()[-300:]))
    if "Traceback" in ended.stderr:
        problems.append("a traceback: %s" % lines[-1][:300])
    if ended.code == 1 and not lines[-1].startswith(command.begins + ": "):
        problems.append("its last line is not its own message: %s" % lines[-1][:300])
    return problems


def confusions(stderr: str) -> List[str]:
    """Processes that were ended or named although those of another container were meant."""
    named = r"\bPID \d+ on (?!.*another machine or container)"
    return [
        "confuses processes: %s" % line[:300]
        for line in stderr.splitlines()
        if line.startswith(ENDED) or re.search(named, line)
    ]
