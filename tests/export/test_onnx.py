"""ONNX files: their description, their last operators, and the box decoding for TensorRT."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import files, paths
from todus.dataset import image_files
from todus.detection import catalogue
from todus.detection.detector import DETECTIONS
from todus.detection.resizer import Resizer
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision
from todus.export import fake_quantization, inference_graph
from todus.export.onnx import convert
from todus.model import checkpoints, pipeline
from todus.paths import beside_json


def load(path):
    loaded = onnx.load(str(path))
    onnx.checker.check_model(loaded)
    return loaded


def test_the_json_describes_the_file(exported):
    path = paths.model(MODEL).file_of("onnx")
    loaded, described = load(path), files.read_json(beside_json(path))
    assert [each.version for each in loaded.opset_import if not each.domain] == [11]
    assert described["labels"] == ["circle", "four point star"]
    assert "counts from 1" in described["labels_note"]
    assert [each.name for each in loaded.graph.output] == described["outputs"]


LOOPS = {"Loop", "Scan", "If"}


def test_the_outputs_of_a_file_without_loops_are_those_of_its_graph(exported):
    model = paths.model(MODEL)
    path = model.file_of("onnx")
    assert not LOOPS & kinds_of(path) and "loops" not in files.read_json(beside_json(path))
    frozen = catalogue.open_form(model, catalogue.find(model, "frozen_graph"))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    examples = average_precision.examples_of(paths.dataset("limited"), "val", 6)
    images = [image_files.decode(example.encoded)[:90, :120] for example in examples]
    batch = {"image_tensor:0": np.stack(images)}
    names = [each + ":0" for each in DETECTIONS]
    expected, found = frozen.session.run(names, batch), session.run(names, batch)
    assert expected[-1].sum() > 20
    for one, other in zip(expected, found):
        np.testing.assert_allclose(other, one, atol=2e-6)


def test_loops_that_have_no_equal_stay(exported, tmp_path, monkeypatch):
    folder = "model/%s" % MODEL
    shutil.copytree(str(exported / folder), str(tmp_path / folder))
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    model = paths.model(MODEL)
    text, resizer = model.exported_pipeline.read_text(), "fixed_shape_resizer {"
    nearest = text.replace(resizer, resizer + " resize_method: NEAREST_NEIGHBOR")
    model.exported_pipeline.write_text(nearest)
    path, about = convert(model)
    assert "Loop" in kinds_of(path) and "bilinear" in about["loops"]
    with pytest.raises(TodusError, match="LAYOUT=raw.*bilinear.*without LAYOUT"):
        convert(model, "raw")


def test_the_tensorrt_file_ends_in_efficient_nms_and_has_no_loops(exported):
    loaded = load(paths.model(MODEL).file_of("onnx-tensorrt"))
    kinds = [node.op_type for node in loaded.graph.node]
    assert kinds[-2:] == ["EfficientNMS_TRT", "Clip"] and kinds.count("EfficientNMS_TRT") == 1
    plugin, clip = loaded.graph.node[-2:]
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in loaded.graph.initializer}
    assert (clip.input[0], clip.output[0]) == (plugin.output[1], "det_boxes")
    assert [constants[each] for each in clip.input[1:]] == [0, 1]
    assert not {"Loop", "Scan", "If", "NonMaxSuppression"} & set(kinds)
    attributes = {each.name: each for each in plugin.attribute}
    nms = pipeline.non_max_suppression(pipeline.read(paths.model(MODEL).exported_pipeline))
    assert attributes["score_threshold"].f == pytest.approx(nms.score_threshold)
    integers = [attributes[key].i for key in ("max_output_boxes", "background_class", "box_coding")]
    assert integers == [100, -1, 0]
    outputs = [each.name for each in loaded.graph.output]
    assert outputs == ["num_dets", "det_boxes", "det_scores", "det_classes"]


def test_the_boxes_before_the_plugin_hold_the_graphs_best_detection(exported, tmp_path):
    """Compares the boxes and scores before the plugin, which only TensorRT runs."""
    model = paths.model(MODEL)
    loaded = load(model.file_of("onnx-tensorrt"))
    del loaded.graph.node[-2:]
    del loaded.graph.output[:]
    for name in ("decode/boxes", "decode/scores"):
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        loaded.graph.output.append(value)
    path = str(tmp_path / "without-plugin.onnx")
    onnx.save(loaded, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    graph = catalogue.open_form(model, catalogue.find(model, "frozen_graph"))
    resize = Resizer(pipeline.input_size(pipeline.read(model.exported_pipeline)))
    compared = 0
    for example in average_precision.examples_of(paths.dataset("limited"), "val", 8):
        image = image_files.decode(example.encoded)
        pixels = (resize(image)[np.newaxis] - 127.5) / np.float32(127.5)
        boxes, scores = session.run(None, {session.get_inputs()[0].name: pixels.astype(np.float32)})
        assert boxes.shape[1:] == (scores.shape[1], 4) and scores.shape[2] == 2
        found = graph.detect([image])[0]
        if len(found.scores):
            of_class = scores[0, :, found.classes[0] - 1]
            place = of_class.argmax()
            assert of_class[place] == pytest.approx(found.scores[0], abs=1e-4)
            np.testing.assert_allclose(np.clip(boxes[0, place], 0, 1), found.boxes[0], atol=1e-4)
            compared += 1
    assert compared >= 4


@pytest.fixture
def quantized(exported, tmp_path, monkeypatch):
    """A copy of the quantization-aware model, exported."""
    for folder in ("dataset", "model/%s" % QUANTIZED):
        shutil.copytree(str(exported / folder), str(tmp_path / folder), copy_function=os.link)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    return paths.model(QUANTIZED)


def kinds_of(path):
    return {node.op_type for node in load(path).graph.node}


def test_a_quantization_aware_file_for_tensorrt_has_no_quantization(quantized):
    kinds = kinds_of(convert(quantized, "tensorrt")[0])
    assert "Clip" in kinds and not {"QuantizeLinear", "DequantizeLinear", "Floor"} & kinds


def test_a_quantization_aware_file_detects_as_its_graph(quantized):
    kinds = kinds_of(convert(quantized)[0])
    assert "Floor" in kinds and not {"QuantizeLinear", "DequantizeLinear"} & kinds
    graph, file = (
        catalogue.open_form(quantized, catalogue.find(quantized, name))
        for name in ("frozen_graph", "onnx")
    )
    compared = 0
    for example in average_precision.examples_of(paths.dataset("limited"), "val", 8):
        image = image_files.decode(example.encoded)
        (expected,), (found,) = graph.detect([image]), file.detect([image])
        for box, kind, score in zip(expected.boxes, expected.classes, expected.scores):
            if score > 0.3:
                near = (np.abs(found.boxes - box).max(axis=1) < 0.03) & (found.classes == kind)
                assert (np.abs(found.scores[near] - score) <= 0.02).any()
                compared += 1
    assert compared >= 4


def test_fake_quantization_is_computed_to_the_last_bit():
    from todus.tf import tf

    import tf2onnx

    ranges = [(-1.63, 1.112), (0.0, 5.99976), (-0.37, 11.3), (0.2, 3.0), (-4, -1), (-9, 3), (0, 0)]
    halves = np.linspace(-10, 12, 4001, dtype=np.float32)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        given = tf.placeholder(tf.float32, [None], name="given")
        for number, (low, high) in enumerate(ranges):
            limits = tf.constant(low, tf.float32), tf.constant(high, tf.float32)
            made = tf.quantization.fake_quant_with_min_max_vars(given, *limits)
            tf.identity(made, name="range%d" % number)
        names = ["range%d:0" % number for number in range(len(ranges))]
        ties = [float(np.float32(high - low) / 510) * np.arange(1, 510, 2) for low, high in ranges]
        values = np.concatenate([halves, *ties]).astype(np.float32)
        expected = session.run(names, {given: values})
        limits = fake_quantization.Limits()
        converted = tf2onnx.tfonnx.process_tf_graph(
            graph,
            opset=11,
            input_names=["given:0"],
            output_names=names,
            custom_op_handlers=limits.handlers,
        )
    model = tf2onnx.optimizer.optimize_graph(converted).make_model("ranges")
    limits.add_rounding(model, onnx.helper.make_node, onnx.numpy_helper.from_array)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
    for wanted, found in zip(expected, session.run(names, {"given:0": values})):
        np.testing.assert_array_equal(found, wanted)


def test_an_old_opset_and_an_unknown_layout_are_refused(exported):
    with pytest.raises(UsageError, match="11 or newer"):
        convert(paths.model(MODEL), opset=9)
    with pytest.raises(UsageError, match="LAYOUT=batched"):
        convert(paths.model(MODEL), "batched")


def test_a_model_without_an_export_gets_the_command_for_it(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    folder = Path("model", MODEL, "pretrained")
    shutil.copytree(str(prepared / folder), str(tmp_path / folder))
    with pytest.raises(TodusError, match="export.sh"):
        convert(paths.model(MODEL))


@pytest.mark.parametrize("shape", [[2, 96, 160, 3], [2, None, None, 3]])
def test_a_file_of_a_fixed_batch_or_size_is_evaluated_as_its_graph(
    exported, tmp_path, monkeypatch, shape
):
    for folder in ("dataset", "model/%s/pretrained" % MODEL):
        shutil.copytree(str(exported / folder), str(tmp_path / folder), copy_function=os.link)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    model, dataset = paths.model(MODEL), paths.dataset("limited")
    inference_graph.export(model, checkpoints.choose(model, "pretrained"), input_shape=shape)
    convert(model)
    results = {}
    for name in ("frozen_graph", "onnx"):
        detector = catalogue.open_form(model, catalogue.find(model, name))
        results[name] = average_precision.evaluate(detector, dataset, first=5)
    assert detector.size == (None if None in shape else (96, 160))
    assert results["onnx"].images == 5 and results["onnx"].ap > 0.1
    assert results["onnx"].ap == pytest.approx(results["frozen_graph"].ap, abs=0.005)
