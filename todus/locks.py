"""Lock files: who works on a folder. The kernel releases a lock when its process ends.

A lock is flock(2) on a hidden file beside the folder, whose text says who holds it. The file is opened without following a symlink and
without waiting for a FIFO's other end, and read-only where it is another user's.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Optional

from todus import files
from todus.errors import TodusError

SECONDS = 0.25  # that a refusal is tried again for: to ask who holds a lock takes it for an instant

_BUSY = (errno.EWOULDBLOCK, errno.EACCES)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


class Holder(NamedTuple):
    """Who holds a lock, as its file says; pid is 0 where it says nothing that can be read."""

    text: str
    pid: int
    host: str

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()


def path_of(folder: files.PathLike) -> Path:
    """The lock file of a folder."""
    return files.beside(folder, "lock")


def this_process() -> str:
    return "PID %d on %s" % (os.getpid(), socket.gethostname())


@contextlib.contextmanager
def exclusive(folder: files.PathLike, what: str) -> Iterator[None]:
    """Holds the lock of `folder` alone.

    Args:
      folder: it need not exist.
      what: begins the refusal: what is in use.

    Raises:
      TodusError: another process holds it; the message has its PID and host.
    """
    refusal = "%s is in use by %%s: wait until it ends, or stop it, and run this again" % what
    handle = _take(path_of(folder), fcntl.LOCK_EX, refusal)
    try:
        _write(handle, this_process())
        yield
    finally:
        _release(handle, path_of(folder))


@contextlib.contextmanager
def shared(folder: files.PathLike, who: str, refusal: str) -> Iterator[None]:
    """Holds the lock of `folder` beside others that share it.

    Args:
      folder: it need not exist.
      who: what a refused process is told holds it; PID and host are added.
      refusal: the message where a process holds it alone, with %s for that one.

    Raises:
      TodusError: a process holds it alone.
    """
    path = path_of(folder)
    try:
        handle = _take(path, fcntl.LOCK_SH, refusal)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        yield  # nobody can hold it alone where nobody can write
        return
    try:
        _write(handle, "%s (%s)" % (who, this_process()))
        yield
    finally:
        _release(handle, path)


def holder(folder: files.PathLike) -> Optional[Holder]:
    """The process that holds the lock of `folder`, alone or beside others; None where it is free."""
    try:
        handle = _open(path_of(folder), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return _read(handle) if error.errno in _BUSY else None
    finally:
        os.close(handle)
    return None


def _open(path: Path, flags: int) -> int:
    """A descriptor of a regular file; never of what a symlink names. Raises OSError."""
    handle = os.open(str(path), flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.ELOOP, "not a regular file", str(path))
    return handle


def _open_or_create(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise TodusError(
                "%s is not a lock file (a symlink, a FIFO or a device lies there); remove it and run this again"
                % path
            )
        if error.errno in (errno.EACCES, errno.EPERM) and path.exists():
            return _open(path, os.O_RDONLY)  # another user's: it can be locked, not written to
        raise


def _take(path: Path, kind: int, refusal: str) -> int:
    until = time.monotonic() + SECONDS
    while True:
        handle = _open_or_create(path)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            found = _read(handle)
            os.close(handle)
            if error.errno not in _BUSY:
                raise
            if time.monotonic() > until:
                raise TodusError(refusal % (found.text or "another process"))
            time.sleep(0.02)
            continue
        if _is_at(handle, path):
            return handle
        os.close(handle)  # its last holder has removed it meanwhile


def _release(handle: int, path: Path) -> None:
    """Gives the lock back; the last holder removes the file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, path):
            path.unlink()
    except OSError:
        pass  # others share it, or the folder cannot be written to
    finally:
        os.close(handle)


def _write(handle: int, text: str) -> None:
    with contextlib.suppress(
        OSError
    ):  # another user's file, or a full disk: the lock holds all the same
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode("utf-8"), 0)


def _read(handle: int) -> Holder:
    text = os.pread(handle, 200, 0).decode("utf-8", "replace").strip()
    match = re.search(r"PID (\d{1,9}) on ([^\s)]+)", text)
    return (
        Holder(text, int(match.group(1)), match.group(2))
        if match
        else Holder(text, 0, "an unknown host")
    )


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(str(path), follow_symlinks=False))
    except FileNotFoundError:
        return False
