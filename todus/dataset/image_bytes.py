"""Reads the bytes of an image: from its file, from a zip archive, or from a record."""

import os
import struct
import zlib

from todus.dataset import image_files
from todus.dataset.annotations import FileSpan, Image, ZipMember
from todus.errors import TodusError

DAMAGED = "image is damaged in its archive"


def read(image: Image) -> bytes:
    """The bytes of the image's file.

    Raises TodusError where it cannot be read, BadImage where an archive's member is damaged.
    """
    try:
        if image.member is None:
            with open(str(image.path), "rb") as file:
                return file.read()
        if isinstance(image.member, FileSpan):
            with open(str(image.member.file), "rb") as file:
                file.seek(image.member.offset)
                return file.read(image.member.size)
        return _read_member(image.member)
    except OSError as error:
        raise _unreadable(image, error)


def size(image: Image) -> int:
    """The size of the image's file in bytes. Raises TodusError where it is missing."""
    if image.member:
        return image.member.size
    try:
        return os.stat(str(image.path)).st_size
    except OSError as error:
        raise _unreadable(image, error)


def _unreadable(image: Image, error: OSError) -> TodusError:
    return TodusError(
        "%s cannot be read (%s); run the same command again"
        % (image.path or image.file_name, error.strerror or error)
    )


def _read_member(member: ZipMember) -> bytes:
    """The file in a zip archive (APPNOTE.TXT, 4.3.7). Raises BadImage where its CRC is wrong."""
    with open(str(member.archive), "rb") as file:
        file.seek(member.offset)
        local = file.read(30)
        if len(local) < 30 or local[:4] != b"PK\x03\x04":
            raise image_files.BadImage(DAMAGED)
        name, extra = struct.unpack_from("<HH", local, 26)
        file.seek(name + extra, os.SEEK_CUR)
        data = file.read(member.packed)
    if member.deflated:
        try:
            data = zlib.decompressobj(-15).decompress(data, member.size)
        except zlib.error:
            data = b""
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise image_files.BadImage(DAMAGED)
    return data
