"""Atomic writes of files and folders, scratch folders, JSON, digests."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Union

from todus.errors import TodusError

PathLike = Union[str, Path]

OWNER = r"(\d+)(-[0-9a-f]{8})?"  # in temporary names; earlier versions had only the PID
_MOST_LINKS = 40  # symlinks that lead to each other, as in Linux


def beside(path: PathLike, suffix: str = "part") -> Path:
    """The hidden path in the same folder for temporary files of `path`: .NAME.SUFFIX."""
    path = Path(path)
    return path.with_name("." + path.name + "." + suffix)


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Yields a temporary path to write to; replaces `path` with it, or removes it on an exception.

    Temporary files of processes that were killed are removed first. What a symlink leads to is
    replaced, not the symlink; a device, a FIFO or a descriptor (/dev/stdout) is written to.
    """
    path = _led_to(Path(path))
    if is_special(path):
        with tempfile.TemporaryDirectory(prefix="todus-") as folder:
            yield Path(folder) / "part"
            _write_in_place(Path(folder) / "part", path)
        return
    _remove_leftovers(path)
    with _temporary(path, "part-", _new_file) as part:
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(str(part), str(path))
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()


def is_special(path: PathLike) -> bool:
    """Whether a path leads to a device, a FIFO, a socket or an open descriptor (/dev/stdout)."""
    path = _led_to(Path(path))
    if _descriptor(path) is not None:
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


def _led_to(path: Path) -> Path:
    """The path at the end of symlinks; that of a descriptor (/proc/self/fd/1) is such an end."""
    for _ in range(_MOST_LINKS):
        if _descriptor(path) is not None or not path.is_symlink():
            return path
        path = path.parent / os.readlink(str(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _descriptor(path: Path) -> Optional[int]:
    """The number of the descriptor of this process that a path names; None for another path."""
    folder = os.path.realpath(str(path.parent))
    is_own = folder in ("/dev/fd", "/proc/self/fd", "/proc/%d/fd" % os.getpid())
    return int(path.name) if is_own and path.name.isdigit() else None


def _write_in_place(part: Path, path: Path) -> None:
    """Writes the bytes of a file to a device, a FIFO or a descriptor."""
    number = _descriptor(path)
    try:
        # Without O_CREAT: what was there may be gone.
        handle = os.open(str(path), os.O_WRONLY | os.O_NOCTTY) if number is None else os.dup(number)
        with part.open("rb") as source, os.fdopen(handle, "wb", buffering=0) as target:
            for block in iter(lambda: source.read(1 << 16), b""):
                rest = memoryview(block)
                while rest:
                    rest = rest[target.write(rest) :]
    except BrokenPipeError:
        raise TodusError(
            "%s was closed by its reader before all was written; run this again" % path
        )
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def scratch(path: PathLike) -> Iterator[Path]:
    """Yields an empty folder beside `path` that only the user can read; removes it at the end.

    Scratch folders of processes that were killed are removed first.
    """
    path = Path(path)
    _remove_leftovers(path)
    with _temporary(path, _scratch_prefix(), _new_folder) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(str(folder), ignore_errors=True)


@contextlib.contextmanager
def temporary_files_in(folder: PathLike) -> Iterator[None]:
    """Makes tempfile, and the libraries that use it, write to `folder`."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _scratch_prefix() -> str:
    """Includes the host: on a disk that machines share, a PID identifies only local processes."""
    return "scratch-%s-" % socket.gethostname()


@contextlib.contextmanager
def _temporary(path: Path, kind: str, make: Callable[[Path], int]) -> Iterator[Path]:
    """Yields a new path beside `path` which `make` creates, and holds a lock on it.

    The kernel releases the lock when the process ends. A PID does not tell processes apart: in
    another container, another one has it.
    """
    handle = -1
    while handle < 0:
        found = beside(path, "%s%d-%s" % (kind, os.getpid(), os.urandom(4).hex()))
        handle = make(found)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not found.exists():  # removed as a leftover, before it was locked
            os.close(handle)
            handle = -1
    try:
        yield found
    finally:
        os.close(handle)


def _new_file(path: Path) -> int:
    return os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _new_folder(path: Path) -> int:
    path.mkdir(mode=0o700)
    return os.open(str(path), os.O_RDONLY | os.O_CLOEXEC)


def _remove_leftovers(path: Path) -> None:
    """Makes the folder of `path`, and removes temporary files in it whose process has ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("part-", _scratch_prefix()):
        name = beside(path, kind).name
        for leftover in path.parent.glob(glob.escape(name) + "*"):
            match = re.fullmatch(OWNER, leftover.name[len(name) :])
            if not match:
                continue
            pid, is_locked = int(match.group(1)), bool(match.group(2))
            is_own = pid == os.getpid() and not is_locked  # of a process that had this one's PID
            if not is_own and is_written(leftover, pid, is_locked):
                continue
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(str(leftover)) if leftover.is_dir() else leftover.unlink()


def is_written(temporary: Path, pid: int, is_locked: bool) -> bool:
    """Whether the process still runs that writes a temporary file or folder.

    Args:
      temporary: its path.
      pid: of the process, in its container.
      is_locked: whether the process locks it: earlier versions did not.
    """
    if is_locked:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(str(temporary), flags)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return True
        finally:
            os.close(handle)
    return is_running(pid)


def is_running(pid: int) -> bool:
    """Whether a process with this PID runs on this machine."""
    try:
        with contextlib.suppress(PermissionError):  # the process of another user
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True


@contextlib.contextmanager
def replacing_folder(path: PathLike) -> Iterator[Path]:
    """Yields an empty folder to fill; replaces `path` with it, or removes it on an exception.

    The caller must hold a lock that covers `path`: the temporary names have no PID.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    new, old = beside(path, "new"), beside(path, "old")
    new.mkdir()
    try:
        yield new
        if path.exists():
            os.rename(str(path), str(old))
        os.rename(str(new), str(path))
    finally:
        recover_folder(path)


def recover_folder(path: PathLike) -> None:
    """Restores `path` and removes the temporary folders after a `replacing_folder` was killed."""
    path = Path(path)
    new, old = beside(path, "new"), beside(path, "old")
    if old.exists() and not path.exists():
        os.rename(str(old), str(path))
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(str(leftover))


def link_or_copy(source: PathLike, target: PathLike) -> None:
    """Replaces `target` with a hard link to `source`, or with a copy where links are impossible."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(str(target))
    try:
        os.link(str(source), str(target))
    except OSError:
        shutil.copy2(str(source), str(target))


def write_text(path: PathLike, text: str) -> None:
    with replacing(path) as part:
        # A file name that is not UTF-8 has surrogates; in JSON, \\udcff is one.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: PathLike, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: PathLike) -> Any:
    """The value in the JSON file `path`. Raises TodusError for a missing or unreadable file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TodusError("%s is missing" % path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise TodusError(
            "%s is not readable JSON (%s); remove it and rerun the command that writes it"
            % (path, error)
        )


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a finite number; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def sha256(path: PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hexdigest(path, hashlib.sha256())


def hexdigest(path: PathLike, digest: Any) -> str:
    """The digest of a file, in hexadecimal; `digest` is a new object of hashlib or the like."""
    with open(str(path), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.digest().hex()


def size_of(path: PathLike) -> int:
    """Bytes of a file, or of all files below a folder."""
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
