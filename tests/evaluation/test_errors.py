"""The confusion matrix, the worst pictures and COCO's files of eval --errors."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.helpers.places import MODEL
from todus import paths
from todus.commands import evaluate as eval_command
from todus.errors import UsageError
from todus.evaluation.average_precision import Groundtruth
from todus.evaluation.errors import analyse

CAT, DOG = 1, 2
BOX, FAR = (10.0, 10.0, 40.0, 40.0), (200.0, 200.0, 20.0, 20.0)


def truth_of(*boxes):
    """A groundtruth of one image for each list of (box, class, is crowd)."""
    truth = Groundtruth({CAT: "cat", DOG: "dog"}, [], [])
    for number, each in enumerate(boxes, start=1):
        truth.images.append({"id": number, "width": 300, "height": 300})
        for box, category, crowd in each:
            about = {"image_id": number, "category_id": category, "bbox": list(box)}
            truth.annotations.append(dict(about, iscrowd=crowd))
    return truth


def rows_of(*found):
    """Detections from (image, box, score, class)."""
    rows = [[image, *box, score, category] for image, box, score, category in found]
    return np.array(rows, float).reshape(-1, 7)


@pytest.mark.parametrize(
    "boxes, found, texts, counts",
    [
        ([(BOX, CAT, 0)], [(BOX, 0.9, CAT)], [], {(0, 0): 1}),
        ([(BOX, CAT, 0)], [], ["missed cat"], {(0, 2): 1}),
        ([(BOX, CAT, 0)], [(BOX, 0.4, CAT)], ["missed cat"], {(0, 2): 1}),
        ([], [(BOX, 0.9, CAT)], ["false cat 0.90"], {(2, 0): 1}),
        ([(BOX, CAT, 0)], [(BOX, 0.9, DOG)], ["cat as dog 0.90"], {(0, 1): 1}),
        (
            [(BOX, CAT, 0)],
            [((30.0, 30.0, 40.0, 40.0), 0.9, CAT)],
            ["badly placed cat 0.90", "missed cat"],
            {(2, 0): 1, (0, 2): 1},
        ),
        # The right class has the box, though a wrong one scores more.
        (
            [(BOX, CAT, 0)],
            [(BOX, 0.9, DOG), (BOX, 0.6, CAT)],
            ["false dog 0.90"],
            {(0, 0): 1, (2, 1): 1},
        ),
        ([(BOX, CAT, 1)], [(BOX, 0.9, CAT), (BOX, 0.8, DOG)], [], {}),
        (
            [(BOX, CAT, 0)],
            [(BOX, 0.9, CAT), (BOX, 0.8, CAT)],
            ["badly placed cat 0.80"],
            {(0, 0): 1, (2, 0): 1},
        ),
    ],
)
def test_each_box_and_detection_is_right_or_one_kind_of_error(boxes, found, texts, counts):
    rows = rows_of(*((1,) + each for each in found))
    analysis = analyse(truth_of(boxes), rows, lambda name: 0.5)
    errors = [error.text for picture in analysis.pictures for error in picture.errors]
    assert sorted(errors) == sorted(texts)
    expected = np.zeros((3, 3), int)
    for place, count in counts.items():
        expected[place] = count
    assert analysis.names == ["cat", "dog", "background"]
    np.testing.assert_array_equal(analysis.confusion, expected)


def test_the_pictures_with_the_heaviest_errors_come_first():
    truth = truth_of([], [(BOX, CAT, 0), (FAR, DOG, 0)], [(BOX, CAT, 0)])
    rows = rows_of((1, BOX, 0.6, CAT), (3, BOX, 0.9, CAT))
    analysis = analyse(truth, rows, lambda name: 0.5)
    assert [picture.number for picture in analysis.pictures] == [2, 1]
    assert analysis.pictures[0].weight == pytest.approx(2.0)


def test_each_class_has_its_own_threshold():
    rows = rows_of((1, BOX, 0.6, CAT), (1, FAR, 0.6, DOG))
    analysis = analyse(truth_of([]), rows, {"cat": 0.5, "dog": 0.7}.get)
    assert analysis.confusion[2].tolist() == [1, 0, 0]


def test_eval_errors_writes_files_that_pycocotools_loads(
    exported_home, tmp_path, monkeypatch, capsys
):

    shutil.copytree(str(exported_home), str(tmp_path / "home"), copy_function=os.link)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path / "home"))
    assert eval_command.main(["-m", MODEL, "-i", "--errors"]) == 0
    folder = paths.model(MODEL).folder / "errors"
    coco = COCO(str(folder / "groundtruth.json"))
    found = coco.loadRes(str(folder / "results.json"))
    results = json.loads((folder / "results.json").read_text())
    assert len(found.anns) == len(results) > 0
    assert {each["category_id"] for each in results} <= set(coco.getCatIds())
    printed = capsys.readouterr().out
    assert "groundtruth (rows) and detections" in printed and str(folder / "worst.png") in printed
    worst = (folder / "worst.csv").read_text().splitlines()
    assert worst[0] == "image,weight,errors"
    names = {image["file_name"] for image in coco.dataset["images"]}
    assert all(line.split(",")[0] in names for line in worst[1:])
    assert (folder / "worst.png").exists() == (len(worst) > 1)
    if len(worst) > 1:
        assert Image.open(str(folder / "worst.png")).width > 400


def test_errors_are_of_one_format(exported):
    with pytest.raises(UsageError, match="--errors is of one format"):
        eval_command.main(["-m", MODEL, "--all", "--errors"])
