"""Locks on folders; the kernel releases a lock when its process ends.

A lock is flock(2) on a hidden file beside the folder. The file's first line is the PID and host of
its holder, the second tells that process from every other one: another machine or container can
have the same host name, and the text can be that of a former holder. The file is opened without
following symlinks, without blocking on a FIFO, and read-only if it belongs to another user.
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

SECONDS = 0.25  # how long a busy lock is retried: `holder` takes it for a moment

_BUSY = (errno.EWOULDBLOCK, errno.EACCES)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


class Holder(NamedTuple):
    """The holder of a lock, as its file says.

    Attributes:
      pid: 0 if the file does not contain it.
      life: as `life_of`; "" in the files of earlier versions.
    """

    text: str
    pid: int
    host: str
    life: str = ""

    @property
    def named(self) -> str:
        """The text; "" where that process has ended: another one shares the lock.

        Where another machine or container has this one's name, it says so: the PID is of there.
        """
        place = life_of(os.getpid()).split(" ")[:-1]  # boot ID and PID namespace
        if place and self.life.split(" ")[:-1] == place:
            return "" if self.life != life_of(self.pid) else self.text
        is_elsewhere = place and self.life and self.host == socket.gethostname()
        return self.text + ", in another machine or container than this" * bool(is_elsewhere)

    @property
    def is_here(self) -> bool:
        """Whether its process runs on this machine, in this PID namespace."""
        if not self.pid or self.host != socket.gethostname():
            return False
        if self.life:
            return self.life == life_of(self.pid)
        return not life_of(os.getpid()) or _is_of_todus(self.pid)


def life_of(pid: int) -> str:
    """What tells a process from every other one: boot ID, PID namespace, start time; "" if unknown.

    The namespace is that of this process, in which `pid` is meant.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Field 22 of proc(5); the name in field 2 may have spaces and parentheses.
        stat_line = Path("/proc/%d/stat" % pid).read_bytes()
        start = stat_line.rpartition(b")")[2].split()[19].decode()
        return " ".join((boot, os.readlink("/proc/self/ns/pid"), start))
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def _is_of_todus(pid: int) -> bool:
    """Whether a process was started as one of Todus's."""
    try:
        return b"todus" in Path("/proc/%d/cmdline" % pid).read_bytes()
    except OSError:
        return False


def path_of(folder: files.PathLike) -> Path:
    """The lock file of a folder."""
    return files.beside(folder, "lock")


def this_process() -> str:
    return "PID %d on %s" % (os.getpid(), socket.gethostname())


@contextlib.contextmanager
def exclusive(folder: files.PathLike, what: str) -> Iterator[None]:
    """Holds the exclusive lock of `folder`.

    Args:
      folder: need not exist.
      what: what the message says is in use.

    Raises:
      TodusError: another process holds the lock; the message has its PID and host.
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
    """Holds the lock of `folder` together with other processes that share it.

    Args:
      folder: need not exist.
      who: what other processes name as the holder; PID and host are added.
      refusal: the message of the TodusError, with %s for the holder.

    Raises:
      TodusError: another process holds the lock exclusively.
    """
    path = path_of(folder)
    try:
        handle = _take(path, fcntl.LOCK_SH, refusal)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        yield  # where the lock file cannot be created, no process can hold it exclusively
        return
    try:
        _write(handle, "%s (%s)" % (who, this_process()))
        yield
    finally:
        _release(handle, path)


def holder(folder: files.PathLike, exclusive: bool = False) -> Optional[Holder]:
    """A process that holds the lock of `folder`, exclusively or shared; None if it is free.

    flock(2) cannot be asked: this takes the lock for a moment, with `exclusive` as a shared one. A
    process that asks or shares it is then no holder, and several can ask at once.
    """
    kind = fcntl.LOCK_SH if exclusive else fcntl.LOCK_EX
    try:
        handle = _open(path_of(folder), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        return _read(handle) if error.errno in _BUSY else None
    finally:
        os.close(handle)
    return None


def _open(path: Path, flags: int) -> int:
    """A descriptor of a regular file. Raises OSError, also for a symlink."""
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
                "%s is not a lock file (it is a symlink, a FIFO, a device or a folder); "
                "remove it and run this again" % path
            )
        if error.errno in (errno.EACCES, errno.EPERM) and path.exists():
            return _open(path, os.O_RDONLY)  # a file of another user can be locked
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
                raise TodusError(refusal % (found.named or "another process"))
            time.sleep(0.02)
            continue
        if _is_at(handle, path):
            return handle
        os.close(handle)  # its last holder has just removed the file


def _release(handle: int, path: Path) -> None:
    """Releases the lock; the last holder removes the file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, path):
            path.unlink()
    except OSError:
        pass  # others share the lock, or the folder is not writable
    finally:
        os.close(handle)


def _write(handle: int, text: str) -> None:
    # The lock is valid without the text: the file may be another user's, or the disk full.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, ("%s\n%s" % (text, life_of(os.getpid()))).encode("utf-8"), 0)


def _read(handle: int) -> Holder:
    content = os.pread(handle, 400, 0).decode("utf-8", "replace")
    text, life = (line.strip() for line in content.partition("\n")[::2])
    match = re.search(r"PID (\d{1,9}) on ([^\s)]+)", text)
    pid, host = match.groups() if match else (0, "an unknown host")
    return Holder(text, int(pid), host, life)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(str(path), follow_symlinks=False))
    except FileNotFoundError:
        return False
