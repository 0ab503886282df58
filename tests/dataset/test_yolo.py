"""dataset-yolo.sh: YOLO labels."""

import os

import pytest

from tests.helpers import own_images as own
from todus.dataset.sources import yolo
from todus.errors import TodusError

BOX = "0 0.5 0.5 0.25 0.5\n"
CORNERS = ("cat", 15, 7.5, 25, 22.5)


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(yolo.main, tmp_path / "home", monkeypatch, capsys)


def draw(root, images, labels, numbers, text=BOX):
    """Images in one folder, and their label files in another."""
    for number in numbers:
        own.save(root / images / ("i%d.jpg" % number), number)
        own.write(root / labels / ("i%d.txt" % number), text)


def one(root, text, names="names: [cat, dog]"):
    """The labelled image, the result of a folder with one label file."""
    draw(root, "images", "labels", [0], text)
    own.write(root / "data.yaml", names)
    found = yolo.read(root)
    return found.images[0], found


def roboflow(root):
    for first, split in ((0, "train"), (10, "valid"), (20, "test")):
        draw(root, split + "/images", split + "/labels", range(first, first + 4))
    own.write(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n"
        "names: ['cat', 'dog']\n\nroboflow:\n  workspace: x\n  version: 1\n",
    )
    own.write(root / "README.roboflow.txt", "\npets - v1\n==============\n\n4 images")
    return root


def test_a_roboflow_folder_keeps_its_splits_though_its_paths_do_not_fit(build, tmp_path):
    roboflow(tmp_path / "pets")
    code, out, _ = build("pets")
    assert code == 0 and out.startswith("yolo/pets: 12 images, 12 boxes, 1 class\n")
    assert "classes without a box: dog\n" in out and "left out" not in out
    found = own.examples("yolo/pets")
    assert {split: len(images) for split, images in found.items()} == dict.fromkeys(found, 4)
    assert own.boxes_of(found["val"]["valid/images/i10.jpg"]) == [CORNERS]
    code, out, _ = build("pets")
    assert code == 0 and "up to date" in out


ULTRALYTICS = """# COCO8
path: ../datasets/coco8 # dataset root dir
train: images/train
val: images/val
test: # optional
names:
  0: cat
  1: dog
download: |
  import os
  os.system("touch pwned")
"""
LISTS = {"train.txt": [0, 1], "valid.txt": [2], "test.txt": [3]}


def layout_of(kind, root):
    """Draws four images with labels: 0 and 1 for train, 2 for val, 3 for test or val."""
    if kind == "ultralytics":
        draw(root, "images/train", "labels/train", [0, 1])
        draw(root, "images/val", "labels/val", [2, 3])
        own.write(root / "coco8.yaml", ULTRALYTICS)
    elif kind == "cvat":
        draw(root, "obj_train_data", "obj_train_data", range(4))
        for name, numbers in LISTS.items():
            lines = ["data/obj_train_data/i%d.jpg" % number for number in numbers]
            own.write(root / name, "\r\n".join(lines))
        own.write(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names")
        own.write(root / "obj.names", "cat\ndog\n")
    elif kind == "lists in data.yaml":
        draw(root, "images", "labels", range(4))
        for name, numbers in LISTS.items():
            lines = ["./images/i%d.jpg" % number for number in numbers]
            own.write(root / "lists" / name, "\n".join(lines))
        lists = "".join("%s: lists/%s\n" % (name[:-4], name) for name in LISTS)
        own.write(root / "data.yaml", lists.replace("valid:", "val:") + "names: [cat, dog]")
    elif kind == "several folders":
        for number in range(4):
            draw(root, "images/s%d" % number, "labels/s%d" % number, [number])
        folders = "train: [/content/x/images/s0, 'images\\s1']\nval:\n- images/s2/\n- images/s3\n"
        own.write(root / "data.yaml", folders + "names: [cat, dog]")
    else:
        for number, split in enumerate(("Train", "train", "Valid", "test")):
            draw(root, "%s" % split, "%s" % split, [number])
            own.write(root / split / "_darknet.labels", "cat\ndog\n")
    return root


@pytest.mark.parametrize(
    "kind, last",
    [
        ("ultralytics", "val"),
        ("cvat", "test"),
        ("lists in data.yaml", "test"),
        ("several folders", "val"),
        ("darknet", "test"),
    ],
)
def test_the_splits_and_classes_of_every_layout_are_found(tmp_path, kind, last, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = yolo.read(layout_of(kind, tmp_path / "in"))
    splits = {each.path.stem: each.split for each in found.images}
    assert splits == {"i0": "train", "i1": "train", "i2": "val", "i3": last}
    assert found.class_order == ["cat", "dog"] and not found.left_out and not found.mended
    assert [len(each.boxes) for each in found.images] == [1] * 4
    assert not (tmp_path / "pwned").exists()


def test_one_folder_for_train_and_val_is_split_by_val(build, tmp_path):
    draw(tmp_path / "in", "images/train2017", "labels/train2017", range(10))
    yaml = "train: images/train2017\nval: images/train2017\nnames: {0: cat}"
    own.write(tmp_path / "in" / "data.yaml", yaml)
    assert build("in")[0] == 0
    assert {len(images) > 0 for images in own.examples("yolo/in").values()} == {True}


def test_labelimg_files_beside_their_images_and_classes_txt(tmp_path):
    draw(tmp_path, ".", ".", [0, 1])
    own.write(tmp_path / "classes.txt", "\ufeffcat\r\nclass two\r\n\r\n")
    found = yolo.read(tmp_path)
    assert found.class_order == ["cat", "class two"]
    assert [each.boxes[0].name for each in found.images] == ["cat", "cat"]


def test_a_data_yaml_elsewhere_is_given_first(build, tmp_path):
    draw(tmp_path / "in", "images/train", "labels/train", range(3))
    draw(tmp_path / "in", "images/val", "labels/val", range(3, 5))
    own.write(tmp_path / "conf" / "my.yaml", "path: ../in\n" + ULTRALYTICS.split("\n", 2)[2])
    code, out, _ = build("conf/my.yaml", "in")
    assert code == 0 and out.startswith("yolo/in: 5 images")
    code, _, err = build("in", NAME="other")
    assert code == 1 and "no data.yaml, classes.txt or obj.names under" in err


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff0 0.5 0.5 0.25 0.5\r\n",
        "0\t0.5\t0.5\t0.25\t0.5",
        "0 0,5 0,5 0,25 0,5",
        "0,0.5,0.5,0.25,0.5",
        "0, 0.5, 0.5, 0.25, 0.5",
        "0.000000 5e-1 .5 0.25 0.5 ",
        "\n\n0 0.5 0.5 0.25 0.5\n\n",
        "0 0.5 0.5 0.25 0.5 0.987",
    ],
)
def test_a_box_is_read_whatever_the_dialect(tmp_path, text):
    labelled, _ = one(tmp_path, text)
    assert [box[:8] for box in labelled.boxes] == [
        ("cat", 0.375, 0.25, 0.625, 0.75, False, False, False)
    ]
    assert not labelled.dropped


@pytest.mark.parametrize(
    "text",
    [
        "1 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5",
        "1 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5 0.9",
        "1 0.5 0.25 0.75 0.5 0.25 0.75",
        "1 0.5 0.25 0.6 0.3 0.75 0.5 0.5 0.75 0.4 0.6 0.25 0.5",
    ],
)
def test_polygons_and_rotated_boxes_become_boxes_and_are_counted(tmp_path, text):
    labelled, found = one(tmp_path, text)
    assert labelled.boxes[0][:5] == ("dog", 0.25, 0.25, 0.75, 0.75)
    assert found.mended == {"polygon or rotated box, taken as the box around it": 1}


def test_the_keypoints_of_a_pose_are_not_a_polygon(tmp_path):
    text = "0 0.5 0.5 0.25 0.5 0.1 0.1 2 0.9 0.9 0"
    labelled, found = one(tmp_path, text, "names: [cat]\nkpt_shape: [2, 3]\n")
    assert labelled.boxes[0][1:5] == (0.375, 0.25, 0.625, 0.75) and not found.mended


def test_lines_that_cannot_be_used_are_counted(tmp_path):
    lines = ["2 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "0.5 0.5 0.5 0.1 0.1", "cat 0.5 0.5 1 1"]
    lines += ["0 320 240 50 60", "0 0.5 0.5", "0 nan 0.5 0.1 0.1", "0"]
    labelled, _ = one(tmp_path, BOX + "\n".join(lines))
    assert len(labelled.boxes) == 1 and labelled.dropped == {
        yolo.NO_CLASS: 3,
        "box with a coordinate that is not a number": 2,
        yolo.IN_PIXELS: 1,
        yolo.NOT_A_LINE: 2,
    }


@pytest.mark.parametrize("keep, images", [("0", 6), ("1", 8)])
def test_an_empty_or_missing_label_file_is_a_negative_with_keep_empty_only(
    build, tmp_path, keep, images
):
    draw(tmp_path / "in", "images", "labels", range(6))
    draw(tmp_path / "in", "images", "labels", [6], "\n")
    own.save(tmp_path / "in" / "images" / "i7.jpg", 7)
    own.write(tmp_path / "in" / "classes.txt", "cat\n")
    code, out, _ = build("in", KEEP_EMPTY=keep)
    assert code == 0 and out.startswith("yolo/in: %d images, 6 boxes" % images)


def test_an_image_whose_labels_are_doubtful_is_never_a_negative(tmp_path):
    draw(tmp_path, "images", "labels", range(3))
    own.save(tmp_path / "images" / "i1.png", 9)
    (tmp_path / "labels" / "i2.txt").write_bytes(b"\0\1\2")
    own.write(tmp_path / "labels" / "gone.txt", BOX)
    own.write(tmp_path / "classes.txt", "cat")
    found = yolo.read(tmp_path)
    assert [each.name for each in found.images] == ["images/i0.jpg"]
    reasons = {each.file: each.reason for each in found.left_out if each.fault}
    assert reasons == {
        "labels/gone.txt": yolo.NO_IMAGE,
        "labels/i1.txt": yolo.NO_IMAGE,
        "labels/i2.txt": "label file that is binary",
    }


def test_labels_in_a_folder_of_another_name_belong_to_the_only_image_of_their_name(tmp_path):
    draw(tmp_path, "pictures", "yolo_txt", [0, 1])
    own.write(tmp_path / "yolo_txt" / "classes.txt", "cat")
    found = yolo.read(tmp_path)
    assert [len(each.boxes) for each in found.images] == [1, 1] and found.mended[yolo.BY_NAME] == 2


@pytest.mark.parametrize(
    "text, names",
    [
        ("names: [yes, no, 007, 1.0]", ["yes", "no", "007", "1.0"]),
        ("names: {2: dog, 0: cat}", ["cat", "dog"]),
        ("names: cat", ["cat"]),
        ("names: !!python/object/apply:os.system ['touch pwned']", ["touch pwned"]),
        ('{"nc": 1, "names": ["cat"]}', ["cat"]),
    ],
)
def test_class_names_are_read_as_they_are_written(tmp_path, text, names):
    assert one(tmp_path, BOX, text)[1].class_order == names


BOMB = "a: &a [x,x]\n" + "".join(
    "%s: &%s [%s]\n" % (chr(98 + n), chr(98 + n), ",".join(["*" + chr(97 + n)] * 9))
    for n in range(9)
)


@pytest.mark.parametrize(
    "text, message",
    [
        ("names: [cat\n", "is not readable YAML"),
        (BOMB + "names: *j\n", "names must be"),
        ("names: {0: cat, 99999999999: dog}", "ids from 0 to 9999"),
        ("names:\n  - [a]\n", "names must be"),
        pytest.param("names: " + "[" * 5000, "is not readable YAML", id="nested"),
        ("names:\n", 'has no "names"'),
    ],
)
def test_a_data_yaml_that_cannot_be_used_is_one_line(build, tmp_path, text, message):
    draw(tmp_path / "in", "images", "labels", range(3))
    own.write(tmp_path / "in" / "data.yaml", text)
    code, _, err = build("in")
    assert code == 1 and message in err and err.count("\n") == 1
    assert not (tmp_path / "pwned").exists() and not (tmp_path / "home").exists()


def test_aliases_of_aliases_in_yaml_are_an_error_of_one_line(tmp_path):
    draw(tmp_path, "images", "labels", [0])
    lists = ["a0: &a0 [%s]" % ", ".join("x" * 10)]
    lists += ["a%d: &a%d [%s]" % (n, n, ", ".join(["*a%d" % (n - 1)] * 10)) for n in range(1, 12)]
    for name in ("one.yaml", "two.yaml"):
        own.write(tmp_path / name, "\n".join(["train: images"] + lists + ["names: *a11"]))
    with pytest.raises(TodusError, match="names must be a list of class names"):
        yolo.read(tmp_path)


def test_a_pipe_among_the_files_is_not_read(tmp_path):
    draw(tmp_path, "images", "labels", [0])
    own.save(tmp_path / "images" / "i1.jpg", 1)
    for name in ("labels/i1.txt", "labels/gone.txt", "a.json", "b.yaml"):
        os.mkfifo(str(tmp_path / name))
    own.write(tmp_path / "classes.txt", "cat")
    found = yolo.read(tmp_path)
    assert [each.name for each in found.images] == ["images/i0.jpg"]
    assert found.left_out[0].reason == "label file that is a pipe or a folder"


def test_of_two_data_yaml_with_other_classes_one_must_be_named(build, tmp_path):
    draw(tmp_path / "in", "images", "labels", range(3))
    for name in ("a.yaml", "b.yaml", "more/c.yaml"):
        own.write(tmp_path / "in" / name, "names: [%s, dog]" % name[0])
    code, _, err = build("in")
    assert code == 1 and err.count("\n") == 1
    assert "b.yaml has other classes than %s" % (tmp_path / "in" / "a.yaml") in err
    code, out, _ = build("in/b.yaml", "in")
    assert code == 0 and own.label_map("yolo/in") == {1: "b"}


def test_paths_outside_the_folder_are_not_followed(tmp_path):
    draw(tmp_path, "secret/images", "secret/labels", [7])
    draw(tmp_path / "in", "images", "labels", [0])
    secret = tmp_path / "secret"
    own.write(secret / "list.txt", str(secret / "images" / "i7.jpg"))
    yaml = "path: ../secret\ntrain: [images, %s, ../secret/list.txt]\nnames: [cat]" % secret
    own.write(tmp_path / "in" / "data.yaml", yaml)
    assert [each.name for each in yolo.read(tmp_path / "in").images] == ["images/i0.jpg"]


def test_a_folder_of_another_format_names_its_command(build, tmp_path):
    own.voc_folder(tmp_path / "in", 3)
    code, _, err = build("in")
    assert code == 1 and err.count("\n") == 1
    assert "is Pascal VOC XML: run ./dataset-voc.sh %s" % (tmp_path / "in") in err
    draw(tmp_path / "two", "images", "labels", [0])
    own.write(tmp_path / "two" / "a" / "classes.txt", "cat")
    own.write(tmp_path / "two" / "b" / "classes.txt", "dog")
    code, _, err = build("two")
    assert code == 1 and "has other classes than" in err


def test_copies_of_label_files_in_a_backup_folder_are_no_faults(build, tmp_path):
    draw(tmp_path / "in", "images", "labels", range(6))
    for number in range(6):
        own.write(tmp_path / "in" / "labels_old" / ("i%d.txt" % number), "0 0.1 0.1 0.1 0.1\n")
    own.write(tmp_path / "in" / "data.yaml", "names: [cat]")
    code, out, _ = build("in")
    assert code == 0 and own.boxes_of(own.every("yolo/in")["images/i3.jpg"]) == [CORNERS]
    assert "left out 6 times: copy of an annotation in another folder: labels_old/i0.txt" in out
