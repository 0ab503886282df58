"""Reads CSV files with one box per row: filename,width,height,class,xmin,ymin,xmax,ymax."""

import csv
import io
import itertools
import math
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set, Tuple

from todus import sources
from todus.command import Parser
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, NamedBox, frame_of, number
from todus.dataset.box_tables import COLUMNS, HEADLESS, NEEDED, columns_of, is_headless
from todus.dataset.build import build, fingerprint, target
from todus.dataset.image_folder import (
    ImageFolder,
    files_under,
    given_path,
    is_image,
    split_named,
    split_of,
)
from todus.dataset.labelled_images import LabelledImage, LabelledSource
from todus.dataset.settings import Settings
from todus.errors import TodusError
from todus.text import one_line

SOURCE = sources.find("csv")

NO_ROW = "image without a row (KEEP_EMPTY=1 keeps such images)"
DOUBTFUL = "image whose rows may be those of another"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FRACTION = "box whose corners are fractions of its image, as in all of its file"
IS_FRACTION = " fraction"  # a column that no file has: names in a file are stripped
SLOP = 0.05  # a fraction may be rounded or drawn so far outside its image


def read(tables: List[Path], folder: Path, keep_empty: bool = False) -> LabelledSource:
    """The images below `folder` that a row names, with their boxes.

    Columns are found by name, in any order and case.

    Args:
      tables: one CSV file, or one for each split (train_labels.csv and test_labels.csv).
      folder: the images.
      keep_empty: whether images without a row are included, as negatives.

    Raises:
      TodusError: a file cannot be read or lacks a column.
    """
    images = ImageFolder(folder, files_under(folder))
    source = LabelledSource()
    by_image: Dict[Path, LabelledImage] = {}
    missing: Dict[str, None] = {}
    for table in tables:
        split = split_of_table(table) if len(tables) > 1 else ""
        are_fractions = _has_fractions(table)
        for line, row in rows(table):
            if are_fractions:
                source.mended[FRACTION] += _to_frame(row)
            path = _find(row["filename"], images, table)
            if path is None:
                missing[row["filename"] or "%s row %d" % (table.name, line)] = None
                continue
            if path not in by_image:
                name = images.relative(path)
                side = split or split_of(name)
                by_image[path] = LabelledImage(name.as_posix(), path, frame=_frame(row), split=side)
            _add_box(by_image[path], row)
    for name in missing:
        source.leave_out(name, "row whose image is not in the folder")
    doubtful = {path for name in missing for path in images.named(name) + _with_stem(name, images)}
    for path in images.paths:
        name = images.relative(path)
        if path in by_image:
            continue
        if keep_empty and path not in doubtful:
            by_image[path] = LabelledImage(name.as_posix(), path, split=split_of(name))
        else:
            source.leave_out(name, DOUBTFUL if path in doubtful else NO_ROW, fault=False)
    source.images = sorted(by_image.values(), key=lambda labelled: labelled.name)
    return source


def _with_stem(name: str, images: ImageFolder) -> List[Path]:
    """The images of an id, which is a name without its suffix."""
    return [] if is_image(Path(name)) else images.near(Path(name + ".csv"))


def _find(name: str, images: ImageFolder, table: Path) -> Optional[Path]:
    """The image of a file name, a path, or an id, which is a name without its suffix."""
    if not name or is_image(Path(name)):
        return images.find_by_name(name, table) if name else None
    stem = name.replace("\\", "/").rpartition("/")[2]
    return images.find_by_stem(table.with_name(stem + ".csv")) if stem.strip(".") else None


def split_of_table(table: Path) -> str:
    """train, val or test, by the file's name or its folder's. Raises TodusError for neither."""
    first_word = table.stem.replace("-", "_").split("_")[0]
    split = split_named(first_word) or split_named(table.parent.name)
    if not split:
        raise TodusError(
            "%s is one of several CSV files, so its name must begin with train, val or test, "
            "such as train_labels.csv" % table
        )
    return split


def rows(path: Path) -> Iterator[Tuple[int, Dict[str, str]]]:
    """(row number, column -> text) of each row; "" for an empty column.

    Raises TodusError for a file that is not CSV or lacks a column in NEEDED.
    """
    text = _text(path)
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=text.split("\n", 1)[0].count))
    try:
        first = next(reader, [])
        is_box = is_headless(first)
        header = list(HEADLESS) if is_box else columns_of(first)
        lacking = [name for name in NEEDED if name not in header]
        if lacking:
            remedy = "its first line must be %s" % ",".join(COLUMNS)
            remedy = formats.advice(path, SOURCE, remedy)
            raise TodusError("%s has no column %s; %s" % (path, ", ".join(lacking), remedy))
        others = itertools.chain([first], reader) if is_box else reader
        for line, values in enumerate(others, start=1 if is_box else 2):
            if any(value.strip() for value in values):
                row = dict.fromkeys(header, "")
                for name, value in zip(header, values):
                    row[name] = row[name] or value.strip()
                yield line, row
    except csv.Error as error:
        raise TodusError(
            "%s, line %d: %s; save it as comma-separated text" % (path, reader.line_num, error)
        )


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise TodusError("%s is not a file; give the CSV file" % path)
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
        raise TodusError("%s is a binary file; give a CSV file" % path)
    return text


def _has_fractions(table: Path) -> bool:
    """Whether the corners in a file are fractions of the images, which are never that small.

    Raises TodusError where all are 0 or 1, which may be both.
    """
    values: Set[float] = set()
    for _, row in rows(table):
        corners = list(filter(math.isfinite, (number(row[corner]) for corner in CORNERS)))
        if any(not -SLOP <= value <= 1 + SLOP for value in corners):
            return False
        values.update(corners)
    if values and values <= {0, 1}:
        raise TodusError(
            "%s has only 0 and 1 as corners, pixels or fractions of an image; write them in pixels"
            % table
        )
    return bool(values)


def _to_frame(row: Dict[str, str]) -> bool:
    """Makes the fractions in a row pixels, or marks them as such; returns whether it has a box."""
    corners = [number(row[corner]) for corner in CORNERS]
    is_box = all(map(math.isfinite, corners))
    if _frame(row) == UNKNOWN:
        row[IS_FRACTION] = "1"
    elif is_box:
        pixels = [str(value * side) for value, side in zip(corners, 2 * _frame(row))]
        row.update(zip(CORNERS, pixels))
    return is_box


def _frame(row: Dict[str, str]) -> Tuple[float, float]:
    if row.get(IS_FRACTION):
        return FRACTIONS
    return frame_of(number(row.get("width", "")), number(row.get("height", "")))


def _add_box(labelled: LabelledImage, row: Dict[str, str]) -> None:
    corners = [number(row[corner]) for corner in CORNERS]
    name = one_line(row["class"])
    if not name and not any(row[corner] for corner in CORNERS):
        return
    if not name:
        labelled.dropped["box without a class"] += 1
    elif not all(math.isfinite(corner) for corner in corners):
        labelled.dropped[NOT_A_NUMBER] += 1
    elif labelled.frame != _frame(row):
        labelled.dropped["box whose row has other width and height than the image's first row"] += 1
    else:
        labelled.boxes.append(NamedBox(name, *corners))


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser(
        "dataset " + SOURCE.name,
        "Makes a dataset of CSV files of boxes and their images; see ./dataset-csv.sh --help.",
    )
    parser.add_argument("tables", metavar="FILE", nargs="+")
    parser.add_argument("images", metavar="IMAGES")
    arguments = parser.parse_args(argv)
    tables, folder = [given_path(name) for name in arguments.tables], given_path(arguments.images)
    settings = Settings.from_environment(SOURCE.command)
    source = read(tables, folder, settings.keep_empty)
    inputs = tables + [labelled.path for labelled in source.images]
    default = tables[0].stem if len(tables) == 1 else folder.name
    digests = {"files": fingerprint(inputs)}
    dataset = target(SOURCE, default)
    return build(dataset, source, settings, digests, tables=True, folder=folder)
