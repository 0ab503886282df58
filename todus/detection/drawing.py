"""Detections drawn on images."""

import functools
from typing import Dict, FrozenSet, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from todus.detection.detector import Detections
from todus.text import one_line

# Distinct on photographs, and for most colour-blind people.
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4")
COLORS += ("#008080", "#9a6324", "#800000", "#000075", "#808000")


def color_of(class_id: int) -> str:
    """The class's colour, as #rrggbb."""
    return COLORS[(class_id - 1) % len(COLORS)]


def draw(
    image: np.ndarray,
    found: Detections,
    names: Dict[int, str],
    threshold: float,
    with_scores: bool = True,
) -> Image.Image:
    """The image with a box, the class and the score of each detection that is drawn.

    Args:
      image: uint8 [height, width, 3]; one of at most 200 pixels is enlarged.
      found: the detections.
      names: id -> name.
      threshold: detections that score less are not drawn.
      with_scores: False for groundtruth boxes.
    """
    picture = Image.fromarray(image).convert("RGB")
    scale = max(1, 400 // max(1, max(picture.size)))
    if scale > 1:
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.BILINEAR)
    pen = ImageDraw.Draw(picture)
    letters = max(11, max(picture.size) // 45)
    line = max(2, max(picture.size) // 250)
    for box, class_id, score in reversed([each for each in zip(*found) if each[2] >= threshold]):
        ymin, xmin, ymax, xmax = (float(side) for side in np.clip(box, 0, 1))
        corner = (xmin * picture.width, ymin * picture.height)
        opposite = (xmax * picture.width, ymax * picture.height)
        color = color_of(int(class_id))
        pen.rectangle(corner + opposite, outline=color, width=line)
        label = one_line(names.get(int(class_id), str(int(class_id))))
        label += " %.2f" % score if with_scores else ""
        font, label = lettering(label, letters)
        _label(pen, label, corner, color, font, picture.size)
    return picture


def _label(pen, text: str, corner: Tuple[float, float], color: str, font, size) -> None:
    """Draws the text on its colour above the box, or inside where there is no room above."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = min(max(0, corner[0]), max(0, size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((x, y, x + width, y + height), fill=color)
    pen.text((x + 3 - left, y + 3 - top), text, fill="white", font=font)


def lettering(text: str, size: int) -> Tuple[ImageFont.FreeTypeFont, str]:
    """A font that has the text's characters, and the text as it is to be drawn.

    Of characters that no font of this machine has, their escapes are drawn, such as \\u732b.
    """
    path = _font_file("".join(sorted(set(text))))
    known = _characters(path)
    shown = [each if ord(each) in known or each == " " else _escaped(each) for each in text]
    return _font(path, size), "".join(shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@functools.lru_cache(maxsize=None)
def _font_file(characters: str) -> str:
    """DejaVu Sans, or the first other font of this machine that has all these characters."""
    from matplotlib import font_manager

    wanted = {ord(each) for each in characters if each != " "}
    default = font_manager.findfont("DejaVu Sans")
    if wanted <= _characters(default):
        return default
    others = (
        path for path in sorted(font_manager.findSystemFonts()) if wanted <= _characters(path)
    )
    return next(others, default)


@functools.lru_cache(maxsize=None)
def _characters(path: str) -> FrozenSet[int]:
    """The code points that a font has; none for a font that cannot be drawn in any size."""
    from matplotlib.ft2font import FT2Font

    try:
        _font(path, 12)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@functools.lru_cache(maxsize=None)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def caption(pen, text: str, width: int) -> None:
    """Writes a line at the top left, shortened to `width` pixels."""
    font, text = lettering(text, 12)
    while len(text) > 4 and pen.textbbox((0, 0), text, font=font)[2] > width - 6:
        text = text[:-4] + "..."
    pen.text((3, 1), text, fill="black", font=font)


def thumbnail(picture: Image.Image, side: int = 320) -> Image.Image:
    """A copy of at most `side` pixels in width and height."""
    small = picture.copy()
    small.thumbnail((side, side), Image.LANCZOS)
    return small


def beside(left: Image.Image, right: Image.Image, gap: int, above: int = 0) -> Image.Image:
    """Two pictures of one height side by side on white, with `above` pixels of room above."""
    both = Image.new("RGB", (left.width + gap + right.width, above + left.height), "white")
    both.paste(left, (0, above))
    both.paste(right, (left.width + gap, above))
    return both


def contact_sheet(pictures: Sequence[Image.Image], columns: int = 4, gap: int = 8) -> Image.Image:
    """The pictures in rows on white, each in the middle of its cell."""
    columns = min(columns, len(pictures))
    width, height = (max(picture.size[axis] for picture in pictures) + gap for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + gap, rows * height + gap), "white")
    for place, picture in enumerate(pictures):
        left = gap + place % columns * width + (width - gap - picture.width) // 2
        top = gap + place // columns * height + (height - gap - picture.height) // 2
        sheet.paste(picture, (left, top))
    return sheet
