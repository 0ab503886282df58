"""Boxes as CSV text, one row per box."""

import csv
import io
from typing import List, Sequence

from todus.dataset.annotations import Annotations
from todus.dataset.box_fitting import number

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
NEEDED = ("filename", "class", "xmin", "ymin", "xmax", "ymax")
HEADLESS = ("filename", "xmin", "ymin", "xmax", "ymax", "class")  # Roboflow's for Keras RetinaNet
OTHER_NAMES = {
    "filename": "file image img image_path path file_name image_name image_id imageid img_path",
    "class": "label name class_name classname category label_name category_name object",
    "width": "image_width img_width",
    "height": "image_height img_height",
    "xmin": "x_min x1 left x_1 bbox_xmin xtl x_left",
    "ymin": "y_min y1 top y_1 bbox_ymin ytl y_top",
    "xmax": "x_max x2 right x_2 bbox_xmax xbr x_right",
    "ymax": "y_max y2 bottom y_2 bbox_ymax ybr y_bottom",
}
_COLUMN_OF = {each: name for name, others in OTHER_NAMES.items() for each in others.split()}


def columns_of(row: Sequence[str]) -> List[str]:
    """The first row of a file as names in COLUMNS; other names in lower case.

    The columns of a name that is there already keep their own.
    """
    given = [name.strip().lower().replace(" ", "_") for name in row]
    return [name if _COLUMN_OF.get(name) in given else _COLUMN_OF.get(name, name) for name in given]


def is_headless(row: Sequence[str]) -> bool:
    """Whether the first row of a file is a box, in the order of HEADLESS, and no header."""
    corners = [value.strip() for value in row[1:5]]
    return len(row) == 6 and (all(map(_is_number, corners)) or not any([*corners, row[5].strip()]))


def _is_number(text: str) -> bool:
    return number(text) == number(text)


def table_text(split: Annotations) -> str:
    """A split's boxes in COLUMNS, in pixels; images without a box have no row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image in split.images:
        for box in image.boxes:
            row = [image.file_name, image.width, image.height, split.categories[box.category_id]]
            corners = (box.xmin, box.ymin, box.xmax, box.ymax)
            writer.writerow(row + [_number_text(value) for value in corners])
    return out.getvalue()


def _number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else "%.3f" % value
