"""The TFRecord container (tensorflow/core/lib/io/record_writer.h).

A record is length, masked CRC-32C of the length, data, masked CRC-32C of the data.
"""

import hashlib
import os
import re
import struct
from pathlib import Path
from typing import BinaryIO, Iterator, NamedTuple, Optional

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CHECK = struct.Struct("<I")
HEADER = _LENGTH.size + _CHECK.size
LONGEST = 1 << 31  # a protobuf message is shorter than 2 GiB
BLOCK = 1 << 20  # bytes that are searched at once
FIRST_BLOCK = 1 << 12  # the next record is often near
# A length below 4 GiB with its CRC, which is never 0 for the length 0.
_LIKE_HEADER = re.compile(b"(?=(?!\0{12})(.{4}\0{4}.{4}))", re.DOTALL)


def masked_crc(*parts: bytes) -> int:
    """The masked CRC-32C of tensorflow/core/lib/hash/crc32c.h, for data that contains CRCs."""
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class Writer:
    """Writes records to an open file and computes its size and SHA-256."""

    def __init__(self, file: BinaryIO):
        self.bytes = 0
        self.records = 0
        self._digest = hashlib.sha256()
        self._file = file

    def write(self, *data: bytes) -> None:
        """Writes one record that consists of the pieces of `data`."""
        length = _LENGTH.pack(sum(map(len, data)))
        head = length + _CHECK.pack(masked_crc(length))
        for part in (head, *data, _CHECK.pack(masked_crc(*data))):
            self._file.write(part)
            self._digest.update(part)
            self.bytes += len(part)
        self.records += 1

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Record(NamedTuple):
    """One record as read."""

    offset: int  # of its first byte in the file
    data: bytes
    fault: str  # what is wrong with it; "" for nothing


def scan(path: Path, resume: bool = False) -> Iterator[Record]:
    """Every record of a file, up to the first damaged length.

    With `resume` the next record after it is searched for by the CRC of its length.
    """
    with open(str(path), "rb", buffering=1 << 20) as file:
        for record in iter(lambda: _next(file), None):
            yield record
            if record.fault and not record.data and not (resume and _find(file, record.offset + 1)):
                return


def is_header(data: bytes) -> bool:
    """Whether the first HEADER bytes are a length and its CRC."""
    if len(data) < HEADER or _LENGTH.unpack_from(data)[0] > LONGEST:
        return False
    return _CHECK.unpack_from(data, _LENGTH.size)[0] == masked_crc(data[: _LENGTH.size])


def _find(file: BinaryIO, start: int) -> bool:
    """Seeks to the next header from `start` on; returns whether there is one."""
    size = FIRST_BLOCK
    while True:
        file.seek(start)
        block = file.read(size)
        for match in _LIKE_HEADER.finditer(block):
            if is_header(match.group(1)):
                file.seek(start + match.start())
                return True
        if len(block) < size:
            return False
        start, size = start + size - HEADER + 1, BLOCK


def _next(file: BinaryIO) -> Optional[Record]:
    offset, header = file.tell(), file.read(HEADER)
    if not header:
        return None
    if len(header) < HEADER:
        return Record(offset, b"", "the file ends inside a record")
    if not is_header(header):
        return Record(offset, b"", "the CRC of its length is wrong")
    length = _LENGTH.unpack_from(header)[0]
    # Not read to its end: a hostile file has many such lengths.
    if offset + HEADER + length > os.fstat(file.fileno()).st_size:
        return Record(offset, b"", "the file ends inside a record")
    data = file.read(length)
    check = file.read(_CHECK.size)
    if len(data) < length or len(check) < _CHECK.size:
        return Record(offset, b"", "the file ends inside a record")
    fault = "" if _CHECK.unpack(check)[0] == masked_crc(data) else "its CRC is wrong"
    return Record(offset, data, fault)
