"""Checks that a TensorFlow checkpoint is complete and undamaged, without TensorFlow.

PREFIX.index is a table of names to BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto)
in LevelDB's table format (tensorflow/core/lib/io/table_format.txt); PREFIX.data-NNNNN-of-NNNNN
holds the values.
"""

import struct
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Tuple

from todus.dataset.records.tfrecord import masked_crc
from todus.errors import TodusError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_STRING = 7  # the DataType whose CRC is not that of its bytes
_TRAILER = 5  # bytes after each block: its compression and its CRC
HELD = "held"  # begins the name of the hidden folders in training/ with links to checkpoints
LONGEST_NAME = 4096  # bytes of a variable's name
_LONGEST_VARINT = 10  # bytes
MOST_READ = 200 * 1000 * 1000  # bytes; only the size of a larger data file is checked


class Entry(NamedTuple):
    """Where a variable's bytes are. Of a partitioned variable only the parts have bytes."""

    kind: int  # DataType (tensorflow/core/framework/types.proto)
    shard: int
    offset: int
    size: int
    crc: int  # masked CRC-32C of the bytes


class _Damage(Exception):
    """A checkpoint is damaged; the message says how."""


def check(prefix: Path, remedy: str) -> int:
    """The bytes of a checkpoint's values, after each value was compared with its CRC.

    Args:
      prefix: its path without suffix.
      remedy: the end of the message: how to get another one.

    Raises:
      TodusError: a file is missing, truncated or damaged.
    """
    prefix = Path(prefix)
    try:
        shards, entries = _read(Path(str(prefix) + ".index"))
        for shard in range(shards):
            path = Path("%s.data-%05d-of-%05d" % (prefix, shard, shards))
            in_shard = {name: entry for name, entry in entries.items() if entry.shard == shard}
            _check_shard(path, in_shard)
    except _Damage as error:
        raise TodusError("checkpoint %s: %s; %s" % (shown(prefix), error, remedy))
    return sum(entry.size for entry in entries.values())


def shown(prefix: Path) -> Path:
    """The path of a checkpoint for the user: without the folder that holds links to it."""
    return Path(*(part for part in Path(prefix).parts if not part.startswith(".%s." % HELD)))


def size(prefix: Path) -> int:
    """Bytes of a checkpoint's files without its graph (.meta); 0 where there are none."""
    prefix = Path(prefix)
    parts = prefix.parent.glob(prefix.name + ".*")
    return sum(path.stat().st_size for path in parts if path.suffix != ".meta")


def _read(path: Path) -> Tuple[int, Dict[str, Entry]]:
    """The number of data files, and where each variable is."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _Damage("%s is missing" % path.name)
    if len(data) < _FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != _MAGIC:
        raise _Damage("%s is truncated, or not a checkpoint's index" % path.name)
    try:
        return _parse(data)
    except (IndexError, ValueError, struct.error):
        raise _Damage("%s is damaged" % path.name)


def _parse(data: bytes) -> Tuple[int, Dict[str, Entry]]:
    footer = data[-_FOOTER:]
    at = _varint(footer, _varint(footer, 0)[1])[1]
    start, at = _varint(footer, at)
    length, _ = _varint(footer, at)
    shards, entries = 1, {}
    end = 0
    for _, handle in _pairs(data, start, length):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        if start < end:
            raise ValueError("blocks that share their bytes")
        end = start + length
        for key, value in _pairs(data, start, length):
            numbers = _fields(value)
            if not key:
                shards = numbers.get(1, 1)
            else:
                values = (numbers.get(field, 0) for field in (1, 3, 4, 5, 6))
                entries[key.decode("utf-8", "backslashreplace")] = Entry(*values)
    if not entries or not 1 <= shards <= 100000:
        raise ValueError("no entries")
    return shards, entries


def _pairs(data: bytes, start: int, length: int) -> Iterator[Tuple[bytes, bytes]]:
    """Keys and values of a block; a key is stored without its common prefix with the last one."""
    block = data[start : start + length]
    trailer = data[start + length : start + length + _TRAILER]
    if len(trailer) < _TRAILER or trailer[0]:
        raise ValueError("a truncated or compressed block")
    if masked_crc(block, trailer[:1]) != struct.unpack_from("<I", trailer, 1)[0]:
        raise ValueError("a damaged block")
    end = length - 4 - 4 * struct.unpack_from("<I", block, length - 4)[0]
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        more, at = _varint(block, at)
        size_of_value, at = _varint(block, at)
        key = key[:shared] + block[at : at + more]
        if len(key) > LONGEST_NAME:
            raise ValueError("a name of %d bytes" % len(key))
        yield key, block[at + more : at + more + size_of_value]
        at += more + size_of_value


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    value = shift = 0
    while shift < 7 * _LONGEST_VARINT:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than %d bytes" % _LONGEST_VARINT)


def _fields(message: bytes) -> Dict[int, int]:
    """The numbers in a protobuf message by field; nested messages are skipped."""
    numbers, at = {}, 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            numbers[tag >> 3], at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            at += length
        elif kind == 5:
            numbers[tag >> 3] = struct.unpack_from("<I", message, at)[0]
            at += 4
        else:
            raise ValueError("a field of kind %d" % kind)
    return numbers


def _check_shard(path: Path, entries: Dict[str, Entry]) -> None:
    needed = max((entry.offset + entry.size for entry in entries.values()), default=0)
    try:
        found = path.stat().st_size
        if found < needed:
            raise _Damage("%s has %d of %d bytes" % (path.name, found, needed))
        if sum(entry.size for entry in entries.values()) > found:
            raise _Damage("%s has variables that share their bytes" % path.name)
        if found > MOST_READ:
            return
        with path.open("rb") as file:
            for name, entry in sorted(entries.items(), key=lambda pair: pair[1].offset):
                if entry.size and entry.kind != _STRING:
                    file.seek(entry.offset)
                    if masked_crc(file.read(entry.size)) != entry.crc:
                        raise _Damage("%s is damaged in variable %s" % (path.name, name))
    except FileNotFoundError:
        raise _Damage("%s is missing" % path.name)
