"""Every form of a model detects the same."""

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import paths
from todus.dataset import image_files
from todus.detection import catalogue
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision


def val_images(count):
    return [
        image_files.decode(each.encoded)
        for each in average_precision.examples_of(paths.dataset("limited"), "val", count)
    ]


def worst_difference(first, second):
    """The largest difference of score and box between detections matched by class and place; 1 where one has no partner."""
    worst = 0.0
    for box, kind, score in zip(*first):
        same = [max(abs(score - s), np.abs(box - b).max()) for b, k, s in zip(*second) if k == kind]
        worst = max(worst, min(same or [1.0]))
    return worst


def test_every_float_form_detects_what_the_frozen_graph_does(exported):
    model, images = paths.model(MODEL), val_images(24)
    expected = [
        each
        for image in images
        for each in catalogue.open_form(model, catalogue.find(model, "frozen_graph")).detect(
            [image]
        )
    ]
    assert sum(len(each.scores) for each in expected) > 20
    for name in ("saved_model", "tflite", "onnx"):
        detector = catalogue.open_form(model, catalogue.find(model, name))
        got = [each for image in images for each in detector.detect([image])]
        assert sum(len(each.scores) for each in got) == sum(
            len(each.scores) for each in expected
        ), name
        assert max(worst_difference(a, b) for a, b in zip(expected, got)) < 1e-3, name


def test_an_image_resized_beforehand_gives_what_the_whole_graph_gives(exported):
    model = paths.model(MODEL)
    detector = catalogue.open_form(model, catalogue.find(model, "frozen_graph"))
    image = np.random.RandomState(0).randint(0, 256, (97, 211, 3)).astype(np.uint8)
    image[20:80, 60:140] = (200, 30, 30)
    outputs = detector._session.run(detector._outputs, {"image_tensor:0": image[np.newaxis]})
    got = detector._session.run(
        detector._outputs, {detector._input: detector.prepare(image)[np.newaxis]}
    )
    for whole, ahead in zip(outputs, got):
        np.testing.assert_allclose(whole, ahead, atol=1e-5)


def test_a_batch_and_one_at_a_time_agree(exported):
    model, images = paths.model(MODEL), val_images(5)
    for name in ("frozen_graph", "onnx"):
        detector = catalogue.open_form(model, catalogue.find(model, name), 1)
        prepared = [detector.prepare(image) for image in images]
        same = [each for each in prepared if each.shape == prepared[0].shape]
        for alone, together in zip(
            [detector.detect_prepared([each])[0] for each in same], detector.detect_prepared(same)
        ):
            assert len(alone.scores) == len(together.scores)
            np.testing.assert_allclose(alone.scores, together.scores, atol=1e-4)


def test_every_form_present_is_listed_with_its_size(exported):
    model = paths.model(MODEL)
    listed = {form.name: catalogue.bytes_of(form) for form in catalogue.present(model)}
    names = [
        "checkpoint",
        "frozen_graph",
        "saved_model",
        "tflite",
        "tflite-float16",
        "tflite-dynamic",
        "tflite-int8",
        "onnx",
    ]
    assert list(listed) == names
    assert listed["tflite-float16"] < 0.65 * listed["tflite"]
    assert listed["tflite-int8"] < 0.45 * listed["tflite"]
    assert [
        form.title for form in catalogue.present(paths.model(QUANTIZED)) if form.name == "tflite"
    ] == ["TFLite uint8"]


def test_a_form_that_is_missing_names_its_command(exported):
    with pytest.raises(TodusError, match="convert-onnx.sh"):
        catalogue.find(paths.model(QUANTIZED), "onnx")
    with pytest.raises(TodusError, match="FORMAT=float16 ./convert-tflite.sh"):
        catalogue.find(paths.model(QUANTIZED), "tflite-float16")
    with pytest.raises(UsageError, match="caffe"):
        catalogue.find(paths.model(MODEL), "caffe")


@pytest.mark.parametrize("name", ["frozen_graph", "saved_model", "tflite", "onnx"])
def test_a_damaged_file_is_one_line(exported, tmp_path, name):
    from todus.detection import frozen_graph, onnx, saved_model, tflite

    kinds = {
        "frozen_graph": frozen_graph.FrozenGraph,
        "saved_model": saved_model.SavedModel,
        "tflite": tflite.TFLite,
    }
    path = tmp_path / "damaged"
    if name == "saved_model":
        path.mkdir()
    (path / "saved_model.pb" if name == "saved_model" else path).write_bytes(
        b"\x0a\xffno model at all" * 50
    )
    with pytest.raises(TodusError) as caught:
        kinds.get(name, onnx.Onnx)(path, {1: "circle"})
    assert (
        "damaged" in str(caught.value)
        and ".sh" in str(caught.value)
        or "export" in str(caught.value)
    )
    assert "\n" not in str(caught.value)
