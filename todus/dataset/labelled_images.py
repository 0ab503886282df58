"""What the sources of a person's own images share: from boxes with class names to Annotations with ids.

A reader (voc, csv, openimages, cloud) says what the annotations say; here the classes get their ids, the images are looked at, the boxes
are made to agree with them, and the images are split.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from todus import files
from todus.dataset import class_ids, image_conversion
from todus.dataset.annotations import Annotations, Image
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, Fit, NamedBox, fit, placed
from todus.dataset.image_files import BadImage
from todus.dataset.settings import Settings
from todus.dataset.split import stratified
from todus.errors import TodusError
from todus.text import one_line

NO_BOX = "image without a box (KEEP_EMPTY=1 keeps such images)"
NO_CHOSEN_BOX = "image without a box of CATEGORIES (KEEP_EMPTY=1 keeps such images)"
COPY = "copy of an image of another split"
NO_SPLIT = "image in none of the source's splits"
NO_BOX_LEFT = "image of which no box can be used"
SPLITS = ("train", "val", "test")


@dataclass
class Labelled:
    """One image as its annotation describes it, before anybody looked at the image."""

    name: str  # unique in its source; becomes image/source_id
    path: Path
    boxes: List[NamedBox] = field(default_factory=list)
    frame: Tuple[float, float] = UNKNOWN  # width and height that the boxes are in
    split: str = ""  # one of SPLITS; empty: to be split here
    dropped: Counter = field(default_factory=Counter)  # reason -> boxes that could not be read


class LeftOut(NamedTuple):
    """An image or annotation file that is not in the dataset."""

    file: str
    reason: str
    split: str = ""
    fault: bool = True  # False: nothing is wrong with it, it was not asked for


@dataclass
class Found:
    """What a reader found."""

    images: List[Labelled] = field(default_factory=list)
    order: List[str] = field(default_factory=list)  # class names in the source's own order, where it has one
    left_out: List[LeftOut] = field(default_factory=list)
    mended: Counter = field(default_factory=Counter)  # what was corrected -> how often

    def leave_out(self, file: object, reason: str, fault: bool = True) -> None:
        self.left_out.append(LeftOut(one_line(str(file)), reason, "", fault))


@dataclass
class Prepared:
    """A source that can be written as records."""

    splits: Dict[str, Annotations]
    left_out: List[LeftOut]
    mended: Counter
    unused: List[str]  # classes of LABEL_MAP or the source's own list that no box has


def prepare(found: Found, settings: Settings, work: Path, upright: bool = True) -> Prepared:
    """Gives the classes ids, makes boxes and images agree, converts the images that need it, and splits.

    Args:
      found: a reader's result.
      settings: CATEGORIES and the like.
      work: an existing empty folder for converted images.
      upright: whether boxes are on the image as EXIF turns it, where nothing tells.

    Raises:
      UsageError: CATEGORIES or LABEL_MAP do not fit the source. TodusError: no image is left.
    """
    left_out, mended = list(found.left_out), Counter(found.mended)
    seen = Counter(box.name for labelled in found.images for box in labelled.boxes)
    basenames = Counter(labelled.path.name for labelled in found.images)
    known = class_ids.assign(seen, found.order, settings, mended)
    images: List[Tuple[Labelled, Image]] = []
    for labelled in found.images:
        boxes = [box for box in labelled.boxes if box.name in known.ids]
        if not boxes and not labelled.dropped and not settings.keep_empty:
            left_out.append(LeftOut(one_line(labelled.name), NO_CHOSEN_BOX if labelled.boxes else NO_BOX, labelled.split, fault=False))
            continue
        try:
            if not boxes and labelled.dropped:
                raise BadImage(NO_BOX_LEFT)
            image = _image(labelled, boxes, known.ids, settings.exif, upright, work, mended)
            image.file_name = labelled.path.name if basenames[labelled.path.name] < 2 else labelled.name
            images.append((labelled, image))
        except (BadImage, OSError) as error:
            left_out.append(LeftOut(one_line(labelled.name), _reason(error), labelled.split))
    if not any(image.boxes for _, image in images):
        raise TodusError("no image with a box is left%s" % _most_frequent(left_out))
    splits = {}
    for split, members in divided(images, settings, left_out).items():
        dropped: Counter = sum((labelled.dropped for labelled, _ in members), Counter())
        dropped.update(gone.reason for gone in left_out if gone.fault and (gone.split or "train") == split)
        splits[split] = Annotations(dict(known.names), [image for _, image in members], dropped)
    return Prepared(splits, left_out, mended, known.unused)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, BadImage) else "image cannot be read (%s)" % (getattr(error, "strerror", None) or "damaged")


def _most_frequent(left_out: List[LeftOut]) -> str:
    if not left_out:
        return "; is this the right folder?"
    reason, count = Counter(gone.reason for gone in left_out).most_common(1)[0]
    first = next(gone.file for gone in left_out if gone.reason == reason)
    return ": %d times %s, such as %s" % (count, reason, first)


def _image(labelled: Labelled, boxes: List[NamedBox], ids: Dict[str, int], exif: str, upright: bool, work: Path, mended: Counter) -> Image:
    picture = image_conversion.look(labelled.path)
    on = fit(labelled.frame, picture, exif, upright)
    if labelled.frame not in (FRACTIONS, UNKNOWN) and labelled.frame != (on.width, on.height):
        mended["image of another size than its annotation says, boxes scaled"] += 1
    kept = placed(boxes, ids, on, labelled.dropped, mended)
    if boxes and not kept:
        raise BadImage(NO_BOX_LEFT)
    return Image(labelled.name, labelled.name, on.width, on.height, kept, _stored(labelled, picture, on, work, mended))


def _stored(labelled: Labelled, picture: image_conversion.Picture, on: Fit, work: Path, mended: Counter) -> Path:
    """The image file to store: the person's own, or what it was converted to in `work`."""
    change = image_conversion.change(picture, on.upright)
    if not change:
        return labelled.path
    data, kind = image_conversion.converted(labelled.path, on.upright)
    target = work / ("%s.%s" % (hashlib.sha256(labelled.name.encode("utf-8", "surrogateescape")).hexdigest()[:32], kind))
    target.write_bytes(data)
    mended["image converted: %s" % change] += 1
    return target


def divided(images: List[Tuple[Labelled, Image]], settings: Settings, left_out: List[LeftOut]) -> Dict[str, List[Tuple[Labelled, Image]]]:
    """The images by split: the source's own splits where it has train and another, else VAL of them to val, by class and SEED.

    Copies of one image (byte for byte) are never on two sides: split here they go together; in the source's own splits a copy of a test or
    val image is left out of train.
    """
    given = {labelled.split for labelled, _ in images}
    if "train" not in given or len(given - {""}) < 2:
        if {"val", "test"} & given:
            raise TodusError("there are images for %s but none for train; name the folder above both" % " and ".join(sorted(given - {""})))
        return _split_by_class(images, settings)
    second = {"test": "test" if "val" in given else "val", "": ""}
    sides: Dict[str, List[Tuple[Labelled, Image]]] = {split: [] for split in SPLITS if split in given or split == "val"}
    for labelled, image in images:
        split = second.get(labelled.split, labelled.split)
        if split:
            sides[split].append((labelled, image))
        else:
            left_out.append(LeftOut(one_line(labelled.name), NO_SPLIT, fault=False))
    sides = {split: members for split, members in sides.items() if members}
    return _without_copies(sides, left_out)


def _split_by_class(images: List[Tuple[Labelled, Image]], settings: Settings) -> Dict[str, List[Tuple[Labelled, Image]]]:
    groups: Dict[str, List[int]] = {}
    for index, key in enumerate(_contents([image.path for _, image in images])):
        groups.setdefault(key, []).append(index)
    members = list(groups.values())
    labels = [{box.category_id for index in group for box in images[index][1].boxes} for group in members]
    in_val = {index for group, to_val in zip(members, stratified(labels, settings.val, settings.seed)) if to_val for index in group}
    sides: Dict[str, List[Tuple[Labelled, Image]]] = {"train": [], "val": []}
    for index, pair in enumerate(images):
        sides["val" if index in in_val else "train"].append(pair)
    if not sides["val"]:
        raise TodusError("one image cannot be split into train and val; give more images, or a train/ and a val/ folder")
    return sides


def _without_copies(sides: Dict[str, List[Tuple[Labelled, Image]]], left_out: List[LeftOut]) -> Dict[str, List[Tuple[Labelled, Image]]]:
    order = [split for split in reversed(SPLITS) if split in sides]  # test keeps its images, then val, then train
    keys = _contents([image.path for split in order for _, image in sides[split]])
    owner: Dict[str, str] = {}
    kept: Dict[str, List[Tuple[Labelled, Image]]] = {split: [] for split in sides}
    at = 0
    for split in order:
        for pair in sides[split]:
            if owner.setdefault(keys[at], split) == split:
                kept[split].append(pair)
            else:
                left_out.append(LeftOut(one_line(pair[0].name), COPY, split, fault=False))
            at += 1
    return kept


def _contents(paths: List[Path]) -> List[str]:
    """A key a file, the same for files with the same bytes. Only files of one size are read."""
    sizes = [path.stat().st_size for path in paths]
    shared = Counter(sizes)
    return [files.sha256(path) if shared[size] > 1 else "only file of %d bytes" % size for path, size in zip(paths, sizes)]
