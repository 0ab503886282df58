"""detect: images, folders, videos, lines and JSON."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.helpers.places import MODEL
from todus import paths
from todus.commands import detect
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision


@pytest.fixture
def photos(exported, tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    examples = list(average_precision.examples_of(paths.dataset("limited"), "val", 3))
    for place, each in enumerate(examples):
        (folder / ("more" if place == 2 else ".") / ("photo %d.jpg" % min(place, 1))).write_bytes(
            each.encoded
        )
    return folder


def test_a_folder_gives_pictures_and_a_contact_sheet(photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes(b"no image")
    assert (
        detect.main(
            [
                "-m",
                MODEL,
                "--format",
                "tflite",
                "--json",
                "--out",
                str(tmp_path / "out"),
                str(photos),
            ]
        )
        == 0
    )
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert len(lines) == 3 and any(line["detections"] for line in lines)
    first = next(line for line in lines if line["detections"])["detections"][0]
    assert (
        first["class"] in ("circle", "four point star")
        and 0.5 <= first["score"] <= 1
        and len(first["box"]) == 4
    )
    assert "broken.jpg" in captured.err
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    assert Image.open(str(tmp_path / "out" / "sheet.png")).size[0] > 300


def test_lines_are_tab_separated(photos, tmp_path, capsys):
    path = sorted(photos.glob("*.jpg"))[0]
    assert detect.main(["-m", MODEL, "--threshold", "0.3", "--out", str(tmp_path), str(path)]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert len(line.split("\t")) == 7


def test_a_video_is_drawn_frame_by_frame(photos, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "street.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for _ in range(4):
        writer.write(np.full((120, 160, 3), 90, np.uint8))
    writer.release()
    assert (
        detect.main(
            ["-m", MODEL, "--json", "--frames", "3", "--out", str(tmp_path / "out"), str(path)]
        )
        == 0
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"].rsplit("#")[1] for line in lines] == ["0", "1", "2"]
    capture = cv2.VideoCapture(str(tmp_path / "out" / "street.avi"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3


def test_what_cannot_be_read_is_refused_by_name(exported, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(UsageError, match="none.jpg: no such image"):
        detect.main(["-m", MODEL, str(tmp_path / "none.jpg")])
    with pytest.raises(UsageError, match="no images in this folder"):
        detect.main(["-m", MODEL, str(tmp_path / "empty")])
    with pytest.raises(TodusError, match="text.jpg is not an image"):
        detect.main(["-m", MODEL, str(tmp_path / "text.jpg")])
    with pytest.raises(TodusError, match="bad.mp4"):
        detect.main(["-m", MODEL, "--out", str(tmp_path / "out"), str(tmp_path / "bad.mp4")])
    with pytest.raises(UsageError, match="--threshold"):
        detect.main(["-m", MODEL, "--threshold", "2", str(tmp_path / "text.jpg")])
