"""Converts image files of any format, by content, to 8-bit RGB JPEG or PNG for TensorFlow.

TensorFlow ignores the EXIF orientation; viewers and most annotation tools apply it. `upright` is
True where the boxes were drawn on the rotated image: its pixels are rotated, so that they agree
with the boxes. Where it is False both stay as they are stored.
"""

import contextlib
import io
import struct
import warnings
from pathlib import Path
from typing import BinaryIO, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image as PIL
from PIL import ImageOps, UnidentifiedImageError

from todus.dataset.image_files import MOST_PIXELS, TOO_LARGE, BadImage
from todus.fetching.web_pages import looks_like_html

# Pillow reads each of these without starting another program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
JPEG_QUALITY = 95
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
UNREADABLE = (".heic", ".heif", ".hif", ".avif")  # endings of images that Pillow cannot read
DEEP = "image has %s a channel (convert it to 8)"
HEIF = "image is %s, which TensorFlow cannot read (convert it to JPEG)"
NO_FILE = "image is a pipe or a device, not a file"
_ORIENTATION = 0x0112
_DEEP_MODES = {"F": "floating-point numbers", "I": "32 bits"}
_DEEP_MODES.update(dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), "16 bits"))
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MODE_NAMES = {"1": "black and white", "L": "grey", "LA": "grey with alpha", "P": "palette"}
_MODE_NAMES["RGBA"] = "alpha"


class ImageInfo(NamedTuple):
    """The header of an image file."""

    width: int  # pixels, as stored
    height: int
    format: str  # jpeg, png, bmp, gif, tiff or webp, by content
    mode: str  # Pillow's: RGB, L, CMYK, P ...
    orientation: int  # EXIF's, 1 to 8; 1 is upright

    def size(self, upright: bool) -> Tuple[int, int]:
        """Width and height as stored, or with the EXIF orientation applied."""
        turned = upright and self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)


def read_header(path: Path) -> ImageInfo:
    """Reads an image's header.

    Raises BadImage where the file is not an image, has more than 8 bits a channel or too many
    pixels; OSError as `open`.
    """
    if path.exists() and not path.is_file():
        raise BadImage(NO_FILE)  # opening a pipe would wait for its writer
    with open(str(path), "rb") as file:
        head = file.read(512)
        file.seek(0)
        is_png = head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR"
        if is_png and head[24:25] == b"\x10":
            raise BadImage(DEEP % "16 bits")
        if looks_like_html(head):
            raise BadImage("image is a web page")
        with _quietly():
            image = _open(file)
            if image.mode in _DEEP_MODES:
                raise BadImage(DEEP % _DEEP_MODES[image.mode])
            orientation = _orientation(image)
    kind = {"MPO": "jpeg"}.get(image.format, image.format.lower())
    return ImageInfo(image.width, image.height, kind, image.mode, orientation)


def needed_conversion(
    image: ImageInfo, upright: bool, size: Optional[Tuple[int, int]] = None
) -> str:
    """The changes that a record needs, such as "GIF to JPEG, palette to RGB"; "" for none.

    `size` is the width and height in the record, where it may be another.
    """
    changes = []
    if image.format not in ("jpeg", "png"):
        changes.append("%s to JPEG" % image.format.upper())
    if image.mode != "RGB":
        changes.append("%s to RGB" % _MODE_NAMES.get(image.mode, image.mode))
    if upright and image.orientation != 1:
        changes.append("turned upright")
    if size and size != image.size(upright):
        changes.append("shrunk to MAX_SIDE")
    return ", ".join(changes)


def convert(path: Path, upright: bool, size: Optional[Tuple[int, int]] = None) -> Tuple[bytes, str]:
    """The image as 8-bit RGB, and its format: png for a PNG, else jpeg. Raises BadImage.

    `size` is the width and height of the result, if it is to be shrunk.
    """
    with open(str(path), "rb") as file, _quietly():
        image = _open(file)
        kind = "png" if image.format == "PNG" else "jpeg"
        try:
            if size:
                _decode_smaller(image, size)
            image.load()
            if upright:
                image = ImageOps.exif_transpose(image)
            image = image.convert("RGB")
            if size and image.size != size:
                image = image.resize(size, PIL.LANCZOS)
        except _DAMAGE:
            raise BadImage("image cannot be decoded")
        data = io.BytesIO()
        if kind == "png":
            image.save(data, "PNG", exif=b"")
        else:
            image.save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0, exif=b"")
    return data.getvalue(), kind


def _decode_smaller(image: PIL.Image, size: Tuple[int, int]) -> None:
    """Makes Pillow decode a JPEG at 1/2, 1/4 or 1/8, where that is still 1.5 times the size."""
    longer, shorter = (int(1.5 * side) for side in sorted(size, reverse=True))
    is_wide = image.width >= image.height
    image.draft(None, (longer, shorter) if is_wide else (shorter, longer))


def decode_upright(data: bytes) -> np.ndarray:
    """The RGB pixels of an encoded image, uint8 [height, width, 3], turned upright.

    Raises BadImage where the format is unknown, and as Pillow for a damaged file.
    """
    with _quietly(), _identified(io.BytesIO(data)) as image:
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        return np.asarray(image.convert("RGB"))


# Raised by Pillow's readers for damaged bytes.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError)
_DAMAGE += (AttributeError, struct.error, MemoryError)


def _open(file: io.BufferedReader) -> PIL.Image:
    try:
        image = _identified(file, FORMATS)
    except PIL.DecompressionBombError:
        raise BadImage(TOO_LARGE)
    except _DAMAGE:
        raise BadImage("image cannot be decoded")
    if image.width < 1 or image.height < 1:
        raise BadImage("image cannot be decoded")
    if image.width * image.height > MOST_PIXELS:
        raise BadImage(TOO_LARGE)
    return image


def _identified(file: BinaryIO, formats: Optional[Sequence[str]] = None) -> PIL.Image:
    try:
        return PIL.open(file, formats=formats)
    except UnidentifiedImageError:
        file.seek(0)
        raise BadImage(_other_format(file.read(16)))


def _other_format(head: bytes) -> str:
    """Why Pillow cannot read a file with this beginning."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return HEIF % "AVIF"
        if brand[:3] in (b"hei", b"hev", b"mif", b"msf"):
            return HEIF % "HEIC"
    if head[:4] in _TIFF:
        return "image is a TIFF of a kind that cannot be read (convert it to JPEG)"
    return "not a JPEG, PNG, BMP, GIF, TIFF or WebP image"


def _orientation(image: PIL.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppresses Pillow's warnings about the files that it reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
