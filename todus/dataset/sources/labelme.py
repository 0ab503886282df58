"""Reads LabelMe: a JSON file for each image, with its polygons, rectangles and circles."""

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

import orjson

from todus import sources
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import frame_of, json_number
from todus.dataset.image_folder import ImageFolder, files_under, split_of
from todus.dataset.labelled_images import SECOND_ANNOTATION, LabelledImage, LabelledSource
from todus.dataset.shapes import POLYGON, box_around, box_around_ellipse
from todus.dataset.source_commands import build_folder
from todus.dataset.text_files import BadText, read_text
from todus.errors import TodusError
from todus.text import one_line

SOURCE = sources.find("labelme")

LARGEST_JSON = 128 << 20  # bytes; the image may be inside
NO_IMAGE = "JSON without image file"
NO_AREA = "box of a shape without area (point or line)"
NO_CLASS = "shape of __ignore__ or _background_, which are no classes, not used"
NO_JSON = "image without JSON (KEEP_EMPTY=1 keeps such images)"
DOUBTFUL = "image whose JSON is unusable, or of another image of the same name"
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_NO_CLASSES = ("__ignore__", "_background_")  # of LabelMe's own converters


def read(root: Path, keep_empty: bool = False) -> LabelledSource:
    """Every annotated image below `root`, with the boxes around its shapes.

    Args:
      root: a folder with images and JSON files, together or in folders beside each other.
      keep_empty: whether images without JSON are included, as negatives.

    Raises:
      TodusError: there is no JSON file of LabelMe.
    """
    paths = files_under(root)
    images, source = ImageFolder(root, paths), LabelledSource()
    taken: Dict[Path, LabelledImage] = {}
    doubtful: Set[Path] = set()
    found = [path for path in paths if path.suffix.lower() == ".json"]
    if not any(formats.kind_of(path) == SOURCE.name for path in found):
        other = "name the folder that holds images and LabelMe's JSON files"
        raise TodusError(
            "no LabelMe JSON under %s; %s" % (root, formats.advice(root, SOURCE, other))
        )
    for path in found:
        doubtful.update(images.near(path))
        try:
            value = _load(path)
            image = _image_of(path, value.get("imagePath"), images)
            if image is None or image in taken:
                raise BadText(SECOND_ANNOTATION if image else NO_IMAGE)
        except BadText as error:
            source.leave_out(path.relative_to(root), str(error))
            continue
        name = images.relative(image)
        frame = frame_of(
            json_number(value.get("imageWidth")), json_number(value.get("imageHeight"))
        )
        split = split_of(name)
        taken[image] = LabelledImage(name.as_posix(), image, frame=frame, split=split)
        source.mended.update(_add_boxes(taken[image], value["shapes"]))
    for path in images.paths:
        name = images.relative(path)
        if path not in taken and keep_empty and path not in doubtful:
            taken[path] = LabelledImage(name.as_posix(), path, split=split_of(name))
        elif path not in taken:
            source.leave_out(name, DOUBTFUL if path in doubtful else NO_JSON, fault=False)
    source.images = sorted(taken.values(), key=lambda labelled: labelled.name)
    return source


def _load(path: Path) -> Dict[str, Any]:
    """The object in a file. Raises BadText for a file that is not LabelMe's."""
    try:
        value = orjson.loads(read_text(path, LARGEST_JSON))
    except ValueError:
        raise BadText("JSON that cannot be parsed")
    if not isinstance(value, dict) or not isinstance(value.get("shapes"), list):
        raise BadText('JSON that is not LabelMe\'s (it has no "shapes")')
    return value


def _image_of(path: Path, named: Any, images: ImageFolder) -> Optional[Path]:
    """The image of the annotation's own name, else the one in imagePath."""
    if isinstance(named, str) and Path(named.replace("\\", "/")).stem == path.stem:
        exact = images.find_by_name(named, path)
        if exact:
            return exact
    own = images.find_by_stem(path)
    return own or (images.find_by_name(named, path) if isinstance(named, str) else None)


def _add_boxes(labelled: LabelledImage, shapes: List[Any]) -> List[str]:
    """Adds the boxes around the shapes; returns what was corrected."""
    mended = []
    for shape in shapes:
        shape = shape if isinstance(shape, dict) else {}
        label, kind = shape.get("label"), shape.get("shape_type") or "polygon"
        name = one_line(label) if isinstance(label, str) else ""
        xs, ys = _points(shape.get("points"))
        if name in _NO_CLASSES:
            mended.append(NO_CLASS)
        elif not name:
            labelled.dropped["box without a label"] += 1
        elif not xs or not all(map(math.isfinite, xs + ys)):
            labelled.dropped[NOT_A_NUMBER] += 1
        elif kind == "circle" and len(xs) == 2:
            radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
            labelled.boxes.append(box_around_ellipse(name, xs[0], ys[0], (radius, radius)))
            mended.append(POLYGON)
        elif kind not in _WITHOUT_AREA and len(xs) > (1 if kind in ("rectangle", "mask") else 2):
            labelled.boxes.append(box_around(name, xs, ys))
            mended += [] if kind == "rectangle" else [POLYGON]
        else:
            labelled.dropped[NO_AREA] += 1
    return mended


def _points(value: Any) -> Tuple[List[float], List[float]]:
    points = value if isinstance(value, list) else []
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        return [], []
    return [json_number(x) for x, _ in points], [json_number(y) for _, y in points]


def main(argv: Optional[List[str]] = None) -> int:
    return build_folder(SOURCE, "images and LabelMe JSON", [".json"], read, argv)
