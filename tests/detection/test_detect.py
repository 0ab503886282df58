"""detect: images, folders, videos, lines and JSON."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.helpers.places import MODEL
from todus import command, paths
from todus.commands import detect
from todus.dataset import image_conversion
from todus.detection import media
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision


@pytest.fixture
def photos(exported, tmp_path):
    """A folder of three images, two of them with one name."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    examples = average_precision.examples_of(paths.dataset("limited"), "val", 3)
    for name, example in zip(("photo 0.jpg", "photo 1.jpg", "more/photo 1.jpg"), examples):
        (folder / name).write_bytes(example.encoded)
    return folder


def test_a_folder_gives_pictures_and_a_contact_sheet(photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    arguments = ["-m", MODEL, "--format", "tflite", "--json", "--out", str(out), str(photos)]
    with pytest.raises(TodusError, match="^1 of 4 files cannot be read$"):
        detect.main(arguments)
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert len(lines) == 3
    first = [each for line in lines for each in line["detections"]][0]
    assert first["class"] in ("circle", "four point star")
    assert 0.5 <= first["score"] <= 1 and len(first["box"]) == 4
    assert "broken.jpg" in captured.err
    assert len(list(out.glob("*.png"))) == 4
    assert Image.open(str(out / "sheet.png")).size[0] > 300


def test_a_line_has_seven_fields_with_tabs(photos, tmp_path, capsys):
    path = str(photos / "photo 0.jpg")
    assert detect.main(["-m", MODEL, "--threshold", "0.01", "--out", str(tmp_path), path]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {(len(line), line[0]) for line in lines} == {(7, path)}


def test_a_video_is_drawn_frame_by_frame(exported, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    path, out = tmp_path / "street.avi", tmp_path / "out"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for _ in range(4):
        writer.write(np.full((120, 160, 3), 90, np.uint8))
    writer.release()
    arguments = ["-m", MODEL, "--json", "--frames", "3", "--out", str(out), str(path)]
    assert detect.main(arguments) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"].rsplit("#")[1] for line in lines] == ["0", "1", "2"]
    capture = cv2.VideoCapture(str(out / "street.avi"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3


def test_the_images_after_a_bad_one_are_still_done(photos, tmp_path, capsys):
    bad = tmp_path / "IMG_1.jpg"
    bad.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    paths = [str(bad), str(photos / "photo 0.jpg")]
    arguments = ["-m", MODEL, "--format", "tflite", "--json", "--out", str(tmp_path / "out")]
    assert command.run("detect", detect.main, arguments + paths) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["image"] == paths[1]
    assert "IMG_1.jpg is not an image that can be read (image is HEIC" in captured.err
    assert captured.err.endswith("detect: 1 of 2 files cannot be read\n")


def test_wrong_input_is_an_error_that_names_it(exported, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    for name, error, words in (
        ("none.jpg", UsageError, "none.jpg: no such image"),
        ("empty", UsageError, "empty: no images in this folder"),
        ("text.jpg", TodusError, "text.jpg is not an image"),
        ("bad.mp4", TodusError, "bad.mp4: no frame can be read"),
    ):
        with pytest.raises(error, match=words):
            detect.main(["-m", MODEL, "--out", str(tmp_path / "out"), str(tmp_path / name)])
    with pytest.raises(UsageError, match="--threshold"):
        detect.main(["-m", MODEL, "--threshold", "2", str(tmp_path / "text.jpg")])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_read_upright_by_its_exif_orientation_as_a_dataset_reads_it(
    tmp_path, orientation, kind
):
    path, tags = tmp_path / "photo", Image.Exif()
    tags[0x0112] = orientation
    smooth = np.linspace(0, 255, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    Image.fromarray(smooth).save(str(path), kind, exif=tags)
    stored, _ = image_conversion.convert(path, upright=True)
    expected = np.asarray(Image.open(io.BytesIO(stored)))
    assert expected.shape == ((40, 30, 3) if orientation >= 5 else (30, 40, 3))
    difference = np.abs(media.read_image(path).astype(int) - expected)
    assert difference.max() <= (6 if kind == "JPEG" else 0)


def test_a_photo_taken_upright_is_detected_and_drawn_upright(photos, tmp_path, capsys):
    upright, turned = photos / "photo 0.jpg", photos / "turned.png"
    tags = Image.Exif()
    tags[0x0112] = 6  # shown after a quarter turn clockwise
    image = Image.open(str(upright)).convert("RGB")
    image.transpose(Image.ROTATE_90).save(str(turned), exif=tags)
    found = []
    for path in (upright, turned):
        arguments = ["-m", MODEL, "--json", "--out", str(tmp_path), "--threshold", "0.1"]
        assert detect.main(arguments + [str(path)]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["detections"] and found[0]["detections"] == found[1]["detections"]
    assert (found[1]["width"], found[1]["height"]) == image.size
    drawn = [Image.open(str(tmp_path / name)) for name in ("photo 0.png", "turned.png")]
    assert np.array_equal(*map(np.asarray, drawn))
