"""Who may touch a dataset: one build alone, or any number of readers, such as a running training."""

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Iterator, Set

from todus import files, paths
from todus.errors import TodusError
from todus.paths import Dataset

_held: Set[Path] = set()


@contextlib.contextmanager
def building(dataset: Dataset) -> Iterator[None]:
    """Holds the dataset for a build; may be nested. Clears what a killed build left.

    Raises TodusError with the holder's PID when another process builds or reads it.
    """
    if dataset.folder in _held:
        yield
        return
    with paths.locked(dataset.folder, str(dataset.folder)):
        _held.add(dataset.folder)
        try:
            files.recover_folder(dataset.folder)
            yield
        finally:
            _held.discard(dataset.folder)


@contextlib.contextmanager
def reading(dataset: Dataset, who: str = "a command") -> Iterator[None]:
    """Holds the dataset for reading, beside other readers: it is not rebuilt meanwhile.

    Args:
      dataset: what is read.
      who: what a refused build says holds it, such as "training of NAME"; the PID and the host are added.

    Raises:
      TodusError: a build has it.
    """
    path = files.beside(dataset.folder, "lock")
    try:
        handle = _shared(path, dataset)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        yield  # nobody can build where nobody can write
        return
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, ("%s (PID %d on %s)" % (who, os.getpid(), socket.gethostname())).encode("utf-8"), 0)
        yield
    finally:
        _release(handle, path)


def _shared(path: Path, dataset: Dataset) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            raise TodusError("%s is being built by %s: wait until it ends, and run this again" % (dataset.folder, holder))
        if _is_at(handle, path):
            return handle
        os.close(handle)


def _release(handle: int, path: Path) -> None:
    """Gives the lock back; the last reader removes its file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, path):
            path.unlink()
    except BlockingIOError:
        pass
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(str(path)))
    except FileNotFoundError:
        return False
