"""Writes images as TFRecord shards, in several processes."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from todus.dataset import image_bytes, image_files, parallel
from todus.dataset.annotations import Image, id_order
from todus.dataset.records import example, tfrecord, verify
from todus.dataset.seeded_order import sort_key
from todus.errors import TodusError

SHARD_BYTES = 256 << 20
OTHER_SIZE = "image has another size than its annotations"


@dataclass
class Options:
    """How records are written. Every option but `jobs` and `runner` changes the bytes."""

    seed: int = 0  # of the order of the examples
    shards: int = 0  # per split; 0: one for about SHARD_BYTES each
    jobs: int = 0  # processes; 0: the cores
    decode: bool = False  # decode every pixel to find damaged images
    masks: bool = False  # write image/object/mask
    balance: float = 0.0  # repeat train images of rare classes: see todus.dataset.balance
    runner: str = ""  # of Apache Beam: see todus.dataset.records.beam; "": processes of this one


class Shard(NamedTuple):
    """A shard that was written and checked."""

    file: str
    bytes: int
    sha256: str
    examples: int
    counts: verify.Counts
    dropped: List[Tuple[Image, str]]  # images that were not written, and why


@dataclass
class Plan:
    """A shard to write."""

    path: Path
    split: str
    images: List[Image]


@dataclass
class _Work:
    """The data that the processes share. They inherit it by fork, because it may be large."""

    plans: List[Plan] = field(default_factory=list)
    names: Dict[int, str] = field(default_factory=dict)  # new id -> name
    id_map: Dict[int, int] = field(default_factory=dict)  # source category id -> new id
    options: Options = field(default_factory=Options)


_work = _Work()


def plan(folder: Path, split: str, listed: Sequence[Image], options: Options) -> List[Plan]:
    """Divides the images, in an order given by the seed, into shards of about equal size.

    There is at least one shard; with images, no shard is empty.
    """
    ordered = sorted(
        listed,
        key=lambda image: (
            sort_key(options.seed, split, image.id, *filter(None, [image.repeat])),
            id_order(image.id),
        ),
    )
    sizes = [image_bytes.size(image) for image in ordered]
    total = sum(sizes)
    number = max(1, min(options.shards or -(-total // SHARD_BYTES), len(ordered), 99999))
    parts: List[List[Image]] = [[] for _ in range(number)]
    before, at = 0, 0
    for index, (image, size) in enumerate(zip(ordered, sizes)):
        share = min(before * number // total if total else 0, number - 1)
        at = max(at, min(share, at + 1 if parts[at] else at), number - (len(ordered) - index))
        parts[at].append(image)
        before += size
    return [
        Plan(folder / ("%s.record-%05d-of-%05d" % (split, index, number)), split, part)
        for index, part in enumerate(parts)
    ]


def write(
    plans: List[Plan], names: Dict[int, str], id_map: Dict[int, int], options: Options
) -> Iterator[Tuple[Plan, Shard]]:
    """Writes the shards and yields each with its plan, in the order of the plans.

    Raises TodusError where a process is killed, an image is missing, or a check of a shard fails.
    """
    global _work
    _work = _Work(plans, names, id_map, options)
    try:
        written = parallel.in_order(_write_shard, len(plans), options.jobs)
        for index, shard in enumerate(written):
            yield plans[index], shard
    finally:
        _work = _Work()


def _write_shard(index: int) -> Shard:
    return write_shard(_work.plans[index], _work.names, _work.id_map, _work.options)


def write_shard(
    each: Plan, names: Dict[int, str], id_map: Dict[int, int], options: Options
) -> Shard:
    """Writes one shard and reads it back. Raises as `write`."""
    dropped: List[Tuple[Image, str]] = []
    expected = verify.Counts()
    with open(str(each.path), "wb", buffering=1 << 16) as file:
        writer = tfrecord.Writer(file)
        for image in each.images:
            parallel.check_parent()
            try:
                data = encode(image, names, id_map, options)
            except image_files.BadImage as error:
                dropped += [] if image.repeat else [(image, str(error))]
                continue
            writer.write(*data)
            ids = (id_map.get(box.category_id) for box in image.boxes)
            found = [names[identity] for identity in ids if identity is not None]
            expected.add(found, image.repeat)
    _self_check(each.path, names, expected)
    return Shard(each.path.name, writer.bytes, writer.sha256, writer.records, expected, dropped)


def _self_check(path: Path, names: Dict[int, str], expected: verify.Counts) -> None:
    """Reads the shard back. Raises TodusError where it differs from the annotations."""
    counts, problems = verify.check_shard(path, names, hashes=False)
    for problem in problems:
        text = "self-check: %s; the disk or memory may be failing; run this again"
        raise TodusError(text % problem)
    if counts != expected:
        raise TodusError(
            "self-check: %s does not hold the boxes of the annotations; "
            "the disk may be failing; run this again" % path.name
        )


def _utf8(text: str) -> bytes:
    """UTF-8, which readers of records expect also of a file name that is not."""
    return text.encode("utf-8", "backslashreplace")


def encode(
    image: Image, names: Dict[int, str], id_map: Dict[int, int], options: Options
) -> Tuple[bytes, ...]:
    """The serialised tf.train.Example of an image, in pieces.

    Raises BadImage where training cannot decode the image.
    """
    data = image_bytes.read(image)
    header = image_files.inspect(data)
    if (header.height, header.width) != (image.height, image.width):
        raise image_files.BadImage(OTHER_SIZE)
    if options.decode:
        image_files.decode_every_pixel(data)
    boxes = [box for box in image.boxes if box.category_id in id_map]
    ids = [id_map[box.category_id] for box in boxes]
    features: Dict[str, Any] = {
        "image/format": [header.format.encode("ascii")],
        "image/filename": [_utf8(image.file_name)],
        "image/source_id": [_utf8(str(image.id))],
        "image/key/sha256": [hashlib.sha256(data).hexdigest().encode("ascii")],
        "image/height": [image.height],
        "image/width": [image.width],
        "image/object/bbox/ymin": [box.ymin / image.height for box in boxes],
        "image/object/bbox/xmin": [box.xmin / image.width for box in boxes],
        "image/object/bbox/ymax": [box.ymax / image.height for box in boxes],
        "image/object/bbox/xmax": [box.xmax / image.width for box in boxes],
        "image/object/class/text": [names[identity].encode("utf-8") for identity in ids],
        "image/object/class/label": ids,
        "image/object/area": [box.area for box in boxes],
        "image/object/is_crowd": [int(box.is_crowd) for box in boxes],
        "image/object/difficult": [int(box.difficult) for box in boxes],
        "image/object/truncated": [int(box.truncated) for box in boxes],
    }
    if image.repeat:
        features[example.REPEAT] = [image.repeat]
    if options.masks:
        from todus.dataset.records import masks

        features[example.MASK] = [masks.png(box, image.height, image.width) for box in boxes]
    return example.encode(data, features, example.KINDS)
