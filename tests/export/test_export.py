"""Exports of checkpoints: their files, their input types and shapes, and what they refuse."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers.places import MODEL, QUANTIZED
from todus import categories, files, forms, paths
from todus.commands.export import input_shape
from todus.dataset import image_files
from todus.detection import catalogue, checkpoint
from todus.detection.frozen_graph import read_graph
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision
from todus.export import inference_graph, tflite_graph
from todus.model import artefacts, checkpoint_values, checkpoints, pipeline


def test_an_export_has_all_its_files(exported):
    model = paths.model(MODEL)
    expected = (
        "frozen_inference_graph.pb saved_model model.ckpt.index pipeline.config labels.txt "
        "label_map.pbtxt export.json tflite_graph.pb tflite_graph.pbtxt"
    )
    assert set(expected.split()) <= {path.name for path in model.inference_graph.iterdir()}
    assert model.exported_labels.read_text() == "circle\nfour point star\n"


def test_the_saved_model_has_variables(exported):
    variables = paths.model(MODEL).inference_graph / "saved_model" / "variables"
    assert files.size_of(variables) > 500000


def test_labels_have_a_line_for_each_id():
    assert categories.labels({1: "cat", 3: "dog"}) == ["cat", "???", "dog"]


@pytest.fixture
def unexported(exported, tmp_path, monkeypatch):
    """The prepared model and its dataset in a TODUS_HOME of the test's own."""
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    for folder in ("dataset", "model/%s/pretrained" % MODEL):
        shutil.copytree(str(exported / folder), str(tmp_path / folder), copy_function=os.link)
    return paths.model(MODEL)


def test_a_changed_byte_of_an_export_is_an_error_with_the_command_that_makes_it(
    unexported, exported
):
    model = unexported
    before = paths.Model(exported / "model" / MODEL).inference_graph
    shutil.copytree(str(before), str(model.inference_graph))
    graphs = {
        "frozen_graph": model.frozen_graph,
        "saved_model": model.saved_model / "saved_model.pb",
        "tflite_graph": model.tflite_graph,
    }
    for name, path in graphs.items():
        form = forms.find(name)
        artefacts.check_file(model, form)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        words = "%s is damaged.* run: .*%s" % (path.name, form.command.split("{")[0].split()[-1])
        with pytest.raises(TodusError, match=words):
            artefacts.check_file(model, form)
    with pytest.raises(TodusError, match="is damaged"):
        artefacts.graph_of(model, "tflite_graph")
    about = artefacts.exported(model.inference_graph)
    for entry in about.values():  # as exports of earlier versions have it
        del entry["sha256"]
    files.write_json(model.inference_graph / "export.json", about)
    artefacts.check_file(model, forms.find("frozen_graph"))


def frozen_graph_of(model):
    return catalogue.open_form(model, catalogue.find(model, "frozen_graph"))


@pytest.mark.parametrize(
    "kind, shape",
    [
        ("image_tensor", [2, 128, 128, 3]),
        ("encoded_image_string_tensor", None),
        ("tf_example", None),
    ],
)
def test_an_export_of_every_input_type_replaces_the_last_and_detects_the_same(
    unexported, exported, kind, shape
):
    examples = average_precision.examples_of(paths.dataset("limited"), "val", 3)
    images = [image_files.decode(each.encoded) for each in examples]
    if shape:
        images = [np.array(Image.fromarray(image).resize((128, 128))) for image in images]
    reference = frozen_graph_of(paths.Model(exported / "model" / MODEL))
    expected = [reference.detect([image])[0].scores for image in images]
    assert sum(map(len, expected)) > 0
    stale = unexported.inference_graph / "stale"
    stale.mkdir(parents=True)
    prefix = checkpoints.choose(unexported, "pretrained")
    inference_graph.export(unexported, prefix, kind, shape)
    assert not stale.exists() and not list(unexported.folder.glob(".inference-graph*"))
    detector = frozen_graph_of(unexported)
    # The last fixed batch of two has one image. Encoded images of one batch must have one size.
    batches = [images] if shape else [[image] for image in images]
    found = [detections for batch in batches for detections in detector.detect(batch)]
    for detections, scores in zip(found, expected):
        np.testing.assert_allclose(detections.scores, scores, atol=1e-4)
    assert len(found) == len(expected)
    assert kind in {node.name for node in read_graph(unexported.frozen_graph).node}
    origin = files.read_json(unexported.inference_graph / "export.json")["inference_graph"]
    assert origin["input_type"] == kind


def test_an_unknown_input_type_or_a_shape_for_another_type_is_refused(unexported):
    prefix = checkpoints.choose(unexported, "pretrained")
    with pytest.raises(UsageError, match="INPUT_SHAPE"):
        inference_graph.export(unexported, prefix, "tf_example", [1, 128, 128, 3])
    with pytest.raises(UsageError, match="INPUT_TYPE=jpeg"):
        inference_graph.export(unexported, prefix, "jpeg")


@pytest.mark.parametrize(
    "text, shape", [("", None), ("free", None), ("fixed", "own"), ("480x640", [None, 480, 640, 3])]
)
def test_input_shape_and_batch_set_the_exported_shape(unexported, monkeypatch, text, shape):
    monkeypatch.setenv("INPUT_SHAPE", text)
    own = [None] + list(pipeline.input_size(pipeline.read(unexported.pipeline))) + [3]
    assert input_shape(unexported) == (own if shape == "own" else shape)
    monkeypatch.setenv("BATCH", "4")
    assert input_shape(unexported)[0] == 4
    monkeypatch.setenv("INPUT_SHAPE", "480,640")
    with pytest.raises(UsageError, match="480x640"):
        input_shape(unexported)


def test_faster_rcnn_is_refused_for_tflite_with_the_reason(unexported):
    config = pipeline.read(unexported.pipeline)
    config.model.faster_rcnn.num_classes = 2
    config.model.faster_rcnn.feature_extractor.type = "faster_rcnn_resnet50"
    config.model.faster_rcnn.image_resizer.fixed_shape_resizer.height = 300
    pipeline.write(unexported.pipeline, config)
    with pytest.raises(TodusError, match="second stage.*convert-onnx.sh"):
        tflite_graph.export(unexported, checkpoints.choose(unexported, "pretrained"))


def test_a_quantized_export_records_its_quantization_and_nms(exported):
    origin = files.read_json(paths.model(QUANTIZED).inference_graph / "export.json")["tflite_graph"]
    recorded = [origin[key] for key in ("quantized", "not_quantized_because", "nms")]
    assert recorded == [True, None, "regular"]


def values_of(constant):
    from todus.tf import tf

    return tf.make_ndarray(constant.attr["value"].tensor)


def test_moving_averages_are_evaluated_and_exported_where_the_config_uses_them(unexported):
    dataset = paths.dataset("limited")
    prefix = checkpoints.choose(unexported, "pretrained")
    config = pipeline.read(unexported.pipeline)
    names = categories.read_label_map(unexported.limited_label_map)
    expected = average_precision.evaluate(checkpoint.Checkpoint(prefix, config, names), dataset)
    weights = checkpoint_values.read_checkpoint(prefix)
    kept = {name for name in weights if name.endswith("weights") and "Class" not in name}
    spoilt = {name: 0 * value if name in kept else value for name, value in weights.items()}
    spoilt.update({name + "/ExponentialMovingAverage": weights[name] for name in kept})
    for path in prefix.parent.glob("model.ckpt.*"):
        path.unlink()  # a hard link
    checkpoint_values.write_checkpoint(prefix, spoilt)
    raw = average_precision.evaluate(checkpoint.Checkpoint(prefix, config, names), dataset)
    assert raw.ap < 0.05 < expected.ap
    config.eval_config.use_moving_averages = True
    pipeline.write(unexported.pipeline, config)
    found = average_precision.evaluate(checkpoint.Checkpoint(prefix, config, names), dataset)
    assert found.ap == pytest.approx(expected.ap, abs=1e-6)
    inference_graph.export(unexported, prefix)
    graph = average_precision.evaluate(frozen_graph_of(unexported), dataset)
    assert graph.ap == pytest.approx(expected.ap, abs=0.002)
    tflite_graph.export(unexported, prefix)
    kernels = [node for node in read_graph(unexported.tflite_graph).node if node.name in kept]
    assert kernels and all(np.any(values_of(node)) for node in kernels)
    assert not pipeline.read(unexported.exported_pipeline).eval_config.use_moving_averages
    assert not list(unexported.folder.glob(".weights*"))
