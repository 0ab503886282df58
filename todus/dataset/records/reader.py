"""Reads a dataset from disk: its manifest, its examples, or its images without their bytes."""

from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Tuple

import numpy as np

from todus import files
from todus.dataset.annotations import Box, FileSpan, Image
from todus.dataset.records import example, tfrecord
from todus.dataset.records.example import Example
from todus.errors import TodusError
from todus.paths import Dataset

NOT_A_MANIFEST = "%s is not a dataset's manifest; build the dataset again"


def read_manifest(dataset: Dataset) -> Dict[str, Any]:
    """The content of dataset.json. Raises TodusError where it is missing or damaged."""
    manifest = files.read_json(dataset.check().manifest)
    is_manifest = isinstance(manifest, dict) and isinstance(manifest.get("splits"), dict)
    if not is_manifest or not isinstance(manifest.get("categories"), list):
        raise TodusError(NOT_A_MANIFEST % dataset.manifest)
    return manifest


def read_examples(dataset: Dataset, split: str) -> Iterator[Example]:
    """The examples of a split, in the order of its shards, each image once.

    Raises TodusError where there is no such split, or with shard and offset of a damaged record.
    """
    found = dataset.check().shards(split)
    if not found:
        wanted = 'SPLITS="train val"'
        if split == "test":
            wanted = "TEST=0.1, which the scripts for your own images obey"
        text = "%s has no %s records; build it again with %s"
        raise TodusError(text % (dataset.folder, split, wanted))
    hint = "see python -m todus.commands.verify %s, and build it again" % dataset.folder
    for path in found:
        for _, decoded in _decoded(path, hint):
            if not decoded.repeat:
                yield decoded


def _decoded(path: Path, hint: str) -> Iterator[Tuple[tfrecord.Record, Example]]:
    """Every record of a shard, decoded. Raises TodusError with shard, offset and `hint`."""
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
    image: Image  # with the ids of the dataset's label map; its bytes are in the shard


def read_stored(dataset: Dataset, split: str) -> Iterator[Stored]:
    """Every image of a split once, in the order of its shards.

    Raises TodusError with shard and offset of a damaged record.
    """
    for path in dataset.shards(split):
        for record, found in _decoded(path, "build %s again" % dataset.name):
            if found.repeat:
                continue
            start = record.offset + tfrecord.HEADER + record.data.index(found.encoded)
            span = FileSpan(path, start, len(found.encoded))
            size, boxes = (found.width, found.height), list(_boxes(found))
            image = Image(found.source_id, found.file_name, *size, boxes, member=span)
            yield Stored(found.sha256, image)


def _boxes(found: example.Example) -> Iterator[Box]:
    scale = np.array([found.height, found.width] * 2, float)
    flags = np.stack([found.is_crowd, found.difficult, found.truncated], axis=1).tolist()
    rows = zip(found.classes.tolist(), (found.boxes * scale).tolist(), found.area.tolist(), flags)
    for identity, corners, area, flags_of_box in rows:
        yield Box(identity, *corners, area, *flags_of_box)
