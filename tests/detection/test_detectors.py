"""The detectors of all forms of a model give the same detections."""

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import forms, paths
from todus.dataset import image_files
from todus.detection import catalogue
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision


def val_images(count):
    examples = average_precision.examples_of(paths.dataset("limited"), "val", count)
    return [image_files.decode(each.encoded) for each in examples]


def opened(name, threads=None):
    model = paths.model(MODEL)
    return catalogue.open_form(model, catalogue.find(model, name), threads)


def largest_difference(first, second):
    """The largest difference in score or box from the nearest detection of the class, else 1."""
    largest = 0.0
    for box, kind, score in zip(*first):
        same = [max(abs(score - s), np.abs(box - b).max()) for b, k, s in zip(*second) if k == kind]
        largest = max(largest, min(same or [1.0]))
    return largest


def test_every_float_form_detects_the_same_as_the_frozen_graph(exported):
    images = val_images(24)
    found = {}
    for name in ("frozen_graph", "saved_model", "tflite", "onnx"):
        detector = opened(name)
        found[name] = [detector.detect([image])[0] for image in images]
    expected = found.pop("frozen_graph")
    counts = [len(each.scores) for each in expected]
    assert sum(counts) > 20
    for name, got in found.items():
        assert sum(len(each.scores) for each in got) == sum(counts), name
        assert max(map(largest_difference, expected, got)) < 1e-3, name


def test_a_prepared_image_gives_the_same_outputs_as_the_image_at_the_graphs_input(exported):
    detector = opened("frozen_graph")
    image = np.random.RandomState(0).randint(0, 256, (97, 211, 3)).astype(np.uint8)
    image[20:80, 60:140] = (200, 30, 30)
    expected = detector.session.run(detector.outputs, {"image_tensor:0": image[np.newaxis]})
    for whole, prepared in zip(expected, detector.fetch(detector.outputs, image)):
        np.testing.assert_allclose(whole, prepared, atol=1e-5)


@pytest.mark.parametrize("name", ["frozen_graph", "onnx"])
def test_a_batch_gives_the_same_detections_as_single_images(exported, name):
    detector = opened(name, 1)
    images = val_images(5)
    height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
    batch = [detector.prepare(image[:height, :width]) for image in images]
    together = detector.detect_prepared(batch)
    assert len(together) == 5 and sum(len(found.scores) for found in together)
    for image, found in zip(batch, together):
        alone = detector.detect_prepared([image])[0]
        assert len(alone.scores) == len(found.scores)
        np.testing.assert_allclose(alone.scores, found.scores, atol=1e-4)


def test_every_form_that_exists_is_listed_with_its_size(exported):
    listed = {form.name: catalogue.bytes_of(form) for form in catalogue.present(paths.model(MODEL))}
    tflite = ["tflite", "tflite-float16", "tflite-dynamic", "tflite-int8"]
    assert list(listed) == ["checkpoint", "frozen_graph", "saved_model", *tflite, "onnx"]
    assert listed["tflite-float16"] < 0.65 * listed["tflite"]
    assert listed["tflite-int8"] < 0.45 * listed["tflite"]
    titles = {form.name: form.title for form in catalogue.present(paths.model(QUANTIZED))}
    assert titles["tflite"] == "TFLite uint8"


def test_the_error_for_a_missing_form_has_the_command_that_makes_it(exported):
    with pytest.raises(TodusError, match="convert-onnx.sh"):
        catalogue.find(paths.model(QUANTIZED), "onnx")
    with pytest.raises(TodusError, match="FORMAT=float16 ./convert-tflite.sh"):
        catalogue.find(paths.model(QUANTIZED), "tflite-float16")
    with pytest.raises(UsageError, match="caffe"):
        catalogue.find(paths.model(MODEL), "caffe")


@pytest.mark.parametrize("name", ["frozen_graph", "saved_model", "tflite", "onnx"])
def test_a_damaged_file_is_an_error_of_one_line(tmp_path, name):
    path = tmp_path / "broken"
    if name == "saved_model":
        path.mkdir()
    damaged = path / "saved_model.pb" if name == "saved_model" else path
    damaged.write_bytes(b"\x0a\xffno model at all" * 50)
    with pytest.raises(TodusError, match=r"broken .*run \./(export|convert-\w+)\.sh") as caught:
        forms.loaded(forms.find(name).detector)(path, {1: "circle"})
    assert "\n" not in str(caught.value)
