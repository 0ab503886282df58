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
from todus.preview import sheet


@pytest.fixture
def dataset(tmp_path, monkeypatch, capsys):
    """voc/p: 10 images of 40x30, one with a box of half a pixel at 30x30 and a hostile class name."""
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="p")
    own.voc_folder(tmp_path / "in", 10)
    own.write(
        tmp_path / "in" / "i00.xml",
        own.xml("", (40, 30), [("cat", 5, 6, 25, 26), ("&lt;script&gt;", 1, 1, 1.6, 20)]),
    )
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


def test_boxes_are_drawn_where_they_are(dataset):
    preview.main(["voc/p"])
    picture = Image.new("RGB", (320, 240), "white")
    folder = dataset.folder
    picture.save(str(folder / "white.png"))
    image = Annotated("w", "w", 320, 240, [Box(1, 60, 100, 180, 200, 12000)], folder / "white.png")
    drawn = np.asarray(sheet.draw({"train": [image]}, {1: "thing"})).astype(int)
    red = (np.abs(drawn - [0xE6, 0x19, 0x4B]).sum(axis=2) == 0)[8 + 34 + 62 : 8 + 34 + 178, 8:]
    columns = np.flatnonzero(red.all(axis=0)).tolist()
    assert columns == [100, 101, 102, 197, 198, 199]


def test_sizes_are_those_at_the_networks_input():
    images = [
        Annotated(1, "a", 600, 300, [Box(5, 0, 0, 30, 60, 1800), Box(5, 0, 0, 1, 300, 300, True)])
    ]
    found = measure(images, (300, 300))[5]
    assert (found.images, found.boxes, found.crowds, found.tiny) == (1, 2, 1, 1)
    assert sorted(found.widths) == [30, 150] and sorted(found.heights) == [1, 30]
    assert found.histogram() == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["voc/none"], "no dataset at"),
        (["voc/p", "--size", "x"], "--size"),
        (["voc/p", "--images", "0"], "--images"),
    ],
)
def test_wrong_arguments_are_one_line(dataset, capsys, arguments, says):
    assert run("preview", preview.main, arguments) in (1, 2)
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
