"""Checks and unpacks archives from the network, and refuses paths outside the folder, links, devices and decompression bombs."""

import contextlib
import errno
import gzip
import os
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Iterator, List, Set

from todus import files
from todus.errors import TodusError
from todus.text import one_line

MOST_MEMBERS = 1000000
MOST_RATIO = 200  # unpacked bytes a packed one
ALLOWANCE = 64 << 20  # bytes that even a tiny archive may hold
# What tarfile and zipfile raise for damaged bytes.
_BAD_TAR = (
    tarfile.TarError,
    EOFError,
    OSError,
    zlib.error,
    ValueError,
    struct.error,
    OverflowError,
)
_BAD_ZIP = (
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    ValueError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    OverflowError,
    KeyError,
)


def check_archive(path: files.PathLike) -> None:
    """Raises TodusError for an incomplete or damaged archive. A .zip is checked by its directory, a .tar.gz or .tar is read to its end."""
    name = re.sub(r"^\.(.+)\.part$", r"\1", Path(path).name)
    if name.endswith(".zip"):
        try:
            with opened_zip(path) as archive:
                members = archive.infolist()
                _check_size(path, len(members), sum(member.file_size for member in members))
        except zipfile.BadZipFile as error:
            raise TodusError("%s is not a whole zip archive (%s)" % (name, error))
    elif name.endswith((".tar.gz", ".tgz")):
        try:
            with gzip.open(str(path)) as stream:
                while stream.read(1 << 20):
                    pass
        except _BAD_TAR as error:
            raise TodusError("%s is not a whole gzip archive (%s)" % (name, error))
        _check_tar(path, name)
    elif name.endswith(".tar"):
        _check_tar(path, name)


def _check_tar(path: files.PathLike, name: str) -> None:
    try:
        with tarfile.open(str(path)) as archive:
            archive.getmembers()
    except _BAD_TAR as error:
        raise TodusError("%s is not a whole tar archive (%s)" % (name, error))


@contextlib.contextmanager
def opened_zip(path: files.PathLike) -> Iterator[zipfile.ZipFile]:
    """A zip archive for reading. Any error in the block that comes from damaged bytes is raised as zipfile.BadZipFile."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            yield archive
    except _BAD_ZIP as error:
        raise zipfile.BadZipFile(one_line(str(error)) or "damaged")
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise zipfile.BadZipFile("a place outside the file")
        raise


def unpack_tar(archive: files.PathLike, folder: files.PathLike) -> List[Path]:
    """Unpacks a .tar or .tar.gz into `folder`, which is made if need be and should be empty. Returns the files.

    Raises:
      TodusError: the archive is damaged, or holds a path outside, a link, a device, a file twice, or far more bytes than its size allows.
    """
    archive, folder = Path(archive), Path(folder)
    written: List[Path] = []
    try:
        with tarfile.open(str(archive)) as opened:
            size = 0
            for number, member in enumerate(opened, start=1):
                size += member.size
                _check_size(archive, number, size)
                if member.isdir():
                    _inside(archive, folder, member.name).mkdir(parents=True, exist_ok=True)
                    continue
                if not member.isreg() or member.issparse():
                    raise _untrusted(archive, member.name, "is a link or a special file")
                written.append(_write(archive, folder, member, opened.extractfile(member)))
    except _BAD_TAR as error:
        if _of_disk(error):
            raise
        raise _damaged(archive, str(error))
    return written


def _damaged(archive: Path, what: str) -> TodusError:
    return TodusError(
        "%s is damaged (%s); remove it and run the same command again" % (archive, one_line(what))
    )


def _untrusted(archive: Path, member: str, what: str) -> TodusError:
    return TodusError("%s: %s %s; do not trust this archive" % (archive, one_line(member), what))


def _of_disk(error: BaseException) -> bool:
    """Whether the error is the operating system's, not the archive's (gzip raises OSError without a number for damaged bytes)."""
    return isinstance(error, OSError) and error.errno is not None


def _check_size(archive: files.PathLike, members: int, size: int) -> None:
    """Raises TodusError when this many members, or bytes, are too many for an archive of its size."""
    if members > MOST_MEMBERS or size > MOST_RATIO * Path(archive).stat().st_size + ALLOWANCE:
        raise TodusError(
            "%s would unpack to far more than an archive of its size holds; do not trust it"
            % archive
        )


def _inside(archive: Path, folder: Path, name: str) -> Path:
    """The path of the member `name` below `folder`. Raises TodusError for one that leads outside."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if (
        not parts
        or name.startswith(("/", "\\"))
        or ".." in parts
        or "\0" in name
        or re.match(r"^[A-Za-z]:", name)
    ):
        if not parts and name.strip("./") == "":
            return folder
        raise _untrusted(archive, name, "would be written outside")
    return folder.joinpath(*parts)


def _write(archive: Path, folder: Path, member: tarfile.TarInfo, stream: BinaryIO) -> Path:
    """Writes a member's bytes to its path below `folder`, and returns the path."""
    path = _inside(archive, folder, member.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_no_links(archive, folder, path.parent)
    try:
        handle = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise _untrusted(archive, member.name, "is there twice, or was there before")
    left = member.size
    with os.fdopen(handle, "wb") as file:
        while True:
            block = stream.read(1 << 20)
            if not block:
                break
            left -= len(block)
            if left < 0:
                raise TodusError(
                    "%s: %s is longer than the archive says; do not trust it"
                    % (archive, one_line(member.name))
                )
            file.write(block)
    if left:
        raise _damaged(archive, one_line(member.name) + " ends too early")
    return path


def _check_no_links(archive: Path, folder: Path, parent: Path) -> None:
    """Raises TodusError when a folder between `folder` and `parent` is a link, which leads outside."""
    seen: Set[Path] = set()
    while parent != folder and parent not in seen:
        seen.add(parent)
        if parent.is_symlink():
            raise TodusError("%s: %s is a link; unpack into an empty folder" % (archive, parent))
        parent = parent.parent
