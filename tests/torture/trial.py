"""One disturbed run, the run after it, and the judgement of both."""

import random
from typing import List, NamedTuple

from tests.torture import faults, tree
from tests.torture.commands import Command
from tests.torture.faults import Moment, Usual
from tests.torture.process import Ended
from tests.torture.world import World


class Trial(NamedTuple):
    """What one moment showed."""

    command: str
    fault: str
    moment: float  # share of the undisturbed run's time, or of its bytes for a full disk
    codes: List[int]
    problems: List[str]  # none: all is well


def moments(command: Command, seed: int, count: int) -> List[tuple]:
    """`count` pairs of a fault and its Moment, the faults in turn."""
    chance = random.Random("%s %d" % (command.name, seed))
    names = faults.that_concern(command)
    return [
        (names[number % len(names)], Moment(chance.uniform(0.0, 1.05), chance.random()))
        for number in range(count)
    ]


def run(world: World, command: Command, fault: str, moment: Moment, usual: Usual) -> Trial:
    """Disturbs the command, runs it again, and compares with the undisturbed run."""
    faults.prepare(world, command, fault)
    try:
        ended = faults.FAULTS[fault](world, command, usual, moment)
        problems = judged(command, fault, ended)
        again = faults.start(world, command).end(faults.most(usual))
        if again.code != 0:
            problems.append("run again: ends with %s: %s" % (again.code, again.said.strip()[-300:]))
        problems += ["run again: %s" % problem for problem in _talk(command, again)]
        found = tree.differences(
            usual.contents, tree.contents(world.trial, command.loose, command.ignored)
        )
        problems += found[:6]
    finally:
        world.unmount()
    return Trial(
        command.name, fault, round(moment.share, 3), [each.code for each in ended], problems
    )


def judged(command: Command, fault: str, ended: List[Ended]) -> List[str]:
    """What is wrong with how the disturbed command ended."""
    problems = []
    allowed = set(faults.CODES[fault])
    for each in ended:
        if each.code not in allowed:
            problems.append("ends with %s: %s" % (each.code, each.said.strip()[-300:]))
        problems += _talk(command, each)
    if fault == faults.TWO and 0 not in [each.code for each in ended]:
        problems.append("neither of two at once ends well")
    return problems


def _talk(command: Command, ended: Ended) -> List[str]:
    problems = ["leaves running: %s" % left for left in ended.left]
    lines = [line for line in ended.said.splitlines() if line.strip()]
    if "Traceback" in ended.said:
        problems.append("a traceback: %s" % lines[-1][:300])
    if ended.code == 1 and not (lines and lines[-1].startswith(command.name + ": ")):
        problems.append("its last line is not its own: %s" % (lines or ["nothing"])[-1][:300])
    return problems
