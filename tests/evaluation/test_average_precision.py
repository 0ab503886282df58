"""AP and score thresholds, of known detections."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import files, paths
from todus.commands import evaluate as eval_command
from todus.dataset import image_files
from todus.detection.detector import Detections, Detector
from todus.errors import UsageError
from todus.evaluation import average_precision, pascal, score_thresholds
from todus.evaluation.average_precision import Groundtruth, Matches


class Oracle(Detector):
    """Detects the groundtruth boxes; with `wrong` those of every second image are shifted."""

    form, workers = "oracle", 2

    def __init__(self, dataset, wrong=False):
        self.names = {1: "circle", 2: "four point star"}
        examples = average_precision.examples_of(dataset, "val", None)
        self.found = {}
        for number, each in enumerate(examples):
            boxes = each.boxes + (0.5 if wrong and number % 2 else 0)
            scores = np.full(len(boxes), 0.9, np.float32)
            pixels = image_files.decode(each.encoded).tobytes()
            self.found[pixels] = Detections(boxes, each.classes, scores)

    def detect_prepared(self, images):
        nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0))
        return [self.found.get(image.tobytes(), nothing) for image in images]


@pytest.fixture
def own_exported(exported_home, tmp_path, monkeypatch):
    """A TODUS_HOME with exported models that the test may write to; its files are hard links."""
    shutil.copytree(str(exported_home), str(tmp_path / "home"), copy_function=os.link)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("kind", ("coco", "pascal", "openimages"))
def test_exact_detections_have_ap_one(prepared, kind):
    dataset = paths.dataset("limited")
    result = average_precision.evaluate(Oracle(dataset), dataset, metrics=kind)
    assert result.ap == pytest.approx(1.0, abs=1e-6)
    assert set(result.per_class) == {"circle", "four point star"}
    assert "%d images" % result.images in result.protocol


def test_wrong_boxes_reduce_ap(prepared):
    dataset = paths.dataset("limited")
    assert 0.1 < average_precision.evaluate(Oracle(dataset, wrong=True), dataset).ap < 0.9


def test_only_the_first_n_images_are_evaluated(prepared):
    dataset = paths.dataset("limited")
    assert average_precision.evaluate(Oracle(dataset), dataset, first=3).images == 3


def test_only_the_named_classes_are_evaluated(prepared):
    dataset = paths.dataset("limited")
    result = average_precision.evaluate(Oracle(dataset), dataset, only=["circle"])
    assert list(result.per_class) == ["circle"]
    with pytest.raises(UsageError, match="circel"):
        average_precision.evaluate(Oracle(dataset), dataset, only=["circel"])


def one_image(annotations):
    """Groundtruth of one image of 100 x 100 pixels with annotations of one class."""
    common = {"image_id": 1, "category_id": 1, "iscrowd": 0, "difficult": False}
    full = [{**common, "id": number, **each} for number, each in enumerate(annotations, 1)]
    return Groundtruth({1: "cat"}, [{"id": 1, "width": 100, "height": 100}], full)


BOX, FAR = [10, 10, 20, 20], [60, 60, 20, 20]


def test_a_detection_of_a_crowd_box_is_ignored():
    truth = one_image([{"bbox": BOX, "area": 400}, {"bbox": FAR, "area": 400, "iscrowd": 1}])
    rows = np.array([[1] + FAR + [0.9, 1], [1] + BOX + [0.8, 1]], float)
    coco = average_precision.score(truth, rows)
    for result in (coco, pascal.score("pascal", truth, rows, average_precision.STATS)):
        assert result["stats"]["ap"] == pytest.approx(1.0)
    assert coco["matches"]["cat"].boxes == 1
    assert "1 crowd boxes ignored" in coco["protocol"]


def test_the_size_of_a_box_is_its_annotations_area():
    truth = one_image([{"bbox": [10, 10, 60, 60], "area": 500}])
    stats = average_precision.score(truth, np.array([[1, 10, 10, 60, 60, 0.9, 1]], float))["stats"]
    assert stats["ap_small"] == pytest.approx(1.0) and np.isnan(stats["ap_large"])


def test_scores_are_not_rounded():
    truth = one_image([{"bbox": BOX, "area": 400}])
    rows = np.array([[1] + FAR + [0.500001, 1], [1] + BOX + [0.500002, 1]], float)
    assert average_precision.score(truth, rows)["stats"]["ap"] == pytest.approx(1.0)


def test_ap_is_zero_without_detections_and_nan_without_groundtruth_boxes():
    nothing = np.zeros((0, 7))
    truth = one_image([{"bbox": BOX, "area": 400}])
    assert average_precision.score(truth, nothing)["stats"]["ap"] == 0
    assert np.isnan(average_precision.score(one_image([]), nothing)["stats"]["ap"])


def matches(scores, right, boxes):
    return Matches(np.array(scores, float), np.array(right, bool), boxes)


def test_the_threshold_has_the_best_f1():
    picked = score_thresholds.pick(matches([0.9, 0.8, 0.7, 0.2, 0.1], [1, 1, 1, 0, 0], 3))
    assert picked == {"threshold": 0.7, "precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_the_threshold_for_a_precision_has_the_highest_recall():
    found = matches([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 0], 4)
    assert score_thresholds.pick(found, 0.75)["threshold"] == 0.6
    assert score_thresholds.pick(found, 0.9)["threshold"] == 0.9
    assert score_thresholds.pick(matches([0.9], [0], 1), 0.5) is None
    assert score_thresholds.pick(matches([], [], 4)) is None


def test_a_threshold_does_not_separate_equal_scores():
    picked = score_thresholds.pick(matches([0.5, 0.5, 0.5], [1, 0, 0], 1))
    assert picked["precision"] == pytest.approx(1 / 3, abs=1e-4)


def evaluated(model):
    """The entries of eval.json of `eval --all`."""
    assert eval_command.main(["-m", model.name, "--all"]) == 0
    return json.loads((model.folder / "eval.json").read_text())


def test_all_forms_are_evaluated_on_the_same_images(own_exported, monkeypatch, capsys):
    monkeypatch.delenv("METRICS", raising=False)
    model = paths.model(MODEL)
    entries = evaluated(model)
    assert entries[0]["format"] == "checkpoint" and entries[0]["drop"] == 0
    assert entries[0]["ap"] > 0.3
    drops = {entry["format"]: abs(entry["drop"]) for entry in entries}
    for name in ("frozen_graph", "saved_model", "tflite", "tflite-float16", "onnx"):
        assert drops[name] <= 0.002, name
    assert drops["tflite-int8"] <= 0.03
    assert len({(entry["images"], entry["score_threshold"]) for entry in entries}) == 1
    for entry in entries:
        assert {"ap", "ap50", "ap75", "images_per_second", "bytes", "per_class"} <= set(entry)
    assert (model.folder / "eval.png").read_bytes()[:4] == b"\x89PNG"
    out, err = capsys.readouterr()
    assert "protocol: COCO boxes" in out and "another graph" not in err
    stored = files.read_json(paths.beside_json(model.file_of("tflite")))["thresholds"]
    assert stored["picked_by"].startswith("best F1")
    assert 0 < stored["classes"]["circle"]["threshold"] < 1


def test_a_file_made_from_another_graph_is_evaluated_with_a_warning(own_exported, capsys):
    model = paths.model(QUANTIZED)
    path = model.file_of("tflite")
    about = files.read_json(paths.beside_json(path))
    about["made_from"]["sha256"] = "0" * 64
    files.write_json(paths.beside_json(path), about)
    entries = {entry["format"]: entry for entry in evaluated(model)}
    warning = "eval: %s was made from another graph than the current one" % path
    assert warning in capsys.readouterr().err
    assert abs(entries["tflite"]["drop"]) <= 0.02 and entries["tflite"]["title"] == "TFLite uint8"


def test_wrong_arguments_are_usage_errors(exported, monkeypatch):
    with pytest.raises(UsageError, match="--limit: 0"):
        eval_command.main(["-m", MODEL, "--limit", "0"])
    with pytest.raises(UsageError, match="--all is every format"):
        eval_command.main(["-m", MODEL, "--all", "-i"])
    monkeypatch.setenv("METRICS", "lvis")
    with pytest.raises(UsageError, match="METRICS=lvis"):
        eval_command.main(["-m", MODEL])
