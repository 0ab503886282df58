"""What happens to a command: each fault runs it once and says how it ended."""

import contextlib
import os
import resource
import shutil
import signal
import stat
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

from tests.torture import tree
from tests.torture.commands import REPO, Command
from tests.torture.process import Ended, Process
from tests.torture.world import World

YEAR = 365.25 * 86400
SHIFTS = (-30 * YEAR, -3600.0, 3600.0, 10 * YEAR)
SLACK = 60.0  # seconds beyond ten times the usual before a command hangs


class Usual(NamedTuple):
    """What an undisturbed run is like."""

    seconds: float
    growth: int  # bytes, in blocks, that it adds to the disk
    largest: int  # bytes of the largest file that it writes
    contents: Dict[str, object]


class Moment(NamedTuple):
    """When a fault strikes: a share of the undisturbed run, 0..1, and of the fault's own choices."""

    share: float
    choice: float


Fault = Callable[[World, Command, Usual, Moment], List[Ended]]


def start(
    world: World, command: Command, number: int = 0, before: Tuple[str, ...] = (), **variables: str
) -> Process:
    """The command on what lies in world.trial. `before` are words in front of it, such as setpriv's."""
    log = world.folder / ("stderr-%d.log" % number)
    return Process(
        list(before) + world.argv(command), dict(world.environment(command), **variables), REPO, log
    )


def most(usual: Usual) -> float:
    return 10 * usual.seconds + SLACK


def _signalled(number: int, whole_group: bool) -> Fault:
    def fault(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
        process = start(world, command)
        if not process.ended_before(moment.share * usual.seconds):
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole_group else os.kill)(process.pid, number)
        return [process.end(most(usual))]

    return fault


def _full_disk(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    """The disk ends after a share of what the command would add to it; where no disk can be mounted, files do at a share of the largest."""
    if not os.path.ismount(str(world.trial)):
        return [_with_short_files(world, command, usual, int(moment.share * usual.largest))]
    disk = os.statvfs(str(world.trial))
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    world.resize(used + int(moment.share * usual.growth) // 4096 * 4096)
    ended = start(world, command).end(most(usual))
    world.resize(1 << 30)
    return [ended]


def _with_short_files(world: World, command: Command, usual: Usual, size: int) -> Ended:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(size, 4096), before[1]))
    try:
        process = start(world, command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return process.end(most(usual))


def _no_permission(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    """From the moment on no folder may be written to. root may, so root's command gives that capability up."""
    before: Tuple[str, ...] = ()
    if os.geteuid() == 0:
        before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    process = start(world, command, before=before)
    process.ended_before(moment.share * usual.seconds)
    changed = []
    for folder, _, _ in os.walk(str(world.trial)):
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        os.chmod(folder, mode & ~0o222)
        changed.append((folder, mode))
    ended = process.end(most(usual))
    for folder, mode in changed:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(folder, mode)
    return [ended]


def _jumping_clock(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    shift = SHIFTS[int(moment.choice * len(SHIFTS))]
    shim = Path(__file__).resolve().parent / "clock"
    variables = {"PYTHONPATH": "%s:%s" % (shim, REPO), "TORTURE_SHIFT": str(shift)}
    return [
        start(world, command, TORTURE_MOMENT=str(moment.share * usual.seconds), **variables).end(
            most(usual)
        )
    ]


def _no_network(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    """In the first half of the run, where things are fetched."""
    process = start(world, command)
    process.ended_before(moment.share * usual.seconds / 2)
    world.hang_up()
    ended = process.end(most(usual))
    world.serve()
    return [ended]


def _two_at_once(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    first = start(world, command, 0)
    first.ended_before(moment.share * usual.seconds)
    second = start(world, command, 1)
    return [first.end(2 * most(usual)), second.end(2 * most(usual))]


SIGTERM, SIGHUP = "SIGTERM", "SIGHUP"
FULL, FORBIDDEN, CLOCK, NETWORK, TWO = (
    "full disk",
    "no permission",
    "clock jumps",
    "network fails",
    "two at once",
)
FAULTS: Dict[str, Fault] = {
    "kill -9": _signalled(signal.SIGKILL, False),
    SIGTERM: _signalled(signal.SIGTERM, False),
    SIGHUP: _signalled(signal.SIGHUP, True),
    FULL: _full_disk,
    FORBIDDEN: _no_permission,
    CLOCK: _jumping_clock,
    NETWORK: _no_network,
    TWO: _two_at_once,
}

# What each may end with: 0 where it was over before the fault struck, or can do without what failed; -N is death by signal N.
CODES = {
    "kill -9": (0, -9),
    SIGTERM: (0, -15),
    SIGHUP: (0, -1),
    FULL: (0, 1),
    FORBIDDEN: (0, 1),
    CLOCK: (0,),
    NETWORK: (0, 1),
    TWO: (0, 1),
}


def that_concern(command: Command) -> List[str]:
    """The faults for a command, less those that this machine does not allow."""
    names = [name for name in FAULTS if name != NETWORK or command.network]
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        names.remove(FORBIDDEN)
    return names


def prepare(world: World, command: Command, name: str) -> None:
    """trial/ as the command finds it, on a disk of its own for FULL."""
    if name == FULL:
        world.mount(1 << 30)
    world.reset(command)


def usual_of(world: World, command: Command) -> Usual:
    """Runs the command twice undisturbed. Raises AssertionError when it fails, or when its outputs are not the same."""
    runs = []
    for _ in range(2):
        world.reset(command)
        before, there = tree.blocks(world.trial), set(world.trial.rglob("*"))
        ended = start(world, command).end(600)
        assert ended.code == 0, "%s fails undisturbed: %s" % (command.name, ended.said[-400:])
        new = [
            path.stat().st_size
            for path in world.trial.rglob("*")
            if path.is_file() and path not in there
        ]
        contents = tree.contents(world.trial, command.loose, command.ignored)
        runs.append(
            Usual(
                ended.seconds,
                max(4096, tree.blocks(world.trial) - before),
                max(new or [4096]),
                contents,
            )
        )
    found = tree.differences(runs[0].contents, runs[1].contents)
    assert not found, "%s: two undisturbed runs differ: %s" % (command.name, "; ".join(found[:5]))
    return runs[1]
