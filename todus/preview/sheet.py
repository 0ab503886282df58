"""A contact sheet: images in a grid with their boxes drawn."""

import io
from typing import List, Mapping, Optional, Tuple

from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from todus.dataset import image_bytes
from todus.dataset.annotations import Box, Image
from todus.detection import drawing
from todus.text import one_line

CELL = (320, 240)
CAPTION, HEADING, GAP, COLUMNS = 22, 34, 8, 4
Rectangle = Tuple[float, ...]  # left, top, right, bottom in pixels
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
        pen.text((GAP, y), split, fill=INK, font=drawing.lettering(split, 20)[0])
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
    _draw_boxes(picture, image.boxes, scale, names)
    x, y = corner
    sheet.paste(picture, (x + (CELL[0] - size[0]) // 2, y + (CELL[1] - size[1]) // 2))
    text = "%s  %dx%d" % (one_line(image.file_name), image.width, image.height)
    font, caption = _shortened(text, CELL[0])
    ImageDraw.Draw(sheet).text((x, y + CELL[1] + 3), caption, fill=INK, font=font)


def _draw_boxes(
    picture: PIL.Image, boxes: List[Box], scale: float, names: Mapping[int, str]
) -> None:
    """Draws the boxes, then the class of each box where there is place for it.

    A crowd, which training ignores, has a thin outline.
    """
    pen = ImageDraw.Draw(picture)
    boxes = sorted(boxes, key=lambda box: -box.area)
    corners = [
        tuple(side * scale for side in (box.xmin, box.ymin, box.xmax, box.ymax)) for box in boxes
    ]
    for box, (left, top, right, bottom) in zip(boxes, corners):
        pen.rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)),
            outline=drawing.color_of(box.category_id),
            width=1 if box.is_crowd else 3,
        )
    labels: List[Rectangle] = []
    for index, box in enumerate(boxes):
        text = names.get(box.category_id, str(box.category_id))
        font, text = _shortened(text + (" (crowd)" if box.is_crowd else ""), picture.width - 6)
        size = font.getlength(text) + 6, sum(font.getmetrics())
        place = _free_place(size, index, corners, labels, picture.size)
        if place:
            labels.append(place)
            pen.rectangle(place, fill=drawing.color_of(box.category_id))
            pen.text((place[0] + 3, place[1]), text, fill="white", font=font)


def _free_place(
    size: Tuple[float, float],
    index: int,
    boxes: List[Rectangle],
    labels: List[Rectangle],
    picture: Tuple[int, int],
) -> Optional[Rectangle]:
    """Where a label of this size hides no label and no other box: at a box's upper or lower side.

    `index` is that of the label's box in `boxes`, which are ordered by area. A label may lie inside
    a larger box, but not on its outline. None where there is no place: the colour tells the class.
    """
    (width, height), (left, top, _, bottom) = size, boxes[index]
    x = min(max(0.0, left), max(0.0, picture[0] - width))
    for y in (top - height, bottom, top, bottom - height):
        place = (x, y, x + width, y + height)
        is_inside = y >= 0 and y + height <= picture[1]
        larger = [box for box in boxes[:index] if not _contains(box, place)]
        others = larger + boxes[index + 1 :] + labels
        if is_inside and not any(_overlap(place, other) for other in others):
            return place
    return None


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _contains(box: Rectangle, place: Rectangle) -> bool:
    """Whether the place lies inside the box's outline."""
    line = 3
    return (
        box[0] + line <= place[0]
        and box[1] + line <= place[1]
        and place[2] <= box[2] - line
        and place[3] <= box[3] - line
    )


def _shortened(text: str, width: float) -> Tuple[ImageFont.FreeTypeFont, str]:
    """A font and the text, cut in the middle where it is wider than `width` pixels."""
    font, text = drawing.lettering(text, 12)
    keep, short = len(text), text
    while keep > 2 and font.getlength(short) > width:
        keep -= 1
        short = text[: keep // 2] + "\u2026" + text[len(text) - keep // 2 :]
    return font, short
