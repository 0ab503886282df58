"""Reads JPEG and PNG files: format, size and structure without decoding, or the pixels."""

import io
import struct
import zlib
from typing import NamedTuple, Tuple

import numpy as np

from todus.fetching.web_pages import looks_like_html

MOST_PIXELS = 100000000
TOO_LARGE = "image has more than %d megapixels" % (MOST_PIXELS // 1000000)
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_END_OF_IMAGE = b"\xff\xd9"
# SOF0..SOF15 without DHT, JPG and DAC (ITU T.81, table B.1)
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}  # RST0..RST7 and TEM


class BadImage(Exception):
    """The file cannot be used as an image; the message is the reason, without the file's name."""


class Header(NamedTuple):
    """The format and size of a JPEG or PNG."""

    format: str  # jpeg or png, as in image/format
    height: int
    width: int


def inspect(data: bytes) -> Header:
    """Format and size of a complete JPEG or PNG file.

    The structure is checked, not the pixels: a JPEG has a frame header, a scan and an end of image
    after it; each PNG chunk has a correct CRC.

    Raises:
      BadImage: it is neither, or is truncated.
    """
    if data.startswith(_JPEG):
        header = _jpeg(data)
    elif data.startswith(_PNG):
        header = _png(data)
    elif not data:
        raise BadImage("image is empty")
    else:
        is_page = looks_like_html(data)
        raise BadImage("image is a web page" if is_page else "image is neither JPEG nor PNG")
    if not header.height or not header.width:
        raise BadImage("image has no pixels")
    if header.height * header.width > MOST_PIXELS:
        raise BadImage(TOO_LARGE)
    return header


def fault_of(data: bytes) -> str:
    """Why the bytes are not a complete JPEG or PNG file; "" where they are."""
    try:
        inspect(data)
    except BadImage as error:
        return str(error)
    return ""


def _jpeg(data: bytes) -> Header:
    size, at = (0, 0), 2
    try:
        while True:
            marker, start, at = _segment(data, at)
            if marker in _FRAME_HEADERS:
                size = struct.unpack_from(">HH", data, start + 1)
            elif marker == _START_OF_SCAN:
                break
    except (struct.error, IndexError):
        raise BadImage("JPEG ends in its header")
    if size == (0, 0):
        raise BadImage("JPEG has no frame header")
    if data.rfind(_END_OF_IMAGE, at) < 0:
        raise BadImage("JPEG ends too early")
    return Header("jpeg", *size)


def _segment(data: bytes, at: int) -> Tuple[int, int, int]:
    """The marker at `at`, the start of its content, and the next marker (ITU T.81, B.1.1)."""
    if data[at] != 0xFF:
        raise BadImage("JPEG has a damaged header")
    while data[at] == 0xFF:
        at += 1
    marker = data[at]
    if marker in _WITHOUT_LENGTH:
        return marker, at + 1, at + 1
    if marker == 0xD9:
        raise BadImage("JPEG has no scan")
    length = struct.unpack_from(">H", data, at + 1)[0]
    if length < 2:
        raise BadImage("JPEG has a damaged header")
    return marker, at + 3, at + 1 + length


def _png(data: bytes) -> Header:
    at, size, pixels = len(_PNG), (0, 0), False
    while True:
        if at + 12 > len(data):
            raise BadImage("PNG ends too early")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise BadImage("PNG ends too early")
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise BadImage("PNG has a wrong CRC")
        if at == len(_PNG):
            if kind != b"IHDR" or length != 13:
                raise BadImage("PNG has a damaged header")
            width, height = struct.unpack_from(">II", data, at + 8)
            size = (height, width)
        pixels = pixels or kind == b"IDAT"
        if kind == b"IEND":
            break
        at = end + 4
    if not pixels:
        raise BadImage("PNG has no pixels")
    return Header("png", *size)


def decode_every_pixel(data: bytes) -> None:
    """Decodes the image as training does. Raises BadImage where it is incomplete or damaged."""
    import PIL.Image

    damage = (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error)
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            image.load()
    except (*damage, PIL.Image.DecompressionBombError) as error:
        raise BadImage("image cannot be decoded: %s" % str(error).split("(")[0].strip().rstrip("."))


def decode(encoded: bytes) -> np.ndarray:
    """The RGB pixels of an encoded image, uint8 [height, width, 3]."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))
