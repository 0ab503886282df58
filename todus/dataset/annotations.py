"""Images, boxes and categories of a dataset in memory: every source is read into these classes, and records are written from them."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

NOT_A_NUMBER = "box with a coordinate that is no number"
OUTSIDE = "box outside the image"
EMPTY = "box without area"


class Box(NamedTuple):
    """One groundtruth box, in pixels of the image as stored; y and x grow downwards and to the right, from the top left corner."""

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
    mask: Any = None  # COCO polygons or RLE, only where masks are asked for


class ZipMember(NamedTuple):
    """A file inside a zip archive, by its offset, so that each process can read it without the archive's directory."""

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
    member: Union[ZipMember, FileSpan, None] = (
        None  # or the image's place in an archive or a record
    )
    url: str = ""  # on the source's server, where it does not follow from the file name


@dataclass
class Annotations:
    """One split of one source."""

    categories: Dict[int, str]  # id -> name, in the order of ids
    images: List[Image]
    dropped: Counter = field(
        default_factory=Counter
    )  # reason -> how many boxes or images were left out for it


def tally(images: List[Image]) -> Dict[int, Tuple[int, int]]:
    """category id -> images and boxes."""
    images_of: Counter = Counter()
    boxes_of: Counter = Counter()
    for image in images:
        found = [box.category_id for box in image.boxes]
        boxes_of.update(found)
        images_of.update(set(found))
    return {identity: (images_of[identity], boxes_of[identity]) for identity in sorted(boxes_of)}


def clean(annotations: Annotations) -> Annotations:
    """Clips boxes to their images, drops those without area there, counted by reason, and orders images and boxes by id."""
    for image in annotations.images:
        if image.boxes:
            clipped = (_clip(box, image, annotations.dropped) for box in image.boxes)
            image.boxes = sorted((box for box in clipped if box), key=_box_order)
    annotations.images.sort(key=lambda image: id_order(image.id))
    return annotations


def id_order(identity: Union[int, str]) -> Tuple[int, Union[int, str]]:
    """The sort key of an image id: numbers by value, before names."""
    return (0, identity) if isinstance(identity, int) else (1, identity)


def _box_order(box: Box) -> Tuple:
    return (box.id, box.category_id, box.ymin, box.xmin, box.ymax, box.xmax)


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
