"""What an export holds, whatever its input, and that it can be repeated."""

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import categories, files, paths
from todus.dataset import image_files
from todus.detection import catalogue
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision
from todus.export import inference_graph, tflite_graph
from todus.model import checkpoints, pipeline


def test_an_export_has_all_its_files(exported):
    model = paths.model(MODEL)
    there = {path.name for path in model.inference_graph.iterdir()}
    assert there >= {
        "frozen_inference_graph.pb",
        "saved_model",
        "model.ckpt.index",
        "pipeline.config",
        "labels.txt",
        "label_map.pbtxt",
        "export.json",
        "tflite_graph.pb",
        "tflite_graph.pbtxt",
    }
    assert model.exported_labels.read_text() == "circle\nfour point star\n"


def test_the_saved_model_has_variables(exported):
    variables = paths.model(MODEL).inference_graph / "saved_model" / "variables"
    assert files.size_of(variables) > 500000


def test_labels_have_a_line_for_each_id():
    assert categories.labels({1: "cat", 3: "dog"}) == ["cat", "???", "dog"]


@pytest.fixture
def scratch(exported, tmp_path, monkeypatch):
    """A model of its own to export again and again."""
    import shutil

    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    shutil.copytree(str(exported / "dataset"), str(tmp_path / "dataset"))
    shutil.copytree(
        str(exported / "model" / MODEL / "pretrained"),
        str(tmp_path / "model" / MODEL / "pretrained"),
    )
    return paths.model(MODEL)


def test_every_input_type_detects_the_same_and_an_export_replaces_the_last(
    scratch, exported, monkeypatch
):
    prefix = checkpoints.choose(scratch, "pretrained")
    dataset = paths.dataset("limited")
    images = [
        image_files.decode(each.encoded)
        for each in average_precision.examples_of(dataset, "val", 4)
    ]
    reference = paths.Model(exported / "model" / MODEL)
    expected = [
        catalogue.open_form(reference, catalogue.find(reference, "frozen_graph")).detect([image])[0]
        for image in images
    ]
    assert sum(len(each.scores) for each in expected)
    shapes = {
        "image_tensor": [1, 128, 128, 3],
        "encoded_image_string_tensor": None,
        "tf_example": None,
    }
    for kind, shape in shapes.items():
        inference_graph.export(scratch, prefix, kind, shape)
        detector = catalogue.open_form(scratch, catalogue.find(scratch, "frozen_graph"))
        assert detector._input.op.name == kind or shape
        for image, wanted in zip(images, expected):
            got = detector.detect([image])[0]
            if image.shape[:2] == (128, 128) or not shape:
                np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)
        assert (
            files.read_json(scratch.inference_graph / "export.json")["inference_graph"][
                "input_type"
            ]
            == kind
        )
    assert not list(scratch.folder.glob(".inference-graph*"))


def test_a_fixed_batch_is_filled_up(scratch):
    inference_graph.export(
        scratch, checkpoints.choose(scratch, "pretrained"), input_shape=[2, None, None, 3]
    )
    detector = catalogue.open_form(scratch, catalogue.find(scratch, "frozen_graph"))
    images = [
        image_files.decode(each.encoded)
        for each in average_precision.examples_of(paths.dataset("limited"), "val", 3)
    ]
    assert len(detector.detect(images)) == 3


def test_a_shape_is_for_image_tensor_alone(scratch):
    with pytest.raises(UsageError, match="INPUT_SHAPE"):
        inference_graph.export(
            scratch, checkpoints.choose(scratch, "pretrained"), "tf_example", [1, 128, 128, 3]
        )
    with pytest.raises(UsageError, match="INPUT_TYPE=jpeg"):
        inference_graph.export(scratch, checkpoints.choose(scratch, "pretrained"), "jpeg")


@pytest.mark.parametrize(
    "text, shape", [("", None), ("free", None), ("fixed", "own"), ("480x640", [None, 480, 640, 3])]
)
def test_the_shape_in_the_environment(scratch, monkeypatch, text, shape):
    from todus.commands.export import input_shape

    monkeypatch.setenv("INPUT_SHAPE", text)
    own = [None] + list(pipeline.input_size(pipeline.read(scratch.pipeline))) + [3]
    assert input_shape(scratch) == (own if shape == "own" else shape)
    monkeypatch.setenv("BATCH", "4")
    assert input_shape(scratch)[0] == 4
    monkeypatch.setenv("INPUT_SHAPE", "480,640")
    with pytest.raises(UsageError, match="480x640"):
        input_shape(scratch)


def test_faster_rcnn_is_refused_for_tflite_with_the_reason(scratch):
    config = pipeline.read(scratch.pipeline)
    config.model.faster_rcnn.num_classes = 2
    config.model.faster_rcnn.feature_extractor.type = "faster_rcnn_resnet50"
    config.model.faster_rcnn.image_resizer.fixed_shape_resizer.height = 300
    pipeline.write(scratch.pipeline, config)
    with pytest.raises(TodusError, match="second stage.*convert-onnx.sh"):
        tflite_graph.export(scratch, checkpoints.choose(scratch, "pretrained"))


def test_a_quantized_export_says_so(exported):
    origin = files.read_json(paths.model(QUANTIZED).inference_graph / "export.json")["tflite_graph"]
    assert (
        origin["quantized"]
        and origin["not_quantized_because"] is None
        and origin["nms"] == "regular"
    )
