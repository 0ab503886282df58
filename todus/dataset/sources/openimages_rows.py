"""Reads Open Images' box files: CSV of up to 14.6 million rows (2.3 GB).

A file is read once, in blocks. Only boxes of the wanted classes are kept, 19 bytes each: all
classes of the training set take less than a gigabyte.
"""

import math
import struct
from collections import Counter
from pathlib import Path
from typing import Collection, Dict, Iterator, List, NamedTuple, Optional, Tuple

from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import NamedBox
from todus.errors import TodusError
from todus.progress import Progress

BLOCK = 1 << 22
LONGEST_LINE = 1 << 16
NEEDED = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
FLAGS = {
    "occluded": "IsOccluded",
    "truncated": "IsTruncated",
    "group": "IsGroupOf",
    "depiction": "IsDepiction",
    "inside": "IsInside",
}
_BIT = {name: 1 << index for index, name in enumerate(FLAGS)}
_BOX = struct.Struct("<HBffff")  # class number, flags, xmin, xmax, ymin, ymax
NOT_ID = "box with an invalid image id"


class BoxTable(NamedTuple):
    """The kept boxes of one file, packed."""

    boxes: Dict[str, bytes]  # image id -> its boxes
    dropped: Counter  # reason -> boxes that could not be read
    excluded: int  # boxes left out for a flag


class _Columns(NamedTuple):
    """The places of a file's columns."""

    image: int
    label: int
    corners: List[int]  # xmin, xmax, ymin, ymax
    flags: List[Tuple[int, int]]  # column, bit
    least: int  # number of columns in a complete row


def read(
    path: Path,
    wanted: Dict[str, int],
    exclude: Collection[str] = (),
    only: Optional[Collection[str]] = None,
) -> BoxTable:
    """The boxes of the wanted classes.

    Args:
      path: a box file of Open Images V4 to V7 (13 or 21 columns, found by name).
      wanted: label such as /m/0k4j -> class number, below 65536.
      exclude: names in FLAGS; boxes with such a flag are left out.
      only: image ids; others are left out.

    Raises:
      TodusError: the file is not a box file.
    """
    packed: Dict[str, bytes] = {}
    current, boxes = "", bytearray()  # the rows of one image are consecutive
    dropped: Counter = Counter()
    excluded = 0
    mask = sum(_BIT[name] for name in set(exclude))
    numbers = {label.encode("ascii"): number for label, number in wanted.items()}
    lines = _lines(path)
    columns = _columns(next(lines, b""), path)
    label = columns.label
    for line in lines:
        parts = line.split(b",", label + 1)
        if len(parts) <= label or parts[label] not in numbers:
            continue
        number = numbers[parts[label]]
        image, bits, sides = _parse(line.split(b","), columns)
        if only is not None and image not in only:
            continue
        if bits & mask:
            excluded += 1
        elif not all(-1e6 < side < 1e6 for side in sides):
            dropped[NOT_A_NUMBER] += 1
        elif not image.isalnum():
            dropped[NOT_ID] += 1
        else:
            if image != current:
                _add(packed, current, boxes)
                current, boxes = image, bytearray()
            boxes += _BOX.pack(number, bits, *sides)
    _add(packed, current, boxes)
    return BoxTable(packed, dropped, excluded)


def _parse(parts: List[bytes], columns: _Columns) -> Tuple[str, int, List[float]]:
    """Image id, flags and corners of a row; [NaN] in place of unreadable corners."""
    bits = 0
    for column, bit in columns.flags:
        if column < len(parts) and parts[column].strip() == b"1":
            bits |= bit
    is_complete = len(parts) >= columns.least
    try:
        sides = [float(parts[column]) for column in columns.corners] if is_complete else [math.nan]
    except ValueError:
        sides = [math.nan]
    image = parts[columns.image].decode("ascii", "replace") if columns.image < len(parts) else ""
    return image, bits, sides


def _add(packed: Dict[str, bytes], image: str, boxes: bytearray) -> None:
    if boxes:
        packed[image] = packed.get(image, b"") + boxes


def _columns(header: bytes, path: Path) -> _Columns:
    names = [name.strip().strip('"') for name in header.decode("utf-8-sig", "replace").split(",")]
    lacking = [name for name in NEEDED if name not in names]
    if lacking:
        raise TodusError(
            "%s is not a box file of Open Images: it lacks %s; remove it and run this again"
            % (path, ", ".join(lacking))
        )
    at = {name: names.index(name) for name in NEEDED + tuple(FLAGS.values()) if name in names}
    flags = [(at[column], _BIT[name]) for name, column in FLAGS.items() if column in at]
    corners = [at[name] for name in ("XMin", "XMax", "YMin", "YMax")]
    return _Columns(at["ImageID"], at["LabelName"], corners, flags, max(at.values()) + 1)


def _lines(path: Path) -> Iterator[bytes]:
    """The non-empty lines of a file of any size. Raises TodusError for a line over LONGEST_LINE."""
    label, tail = "reading " + path.name, b""
    with open(str(path), "rb") as file, Progress(label, path.stat().st_size) as progress:
        for block in iter(lambda: file.read(BLOCK), b""):
            progress.add(len(block))
            lines = (tail + block).split(b"\n")
            tail = lines.pop()
            if len(tail) > LONGEST_LINE:
                raise TodusError("%s is not a text file; remove it and run this again" % path)
            yield from filter(None, lines)
    if tail:
        yield tail


def class_numbers(packed: bytes) -> List[int]:
    """The class number of each box."""
    return [box[0] for box in _BOX.iter_unpack(packed)]


def named_boxes(packed: bytes, names: Dict[int, str]) -> List[NamedBox]:
    """The boxes as fractions of their image; a group becomes a crowd."""
    group, cut = _BIT["group"], _BIT["truncated"]
    return [
        NamedBox(names[key], xmin, ymin, xmax, ymax, bool(bits & group), truncated=bool(bits & cut))
        for key, bits, xmin, xmax, ymin, ymax in _BOX.iter_unpack(packed)
    ]
