"""A contact sheet: images in a grid with their boxes drawn."""

import functools
import io
from pathlib import Path
from typing import List, Mapping, Tuple

import matplotlib
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from todus.dataset import image_bytes
from todus.dataset.annotations import Box, Image
from todus.detection import drawing
from todus.text import one_line

CELL = (320, 240)
CAPTION, HEADING, GAP, COLUMNS = 22, 34, 8, 4
INK, PAPER = "#202020", "#f4f4f4"


def draw(chosen: Mapping[str, List[Image]], names: Mapping[int, str]) -> PIL.Image:
    """A picture with a heading and a grid of images for each split."""
    chosen = {split: images for split, images in chosen.items() if images}
    columns = min(COLUMNS, max(len(images) for images in chosen.values()))
    rows = sum(-(-len(images) // columns) for images in chosen.values())
    width = columns * (CELL[0] + GAP) + GAP
    row_height = CELL[1] + CAPTION + GAP
    height = rows * row_height + len(chosen) * HEADING + GAP
    sheet = PIL.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    y = GAP
    for split, images in chosen.items():
        pen.text((GAP, y), split, fill=INK, font=_font(20))
        y += HEADING
        for index, image in enumerate(images):
            row, column = divmod(index, columns)
            corner = (GAP + column * (CELL[0] + GAP), y + row * row_height)
            _cell(sheet, corner, image, names)
        y += -(-len(images) // columns) * row_height
    return sheet


def _cell(
    sheet: PIL.Image, corner: Tuple[int, int], image: Image, names: Mapping[int, str]
) -> None:
    picture = PIL.open(io.BytesIO(image_bytes.read(image))).convert("RGB")
    scale = min(CELL[0] / picture.width, CELL[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, PIL.LANCZOS)
    pen = ImageDraw.Draw(picture)
    for box in sorted(image.boxes, key=lambda box: -box.area):
        _box(pen, box, scale, names, size)
    x, y = corner
    sheet.paste(picture, (x + (CELL[0] - size[0]) // 2, y + (CELL[1] - size[1]) // 2))
    text = "%s  %dx%d" % (one_line(image.file_name), image.width, image.height)
    caption = _shortened(text, CELL[0])
    ImageDraw.Draw(sheet).text((x, y + CELL[1] + 3), caption, fill=INK, font=_font(12))


def _box(
    pen: ImageDraw.ImageDraw,
    box: Box,
    scale: float,
    names: Mapping[int, str],
    size: Tuple[int, int],
) -> None:
    """Draws the box and its class; a crowd, which training ignores, has a thin outline."""
    color = drawing.color_of(box.category_id)
    left, top, right, bottom = (side * scale for side in (box.xmin, box.ymin, box.xmax, box.ymax))
    pen.rectangle(
        (left, top, max(left, right - 1), max(top, bottom - 1)),
        outline=color,
        width=1 if box.is_crowd else 3,
    )
    text = names.get(box.category_id, str(box.category_id)) + (" (crowd)" if box.is_crowd else "")
    text = _shortened(text, size[0] - 6)
    width, height = _font(12).getlength(text) + 6, sum(_font(12).getmetrics())
    x = min(max(0.0, left), max(0, size[0] - width))
    y = top - height if top >= height else top
    pen.rectangle((x, y, x + width, y + height), fill=color)
    pen.text((x + 3, y), text, fill="white", font=_font(12))


@functools.lru_cache(maxsize=None)
def _font(size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _shortened(text: str, width: float) -> str:
    """The text, cut in the middle where it is wider than `width` pixels."""
    keep, short = len(text), text
    while keep > 2 and _font(12).getlength(short) > width:
        keep -= 1
        short = text[: keep // 2] + "…" + text[len(text) - keep // 2 :]
    return short
