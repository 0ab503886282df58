"""Reads COCO JSON with classes of its own, as Roboflow, CVAT and Label Studio export it."""

import functools
import math
import re
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple
from urllib.parse import unquote, urlsplit

from todus import sources, variables
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import NamedBox, frame_of, json_number
from todus.dataset.image_folder import ImageFolder, files_under, split_named, split_of
from todus.dataset.labelled_images import SECOND_ANNOTATION, LabelledImage, LabelledSource
from todus.dataset.shapes import box_around
from todus.dataset.source_commands import build_tables
from todus.dataset.sources.coco_annotations import NO_BOX, NO_CLASS, elements
from todus.errors import TodusError
from todus.text import one_line

SOURCE = sources.find("coco-json")

KEYS = {"images", "annotations", "categories"}
NO_FILE = "image of the JSON whose file is not in the folder, or is in it twice"
NOT_LISTED = "image that no JSON lists"
NO_IMAGE = "annotations of an image that the JSON does not list"
AROUND = "annotation without a bbox, the box around its polygon used"


class _Annotation(NamedTuple):
    category: Any
    box: Optional[NamedBox]  # without its name; None where it has none
    from_polygon: bool


def read(tables: List[Path], folder: Path, with_masks: bool = False) -> LabelledSource:
    """The images below `folder` that the files list, with their boxes.

    Args:
      tables: one JSON file, or one for each split, which is told by its name or folder.
      folder: the images.
      with_masks: whether the boxes have their segmentations.

    Raises:
      TodusError: a file is not complete COCO JSON, or has no images or no categories.
    """
    images = ImageFolder(folder, files_under(folder))
    source = LabelledSource()
    taken: Dict[Path, LabelledImage] = {}
    for table in tables:
        split = split_of_table(table, folder) if len(tables) > 1 else ""
        listed, annotations, names = _load(table, with_masks)
        source.class_order += [name for name in names.values() if name not in source.class_order]
        for identity, element in listed.items():
            path = _find(str(element.get("file_name")), images, table, split)
            if path is None or path in taken:
                reason = NO_FILE if path is None else SECOND_ANNOTATION
                source.leave_out(element.get("file_name"), reason)
                annotations.pop(identity, None)
                continue
            name = images.relative(path)
            frame = frame_of(json_number(element.get("width")), json_number(element.get("height")))
            side = split or split_of(name)
            taken[path] = LabelledImage(name.as_posix(), path, frame=frame, split=side)
            for annotation in annotations.pop(identity, ()):
                _add(taken[path], annotation, names, source)
        for identity in annotations:
            source.leave_out("%s: image_id %s" % (table.name, identity), NO_IMAGE)
    source.take_listed(taken, images.others(taken), NOT_LISTED)
    return source


def tables_under(folder: Path) -> List[Path]:
    """The COCO JSON files below a folder; of COCO's own annotations only instances_*.json.

    Raises TodusError where there is none.
    """
    found = [path for path in files_under(folder) if formats.kind_of(path) == SOURCE.name]
    if not found:
        other = "name the JSON file and the folder of its images"
        raise TodusError(
            "no COCO JSON under %s; %s" % (folder, formats.advice(folder, SOURCE, other))
        )
    return [path for path in found if path.name.startswith("instances")] or found


def split_of_table(table: Path, folder: Path) -> str:
    """train, val or test, by a word of the file's name or by its folder; "" for neither."""
    words = re.findall("[a-z]+", table.stem.lower())
    try:
        above = table.relative_to(folder).as_posix()
    except ValueError:
        above = table.parent.name + "/" + table.name
    return next(filter(None, map(split_named, words)), "") or split_of(PurePosixPath(above))


def _load(
    path: Path, with_masks: bool
) -> Tuple[Dict[Any, Dict], Dict[Any, List[_Annotation]], Dict[Any, str]]:
    """(images, annotations, class names) of a file, each by id."""
    images: Dict[Any, Dict] = {}
    annotations: Dict[Any, List[_Annotation]] = {}
    names: Dict[Any, str] = {}
    if not path.is_file():
        raise TodusError("%s is not a file; name a COCO JSON file" % path)
    remedy = formats.advice(path, SOURCE, "export it again")
    for key, element in elements(path, KEYS, remedy=remedy):
        identity = _identity(element.get("id"))
        if key == "annotations":
            image = _identity(element.get("image_id"))
            annotations.setdefault(image, []).append(_annotation(element, with_masks))
        elif key == "images" and identity is not None:
            images.setdefault(identity, element)
        elif key == "categories" and one_line(str(element.get("name") or "")):
            names.setdefault(identity, one_line(str(element["name"])))
    for key, found in (("images", images), ("categories", names)):
        if not found:
            raise TodusError(
                "%s has no %s, so it is not COCO JSON of boxes; %s" % (path, key, remedy)
            )
    return images, annotations, names


def _annotation(element: Dict[str, Any], with_masks: bool) -> _Annotation:
    mask = element.get("segmentation") if with_masks else None
    category, crowd = _identity(element.get("category_id")), element.get("iscrowd") in (1, True)
    sides = element.get("bbox")
    if isinstance(sides, list) and len(sides) == 4:
        x, y, width, height = map(json_number, sides)
        return _Annotation(
            category, NamedBox("", x, y, x + width, y + height, crowd, mask=mask), False
        )
    rings = element.get("segmentation")
    points = [json_number(each) for ring in _lists(rings) for each in ring]
    if len(points) < 6 or len(points) % 2:
        return _Annotation(category, None, False)
    around = box_around("", points[::2], points[1::2], is_crowd=crowd)
    return _Annotation(category, around._replace(mask=mask), True)


def _add(
    labelled: LabelledImage,
    annotation: _Annotation,
    names: Dict[Any, str],
    source: LabelledSource,
) -> None:
    name, box = names.get(annotation.category), annotation.box
    if name is None:
        labelled.dropped[NO_CLASS] += 1
    elif box is None:
        labelled.dropped[NO_BOX] += 1
    elif not all(map(math.isfinite, box[1:5])):
        labelled.dropped[NOT_A_NUMBER] += 1
    else:
        source.mended.update([AROUND] if annotation.from_polygon else [])
        labelled.boxes.append(box._replace(name=name))


def _find(name: str, images: ImageFolder, table: Path, split: str) -> Optional[Path]:
    """The image of a file name, a path or a web address; of several, the one of the split."""
    if "://" in name:
        name = unquote(urlsplit(name.replace("[", "").replace("]", "")).path)
    found = images.find_by_name(name, table)
    if found is None and split:
        parts = ((path, images.relative(path).parts[:-1]) for path in images.named(name))
        words = ((path, re.findall("[a-z]+", " ".join(part).lower())) for path, part in parts)
        alike = [path for path, of in words if split in map(split_named, of)]
        found = alike[0] if len(alike) == 1 else None
    return found


def _identity(value: Any) -> Any:
    """An id as a number or text, so that 7, 7.0 and "7" are one; None for anything else."""
    text = re.sub(r"\.0$", "", str(value)) if type(value) in (int, float, str) else ""
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text or None


def _lists(value: Any) -> Iterator[List[Any]]:
    return (each for each in (value if isinstance(value, list) else ()) if isinstance(each, list))


def main(argv: Optional[List[str]] = None) -> int:
    made_of = "COCO JSON and its images"
    with_masks = functools.partial(
        read, with_masks=variables.value("INCLUDE_MASKS", SOURCE.command)
    )
    return build_tables(SOURCE, made_of, with_masks, tables_under, argv, named_by_table=True)
