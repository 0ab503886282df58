"""CSV files of boxes, a row a box, in the columns that people pass around: filename,width,height,class,xmin,ymin,xmax,ymax."""

import csv
import io
import math
import os
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from todus.command import Parser
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import UNKNOWN, NamedBox
from todus.dataset.box_tables import COLUMNS
from todus.dataset.build import build, fingerprint, target
from todus.dataset.image_folder import TEST, TRAIN, VAL, Images, files_under, split_of
from todus.dataset.labelled_images import Found, Labelled
from todus.dataset.settings import Settings
from todus.errors import TodusError
from todus.text import one_line

ALIASES = {"file": "filename", "image": "filename", "image_path": "filename", "path": "filename", "label": "class", "name": "class"}
NEEDED = ("filename", "class", "xmin", "ymin", "xmax", "ymax")


def read(tables: List[Path], folder: Path) -> Found:
    """The boxes of one CSV file, or of several that are one split each (train_labels.csv and test_labels.csv), on the images
    below `folder`.

    The columns are found by their names, in any order and case. A file of an image folder that no row names is not part of the data.

    Raises:
      TodusError: a file cannot be read or lacks a column.
    """
    images = Images(folder, files_under(folder))
    found = Found()
    by_image: Dict[Path, Labelled] = {}
    missing: Dict[str, None] = {}
    for table in tables:
        split = split_of_table(table) if len(tables) > 1 else ""
        for number, row in rows(table):
            path = images.named(row["filename"], table) if row["filename"] else None
            if path is None:
                missing[row["filename"] or "%s row %d" % (table.name, number)] = None
                continue
            name = images.relative(path)
            if path not in by_image:
                by_image[path] = Labelled(name.as_posix(), path, frame=_frame(row), split=split or split_of(name))
                found.images.append(by_image[path])
            _add_box(by_image[path], row)
    for name in missing:
        found.leave_out(name, "row whose image is not in the folder")
    found.images.sort(key=lambda labelled: labelled.name)
    return found


def split_of_table(table: Path) -> str:
    """train, val or test when the file's name begins so (train_labels.csv), or its folder is called so. Raises TodusError otherwise."""
    for word in (table.stem.lower().replace("-", "_").split("_")[0], table.parent.name.lower()):
        for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
            if word in names:
                return split
    raise TodusError("%s: of several CSV files, each must begin with train, val or test, such as train_labels.csv" % table)


def rows(path: Path) -> Iterator[Tuple[int, Dict[str, str]]]:
    """(row number, column -> text) of each row; columns without text are empty. Raises TodusError for what is not such a table."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=text.split("\n", 1)[0].count))
    try:
        header = [ALIASES.get(name.strip().lower(), name.strip().lower()) for name in next(reader, [])]
        lacking = [name for name in NEEDED if name not in header]
        if lacking:
            raise TodusError("%s has no column %s; its first line must be %s" % (path, ", ".join(lacking), ",".join(COLUMNS)))
        for number, values in enumerate(reader, start=2):
            if any(value.strip() for value in values):
                row = dict.fromkeys(header, "")
                for name, value in zip(header, values):
                    row[name] = row[name] or value.strip()
                yield number, row
    except csv.Error as error:
        raise TodusError("%s, line %d: %s; save it as comma-separated text" % (path, reader.line_num, error))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TodusError("%s cannot be read (%s); give the CSV file" % (path, error.strerror))
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TodusError("%s is not UTF-8 text (byte %d); save it as UTF-8" % (path, error.start))
    if "\0" in text:
        raise TodusError("%s is not text; give a CSV file" % path)
    return text


def _frame(row: Dict[str, str]) -> Tuple[float, float]:
    width, height = _number(row.get("width", "")), _number(row.get("height", ""))
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else UNKNOWN


def _add_box(labelled: Labelled, row: Dict[str, str]) -> None:
    corners = [_number(row[corner]) for corner in ("xmin", "ymin", "xmax", "ymax")]
    name = one_line(row["class"])
    if not name and not any(row[corner] for corner in ("xmin", "ymin", "xmax", "ymax")):
        return
    if not name:
        labelled.dropped["box without a class"] += 1
    elif not all(math.isfinite(corner) for corner in corners):
        labelled.dropped[NOT_A_NUMBER] += 1
    elif labelled.frame != _frame(row):
        labelled.dropped["box whose row has other width and height than the image's first row"] += 1
    else:
        labelled.boxes.append(NamedBox(name, *corners))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("dataset csv", "Makes a dataset of CSV files of boxes and a folder of images; see ./dataset-csv.sh --help.")
    parser.add_argument("tables", metavar="FILE", nargs="+")
    parser.add_argument("images", metavar="IMAGES")
    arguments = parser.parse_args(argv)
    tables = [Path(os.path.abspath(os.path.expanduser(name))) for name in arguments.tables]
    folder = Path(os.path.abspath(os.path.expanduser(arguments.images)))
    found = read(tables, folder)
    settings = Settings.from_environment()
    inputs = tables + [labelled.path for labelled in found.images]
    default = tables[0].stem if len(tables) == 1 else folder.name
    return build(target("csv", default), "csv", found, settings, {"files": fingerprint(inputs)}, tables=True)
