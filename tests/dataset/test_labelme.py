"""dataset-labelme.sh: LabelMe's JSON files."""

import pytest

from tests.helpers import own_images as own
from todus.dataset.sources import labelme


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(labelme.main, tmp_path / "home", monkeypatch, capsys)


def draw(root, numbers, shapes=(("cat", [[25, 6], [5, 26]]),), **more):
    for number in numbers:
        image = own.save(root / ("i%d.jpg" % number), number)
        own.labelme(image, shapes, **more)


def test_rectangles_become_boxes_whatever_the_order_of_their_corners(build, tmp_path):
    draw(tmp_path / "in", range(5))
    code, out, _ = build("in")
    assert code == 0 and out.startswith("labelme/in: 5 images, 5 boxes, 1 class\n")
    assert "mended" not in out
    found = own.every("labelme/in")
    assert {own.boxes_of(each)[0] for each in found.values()} == {("cat", 5, 6, 25, 26)}


@pytest.mark.parametrize(
    "kind, points, corners",
    [
        ("polygon", [[4, 5], [14.5, 5], [9, 22]], (4, 5, 14.5, 22)),
        ("circle", [[20, 15], [23, 19]], (15, 10, 25, 20)),
        ("mask", [[3, 4], [13, 10]], (3, 4, 13, 10)),
        (None, [[4, 5], [14.5, 5], [9, 22]], (4, 5, 14.5, 22)),
        ("rotation", [[4, 5], [9, 3], [14.5, 9], [9, 22]], (4, 3, 14.5, 22)),  # of X-AnyLabeling
    ],
)
def test_a_shape_with_an_area_becomes_the_box_around_it_and_is_counted(
    tmp_path, kind, points, corners
):
    draw(tmp_path, [0], [("cat", points, kind)], imageData="AAAA" * 1000)
    found = labelme.read(tmp_path)
    assert found.images[0].boxes[0][:5] == ("cat", *map(pytest.approx, corners))
    assert list(found.mended.values()) == [1]


def test_shapes_that_cannot_be_used_are_counted(tmp_path):
    shapes = [("cat", [[5, 6], [25, 26]]), ("cat", [[5, 6]], "point"), ("", [[1, 2], [3, 4]])]
    shapes += [("cat", [[1, 2], [3, 4]], "line"), ("cat", [[1, "x"], [3, 4]]), ("cat", 7)]
    draw(tmp_path, [0], shapes)
    (image,) = labelme.read(tmp_path).images
    assert len(image.boxes) == 1 and image.dropped == {
        labelme.NO_AREA: 2,
        "box without a label": 1,
        "box with a coordinate that is not a number": 2,
    }


def test_the_labels_that_labelme_ignores_are_no_classes(tmp_path):
    draw(tmp_path, [0], [(name, [[5, 6], [25, 26]]) for name in ("__ignore__", "cat")])
    found = labelme.read(tmp_path)
    assert [box.name for box in found.images[0].boxes] == ["cat"]
    assert found.mended == {labelme.NO_CLASS: 1} and not found.images[0].dropped


def test_files_in_a_folder_beside_the_images_and_splits_by_folder(tmp_path):
    for number, split in enumerate(("train", "val")):
        image = own.save(tmp_path / split / "images" / "a.jpg", number)
        path = own.labelme(image, [(split, [[1, 2], [30, 20]])], imagePath="..\\images\\a.jpg")
        (tmp_path / split / "json").mkdir()
        path.rename(tmp_path / split / "json" / "a.json")
    found = labelme.read(tmp_path)
    assert [(each.name, each.split, each.boxes[0].name) for each in found.images] == [
        ("train/images/a.jpg", "train", "train"),
        ("val/images/a.jpg", "val", "val"),
    ]


@pytest.mark.parametrize("keep, images", [("0", 5), ("1", 7)])
def test_images_without_json_or_shapes_are_negatives_with_keep_empty_only(
    build, tmp_path, keep, images
):
    draw(tmp_path / "in", range(5))
    draw(tmp_path / "in", [5], [])
    own.save(tmp_path / "in" / "i6.jpg", 6)
    draw(tmp_path / "in", [7])
    own.write(tmp_path / "in" / "i7.json", '{"shapes": [')
    code, out, _ = build("in", KEEP_EMPTY=keep, MAX_DROPPED="20%")
    assert code == 0 and out.startswith("labelme/in: %d images, 5 boxes" % images)
    assert "JSON that cannot be parsed: i7.json" in out and labelme.DOUBTFUL in out


def test_a_folder_of_another_format_names_its_command(build, tmp_path):
    own.save(tmp_path / "in" / "a.jpg", 1)
    images = [{"id": 1, "file_name": "a.jpg"}]
    own.coco_json(tmp_path / "in" / "a.json", images, {1: "cat"}, [(1, 1)])
    code, _, err = build("in")
    assert code == 1 and err.count("\n") == 1
    assert "is COCO JSON: run ./dataset-coco-json.sh %s" % (tmp_path / "in") in err
