"""Reads a dataset from disk: its manifest, its examples, its images without their bytes."""

from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Tuple

from todus import files
from todus.dataset.annotations import Box, FileSpan, Image
from todus.dataset.records import example, tfrecord
from todus.dataset.records.example import Example
from todus.errors import TodusError
from todus.paths import Dataset


def read_manifest(dataset: Dataset) -> Dict[str, Any]:
    """The content of dataset.json. Raises TodusError when there is no dataset or the file is damaged."""
    manifest = files.read_json(dataset.check().manifest)
    if (
        not isinstance(manifest, dict)
        or not isinstance(manifest.get("splits"), dict)
        or not isinstance(manifest.get("categories"), list)
    ):
        raise TodusError(
            "%s is not a dataset's manifest; build the dataset again" % dataset.manifest
        )
    return manifest


def read_examples(dataset: Dataset, split: str) -> Iterator[Example]:
    """The examples of a split, in the order of its shards.

    Raises TodusError, with shard and offset, when there is no such split or a record is damaged.
    """
    found = dataset.check().shards(split)
    if not found:
        raise TodusError(
            '%s has no %s records; build it again with SPLITS="train val"' % (dataset.folder, split)
        )
    for path in found:
        for _, decoded in _decoded(
            path, "see python -m todus.commands.verify %s, and build it again" % dataset.folder
        ):
            yield decoded


def _decoded(path: Path, hint: str) -> Iterator[Tuple[tfrecord.Record, Example]]:
    """Every record of a shard, decoded. Raises TodusError, with shard, offset and `hint`, for a damaged one."""
    for record in tfrecord.scan(path):
        try:
            if record.fault:
                raise example.BadExample(record.fault)
            decoded = example.decode(record.data)
        except example.BadExample as error:
            raise TodusError("%s, offset %d: %s; %s" % (path, record.offset, error, hint))
        yield record, decoded


class Stored(NamedTuple):
    """An image of a dataset."""

    sha256: str  # of the image file
    image: Image  # its boxes have the ids of the dataset's label map; its bytes are in the shard


def read_stored(dataset: Dataset, split: str) -> Iterator[Stored]:
    """Every image of a split, in the order of its shards. Raises TodusError, with shard and offset, for a damaged record."""
    for path in dataset.shards(split):
        for record, found in _decoded(path, "build %s again" % dataset.name):
            span = FileSpan(
                path,
                record.offset + tfrecord.HEADER + record.data.index(found.encoded),
                len(found.encoded),
            )
            boxes = list(_boxes(found))
            yield Stored(
                found.sha256,
                Image(
                    found.source_id, found.file_name, found.width, found.height, boxes, member=span
                ),
            )


def _boxes(found: example.Example) -> Iterator[Box]:
    sides = found.boxes.astype(float)
    for index, identity in enumerate(found.classes.tolist()):
        ymin, xmin, ymax, xmax = sides[index].tolist()
        corners = (ymin * found.height, xmin * found.width, ymax * found.height, xmax * found.width)
        flags = (
            bool(found.is_crowd[index]),
            bool(found.difficult[index]),
            bool(found.truncated[index]),
        )
        yield Box(identity, *corners, float(found.area[index]), *flags)
