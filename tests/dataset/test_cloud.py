"""dataset-cloud.sh: Cloud Annotations folders."""

import json

import pytest

from tests.helpers import own_images as own
from todus import categories, paths
from todus.command import run
from todus.dataset.sources import cloud

# The example that the format's users pass around.
SAMPLE = {
    "version": "1.0",
    "type": "localization",
    "labels": ["Cat", "Dog"],
    "annotations": {
        "image1.jpg": [
            {
                "x": 0.7255949630314233,
                "x2": 0.9695875693160814,
                "y": 0.5820120073891626,
                "y2": 1,
                "label": "Cat",
            },
            {
                "x": 0.8845598428835489,
                "x2": 1,
                "y": 0.1829972290640394,
                "y2": 0.966248460591133,
                "label": "Dog",
            },
        ]
    },
}


@pytest.fixture
def folder(tmp_path):
    """A bucket with six images."""
    value = json.loads(json.dumps(SAMPLE))
    for index in range(1, 7):
        own.save(tmp_path / "pets" / ("image%d.jpg" % index), index, 2400 // 30, 1800 // 30)
        value["annotations"].setdefault(
            "image%d.jpg" % index, [{"x": 0.25, "y": 0.5, "x2": 0.5, "y2": 0.75, "label": "Dog"}]
        )
    own.write(tmp_path / "pets" / "_annotations.json", json.dumps(value))
    return tmp_path / "pets"


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    def call(*arguments, **variables):
        own.clean_environment(monkeypatch, tmp_path / "home", **variables)
        code = run("dataset-cloud", cloud.main, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def change(folder, **values):
    value = json.loads((folder / "_annotations.json").read_text())
    value.update(values)
    own.write(folder / "_annotations.json", json.dumps(value))


def test_the_sample_becomes_normalised_boxes(build, folder):
    code, out, _ = build(folder)
    assert code == 0 and out.startswith("cloud/pets: 6 images, 7 boxes, 2 classes")
    found = own.every("cloud/pets")["image1.jpg"]
    assert found.class_texts == ["Cat", "Dog"]
    expected = [
        [0.5820120073891626, 0.7255949630314233, 1, 0.9695875693160814],
        [0.1829972290640394, 0.8845598428835489, 0.966248460591133, 1],
    ]
    assert found.boxes.tolist() == [pytest.approx(box, abs=1e-6) for box in expected]


def test_labels_keep_the_files_order_and_unused_ones_are_reported(build, folder):
    change(folder, labels=["Zebra", "Dog", "Cat"])
    _, out, _ = build(folder)
    assert categories.read_label_map(paths.dataset("cloud/pets").label_map) == {1: "Dog", 2: "Cat"}
    assert "classes without a box: Zebra" in out


def test_data_dir_is_the_default(build, folder):
    assert build(DATA_DIR=str(folder), NAME="job")[0] == 0
    assert paths.dataset("cloud/job").check()
    code, _, err = build()
    assert code == 2 and "set DATA_DIR" in err


def test_a_classification_export_is_refused_by_name(build, folder):
    change(folder, type="classification", annotations={"image1.jpg": [{"label": "Cat"}]})
    code, _, err = build(folder)
    assert (
        code == 1 and 'is of type "classification"' in err and not (folder.parent / "home").exists()
    )


@pytest.mark.parametrize(
    "text, says",
    [
        ("{", "is not readable JSON"),
        ("[]", "is no Cloud Annotations file"),
        ("{}", 'has no "annotations"'),
        ("[" * 100000, "not readable"),
    ],
)
def test_a_damaged_file_is_one_line(build, folder, text, says):
    own.write(folder / "_annotations.json", text)
    code, _, err = build(folder)
    assert code == 1 and says in err and err.count("\n") == 1


def test_what_cannot_be_used_is_counted(build, folder):
    odd = [
        {"x": 1e400, "y": 0, "x2": 1, "y2": 1, "label": "Dog"},
        {"x": "0", "y": 0, "x2": 1, "y2": 1, "label": "Dog"},
        {"x": 0},
        7,
    ]
    odd += [
        {"x": 10**400, "y": 0, "x2": 1, "y2": 1, "label": "Dog"},
        {"x": -0.5, "y": 0.5, "x2": 0.5, "y2": 0.25, "label": "Dog"},
    ]
    annotations = json.loads((folder / "_annotations.json").read_text())["annotations"]
    change(
        folder,
        annotations=dict(
            annotations,
            **{"image2.jpg": odd, "gone.jpg": [], "../../secret.jpg": [], "image3.jpg": "text"},
        ),
    )
    code, out, _ = build(folder, MAX_DROPPED="70%")
    assert code == 0
    assert own.boxes_of(own.every("cloud/pets")["image2.jpg"]) == [("Dog", 0, 15, 40, 30)]
    for line in (
        "annotated image that is not in the folder: gone.jpg, ../../secret.jpg",
        "3 times: box with a coordinate",
        "2 times: box without a label",
    ):
        assert line in out
