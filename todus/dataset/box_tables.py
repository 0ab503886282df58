"""Boxes as CSV text, one row per box."""

import csv
import io

from todus.dataset.annotations import Annotations

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")


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
