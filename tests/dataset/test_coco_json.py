"""dataset-coco-json.sh: COCO JSON with classes of its own."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.helpers import own_images as own
from todus.commands import verify
from todus.dataset.sources import coco_labels


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(coco_labels.main, tmp_path / "home", monkeypatch, capsys)


def images_of(folder, number, first=0):
    """Draws images and returns their entries."""
    names = ["i%d.jpg" % index for index in range(first, first + number)]
    for index, name in enumerate(names, first):
        own.save(folder / name, index)
    sizes = {"width": 40, "height": 30}
    return [{"id": index, "file_name": name, **sizes} for index, name in enumerate(names)]


def roboflow(root):
    """A Roboflow export: the class 0 is the others' supercategory and has no box."""
    for first, split in ((0, "train"), (10, "valid"), (20, "test")):
        images = images_of(root / split, 5, first)
        boxes = [(index, 1 + index % 2) for index in range(4)]
        names = {0: "pets", 1: "cat", 2: "dog"}
        own.coco_json(root / split / "_annotations.coco.json", images, names, boxes)
    return root


def test_a_roboflow_folder_keeps_its_splits_and_names_the_class_without_a_box(build, tmp_path):
    roboflow(tmp_path / "pets.v1i.coco")
    code, out, _ = build("pets.v1i.coco")
    assert code == 0 and "classes without a box: pets\n" in out
    assert out.startswith("coco-json/pets.v1i.coco: 12 images, 12 boxes, 2 classes\n")
    assert own.label_map("coco-json/pets.v1i.coco") == {1: "cat", 2: "dog"}
    found = own.examples("coco-json/pets.v1i.coco")
    assert {split: len(images) for split, images in found.items()} == dict.fromkeys(found, 4)
    assert own.boxes_of(found["train"]["train/i0.jpg"]) == [("cat", 5, 6, 25, 26)]


def test_keep_empty_keeps_listed_images_without_a_box_and_no_other(build, tmp_path):
    roboflow(tmp_path / "in")
    own.save(tmp_path / "in" / "train" / "unlisted.jpg", 99)
    code, out, _ = build("in", KEEP_EMPTY="1", NAME="d")
    assert code == 0 and out.startswith("coco-json/d: 15 images, 12 boxes")
    assert "image that no JSON lists: train/unlisted.jpg" in out


@pytest.mark.parametrize(
    "name",
    [
        "images/I0.JPG",
        "C:\\pictures\\i0.jpg",
        "https://example.org/a/i0.jpg?size=large#top",
        "/data/upload/1/i0.jpg",
        "file://x/my%20pictures/i0%2Ejpg",
    ],
)
def test_the_image_is_found_by_a_name_path_or_address(tmp_path, name):
    images_of(tmp_path / "images", 1)
    path = own.coco_json(tmp_path / "a.json", [{"id": 1, "file_name": name}], {1: "cat"}, [(1, 1)])
    found = coco_labels.read([path], tmp_path)
    assert [(each.name, len(each.boxes)) for each in found.images] == [("images/i0.jpg", 1)]


def test_the_folder_with_the_files_split_has_its_images(tmp_path):
    tables = []
    for first, split in enumerate(("train", "val")):
        images = images_of(tmp_path / (split + "2017"), 1)
        own.save(tmp_path / (split + "2017") / "i0.jpg", first)
        path = tmp_path / "annotations" / ("instances_%s2017.json" % split)
        tables.append(own.coco_json(path, images, {1: "cat"}, [(0, 1)]))
    own.coco_json(tmp_path / "annotations" / "person_keypoints_val2017.json", [], {1: "x"}, [])
    assert coco_labels.tables_under(tmp_path) == tables
    found = {each.name: each.split for each in coco_labels.read(tables, tmp_path).images}
    assert found == {"train2017/i0.jpg": "train", "val2017/i0.jpg": "val"}


def test_ids_may_have_gaps_or_be_text_and_sizes_may_be_missing(tmp_path):
    images_of(tmp_path, 2)
    images = [{"id": "a-7", "file_name": "i0.jpg"}, {"id": "12", "file_name": "i1.jpg"}]
    boxes = [("a-7", 90), (12, "0"), (12.0, 0)]
    path = own.coco_json(tmp_path / "a.json", images, {0: "cat", 90: "dog"}, boxes)
    found = coco_labels.read([path], tmp_path)
    names = [[box.name for box in each.boxes] for each in found.images]
    assert names == [["dog"], ["cat", "cat"]] and found.class_order == ["cat", "dog"]


def test_what_cannot_be_used_is_counted(build, tmp_path):
    images = images_of(tmp_path / "in", 8)
    path = own.coco_json(tmp_path / "a.json", images, {1: "cat"}, [(n, 1) for n in range(8)])
    value = json.loads(path.read_text())
    square = [[4, 4, 9, 4, 9, 8]]
    value["annotations"] += [
        {"image_id": 0, "category_id": 9, "bbox": [1, 2, 3, 4]},
        {"image_id": 1, "category_id": 1, "bbox": [1, 2]},
        {"image_id": 2, "category_id": 1, "bbox": [1, "x", 3, 4]},
        {"image_id": 3, "category_id": 1, "bbox": [], "segmentation": square},
        {"image_id": 99, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": 4, "category_id": 1, "bbox": [1, 2, 30, 9], "iscrowd": 1},
    ]
    value["images"] += [{"id": 50, "file_name": "gone.jpg"}, {"id": 51, "file_name": "i1.jpg"}]
    own.write(path, json.dumps(value))
    code, out, _ = build("a.json", "in", MAX_DROPPED="60%")
    assert code == 0 and out.startswith("coco-json/a: 8 images, 10 boxes, 1 class\n")
    for line in (
        "1 times: box of an unknown class",
        "1 times: box without four numbers",
        "1 times: box with a coordinate that is not a number",
        "mended 1 times: annotation without a bbox, the box around its polygon used",
        "annotations of an image that the JSON does not list: a.json: image_id 99",
        "whose file is not in the folder, or is in it twice: gone.jpg",
        "second annotation of one image: i1.jpg",
    ):
        assert line in out
    found = own.every("coco-json/a")
    assert own.boxes_of(found["i3.jpg"])[0] == ("cat", 4, 4, 9, 8)
    assert list(found["i4.jpg"].is_crowd).count(True) == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is not complete COCO JSON"),
        ('{"images": [{"id": 1, "file_', "is not complete COCO JSON"),
        ('{"images": [], "categories": [{"id": 1, "name": "cat"}]}', "has no images"),
        ('{"images": [{"id": 1, "file_name": "i0.jpg"}]}', "has no categories"),
        ('{"shapes": [], "imagePath": "a.jpg"}', "run ./dataset-labelme.sh "),
    ],
    ids=["empty", "cut", "no images", "no categories", "another format"],
)
def test_a_file_that_is_not_such_json_is_one_line(build, tmp_path, text, message):
    images_of(tmp_path / "in", 1)
    own.write(tmp_path / "a.json", text)
    code, _, err = build("a.json", "in")
    assert code == 1 and message in err and err.count("\n") == 1
    assert "remove it" not in err and not (tmp_path / "home").exists()


def test_a_folder_without_such_json_names_the_command_for_what_it_has(build, tmp_path):
    own.voc_folder(tmp_path / "in", 3)
    code, _, err = build("in")
    assert code == 1 and err.count("\n") == 1
    assert "is Pascal VOC XML: run ./dataset-voc.sh %s" % (tmp_path / "in") in err
    code, _, err = build("in/i00.xml")
    assert code == 2 and "./dataset-coco-json.sh FILE IMAGES" in err


def test_include_masks_writes_polygons_and_rle_scaled_with_their_image(build, tmp_path):
    images = images_of(tmp_path / "in", 4)
    images[1].update(width=80, height=60)  # the file was resized after annotation
    path = own.coco_json(tmp_path / "all.json", images, {1: "cat"}, [(n, 1) for n in range(4)])
    value = json.loads(path.read_text())
    ring = [[5, 6, 25, 6, 25, 26, 5, 26]]
    bits = np.zeros((30, 40), np.uint8, order="F")
    bits[6:26, 5:25] = 1
    rle = dict(coco_mask.encode(bits), size=[30, 40])
    rle["counts"] = rle["counts"].decode("ascii")
    doubled = [[2 * number for number in ring[0]]]
    for each, mask in zip(value["annotations"], (ring, doubled, rle, None)):
        each.update({"segmentation": mask} if mask else {})
    value["annotations"][1]["bbox"] = [10, 12, 40, 40]
    own.write(path, json.dumps(value))
    for side, name in (("", "d"), ("32", "small")):
        code, out, err = build("all.json", "in", NAME=name, INCLUDE_MASKS="1", MAX_SIDE=side)
        assert code == 0, err
        found = own.every("coco-json/" + name)
        assert len(found) == 4 and all(len(one.masks) == 1 for one in found.values())
        for key, one in found.items():
            mask = np.asarray(Image.open(io.BytesIO(one.masks[0])))
            assert mask.shape == (one.height, one.width)
            ys, xs = np.nonzero(mask)
            corners = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) * 40 / one.width
            assert np.abs(corners - [5, 6, 25, 26]).max() <= 1.3, (key, corners)
    assert verify.main(["coco-json/small"]) == 0
    build("all.json", "in", NAME="plain")
    assert not any(one.masks for one in own.every("coco-json/plain").values())
    assert "nothing to do" in build("all.json", "in", NAME="plain")[1]
