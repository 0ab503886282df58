"""Checks a dataset: every CRC, the fields of every example, the counts of each class."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

import numpy as np

from todus import categories, files
from todus.dataset import image_files
from todus.dataset.records import example, reader, tfrecord
from todus.errors import TodusError
from todus.paths import Dataset
from todus.text import one_line

Key = Tuple[str, int]  # image/source_id and image/repeat
EDGE = 1e-6  # float32 rounding of a box at the image's border


@dataclass
class Counts:
    """Numbers of distinct images and their boxes."""

    images: int = 0
    boxes: int = 0
    negatives: int = 0  # images without a box
    images_of: Counter = field(default_factory=Counter)  # class name -> images
    boxes_of: Counter = field(default_factory=Counter)  # class name -> boxes
    repeats: int = 0  # further records of images in train
    repeats_of: Counter = field(default_factory=Counter)  # class name -> those that show it

    def add(self, names: List[str], repeat: int = 0) -> None:
        """Adds one image with a box of each class in `names`, or a further record of one."""
        if repeat:
            self.repeats += 1
            self.repeats_of.update(set(names))
            return
        self.images += 1
        self.boxes += len(names)
        self.negatives += not names
        self.boxes_of.update(names)
        self.images_of.update(set(names))

    def merge(self, other: "Counts") -> None:
        for name, number in vars(other).items():
            setattr(self, name, getattr(self, name) + number)

    def per_category(self, names: Iterable[str]) -> Dict[str, Dict[str, int]]:
        return {
            name: {"images": self.images_of[name], "boxes": self.boxes_of[name]} for name in names
        }


def check_shard(
    path: Path, names: Mapping[int, str], hashes: bool = True, seen: Optional[Set[Key]] = None
) -> Tuple[Counts, List[str]]:
    """Counts of the records without a problem; all problems, with shard, offset and image.

    Args:
      path: the shard.
      names: id -> name of the label map.
      hashes: also compare each image with its SHA-256 and check its structure.
      seen: (source id, repeat) of the split's other shards; those of this shard are added.
    """
    counts, all_problems, seen = Counts(), [], set() if seen is None else seen
    for record in tfrecord.scan(path):
        place = "%s, offset %d" % (path.name, record.offset)
        try:
            found = example.decode(record.data) if record.data else None
        except example.BadExample as error:
            all_problems.append("%s: %s" % (place, record.fault or error))
            continue
        if found:
            place += ", image %s (%s)" % (one_line(found.source_id), one_line(found.file_name))
        if record.fault:
            problems = [record.fault]
        elif found is None:
            problems = ["the record is empty"]
        else:
            problems = list(_problems(found, names, hashes))
        if found:
            key = (found.source_id, found.repeat)
            if key in seen:
                problems.append("its image/source_id occurs twice")
            seen.add(key)
        all_problems.extend("%s: %s" % (place, problem) for problem in problems)
        if not problems:
            counts.add(found.class_texts, found.repeat)
    return counts, all_problems


def _problems(found: example.Example, names: Mapping[int, str], hashes: bool) -> Iterator[str]:
    if found.height < 1 or found.width < 1:
        yield "its size is %d x %d" % (found.width, found.height)
    if found.format not in ("jpeg", "png"):
        yield "image/format is %s" % one_line(found.format)
    if len(found.boxes):
        yield from _box_problems(found.boxes)
    for identity, text in zip(found.classes.tolist(), found.class_texts):
        if identity not in names:
            yield "class id %d is not in the label map" % identity
        elif text != names[identity]:
            text, name = one_line(text), names[identity]
            yield 'class/text "%s" is not the label map\'s "%s" for id %d' % (text, name, identity)
    if hashes:
        yield from _image_problems(found)


def _box_problems(boxes: np.ndarray) -> Iterator[str]:
    if not np.isfinite(boxes).all():
        yield "a box coordinate is not a number"
    elif boxes.min() < -EDGE or boxes.max() > 1 + EDGE:
        yield "a box lies outside the image"
    elif (boxes[:, 2] < boxes[:, 0]).any() or (boxes[:, 3] < boxes[:, 1]).any():
        yield "a box has its minimum and maximum exchanged"


def _image_problems(found: example.Example) -> Iterator[str]:
    if hashlib.sha256(found.encoded).hexdigest() != found.sha256:
        yield "the SHA-256 of image/encoded is not image/key/sha256"
    try:
        header = image_files.inspect(found.encoded)
    except image_files.BadImage as error:
        yield str(error)
        return
    if header != (found.format, found.height, found.width):
        stored = (header.format, header.width, header.height)
        text = "the image is a %s of %d x %d, the record has %s of %d x %d"
        yield text % (*stored, found.format, found.width, found.height)


def dataset(folder: Dataset) -> Tuple[Dict[str, Counts], List[str]]:
    """Counts of each split of a dataset, and all its problems, a sentence each.

    Raises TodusError where there is no dataset, or its manifest is damaged.
    """
    manifest = reader.read_manifest(folder)
    names = categories.read_label_map(folder.label_map)
    try:
        listed = {entry["id"]: entry["name"] for entry in manifest["categories"]}
        splits = {split: _SplitEntry.read(entry) for split, entry in manifest["splits"].items()}
    except (KeyError, TypeError, AttributeError):
        raise TodusError(reader.NOT_A_MANIFEST % folder.manifest)
    problems = []
    if listed != names:
        problems.append("label_map.pbtxt and dataset.json name different classes")
    counts: Dict[str, Counts] = {}
    for split, entry in splits.items():
        counts[split], found = _check_split(folder, split, entry, names)
        problems.extend(found)
    return counts, problems


class _SplitEntry(NamedTuple):
    """A split's entry in dataset.json."""

    images: int
    boxes: int
    shards: List[Tuple[str, int, str]]  # file name, bytes, SHA-256
    repeats: int

    @staticmethod
    def read(entry: Dict[str, Any]) -> "_SplitEntry":
        """Raises KeyError, TypeError or AttributeError for what is no entry."""
        shards = [(shard["file"], shard["bytes"], shard["sha256"]) for shard in entry["shards"]]
        numbers = [entry["images"], entry["boxes"], entry.get("repeats", 0)]
        if not all(isinstance(each, int) for each in numbers + [size for _, size, _ in shards]):
            raise TypeError("a count that is no whole number")
        for name, _, _ in shards:
            _check_name(name)
        images, boxes, repeats = numbers
        return _SplitEntry(images, boxes, shards, repeats)


def _check_name(name: Any) -> None:
    """Raises TypeError unless this is the name of a file in the dataset's folder."""
    if not isinstance(name, str) or "\0" in name or Path(name).name != name:
        raise TypeError("a shard whose name is no file name")


def _check_split(
    folder: Dataset, split: str, entry: _SplitEntry, names: Mapping[int, str]
) -> Tuple[Counts, List[str]]:
    counts, problems, seen = Counts(), [], set()
    for file, size, sha256 in entry.shards:
        path = folder.folder / file
        if not path.is_file():
            problems.append("%s is missing" % file)
            continue
        shard_counts, found = check_shard(path, names, seen=seen)
        counts.merge(shard_counts)
        problems.extend(found)
        if not found and (path.stat().st_size != size or files.sha256(path) != sha256):
            problems.append("%s is not the file that dataset.json describes" % file)
    extra = {path.name for path in folder.shards(split)} - {file for file, _, _ in entry.shards}
    problems.extend("%s does not belong to this dataset" % name for name in sorted(extra))
    lone = sorted({source_id for source_id, repeat in seen if (source_id, 0) not in seen})
    problems.extend(
        "%s repeats image %s, which it does not hold" % (split, one_line(each)) for each in lone
    )
    if counts.repeats != entry.repeats:
        text = "%s holds %d repeats, dataset.json lists %d"
        problems.append(text % (split, counts.repeats, entry.repeats))
    if (counts.images, counts.boxes) != (entry.images, entry.boxes):
        text = "%s holds %d images and %d boxes, dataset.json lists %d and %d"
        problems.append(text % (split, counts.images, counts.boxes, entry.images, entry.boxes))
    return counts, problems


def shard_faults(
    dataset: Dataset, manifest: Dict[str, Any], splits: Optional[List[str]] = None
) -> Iterator[str]:
    """Differences between the shards and dataset.json in names and sizes.

    `python -m todus.commands.verify` reads every byte.
    """
    try:
        for split in splits or manifest["splits"]:
            entry = manifest["splits"].get(split, {})
            listed = {shard["file"]: shard["bytes"] for shard in entry.get("shards", [])}
            for name, size in listed.items():
                _check_name(name)
                path = dataset.folder / name
                if not path.is_file():
                    yield "%s is missing" % name
                elif path.stat().st_size != size:
                    found = path.stat().st_size
                    yield "%s has %d bytes, dataset.json lists %s" % (name, found, size)
            for path in dataset.shards(split):
                if path.name not in listed:
                    yield "%s does not belong to it" % path.name
    except (KeyError, TypeError, AttributeError):
        yield "dataset.json is not a dataset's manifest"


def check_shard_sizes(dataset: Dataset, splits: Optional[List[str]] = None) -> None:
    """Raises TodusError with the first of `shard_faults`."""
    for fault in shard_faults(dataset, reader.read_manifest(dataset), splits):
        raise TodusError("%s: %s; build the dataset again" % (dataset.folder, fault))
