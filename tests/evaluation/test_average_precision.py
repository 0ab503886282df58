"""AP by the protocol, on detections that are known."""

import json

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
    """Finds what the records say, in the order of the images; `wrong` shifts the boxes of every second image."""

    form, workers = "oracle", 2

    def __init__(self, dataset, wrong=False):
        self.names = {1: "circle", 2: "four point star"}
        self.examples = {
            image_files.decode(each.encoded).tobytes(): each
            for each in average_precision.examples_of(dataset, "val", None)
        }
        self.order = {key: place for place, key in enumerate(self.examples)}
        self.wrong = wrong

    def detect_prepared(self, images):
        found = []
        for image in images:
            each = self.examples.get(image.tobytes())
            boxes = each.boxes if each else np.zeros((0, 4), np.float32)
            if self.wrong and each and self.order[image.tobytes()] % 2:
                boxes = boxes + 0.5
            found.append(
                Detections(
                    boxes,
                    each.classes if each else np.zeros(0, int),
                    np.full(len(boxes), 0.9, np.float32),
                )
            )
        return found


@pytest.mark.parametrize("kind", ("coco", "pascal", "openimages"))
def test_whoever_finds_every_box_has_ap_one(prepared, kind):
    dataset = paths.dataset("limited")
    result = average_precision.evaluate(Oracle(dataset), dataset, metrics=kind)
    assert result.ap == pytest.approx(1.0, abs=1e-6)
    assert set(result.per_class) == {"circle", "four point star"}
    assert "%d images" % result.images in result.protocol


def test_wrong_boxes_cost_ap_and_the_first_n_images_are_taken(prepared):
    dataset = paths.dataset("limited")
    assert 0.1 < average_precision.evaluate(Oracle(dataset, wrong=True), dataset).ap < 0.9
    assert average_precision.evaluate(Oracle(dataset), dataset, first=3).images == 3


def test_only_the_wanted_classes_count(prepared):
    dataset = paths.dataset("limited")
    assert list(
        average_precision.evaluate(Oracle(dataset), dataset, only=["circle"]).per_class
    ) == ["circle"]
    with pytest.raises(UsageError, match="circel"):
        average_precision.evaluate(Oracle(dataset), dataset, only=["circel"])


def one_image(annotations):
    full = [
        dict({"id": n, "image_id": 1, "category_id": 1, "iscrowd": 0, "difficult": False}, **each)
        for n, each in enumerate(annotations, 1)
    ]
    return Groundtruth({1: "cat"}, [{"id": 1, "width": 100, "height": 100}], full)


BOX, FAR = [10, 10, 20, 20], [60, 60, 20, 20]


def test_a_detection_in_a_crowd_is_neither_right_nor_wrong():
    truth = one_image([{"bbox": BOX, "area": 400}, {"bbox": FAR, "area": 400, "iscrowd": 1}])
    rows = np.array([[1] + FAR + [0.9, 1], [1] + BOX + [0.8, 1]], float)
    for kind in ("coco", "pascal"):
        result = (
            average_precision.score(truth, rows)
            if kind == "coco"
            else pascal.score(kind, truth, rows, average_precision.STATS)
        )
        assert result["stats"]["ap"] == pytest.approx(1.0), kind
    assert average_precision.score(truth, rows)["matches"]["cat"].boxes == 1
    assert "1 crowd boxes ignored" in average_precision.score(truth, rows)["protocol"]


def test_sizes_go_by_the_annotations_area_not_by_the_box():
    truth = one_image([{"bbox": [10, 10, 60, 60], "area": 500}])
    stats = average_precision.score(truth, np.array([[1, 10, 10, 60, 60, 0.9, 1]], float))["stats"]
    assert stats["ap_small"] == pytest.approx(1.0) and np.isnan(stats["ap_large"])


def test_scores_are_not_rounded():
    truth = one_image([{"bbox": BOX, "area": 400}])
    rows = np.array([[1] + FAR + [0.500001, 1], [1] + BOX + [0.500002, 1]], float)
    assert average_precision.score(truth, rows)["stats"]["ap"] == pytest.approx(1.0)


def test_nothing_found_is_zero_and_nothing_to_find_is_nan():
    assert (
        average_precision.score(one_image([{"bbox": BOX, "area": 400}]), np.zeros((0, 7)))["stats"][
            "ap"
        ]
        == 0
    )
    assert np.isnan(average_precision.score(one_image([]), np.zeros((0, 7)))["stats"]["ap"])


def matches(scores, right, boxes):
    return Matches(np.array(scores, float), np.array(right, bool), boxes)


def test_the_threshold_of_best_f1():
    picked = score_thresholds.pick(matches([0.9, 0.8, 0.7, 0.2, 0.1], [1, 1, 1, 0, 0], 3))
    assert picked == {"threshold": 0.7, "precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_the_threshold_of_a_precision_finds_as_much_as_it_allows():
    found = matches([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 0], 4)
    assert score_thresholds.pick(found, 0.75)["threshold"] == 0.6
    assert score_thresholds.pick(found, 0.9)["threshold"] == 0.9
    assert score_thresholds.pick(matches([0.9], [0], 1), 0.5) is None
    assert score_thresholds.pick(matches([], [], 4)) is None


def test_equal_scores_are_kept_or_left_out_together():
    assert score_thresholds.pick(matches([0.5, 0.5, 0.5], [1, 0, 0], 1))[
        "precision"
    ] == pytest.approx(1 / 3, abs=1e-4)


def test_all_formats_on_the_same_images(exported, monkeypatch, capsys):
    monkeypatch.delenv("METRICS", raising=False)
    assert eval_command.main(["-m", MODEL, "--all"]) == 0
    entries = json.loads((paths.model(MODEL).folder / "eval.json").read_text())
    by_form = {entry["format"]: entry for entry in entries}
    assert entries[0]["format"] == "checkpoint" and entries[0]["drop"] == 0
    assert {
        "frozen_graph",
        "saved_model",
        "tflite",
        "tflite-float16",
        "tflite-int8",
        "onnx",
    } <= set(by_form)
    assert entries[0]["ap"] > 0.3
    for name in ("frozen_graph", "saved_model", "tflite", "tflite-float16", "onnx"):
        assert abs(by_form[name]["drop"]) <= 0.002, name
    assert abs(by_form["tflite-int8"]["drop"]) <= 0.03
    assert len({(entry["images"], entry["score_threshold"]) for entry in entries}) == 1
    assert all(
        set(entry) >= {"ap", "ap50", "ap75", "images_per_second", "bytes", "per_class"}
        for entry in entries
    )
    assert (paths.model(MODEL).folder / "eval.png").read_bytes()[:4] == b"\x89PNG"
    out, err = capsys.readouterr()
    assert "protocol: COCO boxes" in out and "another graph" not in err
    stored = files.read_json(paths.beside_json(paths.model(MODEL).file_of("tflite")))["thresholds"]
    assert (
        stored["picked_by"].startswith("best F1")
        and 0 < stored["classes"]["circle"]["threshold"] < 1
    )


def test_the_quantized_models_file_keeps_its_ap_and_one_of_another_graph_is_told(exported, capsys):
    model = paths.model(QUANTIZED)
    path = model.file_of("tflite")
    about = files.read_json(paths.beside_json(path))
    files.write_json(
        paths.beside_json(path), dict(about, made_from=dict(about["made_from"], sha256="0" * 64))
    )
    assert eval_command.main(["-m", QUANTIZED, "--all"]) == 0
    files.write_json(paths.beside_json(path), about)
    assert (
        "eval: %s was made from another graph than the one that is there" % path
        in capsys.readouterr().err
    )
    entries = {
        entry["format"]: entry
        for entry in json.loads((paths.model(QUANTIZED).folder / "eval.json").read_text())
    }
    assert abs(entries["tflite"]["drop"]) <= 0.02 and entries["tflite"]["title"] == "TFLite uint8"


def test_wrong_arguments_are_usage_errors(exported, monkeypatch):
    with pytest.raises(UsageError, match="--limit: 0"):
        eval_command.main(["-m", MODEL, "--limit", "0"])
    with pytest.raises(UsageError, match="--all is every format"):
        eval_command.main(["-m", MODEL, "--all", "-i"])
    monkeypatch.setenv("METRICS", "lvis")
    with pytest.raises(UsageError, match="METRICS=lvis"):
        eval_command.main(["-m", MODEL])
