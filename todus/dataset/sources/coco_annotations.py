"""Reads COCO's annotations files."""

import contextlib
import gc
import io
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, Collection, Dict, Iterable, Iterator, List, Optional, Pattern, Tuple

from todus.dataset.annotations import Annotations, Box, Image
from todus.dataset.sources.coco_json import BadJson, JsonStream
from todus.errors import TodusError
from todus.text import one_line

TAIL = 1 << 18  # bytes at the end of a file that are searched for the categories first

FILE_NAME = "image with an unsafe file name"
NO_SIZE = "image without width and height"
TWICE = "image with a duplicate id"
NO_BOX = "box without four numbers"
NO_IMAGE = "box of an unknown image"
NO_CLASS = "box of an unknown class"


def boxes_pattern(ids: Collection[int]) -> Optional[Pattern]:
    """Matches up to 64 annotations in a row of these category ids; None for no ids.

    The keys must be in COCO's order. The matched text is skipped without being parsed, because most
    boxes of a large file are of unwanted classes.
    """
    if not ids:
        return None
    numbers, number, space = r"\[[][0-9., \t\r\neE+-]*\]", r"[0-9.eE+-]+", r"[ \t\r\n]*"
    values = {
        "segmentation": numbers,
        "area": number,
        "iscrowd": "[01]",
        "image_id": "[0-9]+",
        "bbox": numbers,
        "category_id": "(?:%s)" % "|".join(map(str, sorted(ids, reverse=True))),
        "id": "[0-9]+",
    }
    pairs = [space.join(["", '"%s"' % key, ":", value, ""]) for key, value in values.items()]
    element = space.join(["", r"\{" + ",".join(pairs) + r"\}", ","])
    return re.compile(("(?:%s){1,64}" % element).encode("ascii"))


def elements(
    path: Path,
    wanted: Collection[str],
    unwanted: Optional[Pattern] = None,
    remedy: str = "remove it and run the same command again",
) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """(key, element) of each array in `wanted`, without annotations that `unwanted` matches.

    Raises TodusError when the file is missing or not complete JSON.
    """
    if not path.exists():
        raise TodusError("%s is missing; run the same command again" % path)
    with path.open("rb") as file:
        stream = JsonStream(file)
        try:
            for key in stream.members():
                if key in wanted:
                    for element in stream.elements(unwanted if key == "annotations" else None):
                        yield key, element
        except (BadJson, ValueError, RecursionError) as error:
            raise TodusError(
                "%s is not complete COCO JSON (%s at byte %d); %s"
                % (path, one_line(str(error)), stream.offset, remedy)
            )


def read_categories(path: Path) -> Dict[int, str]:
    """id -> name, in the order of ids. Raises TodusError when there are none.

    The end of the file is searched first, because COCO's files have them there.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            tail = file.read()
        start = tail.rfind(b'"categories"')
        stream = JsonStream(io.BytesIO(b"{" + tail[start:]))
        if start >= 0 and next(stream.members()) == "categories":
            return _names(path, stream.elements())
    except (OSError, BadJson, ValueError, RecursionError, TodusError):
        pass
    return _names(path, (element for _, element in elements(path, {"categories"})))


def _names(path: Path, elements: Iterable[Dict[str, Any]]) -> Dict[int, str]:
    """id -> name of the categories. Raises TodusError for a bad one, or none."""
    names: Dict[int, str] = {}
    for element in elements:
        identity, name = element.get("id"), element.get("name")
        has_id = isinstance(identity, int) and identity >= 1 and identity not in names
        if not has_id or not isinstance(name, str) or not one_line(name):
            raise TodusError(
                "%s: category %s needs a name and a unique id of 1 or more"
                % (path, one_line(str(element)[:100]))
            )
        names[identity] = one_line(name)
    if not names:
        raise TodusError("%s has no categories; remove it and run the same command again" % path)
    return dict(sorted(names.items()))


def read(
    path: Path, names: Dict[int, str], wanted: Collection[int], masks: bool = False
) -> Annotations:
    """All images of a COCO annotations file, with the unclipped boxes of the wanted categories.

    Args:
      path: instances_*.json or image_info_*.json.
      names: id -> name of every category, the same in each of a dataset's files.
      wanted: the category ids to keep.
      masks: also keep the segmentations.

    Raises:
      TodusError: the file is not complete JSON, has no images, or has other categories.
    """
    images: Dict[Any, Image] = {}
    boxes: Dict[Any, List[Box]] = {}
    dropped: Counter = Counter()
    listed: List[Dict[str, Any]] = []
    unwanted = boxes_pattern([identity for identity in names if identity not in wanted])
    with _without_garbage_collection():
        for key, element in elements(path, {"images", "annotations", "categories"}, unwanted):
            if key == "annotations":
                category = element.get("category_id")
                if category.__class__ is not int or category not in names:
                    dropped[NO_CLASS] += 1
                elif category in wanted:
                    box = _box(element, category, masks)
                    if box:
                        boxes.setdefault(_image_id(element.get("image_id")), []).append(box)
                    else:
                        dropped[NO_BOX] += 1
            elif key == "images":
                _add_image(images, element, dropped)
            else:
                listed.append(element)
    if not images:
        raise TodusError("%s has no images; remove it and run the same command again" % path)
    if listed and _names(path, listed) != names:
        raise TodusError(
            "%s has other categories than the other annotations; use files of one source" % path
        )
    for identity, found in boxes.items():
        if identity in images:
            images[identity].boxes = found
        else:
            dropped[NO_IMAGE] += len(found)
    kept = {identity: name for identity, name in names.items() if identity in wanted}
    return Annotations(kept, list(images.values()), dropped)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Disables the cycle collector: reading makes millions of containers and no cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _image_id(value: Any) -> Any:
    """The value if it can be an image id, else None."""
    return value if isinstance(value, (int, str)) else None


def _add_image(images: Dict[Any, Image], element: Dict[str, Any], dropped: Counter) -> None:
    identity, name = _image_id(element.get("id")), element.get("file_name")
    width, height = element.get("width"), element.get("height")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w .+-]{0,200}", name):
        dropped[FILE_NAME] += 1
    elif identity is None or identity in images:
        dropped[TWICE] += 1
    elif not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        dropped[NO_SIZE] += 1
    else:
        url = element.get("coco_url")
        elsewhere = isinstance(url, str) and not url.endswith("2017/" + name)
        images[identity] = Image(identity, name, width, height, url=url if elsewhere else "")


def _box(element: Dict[str, Any], category: int, masks: bool) -> Optional[Box]:
    try:
        x, y, width, height = map(float, element["bbox"])
        area = float(element.get("area", width * height))
        identity = int(element.get("id", 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(area):
        area = width * height
    crowd = bool(element.get("iscrowd", 0))
    mask = element.get("segmentation") if masks else None
    return Box(category, y, x, y + height, x + width, area, crowd, id=identity, mask=mask)
