"""The faults: each runs a command once, disturbs it, and returns its result."""

import contextlib
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

from tests.torture import tree
from tests.torture.commands import REPO, Command
from tests.torture.process import Ended, Process
from tests.torture.world import World

YEAR = 365.25 * 86400
SHIFTS = (-30 * YEAR, -3600.0, 3600.0, 10 * YEAR)
# Runs a command, whose words follow, in a PID namespace of its own beside that many processes.
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable)
NAMESPACE += (str(Path(__file__).resolve().parent / "namespace.py"),)
OTHERS = 20
SLACK = 60.0  # seconds of timeout, beyond ten times the usual duration


class Usual(NamedTuple):
    """An undisturbed run.

    Attributes:
      growth: bytes that it adds to the disk, in blocks.
      largest: bytes of the largest file that it writes.
      contents: as `tree.contents` returns them.
    """

    seconds: float
    growth: int
    largest: int
    contents: Dict[str, object]


class Moment(NamedTuple):
    """The random numbers of a fault.

    Attributes:
      share: its moment, as a share of the usual run.
      choice: 0 to 1, for a fault with several variants.
    """

    share: float
    choice: float


Fault = Callable[[World, Command, Usual, Moment], List[Ended]]


def start(
    world: World,
    command: Command,
    number: int = 0,
    before: Tuple[str, ...] = (),
    after: Tuple[str, ...] = (),
    **variables: str,
) -> Process:
    """Starts the command on world.trial, with the words `before` and `after` around it."""
    environment = dict(world.environment(command), **variables)
    log = world.folder / ("stderr-%d.log" % number)
    return Process([*before, *world.argv(command), *after], environment, REPO, log)


def timeout(usual: Usual) -> float:
    return 10 * usual.seconds + SLACK


def _signalled(number: int, whole_group: bool) -> Fault:
    def fault(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
        process = start(world, command)
        if not process.ended_before(moment.share * usual.seconds):
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole_group else os.kill)(process.pid, number)
        return [process.end(timeout(usual))]

    return fault


def _full_disk(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    """Limits the disk to a share of what the command adds to it.

    Where no disk can be mounted, limits the size of each file to a share of the largest.
    """
    if not os.path.ismount(str(world.trial)):
        return [_with_short_files(world, command, usual, int(moment.share * usual.largest))]
    disk = os.statvfs(str(world.trial))
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    world.resize(used + int(moment.share * usual.growth) // 4096 * 4096)
    ended = start(world, command).end(timeout(usual))
    world.resize(1 << 30)
    return [ended]


def _with_short_files(world: World, command: Command, usual: Usual, size: int) -> Ended:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(size, 4096), before[1]))
    try:
        process = start(world, command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return process.end(timeout(usual))


def _no_permission(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    """Makes all folders read-only. root's command runs without the capability to ignore that."""
    setpriv = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    process = start(world, command, before=() if os.geteuid() else setpriv)
    process.ended_before(moment.share * usual.seconds)
    changed = []
    for folder, _, _ in os.walk(str(world.trial)):
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        os.chmod(folder, mode & ~0o222)
        changed.append((folder, mode))
    ended = process.end(timeout(usual))
    for folder, mode in changed:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(folder, mode)
    return [ended]


def _jumping_clock(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    shift = SHIFTS[int(moment.choice * len(SHIFTS))]
    process = start(
        world,
        command,
        PYTHONPATH="%s:%s" % (Path(__file__).resolve().parent / "clock", REPO),
        TORTURE_SHIFT=str(shift),
        TORTURE_MOMENT=str(moment.share * usual.seconds),
    )
    return [process.end(timeout(usual))]


def _no_network(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    """Stops the server in the first half of the run, when the command downloads."""
    process = start(world, command)
    process.ended_before(moment.share * usual.seconds / 2)
    world.stop_server()
    ended = process.end(timeout(usual))
    world.serve()
    return [ended]


def _two_at_once(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    first = start(world, command, 0)
    first.ended_before(moment.share * usual.seconds)
    second = start(world, command, 1)
    return [process.end(2 * timeout(usual)) for process in (first, second)]


def _two_containers(world: World, command: Command, usual: Usual, moment: Moment) -> List[Ended]:
    """Two at once, each in a PID namespace of its own, with one host name, as containers can have.

    The second also runs where other processes have the PIDs of the first's, or only asks about it.
    """
    asks = [(), *((option,) for option in command.asks)]
    variant = int(moment.choice * 2 * len(asks))
    first = start(world, command, 0, (*NAMESPACE, "0"))
    first.ended_before(moment.share * usual.seconds)
    others = str(OTHERS * (variant % 2))
    second = start(world, command, 1, (*NAMESPACE, others), asks[variant // 2])
    return [process.end(2 * timeout(usual)) for process in (first, second)]


def containers_are_possible() -> bool:
    """Whether this process may make PID namespaces."""
    words = [*NAMESPACE, "0", "true"]
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode
    )


KILL, SIGTERM, SIGHUP = "kill -9", "SIGTERM", "SIGHUP"
FULL, FORBIDDEN, CLOCK = "full disk", "no permission", "clock jumps"
NETWORK, TWO, CONTAINERS = "network fails", "two at once", "two containers"
# Name -> the fault, and the allowed exit codes: 0 when the run ended before the fault or does not
# need what failed; -N for signal N.
FAULTS: Dict[str, Tuple[Fault, Tuple[int, ...]]] = {
    KILL: (_signalled(signal.SIGKILL, False), (0, -9)),
    SIGTERM: (_signalled(signal.SIGTERM, False), (0, -15)),
    SIGHUP: (_signalled(signal.SIGHUP, True), (0, -1)),
    FULL: (_full_disk, (0, 1)),
    FORBIDDEN: (_no_permission, (0, 1)),
    CLOCK: (_jumping_clock, (0,)),
    NETWORK: (_no_network, (0, 1)),
    TWO: (_two_at_once, (0, 1)),
    CONTAINERS: (_two_containers, (0, 1)),
}


def possible_for(command: Command) -> List[str]:
    """The faults that apply to a command and that this machine allows, without CONTAINERS."""
    applies = {NETWORK: command.network, CONTAINERS: False}
    names = [name for name in FAULTS if applies.get(name, True)]
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        names.remove(FORBIDDEN)
    return names


def prepare(world: World, command: Command, name: str) -> None:
    """Fills trial/ with the command's inputs, for FULL on a disk of its own."""
    if name == FULL:
        world.mount(1 << 30)
    world.reset(command)


def usual_of(world: World, command: Command) -> Usual:
    """Runs the command twice undisturbed; returns the second run.

    Raises AssertionError when it fails or when the two outputs differ.
    """
    runs = []
    for _ in range(2):
        world.reset(command)
        before, there = tree.blocks(world.trial), set(world.trial.rglob("*"))
        ended = start(world, command).end(600)
        assert ended.code == 0, "%s fails undisturbed: %s" % (command.name, ended.stderr[-400:])
        new = [path for path in world.trial.rglob("*") if path.is_file() and path not in there]
        growth = max(4096, tree.blocks(world.trial) - before)
        largest = max([path.stat().st_size for path in new] or [4096])
        contents = tree.contents(world.trial, command.loose, command.ignored)
        runs.append(Usual(ended.seconds, growth, largest, contents))
    found = tree.differences(runs[0].contents, runs[1].contents)
    assert not found, "%s: two undisturbed runs differ: %s" % (command.name, "; ".join(found[:5]))
    return runs[1]
