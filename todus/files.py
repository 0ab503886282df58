"""Files that are whole or absent: atomic writes, locks, digests."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, Iterator, Union

from todus.errors import TodusError

PathLike = Union[str, Path]


def beside(path: PathLike, suffix: str = "part") -> Path:
    """The hidden name beside `path` under which it is written before it is whole."""
    path = Path(path)
    return path.with_name("." + path.name + "." + suffix)


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Yields a path to write to; when the block ends well the file takes the place of `path`, otherwise it is removed.

    What a killed process left on the way to `path` is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    part = beside(path, "part-%d" % os.getpid())
    try:
        yield part
        _sync(part)
        os.replace(str(part), str(path))
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


@contextlib.contextmanager
def scratch(path: PathLike) -> Iterator[Path]:
    """Yields an empty folder, readable by its owner alone, for what is needed on the way to `path`; it is gone when the block ends.

    A killed process leaves it beside `path`, where the next one removes it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    folder = beside(path, "%s%d" % (_scratch(), os.getpid()))
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


@contextlib.contextmanager
def temporary_files_in(folder: PathLike) -> Iterator[None]:
    """Has tempfile, and so the libraries that use it, put its files into `folder`."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _scratch() -> str:
    """Begins the name of this machine's scratch folders: a cluster may share its disk."""
    return "scratch-%s-" % socket.gethostname()


def _sweep(path: Path) -> None:
    for kind in ("part-", _scratch()):
        name = beside(path, kind).name
        for leftover in path.parent.glob(glob.escape(name) + "*"):
            pid = leftover.name[len(name) :]
            if not pid.isdigit() or (int(pid) != os.getpid() and is_running(int(pid))):
                continue
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(str(leftover)) if leftover.is_dir() else leftover.unlink()


def is_running(pid: int) -> bool:
    """Whether a process of this machine has this PID."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True


@contextlib.contextmanager
def replacing_folder(path: PathLike) -> Iterator[Path]:
    """Yields an empty folder to fill; when the block ends well it takes the place of the folder `path`, otherwise it is removed.

    The caller holds a lock that covers `path`: the folder's temporary names are fixed, so that a later run clears what a killed one left.
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
    """Ends what a killed `replacing_folder` left: `path` is the old folder or the new one, and nothing lies beside it."""
    path = Path(path)
    new, old = beside(path, "new"), beside(path, "old")
    if old.exists() and not path.exists():
        os.rename(str(old), str(path))
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(str(leftover))


def link_or_copy(source: PathLike, target: PathLike) -> None:
    """A file once more under another name, without its bytes where the disk can do that. What lies at `target` is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(str(target))
    try:
        os.link(str(source), str(target))
    except OSError:
        shutil.copy2(str(source), str(target))


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(path: PathLike, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: PathLike, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: PathLike) -> Any:
    """The value in the JSON file `path`. Raises TodusError that names the file and the place of what cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TodusError("%s is missing" % path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise TodusError(
            "%s is not readable JSON (%s); remove it and run the command that makes it"
            % (path, error)
        )


def is_number(value: Any) -> bool:
    """Whether a value out of a JSON file is a number to compute with: finite, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def sha256(path: PathLike) -> str:
    digest = hashlib.sha256()
    with open(str(path), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def size_of(path: PathLike) -> int:
    """Bytes of a file, or of all files below a folder."""
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
