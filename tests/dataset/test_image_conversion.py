"""Image files by content: which are stored unchanged, converted or refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers import own_images as own
from todus.dataset import image_conversion
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, fit
from todus.dataset.image_files import BadImage, inspect

ORIENTATION = 0x0112


def exif(value):
    tags = Image.Exif()
    tags[ORIENTATION] = value
    return tags


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


@pytest.mark.parametrize("kind, name", [("JPEG", "a.png"), ("PNG", "a.jpg"), ("JPEG", "a.bmp")])
def test_a_file_with_a_wrong_suffix_is_read_by_its_content_and_not_converted(tmp_path, kind, name):
    picture = image_conversion.read_header(own.save(tmp_path / name, 1, format=kind))
    assert (picture.format, picture.width, picture.height) == (kind.lower(), 40, 30)
    assert image_conversion.needed_conversion(picture, upright=True) == ""


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "WEBP"])
def test_other_formats_are_converted_to_jpeg_with_a_note(tmp_path, kind):
    path = own.save(tmp_path / "a.jpg", 1, format=kind)
    note = image_conversion.needed_conversion(image_conversion.read_header(path), upright=True)
    assert note.startswith("%s to JPEG" % kind)
    data, found = image_conversion.convert(path, upright=True)
    assert found == "jpeg" and inspect(data) == ("jpeg", 30, 40)


@pytest.mark.parametrize(
    "mode, kind",
    [("L", "JPEG"), ("CMYK", "JPEG")] + [(mode, "PNG") for mode in ("L", "LA", "P", "RGBA", "1")],
)
def test_grey_palette_alpha_and_cmyk_are_converted_to_rgb(tmp_path, mode, kind):
    smooth = np.linspace(0, 255, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth).convert(mode).save(str(path), kind)
    header = image_conversion.read_header(path)
    assert "to RGB" in image_conversion.needed_conversion(header, upright=False)
    data, found = image_conversion.convert(path, upright=False)
    pixels = decode(data)
    assert found == kind.lower() and pixels.shape == (30, 40, 3)
    expected = np.asarray(Image.open(str(path)).convert("RGB"))
    assert np.abs(pixels - expected).mean() < (2 if kind == "JPEG" else 0.001)


@pytest.mark.parametrize("kind", ["grey", "colour", "tiff"])
def test_an_image_of_sixteen_bits_a_channel_is_refused(tmp_path, kind):
    path = tmp_path / ("a.tif" if kind == "tiff" else "a.png")
    if kind == "colour":
        header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x28\0\0\0\x1e\x10\x02\0\0\0"
        path.write_bytes(header + b"\0" * 40)
    else:
        Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)).save(str(path))
    with pytest.raises(BadImage, match="16 bits a channel"):
        image_conversion.read_header(path)


def float_tiff(channels):
    """A TIFF of 1x1 pixel with 32-bit floating-point channels, by its tags."""
    tags = [(256, 4, 1, 1), (257, 4, 1, 1), (259, 3, 1, 1), (262, 3, 1, 2 if channels > 1 else 1)]
    tags += [(258, 3, 1, 32), (273, 4, 1, 200), (277, 3, 1, channels), (339, 3, 1, 3)]
    entries = b"".join(struct.pack("<HHIHxx" if t[1] == 3 else "<HHII", *t) for t in sorted(tags))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries).ljust(300, b"\0")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image is HEIC, which TensorFlow cannot read"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image is HEIC, which TensorFlow cannot read"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "image is AVIF, which TensorFlow cannot read"),
        (float_tiff(1), "image has floating-point numbers a channel"),
        (float_tiff(3), "image is a TIFF of a kind that cannot be read"),
    ],
    ids=["heic", "mif1", "avif", "float", "float rgb"],
)
def test_what_cannot_be_read_is_named_as_what_it_is(tmp_path, content, message):
    path = tmp_path / "IMG_1.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImage, match=message):
        image_conversion.read_header(path)


NOT_IMAGES = [
    b"",
    b"not an image",
    b"<!DOCTYPE html><html></html>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"\xff\xd8\xff",
    b"BM" + b"\0" * 60,
]


@pytest.mark.parametrize("data", NOT_IMAGES)
def test_a_file_that_is_not_an_image_is_refused(tmp_path, data):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(BadImage):
        image_conversion.read_header(path)


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path):
    path = own.save(tmp_path / "a.png", 1)
    data = bytearray(path.read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    with pytest.raises(BadImage, match="megapixels"):
        image_conversion.read_header(path)


def test_a_truncated_file_is_refused_when_converted(tmp_path):
    path = own.save(tmp_path / "a.bmp", 1)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadImage):
        image_conversion.convert(path, upright=True)


@pytest.mark.parametrize(
    "value, size", [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (8, (30, 40)), (99, (40, 30))]
)
def test_the_exif_orientation_is_applied_when_upright_is_requested(tmp_path, value, size):
    path = own.save(tmp_path / "a.jpg", 1, exif=exif(value), quality=95)
    picture = image_conversion.read_header(path)
    assert picture.size(True) == size and picture.size(False) == (40, 30)
    assert image_conversion.needed_conversion(picture, False) == ""
    assert bool(image_conversion.needed_conversion(picture, True)) == (value in (3, 6, 8))
    data, _ = image_conversion.convert(path, upright=True)
    turned = Image.open(io.BytesIO(data))
    assert turned.size == size and turned.getexif().get(ORIENTATION, 1) == 1
    expected = np.rot90(np.asarray(Image.open(str(path))), {3: 2, 6: 3, 8: 1}.get(value, 0))
    assert np.abs(decode(data) - expected).mean() < 20


@pytest.mark.parametrize(
    "frame, exif_setting, default, upright",
    [
        ((30, 40), "auto", False, True),  # the size of the upright image
        ((40, 30), "auto", True, False),  # the stored size
        ((60, 80), "auto", False, True),
        (UNKNOWN, "auto", True, True),
        (UNKNOWN, "auto", False, False),
        (FRACTIONS, "auto", False, False),
        (FRACTIONS, "upright", False, True),
        ((30, 40), "upright", False, True),
        ((40, 30), "stored", True, False),
    ],
)
def test_the_annotation_s_size_decides_whether_the_image_is_rotated(
    frame, exif_setting, default, upright
):
    picture = image_conversion.ImageInfo(40, 30, "jpeg", "RGB", 6)
    found = fit(frame, picture, exif_setting, default)
    size = (30, 40) if upright else (40, 30)
    assert found.upright == upright and (found.width, found.height) == size


@pytest.mark.parametrize("orientation, exif_setting", [(1, "auto"), (6, "stored")])
def test_an_annotation_with_the_size_of_another_picture_is_refused(orientation, exif_setting):
    picture = image_conversion.ImageInfo(40, 30, "jpeg", "RGB", orientation)
    with pytest.raises(BadImage):
        fit((30, 40), picture, exif_setting, True)
