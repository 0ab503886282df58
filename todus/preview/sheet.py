"""A contact sheet: images in a grid with their boxes drawn."""

import io
from pathlib import Path
from typing import Dict, List, Mapping, Tuple

import matplotlib
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from todus.dataset import image_bytes
from todus.dataset.annotations import Box, Image
from todus.text import one_line

CELL = (320, 240)
CAPTION, HEADING, GAP, COLUMNS = 22, 34, 8, 4
# Distinct on photographs, and for most colour-blind people.
COLORS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#9a6324",
    "#800000",
    "#000075",
    "#808000",
)
INK, PAPER = "#202020", "#f4f4f4"


def draw(chosen: Mapping[str, List[Image]], names: Mapping[int, str]) -> PIL.Image:
    """One picture with a heading and a grid of images for each split."""
    chosen = {split: images for split, images in chosen.items() if images}
    columns = min(COLUMNS, max(len(images) for images in chosen.values()))
    rows = sum(-(-len(images) // columns) for images in chosen.values())
    width = columns * (CELL[0] + GAP) + GAP
    height = rows * (CELL[1] + CAPTION + GAP) + len(chosen) * HEADING + GAP
    sheet = PIL.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    y = GAP
    for split, images in chosen.items():
        pen.text((GAP, y), split, fill=INK, font=_font(20))
        y += HEADING
        for index, image in enumerate(images):
            corner = (
                GAP + index % columns * (CELL[0] + GAP),
                y + index // columns * (CELL[1] + CAPTION + GAP),
            )
            _cell(sheet, corner, image, names)
        y += -(-len(images) // columns) * (CELL[1] + CAPTION + GAP)
    return sheet


def _cell(
    sheet: PIL.Image, corner: Tuple[int, int], image: Image, names: Mapping[int, str]
) -> None:
    picture = PIL.open(io.BytesIO(image_bytes.read(image))).convert("RGB")
    scale = min(CELL[0] / picture.width, CELL[1] / picture.height)
    picture = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), PIL.LANCZOS
    )
    pen = ImageDraw.Draw(picture)
    for box in sorted(image.boxes, key=lambda box: -box.area):
        _box(pen, box, scale, names, picture.size)
    sheet.paste(
        picture,
        (corner[0] + (CELL[0] - picture.width) // 2, corner[1] + (CELL[1] - picture.height) // 2),
    )
    text = "%s  %dx%d" % (one_line(image.file_name), image.width, image.height)
    ImageDraw.Draw(sheet).text(
        (corner[0], corner[1] + CELL[1] + 3), _shortened(text, CELL[0]), fill=INK, font=_font(12)
    )


def _box(
    pen: ImageDraw.ImageDraw,
    box: Box,
    scale: float,
    names: Mapping[int, str],
    size: Tuple[int, int],
) -> None:
    """Draws the box and its class; a crowd has a thin outline, because training leaves it out."""
    color = COLORS[(box.category_id - 1) % len(COLORS)]
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


_fonts: Dict[int, ImageFont.FreeTypeFont] = {}


def _font(size: int) -> ImageFont.FreeTypeFont:
    if size not in _fonts:
        _fonts[size] = ImageFont.truetype(
            str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size
        )
    return _fonts[size]


def _shortened(text: str, width: float) -> str:
    """The text, cut in the middle so that it is not wider than `width` pixels."""
    font = _font(12)
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while (
        keep > 2 and font.getlength(text[: keep // 2] + "…" + text[len(text) - keep // 2 :]) > width
    ):
        keep -= 1
    return text[: keep // 2] + "…" + text[len(text) - keep // 2 :]
