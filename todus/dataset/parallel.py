"""Runs a task in several processes; the results come in order."""

import concurrent.futures
import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable, Iterator, NamedTuple, Optional

from todus.errors import TodusError
from todus.machine.cores import cores


class _Work(NamedTuple):
    """What the processes share. They inherit it by fork, because its data may be large."""

    task: Callable[[int], Any]
    parent: int
    stop: Any  # an Event that stops the processes


_work: Optional[_Work] = None


def in_order(task: Callable[[int], Any], number: int, jobs: int) -> Iterator[Any]:
    """Yields task(0) to task(number - 1), computed by `jobs` processes (0: the cores).

    A long task calls `check_parent` from time to time.

    Raises TodusError where a process is killed, and whatever `task` raises.
    """
    global _work
    jobs = min(jobs or cores(), number)
    if jobs <= 1:
        yield from map(task, range(number))
        return
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    gc.freeze()  # garbage collection would write to the shared pages, and so copy them
    _work = _Work(task, os.getpid(), stop)
    try:
        with concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_end_with_parent
        ) as pool:
            futures = [pool.submit(_run, index) for index in range(number)]
            try:
                for future in futures:
                    yield future.result()
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
    except BrokenProcessPool:
        raise TodusError(
            "a process that read images or wrote records was killed, perhaps for lack of memory; "
            "set JOBS=1 and run this again"
        )
    finally:
        gc.unfreeze()
        _work = None


def _run(index: int) -> Any:
    check_parent()
    return _work.task(index)


def _end_with_parent() -> None:
    """Terminates this process with the build: on Linux by a signal, else by check_parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)
    check_parent()


def check_parent() -> None:
    """Exits where the parent has exited. Raises TodusError where the build is stopped."""
    if _work is None:  # in the only process
        return
    if os.getpid() != _work.parent and os.getppid() != _work.parent:
        os._exit(1)
    if _work.stop.is_set():
        raise TodusError("stopped")
