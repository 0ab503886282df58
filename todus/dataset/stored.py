"""The images of a dataset on disk, read back into the in-memory form without holding their bytes."""

from typing import Iterator, NamedTuple

from todus.dataset import example, tfrecord
from todus.dataset.annotations import Box, Image, Span
from todus.errors import TodusError
from todus.paths import Dataset


class Stored(NamedTuple):
    sha256: str  # of the image file
    image: Image  # its boxes have the ids of the dataset's label map; its bytes lie in the shard


def read(dataset: Dataset, split: str) -> Iterator[Stored]:
    """Every image of a split, in the order of its shards. Raises TodusError, with shard and offset, for a damaged record."""
    for path in dataset.shards(split):
        for record in tfrecord.scan(path):
            try:
                if record.fault:
                    raise example.BadExample(record.fault)
                found = example.decode(record.data)
            except example.BadExample as error:
                raise TodusError("%s, offset %d: %s; build %s again" % (path, record.offset, error, dataset.name))
            span = Span(path, record.offset + tfrecord.HEADER + record.data.index(found.encoded), len(found.encoded))
            boxes = list(_boxes(found))
            yield Stored(found.sha256, Image(found.source_id, found.file_name, found.width, found.height, boxes, member=span))


def _boxes(found: example.Example) -> Iterator[Box]:
    sides = found.boxes.astype(float)
    for index, identity in enumerate(found.classes.tolist()):
        ymin, xmin, ymax, xmax = sides[index].tolist()
        corners = (ymin * found.height, xmin * found.width, ymax * found.height, xmax * found.width)
        flags = (bool(found.is_crowd[index]), bool(found.difficult[index]), bool(found.truncated[index]))
        yield Box(identity, *corners, float(found.area[index]), *flags)
