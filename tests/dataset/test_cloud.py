"""dataset-cloud.sh: Cloud Annotations folders."""

import json

import pytest

from tests.helpers import own_images as own
from todus import paths
from todus.dataset.sources import cloud

# The example that is usually given of the format.
SAMPLE = {
    "version": "1.0",
    "type": "localization",
    "labels": ["Cat", "Dog"],
    "annotations": {
        "image1.jpg": [
            {"x": 0.7255949630, "x2": 0.9695875693, "y": 0.5820120073, "y2": 1, "label": "Cat"},
            {"x": 0.8845598428, "x2": 1, "y": 0.1829972290, "y2": 0.9662484605, "label": "Dog"},
        ]
    },
}


@pytest.fixture
def folder(tmp_path):
    """An exported folder with six images of 80x60."""
    names = ["image%d.jpg" % index for index in range(1, 7)]
    for index, name in enumerate(names):
        own.save(tmp_path / "pets" / name, index, 80, 60)
    others = dict.fromkeys(names, [{"x": 0.25, "y": 0.5, "x2": 0.5, "y2": 0.75, "label": "Dog"}])
    value = dict(SAMPLE, annotations={**others, **SAMPLE["annotations"]})
    own.write(tmp_path / "pets" / "_annotations.json", json.dumps(value))
    return tmp_path / "pets"


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    return own.runner(cloud.main, tmp_path / "home", monkeypatch, capsys)


def change(folder, **values):
    """Replaces these keys of the annotations file."""
    value = json.loads((folder / "_annotations.json").read_text())
    own.write(folder / "_annotations.json", json.dumps(dict(value, **values)))


def test_the_sample_becomes_normalised_boxes(build, folder):
    code, out, _ = build(folder)
    assert code == 0 and out.startswith("cloud/pets: 6 images, 7 boxes, 2 classes")
    found = own.every("cloud/pets")["image1.jpg"]
    assert found.class_texts == ["Cat", "Dog"]
    expected = [
        [0.5820120073, 0.7255949630, 1, 0.9695875693],
        [0.1829972290, 0.8845598428, 0.9662484605, 1],
    ]
    assert found.boxes.tolist() == [pytest.approx(box, abs=1e-6) for box in expected]


def test_labels_keep_the_files_order_and_unused_ones_are_reported(build, folder):
    change(folder, labels=["Zebra", "Dog", "Cat"])
    _, out, _ = build(folder)
    assert own.label_map("cloud/pets") == {1: "Dog", 2: "Cat"}
    assert "classes without a box: Zebra" in out


def test_data_dir_is_the_default(build, folder):
    assert build(DATA_DIR=str(folder), NAME="job")[0] == 0
    assert paths.dataset("cloud/job").check()
    code, _, err = build()
    assert code == 2 and "set DATA_DIR" in err


def test_a_classification_export_is_refused(build, folder):
    change(folder, type="classification", annotations={"image1.jpg": [{"label": "Cat"}]})
    code, _, err = build(folder)
    assert code == 1 and 'is of type "classification"' in err
    assert not (folder.parent / "home").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not readable JSON"),
        ("[]", "is not a Cloud Annotations file"),
        ("{}", 'has no "annotations"'),
        ("[" * 100000, "not readable"),
    ],
    ids=["cut", "list", "no annotations", "deep"],
)
def test_a_damaged_file_is_one_line(build, folder, text, message):
    own.write(folder / "_annotations.json", text)
    code, _, err = build(folder)
    assert code == 1 and message in err and err.count("\n") == 1


def test_unusable_entries_are_counted(build, folder):
    dog = {"x": 0, "y": 0, "x2": 1, "y2": 1, "label": "Dog"}
    odd = [dict(dog, x=x) for x in (1e400, "0", 10**400)] + [{"x": 0}, 7]
    odd.append({"x": -0.5, "y": 0.5, "x2": 0.5, "y2": 0.25, "label": "Dog"})
    annotations = json.loads((folder / "_annotations.json").read_text())["annotations"]
    annotations.update({"image2.jpg": odd, "image3.jpg": "text"})
    annotations.update({"gone.jpg": [], "../../secret.jpg": []})
    change(folder, annotations=annotations)
    code, out, _ = build(folder, MAX_DROPPED="70%")
    assert code == 0
    assert own.boxes_of(own.every("cloud/pets")["image2.jpg"]) == [("Dog", 0, 15, 40, 30)]
    for line in (
        "annotated image that is not in the folder, or is in it twice: gone.jpg, ../../secret.jpg",
        "3 times: box with a coordinate",
        "2 times: box without a label",
    ):
        assert line in out


def test_an_image_whose_annotation_may_be_that_of_another_is_no_negative(build, folder):
    annotations = json.loads((folder / "_annotations.json").read_text())["annotations"]
    for seed, name in enumerate(("x/two.jpg", "y/two.jpg", "bare.jpg"), 70):
        own.save(folder / name, seed, 80, 60)
    change(folder, annotations={**annotations, "two.jpg": annotations["image1.jpg"]})
    assert build(folder, KEEP_EMPTY="1", MAX_DROPPED="20%")[0] == 0
    found = own.every("cloud/pets")
    assert [name for name, each in found.items() if not len(each.boxes)] == ["bare.jpg"]
