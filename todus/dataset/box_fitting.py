"""Scales the boxes of an annotation to the stored image, clips them and drops unusable ones."""

import math
from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from todus.dataset.annotations import EMPTY, NOT_A_NUMBER, OUTSIDE, Box
from todus.dataset.image_conversion import ImageInfo
from todus.dataset.image_files import BadImage
from todus.dataset.records import masks

# The frame is the width and height that box coordinates refer to.
FRACTIONS = (-1.0, -1.0)  # coordinates are fractions of the image
UNKNOWN = (0.0, 0.0)  # coordinates are pixels; the annotation does not give the image's size
LEAST_SIDE = 0.01  # pixels; a narrower box has no area
SAME_SHAPE = 0.02  # largest relative difference of the width/height ratios of one picture
SWAPPED = "box with swapped corners"
CLIPPED = "box clipped to its image"
TWICE = "box that occurs twice in its image, counted once"


class NamedBox(NamedTuple):
    """A box in the annotation's frame, with its class's name."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    is_crowd: bool = False
    difficult: bool = False
    truncated: bool = False
    mask: Any = None  # COCO polygons or RLE in the frame, only where masks are requested


class Fit(NamedTuple):
    """How an annotation's frame maps to its image."""

    upright: bool  # the image must be rotated by its EXIF orientation
    width: int  # of the image as it will be stored
    height: int
    scale_x: float  # pixels of the image per unit of the frame
    scale_y: float

    @property
    def size(self) -> Tuple[int, int]:
        return self.width, self.height


class FittedBoxes(NamedTuple):
    """The boxes of one image in pixels of the stored image, and what was dropped or corrected."""

    boxes: List[Box]
    dropped: Counter  # reason -> boxes that cannot be used
    mended: Counter  # what was corrected -> boxes


def number(text: str) -> float:
    """The text as a number; NaN where it is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def json_number(value: Any) -> float:
    """A value of JSON as a number; NaN where it is neither a number nor the text of one."""
    return number(str(value)) if type(value) in (int, float, str) else math.nan


def frame_of(width: float, height: float) -> Tuple[float, float]:
    """The frame of boxes in pixels; UNKNOWN unless both sides are positive and finite."""
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else UNKNOWN


def fit(frame: Tuple[float, float], image: ImageInfo, exif: str, default_upright: bool) -> Fit:
    """Decides whether the boxes were drawn on the stored or on the upright image.

    Args:
      frame: width and height that the annotation gives, FRACTIONS or UNKNOWN.
      image: the image file.
      exif: upright, stored, or auto, which takes the one whose width and height equal the frame,
        and `default_upright` where both or neither do.

    Raises:
      BadImage: the annotation's width and height belong to another picture.
    """
    auto = [default_upright, not default_upright]
    choices = {"upright": [True], "stored": [False], "auto": auto}[exif]
    if frame in (FRACTIONS, UNKNOWN) or image.orientation == 1:
        choices = choices[:1]
    exact = [upright for upright in choices if frame == image.size(upright)]
    is_scaled = frame not in (FRACTIONS, UNKNOWN)
    alike = [each for each in choices if not is_scaled or _same_shape(frame, image.size(each))]
    if not (exact or alike):
        raise BadImage("annotation's width and height are not the image's")
    upright = (exact or alike)[0]
    width, height = image.size(upright)
    scales = {FRACTIONS: (float(width), float(height)), UNKNOWN: (1.0, 1.0)}
    scale_x, scale_y = scales.get(frame) or (width / frame[0], height / frame[1])
    return Fit(upright and image.orientation != 1, width, height, scale_x, scale_y)


def shrunk(to: Fit, most: int) -> Fit:
    """The same for an image whose longer side is at most `most` pixels; 0 is any."""
    longer = max(to.width, to.height)
    if not most or longer <= most:
        return to
    width, height = (max(1, round(side * most / longer)) for side in (to.width, to.height))
    scale_x, scale_y = to.scale_x * width / to.width, to.scale_y * height / to.height
    return Fit(to.upright, width, height, scale_x, scale_y)


def _same_shape(frame: Tuple[float, float], size: Tuple[int, int]) -> bool:
    left, right = frame[0] * size[1], frame[1] * size[0]
    return abs(left - right) <= SAME_SHAPE * max(left, right)


def fit_boxes(boxes: List[NamedBox], ids: Dict[str, int], to: Fit) -> FittedBoxes:
    """The boxes in pixels of the stored image, clipped to it. `ids` is class name -> id."""
    fitted = FittedBoxes([], Counter(), Counter())
    seen: Set[tuple] = set()  # class, corners, area and is_crowd of the boxes so far
    for named in boxes:
        found = _fitted_corners(named, to)
        fitted.mended.update(found.mended)
        if found.fault:
            fitted.dropped[found.fault] += 1
        else:
            xmin, ymin, xmax, ymax = found.corners
            area = (xmax - xmin) * (ymax - ymin)
            flags = named.is_crowd, named.difficult, named.truncated
            box = Box(ids[named.name], ymin, xmin, ymax, xmax, area, *flags)
            if named.mask:
                box = box._replace(mask=masks.scaled(named.mask, to.scale_x, to.scale_y, to.size))
            if box[:7] in seen:
                fitted.mended[TWICE] += 1
            else:
                fitted.boxes.append(box)
            seen.add(box[:7])
    return fitted


class _FittedCorners(NamedTuple):
    corners: Optional[Tuple[float, float, float, float]]  # xmin, ymin, xmax, ymax
    fault: str  # why `corners` is None
    mended: List[str]


def _fitted_corners(named: NamedBox, to: Fit) -> _FittedCorners:
    xs = [named.xmin * to.scale_x, named.xmax * to.scale_x]
    ys = [named.ymin * to.scale_y, named.ymax * to.scale_y]
    if not all(math.isfinite(value) for value in xs + ys):
        return _FittedCorners(None, NOT_A_NUMBER, [])
    mended = [SWAPPED] if xs[0] > xs[1] or ys[0] > ys[1] else []
    xmin, xmax = sorted(xs)
    ymin, ymax = sorted(ys)
    if xmax - xmin < LEAST_SIDE or ymax - ymin < LEAST_SIDE:
        return _FittedCorners(None, EMPTY, mended)
    inside = max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(to.width)), min(ymax, float(to.height))
    if inside[2] - inside[0] < LEAST_SIDE or inside[3] - inside[1] < LEAST_SIDE:
        return _FittedCorners(None, OUTSIDE, mended)
    if inside != (xmin, ymin, xmax, ymax):
        mended.append(CLIPPED)
    return _FittedCorners(inside, "", mended)
