"""Boxes as an annotation has them, made to agree with the image they belong to."""

import math
from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Tuple

from todus.dataset.annotations import EMPTY, NOT_A_NUMBER, OUTSIDE, Box
from todus.dataset.image_conversion import Picture
from todus.dataset.image_files import BadImage

FRACTIONS = (-1.0, -1.0)  # the frame of boxes given as fractions of the image
UNKNOWN = (0.0, 0.0)  # the frame of boxes in pixels of an image whose size the annotation does not give
LEAST = 0.01  # pixels; what is narrower has no area
SAME_SHAPE = 0.02  # width/height ratios that differ by less, in parts, are one picture at two sizes


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


class Fit(NamedTuple):
    """How an annotation's frame lies on its image."""

    upright: bool  # the image is to be turned as its EXIF says
    width: int  # of the image as it will be stored
    height: int
    scale_x: float  # pixels of the image a unit of the frame
    scale_y: float


def fit(frame: Tuple[float, float], picture: Picture, exif: str, default_upright: bool) -> Fit:
    """The image on which the boxes were drawn.

    Args:
      frame: width and height that the annotation gives, FRACTIONS or UNKNOWN.
      picture: the image file.
      exif: upright, stored, or auto: the one whose width and height are the frame's; where both or neither are, `default_upright`.

    Raises:
      BadImage: the annotation's width and height belong to another picture.
    """
    choices = {"upright": [True], "stored": [False], "auto": [default_upright, not default_upright]}[exif]
    if frame in (FRACTIONS, UNKNOWN) or picture.orientation == 1:
        choices = choices[:1]
    exact = [upright for upright in choices if frame == picture.size(upright)]
    alike = [upright for upright in choices if frame in (FRACTIONS, UNKNOWN) or _same_shape(frame, picture.size(upright))]
    if not (exact or alike):
        raise BadImage("annotation's width and height are not the image's")
    upright = (exact or alike)[0]
    width, height = picture.size(upright)
    scales = {FRACTIONS: (float(width), float(height)), UNKNOWN: (1.0, 1.0)}
    scale_x, scale_y = scales.get(frame) or (width / frame[0], height / frame[1])
    return Fit(upright and picture.orientation != 1, width, height, scale_x, scale_y)


def _same_shape(frame: Tuple[float, float], size: Tuple[int, int]) -> bool:
    left, right = frame[0] * size[1], frame[1] * size[0]
    return abs(left - right) <= SAME_SHAPE * max(left, right)


def placed(boxes: List[NamedBox], ids: Dict[str, int], on: Fit, dropped: Counter, mended: Counter) -> List[Box]:
    """The boxes in pixels of the stored image, inside it; what cannot be used is counted in `dropped`, what was corrected in `mended`."""
    kept = []
    for named in boxes:
        corners = _inside(named, on, dropped, mended)
        if corners:
            xmin, ymin, xmax, ymax = corners
            area = (xmax - xmin) * (ymax - ymin)
            kept.append(Box(ids[named.name], ymin, xmin, ymax, xmax, area, named.is_crowd, named.difficult, named.truncated))
    return kept


def _inside(named: NamedBox, on: Fit, dropped: Counter, mended: Counter) -> Optional[Tuple[float, float, float, float]]:
    xs = [named.xmin * on.scale_x, named.xmax * on.scale_x]
    ys = [named.ymin * on.scale_y, named.ymax * on.scale_y]
    if not all(math.isfinite(value) for value in xs + ys):
        dropped[NOT_A_NUMBER] += 1
        return None
    if xs[0] > xs[1] or ys[0] > ys[1]:
        mended["box with swapped corners"] += 1
    xmin, xmax = sorted(xs)
    ymin, ymax = sorted(ys)
    if xmax - xmin < LEAST or ymax - ymin < LEAST:
        dropped[EMPTY] += 1
        return None
    inside = max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(on.width)), min(ymax, float(on.height))
    if inside[2] - inside[0] < LEAST or inside[3] - inside[1] < LEAST:
        dropped[OUTSIDE] += 1
        return None
    if inside != (xmin, ymin, xmax, ymax):
        mended["box clipped to its image"] += 1
    return inside
