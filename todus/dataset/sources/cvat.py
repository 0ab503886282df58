"""Reads CVAT for images 1.1: XML files that list images with their shapes."""

import math
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from todus import sources
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import NamedBox, frame_of, number
from todus.dataset.image_folder import ImageFolder, files_under, split_named, split_of
from todus.dataset.labelled_images import SECOND_ANNOTATION, LabelledImage, LabelledSource
from todus.dataset.shapes import POLYGON, box_around, box_around_ellipse, rotated
from todus.dataset.source_commands import build_tables
from todus.errors import TodusError
from todus.text import one_line

SOURCE = sources.find("cvat")

NO_FILE = "image of the XML whose file is not in the folder, or is in it twice"
NOT_LISTED = "image that no XML lists"
NO_AREA = "box of a shape without area (points, line or skeleton)"
_WITH_AREA = ("box", "polygon", "ellipse", "mask", "cuboid")
_WITHOUT_AREA = ("points", "polyline", "skeleton")


def read(tables: List[Path], folder: Path) -> LabelledSource:
    """The images below `folder` that the files list, with the boxes around their shapes.

    Raises:
      TodusError: a file is not CVAT for images, or is damaged.
    """
    images = ImageFolder(folder, files_under(folder))
    source = LabelledSource()
    taken: Dict[Path, LabelledImage] = {}
    for table in tables:
        for element in _elements(table):
            if element.tag == "label":
                name = one_line(element.findtext("name") or "")
                if name and name not in source.class_order:
                    source.class_order.append(name)
                continue
            given = element.get("name", "")
            path = images.find_by_name(given, table)
            if path is None or path in taken:
                source.leave_out(given, SECOND_ANNOTATION if path else NO_FILE)
                continue
            name = images.relative(path)
            split = split_named(element.get("subset", "")) or split_of(name)
            frame = frame_of(_number(element, "width"), _number(element, "height"))
            taken[path] = LabelledImage(name.as_posix(), path, frame=frame, split=split)
            source.mended.update(_add_boxes(taken[path], element))
    source.take_listed(taken, images.others(taken), NOT_LISTED)
    return source


def tables_under(folder: Path) -> List[Path]:
    """The files of CVAT for images below a folder. Raises TodusError where there is none."""
    found = [path for path in files_under(folder) if formats.kind_of(path) == SOURCE.name]
    if not found:
        other = "name the folder of annotations.xml and its images"
        raise TodusError(
            "no CVAT for images XML under %s; %s" % (folder, formats.advice(folder, SOURCE, other))
        )
    return found


def _elements(path: Path) -> Iterator[Element]:
    """The elements <label> and <image> of a file, one in memory at a time. Raises TodusError."""
    depth, root = 0, None
    remedy = 'export it as "CVAT for images 1.1"'
    if path.exists() and not path.is_file():
        raise TodusError("%s is not a file; name the XML file that CVAT wrote" % path)
    try:
        with path.open("rb") as file:
            events = ElementTree.iterparse(file, events=("start", "end"), forbid_dtd=False)
            for event, element in events:
                depth += 1 if event == "start" else -1
                root = element if root is None else root
                if root.tag != "annotations" or element.tag == "track":
                    remedy = formats.advice(path, SOURCE, remedy)
                    raise TodusError("%s is not CVAT for images; %s" % (path, remedy))
                if event == "end" and (element.tag == "label" or depth == 1):
                    if element.tag in ("label", "image"):
                        yield element
                    if depth == 1:
                        root.clear()
    except DefusedXmlException:
        raise TodusError("%s has XML entities, which are not allowed; %s" % (path, remedy))
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        text = one_line(str(error))[:100]
        raise TodusError("%s is damaged XML (%s); export it again" % (path, text))


def _add_boxes(labelled: LabelledImage, image: Element) -> List[str]:
    """Adds the boxes around the shapes of an image; returns what was corrected."""
    mended = []
    for shape in image:
        name = one_line(shape.get("label", ""))
        if shape.tag in _WITHOUT_AREA:
            labelled.dropped[NO_AREA] += 1
        elif shape.tag in _WITH_AREA and not name:
            labelled.dropped["box without a label"] += 1
        elif shape.tag in _WITH_AREA:
            box = _box(shape, name)
            if not all(map(math.isfinite, box[1:5])):
                labelled.dropped[NOT_A_NUMBER] += 1
                continue
            labelled.boxes.append(box)
            if shape.tag != "box" or _number(shape, "rotation", 0) % 360:
                mended.append(POLYGON)
    return mended


def _box(shape: Element, name: str) -> NamedBox:
    """The box around a shape; its corners are NaN where a number is missing or damaged."""
    degrees = _number(shape, "rotation", 0)
    if not math.isfinite(degrees):
        return box_around(name, [], [])
    if shape.tag == "polygon":
        xs, ys = _points(shape.get("points", ""))
        return box_around(name, xs, ys)
    if shape.tag == "ellipse":
        x, y, across, along = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
        return box_around_ellipse(name, x, y, (across, along), degrees)
    if shape.tag == "mask":
        left, top, width, height = (
            _number(shape, key) for key in ("left", "top", "width", "height")
        )
        return box_around(name, [left, left + width], [top, top + height])
    keys = [key for key in shape.attrib if key[1:3] in ("tl", "br", "tr", "bl")]
    xs, ys = ([_number(shape, key) for key in keys if key[0] == axis] for axis in "xy")
    box = NamedBox(name, *xs[:1], *ys[:1], *xs[1:], *ys[1:]) if len(xs) == len(ys) == 2 else None
    return rotated(box, degrees) if box and degrees else box or box_around(name, xs, ys)


def _points(text: str) -> Tuple[List[float], List[float]]:
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs) or len(pairs) < 3:
        return [], []
    return [number(x) for x, _ in pairs], [number(y) for _, y in pairs]


def _number(element: Element, key: str, default: float = math.nan) -> float:
    return number(element.get(key, str(default)))


def main(argv: Optional[List[str]] = None) -> int:
    return build_tables(SOURCE, "CVAT for images XML and its images", read, tables_under, argv)
