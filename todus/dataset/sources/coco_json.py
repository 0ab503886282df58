"""Reads COCO's JSON as a stream of elements, so that only one segmentation is in memory.

An element of "images", "annotations" or "categories" is an object. Most have no other object in
them: they end at the first }. Of the others the braces are counted.
"""

import contextlib
import json
import re
from typing import Any, BinaryIO, Dict, Iterator, Optional, Pattern, Tuple

import orjson

CHUNK = 1 << 22  # bytes read at once
LONGEST = 1 << 26  # bytes of one element
MOST_NESTED = 500  # objects in each other
_BOM = b"\xef\xbb\xbf"  # of UTF-8, as some editors write it
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^][{},\s]+")
_SCALAR_END = re.compile(rb"[][{},\s]")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRING_OR_BRACE = re.compile(_STRING.pattern + rb'|["{}]', re.DOTALL)


class BadJson(Exception):
    """The text is not JSON, or not in COCO's format; the message is the reason."""


class JsonStream:
    """The members of the file's outermost object.

        for key in stream.members():
            for element in stream.elements(): ...

    Args:
      file: open for reading bytes.

    Attributes:
      offset: bytes of the file before the current place.
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
        """The keys. A value that `elements` does not read is skipped."""
        self._peek()
        if self._data.startswith(_BOM, self._at):
            self._at += len(_BOM)
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

    def elements(self, unwanted: Optional[Pattern] = None) -> Iterator[Dict[str, Any]]:
        """The objects of the current key's array.

        Those that `unwanted` matches, each with the comma after it, are skipped without parsing.
        """
        self._open = False
        self._expect(b"[")
        if self._peek() == b"]":
            self._at += 1
            return
        while True:
            skipped = unwanted.match(self._data, self._at) if unwanted else None
            if skipped:
                self._at = skipped.end()
            end = self._data.find(b"}", self._at) + 1
            try:
                element = orjson.loads(self._data[self._at : end])
            except ValueError:
                element, end = self._long_element()
            if not isinstance(element, dict):
                raise BadJson("an element is not an object")
            yield element
            self._at = end
            if self._data[end : end + 1] == b",":
                self._at += 1
            elif self._separator() == b"]":
                return

    def _long_element(self) -> Tuple[Any, int]:
        """Value and end of an object with others in it, or one that continues in the next chunk."""
        end, depth = self._at, 0
        while True:
            for token in _STRING_OR_BRACE.finditer(self._data, end):
                kind = token.group()
                if kind == b'"':  # the string continues in the next chunk
                    break
                end = token.end()
                depth += {b"{": 1, b"}": -1}.get(kind, 0)
                if depth > MOST_NESTED:
                    raise BadJson("objects are nested more than %d deep" % MOST_NESTED)
                if kind == b"}" and depth <= 0:
                    return self._parsed(end), end
            end -= self._at
            if len(self._data) - self._at > LONGEST:
                raise BadJson("an element is too long or damaged")
            if not self._more():
                raise BadJson("the file ends inside an element")

    def _parsed(self, end: int) -> Any:
        """The value of the text from the current place to `end`."""
        text = self._data[self._at : end]
        try:
            return orjson.loads(text)
        except ValueError:
            if b"NaN" in text or b"Infinity" in text:  # Python writes them; orjson reads none
                with contextlib.suppress(ValueError, RecursionError):
                    return json.loads(text.decode("utf-8"))
        raise BadJson("an element is damaged")

    def _skip(self) -> None:
        """Skips the next value."""
        self._open = False
        start = self._peek()
        if start == b"{":
            _, self._at = self._long_element()
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
                raise BadJson("a value expected")
            self._at = match.end()

    def _more(self) -> bool:
        """Reads the next chunk and drops the text before the current place; False at the end."""
        chunk = b"" if self._ended else self._file.read(CHUNK)
        self._ended = not chunk
        self._before += self._at
        self._data, self._at = self._data[self._at :] + chunk, 0
        return bool(chunk)

    def _peek(self) -> bytes:
        """The next byte that is not white space."""
        while True:
            self._at = _SPACE.match(self._data, self._at).end()
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self._more():
                raise BadJson("the file ends too early")

    def _expect(self, wanted: bytes) -> None:
        if self._peek() != wanted:
            raise BadJson("%s expected" % wanted.decode())
        self._at += 1

    def _separator(self) -> bytes:
        found = self._peek()
        if found not in (b",", b"]", b"}"):
            raise BadJson(", expected")
        self._at += 1
        return found

    def _string_end(self) -> int:
        """The end of the next string."""
        if self._peek() != b'"':
            raise BadJson('" expected')
        while True:
            match = _STRING.match(self._data, self._at)
            if match:
                return match.end()
            if len(self._data) - self._at > LONGEST or not self._more():
                raise BadJson("the file ends inside a string")
