"""Boxes around the polygons and other shapes that annotation tools draw."""

import math
from typing import Sequence

from todus.dataset.box_fitting import NamedBox

POLYGON = "polygon or rotated box, taken as the box around it"


def box_around(name: str, xs: Sequence[float], ys: Sequence[float], **flags: bool) -> NamedBox:
    """The box around points, with NaN as its corners where a coordinate is not a number."""
    values = [*xs, *ys]
    if not xs or not ys or not all(map(math.isfinite, values)):
        return NamedBox(name, math.nan, math.nan, math.nan, math.nan, **flags)
    return NamedBox(name, min(xs), min(ys), max(xs), max(ys), **flags)


def box_around_ellipse(
    name: str, x: float, y: float, radii: Sequence[float], degrees: float = 0
) -> NamedBox:
    """The box around an ellipse with radii [2], rotated by an angle."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across = math.hypot(radii[0] * cosine, radii[1] * sine)
    along = math.hypot(radii[0] * sine, radii[1] * cosine)
    return box_around(name, [x - across, x + across], [y - along, y + along])


def rotated(box: NamedBox, degrees: float) -> NamedBox:
    """The box around a box that is rotated about its centre."""
    x, y = (box.xmin + box.xmax) / 2, (box.ymin + box.ymax) / 2
    cosine, sine = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = abs(box.xmax - box.xmin) / 2, abs(box.ymax - box.ymin) / 2
    across, along = width * cosine + height * sine, width * sine + height * cosine
    return box._replace(xmin=x - across, xmax=x + across, ymin=y - along, ymax=y + along)
