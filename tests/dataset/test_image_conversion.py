"""Image files by content: what is stored as it is, what is converted, what is refused."""

import io
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
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind, name", [("JPEG", "a.png"), ("PNG", "a.jpg"), ("JPEG", "a.bmp")])
def test_wrongly_named_files_are_told_by_content_and_kept(tmp_path, kind, name):
    picture = image_conversion.read_header(own.save(tmp_path / name, 1, format=kind))
    assert (picture.format, picture.width, picture.height) == (kind.lower(), 40, 30)
    assert image_conversion.needed_conversion(picture, upright=True) == ""


@pytest.mark.parametrize(
    "kind, stored", [("BMP", "jpeg"), ("GIF", "jpeg"), ("TIFF", "jpeg"), ("WEBP", "jpeg")]
)
def test_other_formats_become_jpeg_with_a_note(tmp_path, kind, stored):
    path = own.save(tmp_path / "a.jpg", 1, format=kind)
    note = image_conversion.needed_conversion(image_conversion.read_header(path), upright=True)
    assert note.startswith("%s to JPEG" % kind)
    data, found = image_conversion.convert(path, upright=True)
    assert found == stored and inspect(data) == (stored, 30, 40)


@pytest.mark.parametrize(
    "mode, kind",
    [
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("L", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("1", "PNG"),
    ],
)
def test_grey_palette_alpha_and_cmyk_become_rgb(tmp_path, mode, kind):
    smooth = np.linspace(0, 255, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    image = Image.fromarray(smooth).convert(mode)
    path = tmp_path / "a.jpg"
    image.save(str(path), kind)
    assert "to RGB" in image_conversion.needed_conversion(
        image_conversion.read_header(path), upright=False
    )
    data, found = image_conversion.convert(path, upright=False)
    pixels = decode(data)
    assert found == kind.lower() and pixels.shape == (30, 40, 3)
    expected = np.asarray(Image.open(str(path)).convert("RGB")).astype(int)
    assert np.abs(pixels - expected).mean() < (2 if kind == "JPEG" else 0.001)


@pytest.mark.parametrize("kind", ["grey", "colour", "tiff"])
def test_sixteen_bits_are_refused_by_name(tmp_path, kind):
    path = tmp_path / ("a.tif" if kind == "tiff" else "a.png")
    if kind == "colour":
        header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x28\0\0\0\x1e\x10\x02\0\0\0"
        path.write_bytes(header + b"\0" * 40)
    else:
        Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)).save(str(path))
    with pytest.raises(BadImage, match="16 bits a channel"):
        image_conversion.read_header(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"<!DOCTYPE html><html></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xff\xd8\xff",
        b"BM" + b"\0" * 60,
    ],
)
def test_what_is_no_image_has_one_reason(tmp_path, data):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(BadImage):
        image_conversion.read_header(path)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    path = own.save(tmp_path / "a.png", 1)
    data = bytearray(path.read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    with pytest.raises(BadImage, match="megapixels"):
        image_conversion.read_header(path)


def test_a_file_cut_short_is_refused_when_converted(tmp_path):
    path = own.save(tmp_path / "a.bmp", 1)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadImage):
        image_conversion.convert(path, upright=True)


@pytest.mark.parametrize(
    "value, size", [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (8, (30, 40)), (99, (40, 30))]
)
def test_exif_orientation_turns_the_pixels_when_asked(tmp_path, value, size):
    path = own.save(tmp_path / "a.jpg", 1, exif=exif(value), quality=95)
    picture = image_conversion.read_header(path)
    assert picture.size(True) == size and picture.size(False) == (40, 30)
    assert (
        bool(image_conversion.needed_conversion(picture, True)) == (value in (3, 6, 8))
        and image_conversion.needed_conversion(picture, False) == ""
    )
    data, _ = image_conversion.convert(path, upright=True)
    turned = Image.open(io.BytesIO(data))
    assert turned.size == size and turned.getexif().get(ORIENTATION, 1) == 1
    expected = np.rot90(np.asarray(Image.open(str(path))), {3: 2, 6: 3, 8: 1}.get(value, 0))
    assert np.abs(np.asarray(turned).astype(int) - expected).mean() < 20


@pytest.mark.parametrize(
    "frame, exif_setting, default, upright",
    [
        (
            (30, 40),
            "auto",
            False,
            True,
        ),  # the annotation has the turned size: its tool showed the image upright
        ((40, 30), "auto", True, False),  # the stored size: its tool did not turn it
        ((60, 80), "auto", False, True),
        (UNKNOWN, "auto", True, True),
        (UNKNOWN, "auto", False, False),
        (FRACTIONS, "auto", False, False),
        (FRACTIONS, "upright", False, True),
        ((30, 40), "upright", False, True),
        ((40, 30), "stored", True, False),
    ],
)
def test_the_annotations_size_tells_what_its_tool_showed(frame, exif_setting, default, upright):
    picture = image_conversion.ImageInfo(40, 30, "jpeg", "RGB", 6)
    found = fit(frame, picture, exif_setting, default)
    assert found.upright == upright and (found.width, found.height) == (
        (30, 40) if upright else (40, 30)
    )


def test_a_size_of_another_picture_is_refused():
    with pytest.raises(BadImage):
        fit((30, 40), image_conversion.ImageInfo(40, 30, "jpeg", "RGB", 1), "auto", True)
    with pytest.raises(BadImage):
        fit((30, 40), image_conversion.ImageInfo(40, 30, "jpeg", "RGB", 6), "stored", True)
