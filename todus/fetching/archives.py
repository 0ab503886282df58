"""Checks and unpacks archives that are not trusted.

Rejects paths outside the folder, links, devices and decompression bombs.
"""

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
from typing import BinaryIO, Iterator, List

from todus import files
from todus.errors import TodusError
from todus.text import one_line

try:
    from lzma import LZMAError
except ImportError:  # a Python without liblzma refuses such archives itself
    LZMAError = EOFError

MOST_MEMBERS = 1000000  # of a .zip, such as COCO's images
MOST_TAR_MEMBERS = 10000  # a model has some twenty
MOST_RATIO = 20  # unpacked bytes per packed byte
ALLOWANCE = 64 << 20  # unpacked bytes that are allowed for an archive of any size
LONGEST_HEADER = 1 << 18  # bytes of the long name or the pax header of a member in a tar
_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_HEADERS += (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
# What tarfile and zipfile raise for damaged bytes; NotImplementedError is a RuntimeError.
_DAMAGE = (EOFError, zlib.error, LZMAError, ValueError, struct.error, OverflowError)
# A damaged .xz may ask for gigabytes.
_BAD_TAR = _DAMAGE + (tarfile.TarError, OSError, RecursionError, MemoryError)
# Errors of the names in an archive: a file that is a folder too, or too long a name.
_BAD_NAMES = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
_BAD_ZIP = _DAMAGE + (zipfile.BadZipFile, RuntimeError, KeyError)


class _Member(tarfile.TarInfo):
    """A member of a tar whose sizes Python 3.7 can take: it reads headers of any size at once."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Member":
        found = super().frombuf(buf, encoding, errors)
        is_header = found.type not in tarfile.SUPPORTED_TYPES or found.type in _HEADERS
        if found.size < 0 or (is_header and found.size > LONGEST_HEADER):
            raise ValueError("a member of %d bytes" % found.size)
        return found


def _members(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar. Raises ValueError where one does not begin after the one before it."""
    last = -1
    for number, member in enumerate(opened, start=1):
        if number > MOST_TAR_MEMBERS:
            raise ValueError("more than %d members" % MOST_TAR_MEMBERS)
        # A negative size, also in a pax header, leads back to a former member (CVE-2025-8194).
        if member.size < 0 or member.offset <= last:
            raise ValueError("a member of %d bytes" % member.size)
        last = member.offset
        yield member


def check_archive(path: files.PathLike) -> None:
    """Raises TodusError for an incomplete or damaged archive; its type is that of its file name.

    Checks the directory of a .zip, and reads a .tar, .tar.gz or .tgz to its end.
    """
    name = re.sub(r"^\.(.+)\.part$", r"\1", Path(path).name)
    if name.endswith(".zip"):
        try:
            with opened_zip(path) as archive:
                members = archive.infolist()
                _check_size(path, len(members), sum(member.file_size for member in members))
        except zipfile.BadZipFile as error:
            raise _incomplete(name, "zip", error)
    elif name.endswith((".tar.gz", ".tgz")):
        try:
            with gzip.open(str(path)) as stream:
                while stream.read(1 << 20):
                    pass
        except _BAD_TAR as error:
            raise _incomplete(name, "gzip", error)
        _check_tar(path, name)
    elif name.endswith(".tar"):
        _check_tar(path, name)


def _check_tar(path: files.PathLike, name: str) -> None:
    try:
        with tarfile.open(str(path), tarinfo=_Member) as archive:
            for _ in _members(archive):
                pass
    except _BAD_TAR as error:
        raise _incomplete(name, "tar", error)


def _incomplete(name: str, kind: str, error: Exception) -> TodusError:
    return TodusError("%s is not a complete %s archive (%s)" % (name, kind, error))


@contextlib.contextmanager
def opened_zip(path: files.PathLike) -> Iterator[zipfile.ZipFile]:
    """Yields a zip archive for reading; raises zipfile.BadZipFile for any damage that is read."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            yield archive
    except _BAD_ZIP as error:
        raise zipfile.BadZipFile(one_line(str(error)) or "damaged")
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise zipfile.BadZipFile("an offset outside the file")
        raise


def unpack_tar(archive: files.PathLike, folder: files.PathLike) -> List[Path]:
    """Unpacks a .tar or .tar.gz into `folder`, which should be empty or missing. Returns the files.

    Raises:
      TodusError: the archive is damaged, has a path outside the folder, a link, a device or the
        same file twice, or unpacks to too many bytes.
    """
    archive, folder = Path(archive), Path(folder)
    written: List[Path] = []
    member = None
    try:
        with tarfile.open(str(archive), tarinfo=_Member) as opened:
            size = 0
            for member in _members(opened):
                size += member.size
                _check_size(archive, 0, size)
                if member.isdir():
                    _inside(archive, folder, member.name).mkdir(parents=True, exist_ok=True)
                    continue
                if not member.isreg() or member.issparse():
                    raise _untrusted(archive, member.name, "is a link or a special file")
                written.append(_write(archive, folder, member, opened.extractfile(member)))
            # A checksum follows the last member.
            for block in iter(lambda: opened.fileobj.read(1 << 20), b""):
                size += len(block)
                _check_size(archive, 0, size)
    except _BAD_TAR as error:
        # An OSError with a number is of the disk; for damaged bytes gzip raises one without.
        number = getattr(error, "errno", None)
        if member and number in _BAD_NAMES:
            raise _untrusted(archive, member.name[:100], "cannot be a file beside the others")
        if number is not None:
            raise
        raise _damaged(archive, str(error) or type(error).__name__)
    return written


def _damaged(archive: Path, what: str) -> TodusError:
    return TodusError(
        "%s is damaged (%s); run the same command again with another copy of it"
        % (archive, one_line(what))
    )


def _untrusted(archive: Path, member: str, what: str) -> TodusError:
    return TodusError("%s: %s %s; do not trust this archive" % (archive, one_line(member), what))


def _check_size(archive: files.PathLike, members: int, size: int) -> None:
    """Raises TodusError if the archive has too many members or unpacked bytes for its size."""
    if members > MOST_MEMBERS or size > MOST_RATIO * Path(archive).stat().st_size + ALLOWANCE:
        raise TodusError("%s unpacks to too much for its size; do not trust it" % archive)


def _inside(archive: Path, folder: Path, name: str) -> Path:
    """The path of the member `name` below `folder`. Raises TodusError for one outside it."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts and not name.strip("./"):
        return folder
    if not parts or ".." in parts or "\0" in name or re.match(r"[/\\]|[A-Za-z]:", name):
        raise _untrusted(archive, name, "would be written outside the folder")
    return folder.joinpath(*parts)


def _write(archive: Path, folder: Path, member: tarfile.TarInfo, stream: BinaryIO) -> Path:
    """Writes a member's bytes to its path below `folder`, and returns the path."""
    path = _inside(archive, folder, member.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    for parent in path.parents:
        if folder in parent.parents and parent.is_symlink():
            raise TodusError("%s: %s is a symlink; unpack into an empty folder" % (archive, parent))
    try:
        handle = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise _untrusted(archive, member.name, "occurs twice, or existed before")
    left = member.size
    with os.fdopen(handle, "wb") as file:
        for block in iter(lambda: stream.read(1 << 20), b""):
            left -= len(block)
            if left < 0:
                raise _untrusted(archive, member.name, "is longer than its header says")
            file.write(block)
    if left:
        raise _damaged(archive, one_line(member.name) + " ends too early")
    return path
