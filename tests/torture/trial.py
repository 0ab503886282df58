"""A trial: a run with a fault, a run after it, and the checks of both."""

import random
from typing import List, NamedTuple, Sequence

from tests.torture import faults, tree
from tests.torture.commands import Command
from tests.torture.faults import Moment, Usual
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


def moments(command: Command, seed: int, count: int) -> List[tuple]:
    """`count` pairs of a fault and its random Moment; the faults alternate."""
    chance = random.Random("%s %d" % (command.name, seed))
    names = faults.possible_for(command)
    return [
        (names[number % len(names)], Moment(chance.uniform(0.0, 1.05), chance.random()))
        for number in range(count)
    ]


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
        if fault == faults.TWO and 0 not in codes:
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
    if ended.code == 1 and not lines[-1].startswith(command.name + ": "):
        problems.append("its last line is not its own message: %s" % lines[-1][:300])
    return problems
