"""MAX_SIDE shrinks large images when a dataset is built, and their boxes with them."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers import own_images as own
from todus.dataset.sources import voc


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(voc.main, tmp_path / "home", monkeypatch, capsys)


def photo(path, orientation=1, size=(400, 300)):
    """White, with a black rectangle from (100, 60) to (300, 240) as it is stored."""
    picture = Image.new("RGB", size, "white")
    picture.paste((0, 0, 0), (100, 60, 300, 240))
    tags = Image.Exif()
    tags[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(str(path), exif=tags)
    return path


def test_longer_images_are_shrunk_upright_with_their_boxes_and_the_others_stay(build, tmp_path):
    own.annotate(photo(tmp_path / "in/wide.jpg"), [("cat", 100, 60, 300, 240)], (400, 300))
    own.annotate(photo(tmp_path / "in/wide.png"), [("cat", 100, 60, 300, 240)], (400, 300))
    (tmp_path / "in/wide.png").rename(tmp_path / "in/sharp.png")
    (tmp_path / "in/wide.xml").rename(tmp_path / "in/sharp.xml")
    own.annotate(photo(tmp_path / "in/wide.jpg"), [("cat", 100, 60, 300, 240)], (400, 300))
    turned = photo(tmp_path / "in/turned.jpg", 6)  # shown after a quarter turn clockwise
    own.annotate(turned, [("cat", 60, 100, 240, 300)], (300, 400))
    small = own.save(tmp_path / "in/small.jpg", 1, 100, 75)
    own.annotate(small, [("cat", 1, 2, 30, 40)], (100, 75))
    code, out, _ = build("in", MAX_SIDE="100", NAME="d")
    assert code == 0 and "mended 2 times: image converted: shrunk to MAX_SIDE\n" in out
    assert "mended 1 times: image converted: turned upright, shrunk to MAX_SIDE\n" in out
    found = own.every("voc/d")
    assert found["small.jpg"].encoded == small.read_bytes()
    for name, size, box in (
        ("wide.jpg", (100, 75), (25, 15, 75, 60)),
        ("sharp.png", (100, 75), (25, 15, 75, 60)),
        ("turned.jpg", (75, 100), (15, 25, 60, 75)),
    ):
        one = found[name]
        picture = Image.open(io.BytesIO(one.encoded))
        assert picture.size == size == (one.width, one.height)
        assert own.boxes_of(one) == [("cat", *box)] and not picture.getexif()
        black = np.argwhere(np.asarray(picture.convert("L")) < 128)
        assert (*black.min(0)[::-1], *(black.max(0)[::-1] + 1)) == box
    assert "nothing to do" in build("in", MAX_SIDE="100", NAME="d")[1]
    assert "images that changed splits: 0\n" in build("in", MAX_SIDE="80", NAME="d")[1]


def test_the_bytes_are_the_same_for_any_number_of_processes(build, tmp_path):
    own.voc_folder(tmp_path / "in", 40)
    trees = []
    for jobs in ("1", "3"):
        assert build("in", MAX_SIDE="32", NAME="jobs", REPLACE="1", JOBS=jobs)[0] == 0
        trees.append(own.tree(tmp_path / "home"))
        (tmp_path / "home/dataset/voc/jobs/dataset.json").unlink()
    assert trees[0] == trees[1]


@pytest.mark.parametrize(
    "size, is_told", [((1600, 1200), True), ((1000, 1000), False)], ids=["large", "small"]
)
def test_large_images_are_told_with_what_to_type(build, tmp_path, size, is_told):
    for index in range(2):
        path = photo(tmp_path / ("in/i%d.png" % index), size=(size[0] + index, size[1]))
        own.annotate(path, [("cat", 100, 60, 300, 240)], ("", ""))
    line = "2 of 2 images have more than 1.6 megapixels, which slows training down"
    out = build("in")[1]
    assert (line in out) == is_told
    if is_told:
        assert "run this again with MAX_SIDE=1280\n" in out
        assert "megapixels" not in build("in", MAX_SIDE="1280")[1]
