"""Images, boxes and categories in memory: read from every source, written as records."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

NOT_A_NUMBER = "box with a coordinate that is not a number"
OUTSIDE = "box outside the image"
EMPTY = "box without area"
SAME_OBJECT = 0.8  # least intersection over union of two boxes of one object


class Box(NamedTuple):
    """One groundtruth box in pixels of the stored image; the top left corner is (0, 0)."""

    category_id: int
    ymin: float
    xmin: float
    ymax: float
    xmax: float
    area: float  # square pixels: the segmentation's where the source has one, else the box's
    is_crowd: bool = False
    difficult: bool = False
    truncated: bool = False
    id: int = 0
    mask: Any = None  # COCO polygons or RLE, only where masks are requested


class ZipMember(NamedTuple):
    """A file in a zip archive, by its offset: reading it does not need the archive's directory."""

    archive: Path
    offset: int  # of its local header
    packed: int  # bytes in the archive
    size: int
    crc: int
    deflated: bool


class FileSpan(NamedTuple):
    """An image inside another file, uncompressed, such as the one in a record."""

    file: Path
    offset: int
    size: int


@dataclass
class Image:
    """One image and its boxes."""

    id: Union[int, str]  # unique in its split; becomes image/source_id
    file_name: str
    width: int
    height: int
    boxes: List[Box] = field(default_factory=list)
    path: Optional[Path] = None  # the image file, once it is on disk
    member: Union[ZipMember, FileSpan, None] = None  # its place in an archive or a record
    weight: float = 1.0  # how often training reads it, against other images
    repeat: int = 0  # the number of this further record of a train image
    url: str = ""  # on the source's server, where it cannot be derived from the file name


@dataclass
class Annotations:
    """One split of one source."""

    categories: Dict[int, str]  # id -> name, in the order of ids
    images: List[Image]
    dropped: Counter = field(default_factory=Counter)  # reason -> boxes or images left out


def same_object(one: Box, other: Box, least: float = SAME_OBJECT) -> bool:
    """Whether two boxes have one class and an intersection over union of `least` or more."""
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    if one.category_id != other.category_id or height <= 0 or width <= 0:
        return False
    areas = sum((box.ymax - box.ymin) * (box.xmax - box.xmin) for box in (one, other))
    return height * width >= least * (areas - height * width)


def join_boxes(boxes: List[Box], others: List[Box], least: float = SAME_OBJECT) -> None:
    """Adds to `boxes`, those of one copy of an image, the objects that only `others` have."""
    boxes += [box for box in others if not any(same_object(box, own, least) for own in boxes)]


def tally(images: List[Image]) -> Dict[int, Tuple[int, int]]:
    """category id -> (images, boxes)."""
    images_of: Counter = Counter()
    boxes_of: Counter = Counter()
    for image in images:
        found = [box.category_id for box in image.boxes]
        boxes_of.update(found)
        images_of.update(set(found))
    return {identity: (images_of[identity], boxes_of[identity]) for identity in sorted(boxes_of)}


def clean(annotations: Annotations) -> Annotations:
    """Clips boxes to their images, counts the empty ones, sorts images and boxes by id."""
    for image in annotations.images:
        if image.boxes:
            clipped = (_clip(box, image, annotations.dropped) for box in image.boxes)
            image.boxes = sorted(filter(None, clipped), key=lambda box: (box.id, box[:5]))
    annotations.images.sort(key=lambda image: id_order(image.id))
    return annotations


def id_order(identity: Union[int, str]) -> Tuple[int, Union[int, str]]:
    """The sort key of an image id: numbers by value, then names."""
    return (0, identity) if isinstance(identity, int) else (1, identity)


def _clip(box: Box, image: Image, dropped: Counter) -> Optional[Box]:
    """The part of the box inside the image; None, and counted in `dropped`, where there is none."""
    sides = (box.ymin, box.xmin, box.ymax, box.xmax)
    if not all(math.isfinite(side) for side in sides):
        dropped[NOT_A_NUMBER] += 1
        return None
    if box.ymax <= box.ymin or box.xmax <= box.xmin:
        dropped[EMPTY] += 1
        return None
    if box.ymin >= 0 and box.xmin >= 0 and box.ymax <= image.height and box.xmax <= image.width:
        return box
    ymin, ymax = max(0.0, box.ymin), min(float(image.height), box.ymax)
    xmin, xmax = max(0.0, box.xmin), min(float(image.width), box.xmax)
    if ymax <= ymin or xmax <= xmin:
        dropped[OUTSIDE] += 1
        return None
    return box._replace(ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax)
