"""Judging and unpacking what came from the network: no web page, no path outside, no link, no device, no bomb."""

import contextlib
import errno
import gzip
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Collection, Iterator, List, Optional, Set

from todus import files
from todus.errors import TodusError
from todus.text import one_line

MOST_MEMBERS = 1000000
MOST_RATIO = 200  # unpacked bytes a packed one
ALLOWANCE = 64 << 20  # what even a tiny archive may hold
# What tarfile and zipfile raise for damaged bytes.
_BAD_TAR = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, struct.error, OverflowError)
_BAD_ZIP = (zipfile.BadZipFile, EOFError, zlib.error, ValueError, NotImplementedError, RuntimeError, struct.error, OverflowError, KeyError)


def looks_like_html(data: bytes) -> bool:
    """Whether the first bytes of a file are a web page's, such as a captive portal sends in place of anything."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (start.startswith(b"<?xml") and b"<html" in start)


def check_archive(path: files.PathLike) -> None:
    """Raises TodusError when an archive is not whole: a .zip by its directory, a .tar.gz or .tar by reading it to the end."""
    name = re.sub(r"^\.(.+)\.part$", r"\1", Path(path).name)
    if name.endswith(".zip"):
        try:
            with opened_zip(path) as archive:
                _check_sizes(path, [info.file_size for info in archive.infolist()])
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


@contextlib.contextmanager
def opened_zip(path: files.PathLike) -> Iterator[zipfile.ZipFile]:
    """A zip archive for reading. Whatever its damaged bytes lead to in the block is raised as zipfile.BadZipFile."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            yield archive
    except _BAD_ZIP as error:
        raise zipfile.BadZipFile(one_line(str(error)) or "damaged")
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise zipfile.BadZipFile("a place outside the file")
        raise


def _check_tar(path: files.PathLike, name: str) -> None:
    try:
        with tarfile.open(str(path)) as archive:
            archive.getmembers()
    except _BAD_TAR as error:
        raise TodusError("%s is not a whole tar archive (%s)" % (name, error))


def unpack_tar(archive: files.PathLike, folder: files.PathLike) -> List[Path]:
    """Unpacks a .tar or .tar.gz into `folder`, which is made if need be and should be empty. Returns the files.

    Raises:
      TodusError: the archive is damaged, or holds a path outside, a link, a device, a file twice, or far more bytes than its size allows.
    """
    archive, folder = Path(archive), Path(folder)
    written: List[Path] = []
    try:
        with tarfile.open(str(archive)) as opened:
            sizes: List[int] = []
            for member in opened:
                sizes.append(member.size)
                _check_sizes(archive, sizes)
                if member.isdir():
                    _inside(archive, folder, member.name).mkdir(parents=True, exist_ok=True)
                    continue
                if not member.isreg() or member.issparse():
                    raise TodusError("%s: %s is a link or a special file; do not trust this archive" % (archive, one_line(member.name)))
                written.append(_write(archive, folder, member.name, member.size, opened.extractfile(member)))
    except _BAD_TAR as error:
        if _of_disk(error):
            raise
        raise TodusError("%s is damaged (%s); remove it and run the same command again" % (archive, one_line(str(error))))
    return written


def unpack_zip(archive: files.PathLike, folder: files.PathLike, members: Optional[Collection[str]] = None) -> List[Path]:
    """Unpacks a .zip, or only the named members, into `folder`. Returns the files. Raises TodusError as unpack_tar, and for a wrong CRC."""
    archive, folder = Path(archive), Path(folder)
    written: List[Path] = []
    try:
        with opened_zip(archive) as opened:
            infos = [info for info in opened.infolist() if members is None or info.filename in members]
            _check_sizes(archive, [info.file_size for info in infos])
            for info in infos:
                if info.filename.endswith("/"):
                    _inside(archive, folder, info.filename).mkdir(parents=True, exist_ok=True)
                    continue
                mode = info.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise TodusError("%s: %s is a link or a special file; do not trust this archive" % (archive, one_line(info.filename)))
                with opened.open(info) as stream:
                    written.append(_write(archive, folder, info.filename, info.file_size, stream))
    except zipfile.BadZipFile as error:
        raise TodusError("%s is damaged (%s); remove it and run the same command again" % (archive, one_line(str(error))))
    return written


def _of_disk(error: BaseException) -> bool:
    """Whether the operating system failed, not the archive (gzip raises OSError without a number for damaged bytes)."""
    return isinstance(error, OSError) and error.errno is not None


def _check_sizes(archive: files.PathLike, sizes: List[int]) -> None:
    most = MOST_RATIO * Path(archive).stat().st_size + ALLOWANCE
    if len(sizes) > MOST_MEMBERS or sum(sizes) > most:
        raise TodusError("%s would unpack to far more than an archive of its size holds; do not trust it" % archive)


def _inside(archive: Path, folder: Path, name: str) -> Path:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or name.startswith(("/", "\\")) or ".." in parts or "\0" in name or re.match(r"^[A-Za-z]:", name):
        if not parts and name.strip("./") == "":
            return folder
        raise TodusError("%s: %s would be written outside; do not trust this archive" % (archive, one_line(name)))
    return folder.joinpath(*parts)


def _write(archive: Path, folder: Path, name: str, size: int, stream: BinaryIO) -> Path:
    path = _inside(archive, folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _no_links(archive, folder, path.parent)
    try:
        handle = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise TodusError("%s: %s is there twice, or was there before; do not trust this archive" % (archive, one_line(name)))
    left = size
    with os.fdopen(handle, "wb") as file:
        while True:
            block = stream.read(1 << 20)
            if not block:
                break
            left -= len(block)
            if left < 0:
                raise TodusError("%s: %s is longer than the archive says; do not trust it" % (archive, one_line(name)))
            file.write(block)
    if left:
        raise TodusError("%s is damaged (%s ends too early); remove it and run the same command again" % (archive, one_line(name)))
    return path


def _no_links(archive: Path, folder: Path, parent: Path) -> None:
    """A folder on the way that is a link leads outside."""
    seen: Set[Path] = set()
    while parent != folder and parent not in seen:
        seen.add(parent)
        if parent.is_symlink():
            raise TodusError("%s: %s is a link; unpack into an empty folder" % (archive, parent))
        parent = parent.parent
