"""dataset.sh: the format under a path is recognised, and its script run."""

import shlex

import pytest

from tests.helpers import damage
from tests.helpers import own_images as own
from todus.commands import find_dataset
from todus.dataset.sources import cloud, coco_labels, csv, cvat, labelme, openimages, voc


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(find_dataset.main, tmp_path / "home", monkeypatch, capsys)


# kind of tests.helpers.damage -> the line that dataset.sh prints, and the dataset
FOUND = {
    "xml": ("Pascal VOC XML, 5 images, 2 classes, no val", "voc"),
    "yolo": ("YOLO labels, 5 images, 1 class, no val", "yolo"),
    "coco-json": ("COCO JSON, 5 images, 1 class, no val", "coco-json"),
    "cvat": ("CVAT for images XML, 5 images, 1 class, no val", "cvat"),
    "labelme": ("LabelMe JSON, 5 images, 1 class, no val", "labelme"),
    "csv": ("CSV of boxes, 5 images, 1 class, no val", "csv"),
    "json": ("Cloud Annotations, 5 images, 1 class, no val", "cloud"),
}


@pytest.mark.parametrize("kind", FOUND)
def test_a_folder_is_recognised_described_and_made_a_dataset(build, tmp_path, kind):
    root = tmp_path / "my pictures"
    damage.SOURCES[kind][0](root)
    code, out, err = build(root, NAME="d")
    line, folder = FOUND[kind]
    described, command, *_ = err.splitlines()
    assert described == "%s: %s" % (root, line)
    script, *arguments = shlex.split(command)
    assert script == "./dataset-%s.sh" % folder and arguments[-1] == str(root)
    assert code == 0 and out.startswith("%s/d: 5 images" % folder)


@pytest.mark.parametrize("kind", sorted(set(FOUND) - {"json"}))
def test_an_annotation_file_is_recognised_too(build, tmp_path, kind):
    path = damage.SOURCES[kind][0](tmp_path / "in")
    code, out, _ = build(path, NAME="d")
    assert code == 0 and out.startswith("%s/d: 5 images" % FOUND[kind][1])


def test_splits_are_named(build, tmp_path):
    for number, split in enumerate(("train", "train", "valid")):
        path = own.save(tmp_path / "in" / split / ("i%d.jpg" % number), number)
        own.annotate(path, [("cat", 1, 2, 20, 20)])
    assert "Pascal VOC XML, 3 images, 1 class, train and val\n" in build("in")[2]


def test_two_formats_are_a_choice_and_a_list_of_classes_is_none(build, tmp_path):
    own.voc_folder(tmp_path / "in", 4)
    own.write(tmp_path / "in" / "classes.txt", "cat\ndog\n")
    assert build("in")[0] == 0
    own.write(tmp_path / "in" / "i00.txt", "0 0.5 0.5 0.1 0.1\n")
    code, _, err = build("in", NAME="other")
    assert code == 1 and err.count("\n") == 1
    root = tmp_path / "in"
    assert "Pascal VOC XML (4 files) and YOLO labels (" in err
    assert "choose one: ./dataset-voc.sh %s or ./dataset-yolo.sh %s" % (root, root) in err


def test_a_path_without_labels_says_what_it_has(build, tmp_path):
    own.save(tmp_path / "only" / "a.jpg", 1)
    own.write(tmp_path / "empty" / "notes.txt", "hello\n")
    own.write(tmp_path / "set.zip", "PK")
    made = tmp_path / "made"
    for name in ("dataset.json", "label_map.pbtxt"):
        own.write(made / name, "{}")
    for path, message in (
        ("only", "1 image but no labels of a known format"),
        ("empty", "no labels or images under"),
        ("set.zip", "is an archive; unpack it, and name the folder"),
        ("only/a.jpg", "has no labels of a known format: Pascal VOC XML, YOLO labels"),
        ("gone", "does not exist"),
        ("made", "is a dataset already; use it with python -m model -d %s" % made),
    ):
        code, _, err = build(path)
        assert code == 1 and message in err and err.count("\n") == 1


@pytest.mark.parametrize("source", [voc, cloud, openimages, coco_labels, cvat, labelme])
def test_a_wrong_command_names_the_right_one(tmp_path, monkeypatch, capsys, source):
    damage.SOURCES["yolo"][0](tmp_path / "in" / "train")
    run = own.runner(source.main, tmp_path / "home", monkeypatch, capsys)
    code, _, err = run(tmp_path / "in")
    assert code == 1 and err.count("\n") == 1
    assert "it is YOLO labels: run ./dataset-yolo.sh %s" % (tmp_path / "in") in err


def test_a_wrong_file_for_csv_names_the_right_command(tmp_path, monkeypatch, capsys):
    path = damage.SOURCES["coco-json"][0](tmp_path / "in")
    run = own.runner(csv.main, tmp_path / "home", monkeypatch, capsys)
    code, _, err = run(path, tmp_path / "in")
    assert code == 1 and "run ./dataset-coco-json.sh %s %s" % (path, path.parent) in err
