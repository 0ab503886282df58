"""AP and score thresholds, of known detections."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.helpers import datasets
from tests.helpers.places import MODEL, QUANTIZED
from todus import categories, files, paths
from todus.commands import evaluate as eval_command
from todus.dataset import image_files
from todus.dataset.annotations import Annotations, Image
from todus.dataset.records import reader
from todus.dataset.records.writer import Content, write_dataset
from todus.detection.detector import Detections, Detector
from todus.errors import UsageError
from todus.evaluation import average_precision, false_alarms, pascal, score_thresholds
from todus.evaluation.average_precision import Groundtruth, Matches
from todus.report import page


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


def evaluated(model, *more):
    """The entries of eval.json of `eval --all`."""
    assert eval_command.main(["-m", model.name, "--all", *more]) == 0
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


class Alarms(Detector):
    """Detects one cat of each of these scores in every image, at the corner without a box."""

    form, names = "alarms", {1: "cat", 2: "traffic light"}

    def __init__(self, *scores):
        self.scores = np.array(sorted(scores, reverse=True), np.float32)

    def detect_prepared(self, images):
        boxes = np.tile(np.float32([0.9, 0.9, 1, 1]), (len(self.scores), 1))
        return [Detections(boxes, np.ones(len(boxes), int), self.scores) for _ in images]


@pytest.mark.parametrize("kind", ("coco", "pascal"))
def test_false_alarms_are_the_detections_in_images_without_a_box_at_the_thresholds(home, kind):
    result = average_precision.evaluate(Alarms(0.9, 0.6, 0.2), datasets.build(home), metrics=kind)
    assert result.negatives == 2
    for threshold, found in ((0.1, 300), (0.5, 200), (0.95, 0)):
        at = false_alarms.Thresholds({"cat": threshold}, 1.0, "these thresholds")
        measured = false_alarms.measure(result, at)
        assert measured["per_100_images"] == found and measured["images"] == 2
    text = "0 false alarms per 100 images without a box (0 in 2), at these thresholds"
    assert false_alarms.described(measured) == text
    otherwise = false_alarms.Thresholds({}, 0.7, "score threshold 0.7")
    assert false_alarms.measure(result, otherwise)["detections"] == 2


def test_false_alarms_at_90_percent_recall_are_at_the_threshold_that_reaches_it():
    scores = np.linspace(0.9, 0.0, 10)
    result = average_precision.Evaluation("", 4, 1.0, {}, {}, "", negatives=2)
    result.matches = {"cat": Matches(scores, np.ones(10, bool), 10)}
    result.alarms = {"cat": np.array([0.95, 0.1, 0.05])}
    measured = false_alarms.measure(result, false_alarms.Thresholds({}, 0.5, "T"))
    at_recall = measured["at_recall"]
    assert at_recall["thresholds"] == {"cat": pytest.approx(0.1)}  # the ninth of ten
    assert at_recall["per_100_images"] == 100  # two in two images
    assert false_alarms.described(measured).endswith("; at 90 % recall of each class: 100")
    curve = dict(measured["curve"])  # the threshold of 80 % recall is 0.2, of 100 % 0
    assert (curve[0.05], curve[0.8], curve[0.9], curve[1.0]) == (50, 50, 100, 150)
    result.matches = {"cat": Matches(scores, np.arange(10) < 5, 10)}
    measured = false_alarms.measure(result, false_alarms.Thresholds({}, 0.5, "T"))
    assert measured["at_recall"] is None
    assert [recall for recall, _ in measured["curve"]][-1] == 0.5


def test_without_an_image_without_a_box_there_are_no_false_alarms_to_measure(prepared):
    dataset = paths.dataset("limited")
    result = average_precision.evaluate(Oracle(dataset), dataset)
    assert false_alarms.measure(result, false_alarms.Thresholds({}, 0.5, "")) is None


def test_a_given_threshold_has_the_precision_and_recall_at_it():
    found = matches([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1], 4)
    assert score_thresholds.at(found, 0.65) == {
        "threshold": 0.65,
        "precision": 0.6667,
        "recall": 0.5,
        "f1": 0.5714,
    }
    assert score_thresholds.at(found, 0.95)["precision"] is None
    assert score_thresholds.at(matches([], [], 0), 0.5) is None


@pytest.fixture
def with_test_split(own_exported, tmp_path):
    """The limited dataset, with its val images and six negatives as a third split, test."""
    dataset = paths.dataset("limited")
    names = categories.read_label_map(dataset.label_map)
    images = {
        split: [each.image for each in reader.read_stored(dataset, split)]
        for split in ("train", "val")
    }
    empty = [datasets.picture(tmp_path / ("%d.jpg" % number), number) for number in range(6)]
    negatives = [Image(7000 + at, path.name, 64, 48, [], path) for at, path in enumerate(empty)]
    images["test"] = images["val"] + negatives
    splits = {split: Annotations(names, listed) for split, listed in images.items()}
    write_dataset(dataset, Content("coco", splits, names))
    return dataset


def thresholds_in(path):
    return files.read_json(paths.beside_json(path)).get("thresholds")


def test_the_test_split_is_evaluated_at_the_thresholds_that_val_chose(with_test_split, capsys):
    model = paths.model(QUANTIZED)
    on_val = {entry["format"]: entry for entry in evaluated(model)}
    assert on_val["tflite"]["split"] == "val" and on_val["tflite"]["false_alarms"] is None
    chosen = thresholds_in(model.file_of("tflite"))
    on_test = {entry["format"]: entry for entry in evaluated(model, "--split", "test")}
    assert "on test of dataset limited" in capsys.readouterr().err
    entry = on_test["tflite"]
    assert (entry["split"], entry["dataset"]) == ("test", "limited")
    assert entry["images"] == on_val["tflite"]["images"] + 6
    assert thresholds_in(model.file_of("tflite")) == chosen
    for name, picked in entry["thresholds"].items():
        assert picked["threshold"] == chosen["classes"][name]["threshold"]
    assert entry["false_alarms"]["images"] == 6
    assert entry["false_alarms"]["at"] == "the score thresholds in %s.tflite.json" % QUANTIZED
    plain = on_test["frozen_graph"]["false_alarms"]
    assert plain["at"] == "score threshold 1e-08 of pipeline.config"
    assert plain["detections"] >= entry["false_alarms"]["detections"]
    html = page.write(model).read_text(encoding="utf-8")
    assert "On the test records of limited" in html and entry["false_alarms"]["at"] in html
    wanted = ["-m", QUANTIZED, "--format", "tflite", "--split", "test", "--json", "ap.json"]
    wanted[-1] = str(model.folder / "ap.json")
    assert eval_command.main(wanted) == 0
    assert "per 100 images without a box" in capsys.readouterr().out
    alone = files.read_json(model.folder / "ap.json")
    assert (alone["split"], alone["false_alarms"]) == ("test", entry["false_alarms"])


def test_only_all_classes_of_the_own_val_set_the_thresholds(own_exported, tmp_path):
    model = paths.model(QUANTIZED)
    other = tmp_path / "other"
    shutil.copytree(str(paths.dataset("limited").folder), str(other))
    path = model.file_of("tflite")
    shutil.rmtree(str(model.inference_graph))  # fewer forms to evaluate
    for more in (["-c", "circle"], ["-d", str(other)]):
        evaluated(model, *more)
        assert thresholds_in(path) is None, more
    evaluated(model, "-d", "limited")
    assert set(thresholds_in(path)["classes"]) == {"circle", "four point star"}
