"""COCO's annotations as a stream: one element at a time, so that no more than one segmentation is ever in memory.

An element of "images", "annotations" or "categories" is an object, and an object's text ends at the first } with which it parses: a whole
JSON object is never the beginning of another. So each element is cut out by looking for } and read by a parser made for speed.
"""

import contextlib
import gc
import io
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO, Collection, Dict, Iterable, Iterator, List, Optional, Pattern, Tuple

import orjson

from todus.dataset.annotations import Annotations, Box, Image
from todus.errors import TodusError
from todus.text import one_line

CHUNK = 1 << 22
TAIL = 1 << 18  # bytes at a file's end in which categories are looked for first
LONGEST = 1 << 26  # bytes of one element
MOST_BRACES = 5000  # } inside one element
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^][{},\s]+")
_SCALAR_END = re.compile(rb"[][{},\s]")

FILE_NAME = "image with a file name that leads elsewhere"
NO_SIZE = "image without width and height"
TWICE = "image with an id that is there twice"
NO_BOX = "box without four numbers"
NO_IMAGE = "box of an unknown image"
NO_CLASS = "box of an unknown class"


class _Broken(Exception):
    """What is wrong with the text."""


class Reader:
    """Walks the members of the file's outermost object.

        for key in reader.members():
            for element in reader.elements(): ...

    Args:
      file: open for reading bytes.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._data = b""
        self._at = 0
        self._before = 0  # bytes of the file before _data
        self._ended = False
        self._open = False  # the value of the current key has not been read

    @property
    def offset(self) -> int:
        return self._before + self._at

    def members(self) -> Iterator[str]:
        self._expect(b"{")
        if self._peek() == b"}":
            return
        while True:
            end = self._string_end()
            key = orjson.loads(self._data[self._at : end])
            self._at = end
            self._expect(b":")
            self._open = True
            yield key
            if self._open:
                self._skip()
            if self._separator() != b",":
                return

    def elements(self, passing: Optional[Pattern] = None) -> Iterator[Dict[str, Any]]:
        """The objects of the current key's array, but for those that `passing` matches, each with the comma behind it."""
        self._open = False
        self._expect(b"[")
        if self._peek() == b"]":
            self._at += 1
            return
        loads = orjson.loads
        while True:
            passed = passing.match(self._data, self._at) if passing else None
            if passed:
                self._at = passed.end()
            end = self._data.find(b"}", self._at) + 1
            try:
                element = loads(self._data[self._at : end])
            except ValueError:
                element, end = self._long_element(b"}")
            if not isinstance(element, dict):
                raise _Broken("an element is not an object")
            yield element
            self._at = end
            if self._data[end : end + 1] == b",":
                self._at += 1
            elif self._separator() == b"]":
                return

    def _long_element(self, close: bytes) -> Tuple[Any, int]:
        """An element with more than one }, or one that goes on behind what has been read; its value and its end."""
        end, braces = self._at, 0
        while True:
            found = self._data.find(close, end)
            if found < 0:
                length = len(self._data) - self._at
                done = end - self._at
                if length > LONGEST or not self._more():
                    raise _Broken("the file ends inside an element" if length <= LONGEST else "an element is too long or damaged")
                end = self._at + max(done, length)
                continue
            end = found + 1
            text = self._data[self._at : end]
            try:
                return orjson.loads(text), end
            except ValueError:
                if b"NaN" in text or b"Infinity" in text:
                    try:
                        return json.loads(text.decode("utf-8")), end
                    except (ValueError, RecursionError):
                        pass
            braces += 1
            if braces > MOST_BRACES:
                raise _Broken("an element is damaged")

    def _skip(self) -> None:
        """Passes over the next value."""
        self._open = False
        start = self._peek()
        if start == b"{":
            _, self._at = self._long_element(b"}")
        elif start == b'"':
            self._at = self._string_end()
        elif start == b"[":
            self._at += 1
            if self._peek() == b"]":
                self._at += 1
                return
            self._skip()
            while self._separator() == b",":
                self._skip()
        else:
            while not _SCALAR_END.search(self._data, self._at) and self._more():
                pass
            match = _SCALAR.match(self._data, self._at)
            if not match:
                raise _Broken("a value expected")
            self._at = match.end()

    def _more(self) -> bool:
        """Reads on; forgets what lies before the current place."""
        chunk = b"" if self._ended else self._file.read(CHUNK)
        self._ended = not chunk
        self._before += self._at
        self._data, self._at = self._data[self._at :] + chunk, 0
        return bool(chunk)

    def _peek(self) -> bytes:
        """The next byte that is no space."""
        while True:
            self._at = _SPACE.match(self._data, self._at).end()
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self._more():
                raise _Broken("the file ends too early")

    def _expect(self, wanted: bytes) -> None:
        if self._peek() != wanted:
            raise _Broken("%s expected" % wanted.decode())
        self._at += 1

    def _separator(self) -> bytes:
        found = self._peek()
        if found not in (b",", b"]", b"}"):
            raise _Broken(", expected")
        self._at += 1
        return found

    def _string_end(self) -> int:
        """The end of the string that comes next."""
        if self._peek() != b'"':
            raise _Broken('" expected')
        pattern = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
        while True:
            match = pattern.match(self._data, self._at)
            if match:
                return match.end()
            if len(self._data) - self._at > LONGEST or not self._more():
                raise _Broken("the file ends inside a string")


def _boxes_of(ids: Collection[int]) -> Optional[Pattern]:
    """Matches annotations of these category ids, up to 64 in a row, written with their keys in COCO's order; None for no ids.

    Most boxes of a large file are of no wanted class. What is matched here is an object, and its category is known, without being parsed.
    """
    if not ids:
        return None
    numbers, number = r"\[[][0-9., \t\r\neE+-]*\]", r"[0-9.eE+-]+"
    values = [("segmentation", numbers), ("area", number), ("iscrowd", "[01]"), ("image_id", "[0-9]+"), ("bbox", numbers)]
    values += [("category_id", "(?:%s)" % "|".join(str(identity) for identity in sorted(ids, reverse=True))), ("id", "[0-9]+")]
    space = r"[ \t\r\n]*"
    pairs = ",".join(space + '"%s"' % key + space + ":" + space + value + space for key, value in values)
    return re.compile(("(?:" + space + r"\{" + pairs + r"\}" + space + ",){1,64}").encode("ascii"))


def _walk(path: Path, wanted: Collection[str], passing: Optional[Pattern] = None) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """(key, element) for every element of the arrays in `wanted`, but for the annotations that `passing` matches.

    Raises TodusError when the file is not whole JSON.
    """
    try:
        with path.open("rb") as file:
            reader = Reader(file)
            try:
                for key in reader.members():
                    if key in wanted:
                        for element in reader.elements(passing if key == "annotations" else None):
                            yield key, element
            except (_Broken, ValueError, RecursionError) as error:
                raise TodusError(
                    "%s is not whole COCO JSON (%s at byte %d); remove it and run the same command again"
                    % (path, one_line(str(error)), reader.offset)
                )
    except FileNotFoundError:
        raise TodusError("%s is missing; run the same command again" % path)


def read_categories(path: Path) -> Dict[int, str]:
    """id -> name, in the order of ids, from the file's end where COCO has them. Raises TodusError when there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            tail = file.read()
        start = tail.rfind(b'"categories"')
        reader = Reader(io.BytesIO(b"{" + tail[start:]))
        if start >= 0 and next(reader.members()) == "categories":
            return _names(path, reader.elements())
    except (OSError, _Broken, ValueError, TodusError):
        pass
    return _names(path, (element for _, element in _walk(path, {"categories"})))


def _names(path: Path, elements: Iterable[Dict[str, Any]]) -> Dict[int, str]:
    names: Dict[int, str] = {}
    for element in elements:
        identity, name = element.get("id"), element.get("name")
        if not isinstance(identity, int) or identity < 1 or identity in names or not isinstance(name, str) or not one_line(name):
            raise TodusError("%s: category %s; each needs an id from 1, its own, and a name" % (path, one_line(str(element)[:100])))
        names[identity] = one_line(name)
    if not names:
        raise TodusError("%s has no categories; remove it and run the same command again" % path)
    return dict(sorted(names.items()))


def read(path: Path, names: Dict[int, str], wanted: Collection[int], masks: bool = False) -> Annotations:
    """All images of a COCO annotations file with the boxes of the wanted category ids, as the file has them.

    Args:
      path: instances_*.json or image_info_*.json.
      names: id -> name of every category, the same in each of a dataset's files.
      wanted: the category ids to keep.
      masks: also keep the segmentations.

    Raises:
      TodusError: the file is not whole JSON, has no images, or has other categories.
    """
    images: Dict[Any, Image] = {}
    boxes: Dict[Any, List[Box]] = {}
    dropped: Counter = Counter()
    listed: List[Dict[str, Any]] = []
    passing = _boxes_of([identity for identity in names if identity not in wanted])
    with _no_garbage():
        for key, element in _walk(path, {"images", "annotations", "categories"}, passing):
            if key == "annotations":
                category = element.get("category_id")
                if category.__class__ is not int or category not in names:
                    dropped[NO_CLASS] += 1
                elif category in wanted:
                    box = _box(element, category, masks)
                    if box:
                        boxes.setdefault(_identity(element.get("image_id")), []).append(box)
                    else:
                        dropped[NO_BOX] += 1
            elif key == "images":
                _add_image(images, element, dropped)
            else:
                listed.append(element)
    if not images:
        raise TodusError("%s has no images; remove it and run the same command again" % path)
    if listed and _names(path, listed) != names:
        raise TodusError("%s has other categories than the rest; all must come from one source" % path)
    for identity, found in boxes.items():
        if identity in images:
            images[identity].boxes = found
        else:
            dropped[NO_IMAGE] += len(found)
    return Annotations({identity: name for identity, name in names.items() if identity in wanted}, list(images.values()), dropped)


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Without the search for cycles: reading makes millions of containers and no cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _identity(value: Any) -> Any:
    """An image id as it is looked up: None for what cannot be one."""
    return value if isinstance(value, (int, str)) else None


def _add_image(images: Dict[Any, Image], element: Dict[str, Any], dropped: Counter) -> None:
    identity, name = _identity(element.get("id")), element.get("file_name")
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
    return Box(category, y, x, y + height, x + width, area, crowd, id=identity, mask=element.get("segmentation") if masks else None)
