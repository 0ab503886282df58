"""python -m todus.commands.preview: the contact sheet and the page of counts."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers import own_images as own
from todus import paths
from todus.command import run
from todus.commands import preview
from todus.dataset.annotations import Box
from todus.dataset.annotations import Image as Annotated
from todus.dataset.box_sizes import measure
from todus.dataset.sources import voc
from todus.detection import drawing
from todus.preview.sheet import draw


@pytest.fixture
def dataset(tmp_path, monkeypatch, capsys):
    """voc/p: 10 images of 40x30, one with a box of half a pixel at 30x30 and a class <script>."""
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="p")
    own.voc_folder(tmp_path / "in", 10)
    boxes = [("cat", 5, 6, 25, 26), ("&lt;script&gt;", 1, 1, 1.6, 20)]
    own.write(tmp_path / "in" / "i00.xml", own.xml("", (40, 30), boxes))
    assert voc.main([str(tmp_path / "in")]) == 0
    capsys.readouterr()
    return paths.dataset("voc/p")


def test_the_sheet_shows_every_image_and_the_page_every_class(dataset, capsys):
    assert preview.main(["voc/p", "--size", "30x30"]) == 0
    sheet = Image.open(str(dataset.folder / "preview.png"))
    assert sheet.size == (4 * 328 + 8, 2 * 34 + 3 * 270 + 8)
    page = (dataset.folder / "preview.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "http" not in page
    out = capsys.readouterr().out
    assert "voc/p at an input of 30x30" in out and "15 x 20" in out
    tiny = next(line for line in out.splitlines() if "<script>" in line)
    assert tiny.split()[-1] == "1"


def test_boxes_are_drawn_at_their_coordinates(tmp_path):
    file = tmp_path / "white.png"
    Image.new("RGB", (320, 240), "white").save(str(file))
    image = Annotated("w", "w", 320, 240, [Box(1, 60, 100, 180, 200, 12000)], file)
    drawn = np.asarray(draw({"train": [image]}, {1: "thing"})).astype(int)
    red = (np.abs(drawn - [0xE6, 0x19, 0x4B]).sum(axis=2) == 0)[8 + 34 + 62 : 8 + 34 + 178, 8:]
    columns = np.flatnonzero(red.all(axis=0)).tolist()
    assert columns == [100, 101, 102, 197, 198, 199]


def test_labels_hide_no_other_box_and_any_script_is_drawn(tmp_path):
    file = tmp_path / "white.png"
    Image.new("RGB", (320, 240), "white").save(str(file))
    corners = [(5 + 50 * row, 5 + 50 * column) for row in range(4) for column in range(6)]
    boxes = [Box(1, y, x, y + 40, x + 40, 1600) for y, x in corners]
    boxes += [Box(2, 210, 100, 230, 300, 4000)]
    image = Annotated("w", "w", 320, 240, boxes, file)
    drawn = np.asarray(draw({"train": [image]}, {1: "label", 2: "\u732b \U0001f415"}))
    cell = drawn[8 + 34 : 8 + 34 + 240, 8 : 8 + 320]
    for y, x in corners:
        assert (cell[y : y + 40, x : x + 40][3:-3, 3:-3] == 255).mean() > 0.6
        assert (cell[y, x : x + 40] == [0xE6, 0x19, 0x4B]).all()
    font, text = drawing.lettering("a \u732b\U0010ffff", 12)
    assert text.startswith("a ") and text.endswith("\\U0010ffff") and font.size == 12
    assert (
        drawing.lettering("k\u00f6\u010dka \u043a\u043e\u0442", 12)[1]
        == "k\u00f6\u010dka \u043a\u043e\u0442"
    )


def test_sizes_are_those_at_the_networks_input():
    boxes = [Box(5, 0, 0, 30, 60, 1800), Box(5, 0, 0, 1, 300, 300, True)]
    found = measure([Annotated(1, "a", 600, 300, boxes)], (300, 300))[5]
    assert (found.images, found.boxes, found.crowds, found.tiny) == (1, 2, 1, 1)
    assert sorted(found.widths) == [30, 150] and sorted(found.heights) == [1, 30]
    assert found.histogram() == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "code, arguments, message",
    [
        (1, ["voc/none"], "no dataset at"),
        (2, ["voc/p", "--size", "x"], "--size"),
        (2, ["voc/p", "--images", "0"], "--images"),
    ],
)
def test_wrong_arguments_are_one_line(dataset, capsys, code, arguments, message):
    assert run("preview", preview.main, arguments) == code
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
