"""TFLite: formats, refusals, metadata, operators, and the EdgeTPU compiler."""

import os
import shutil
import tempfile

from todus.tf import tf

import flatbuffers
import numpy as np
import pytest
from object_detection import export_tflite_ssd_graph_lib as library

from demo.server import Server
from tests.helpers.places import MODEL, QUANTIZED
from todus import files, paths
from todus.commands import export_tflite
from todus.detection import catalogue
from todus.detection.frozen_graph import read_graph
from todus.errors import TodusError, UsageError
from todus.export import checkpoint_graph, tflite, tflite_graph, tflite_metadata, tflite_operators
from todus.model import artefacts, checkpoints, pipeline
from todus.paths import beside_json

LOG = """Edge TPU Compiler version 16.0.384591198
Input model: a.tflite
Number of Edge TPU subgraphs: 1
Total number of operations: 64
Operation log: a_edgetpu.log
Number of operations that will run on Edge TPU: 62
Number of operations that will run on CPU: 2

Operator                       Count      Status

CUSTOM                         1          Operation is working on an unsupported data type
LOGISTIC                       1          More than one subgraph is not supported
CONV_2D                        34         Mapped to Edge TPU
"""


@pytest.fixture
def own(exported, tmp_path, monkeypatch):
    """`exported` in a TODUS_HOME of the test's own."""
    shutil.copytree(str(exported), str(tmp_path / "home"), copy_function=os.link)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path / "home"))


def bytes_of(name, form="tflite"):
    return paths.model(name).file_of(form).read_bytes()


def left_on_cpu(data):
    operators = tflite_operators.report(data).operators
    return [operator.name for operator in operators if operator.left_out], len(operators)


def without_metadata(name):
    content = tflite_operators.model_of(bytes_of(name))
    content.metadata = None
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_library_reads_the_metadata_and_labels_back(exported):
    packed = tflite_metadata.read(bytes_of(MODEL))
    assert packed.name == MODEL
    assert packed.labels == ["circle", "four point star"]
    assert packed.labels == paths.model(MODEL).exported_labels.read_text().splitlines()
    assert (packed.mean, packed.std) == ([127.5], [127.5])
    assert "counts from 0" in packed.description
    assert tflite_metadata.read(bytes_of(QUANTIZED)).labels == packed.labels


def test_the_metadata_is_packed_without_a_file_outside_the_scratch_folder(
    exported, tmp_path, monkeypatch
):
    """A killed command would leave it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    data, labels = without_metadata(MODEL), ["circle", "four point star"]
    packed = tflite_metadata.pack(data, MODEL, labels, [127.5], [127.5], tmp_path)
    assert tflite_metadata.read(packed).labels == labels


def test_a_file_without_metadata_is_refused(exported):
    with pytest.raises(TodusError, match="no metadata"):
        tflite_metadata.read(without_metadata(MODEL))


def test_the_json_describes_input_outputs_and_labels(exported):
    path = paths.model(QUANTIZED).file_of("tflite")
    described = files.read_json(beside_json(path))
    assert described["format"] == "uint8" and described["input"]["dtype"] == "uint8"
    assert described["labels"] == ["circle", "four point star"]
    assert "counts from 0" in described["labels_note"]
    assert described["outputs"][0]["shape"] == [1, 100, 4]
    assert described["bytes"] == path.stat().st_size


def test_an_edgetpu_maps_all_of_a_quantized_graph_but_the_last_operator(exported):
    names, operators = left_on_cpu(bytes_of(QUANTIZED))
    assert names == ["TFLite_Detection_PostProcess"] and operators > 40
    assert tflite_operators.report(bytes_of(QUANTIZED)).types["UINT8"] > 40


def test_an_edgetpu_maps_no_float_graph_and_all_of_int8_but_its_ends(exported):
    names, operators = left_on_cpu(bytes_of(MODEL))
    assert len(names) == operators > 0
    names, _ = left_on_cpu(bytes_of(MODEL, "tflite-int8"))
    assert set(names) <= {"QUANTIZE", "DEQUANTIZE", "TFLite_Detection_PostProcess"}
    described = files.read_json(beside_json(paths.model(MODEL).file_of("tflite-int8")))
    assert 0 < described["calibration_images"] <= 20


def test_uint8_of_a_float_model_and_unknown_formats_are_refused(exported):
    with pytest.raises(TodusError, match="-q and train.*FORMAT=int8"):
        tflite.convert(paths.model(MODEL), "uint8")
    with pytest.raises(UsageError, match="float16"):
        tflite.convert(paths.model(MODEL), "int4")


def test_a_checkpoint_before_the_quantization_delay_gets_the_step_that_it_needs(exported, tmp_path):
    model = paths.model(QUANTIZED)
    for path in model.pretrained.glob("limited/model.ckpt.*"):
        os.link(str(path), str(tmp_path / path.name.replace("model.ckpt", "model.ckpt-40")))
    config = pipeline.read(model.pipeline)
    config.graph_rewriter.quantization.delay = 500
    reason = checkpoint_graph.not_quantized_because(model, tmp_path / "model.ckpt-40", config)
    for fact in ("step 40", "begins at step 500", "NUM_TRAIN_STEPS=1000"):
        assert fact in reason
    assert checkpoint_graph.not_quantized_because(model, model.limited_checkpoint, config) is None


@pytest.mark.parametrize("wanted", [None, "uint8"])
def test_a_graph_without_ranges_is_refused_before_the_converter_runs(own, monkeypatch, wanted):
    model = paths.model(QUANTIZED)
    path = model.inference_graph / "export.json"
    origins = files.read_json(path)
    reason = "train beyond step 500"
    origins["tflite_graph"].update(quantized=False, not_quantized_because=reason)
    files.write_json(path, origins)
    monkeypatch.setattr(tf.lite, "TFLiteConverter", None)
    with pytest.raises(TodusError, match=reason):
        tflite.convert(model, wanted)


def test_a_dummy_file_comes_with_a_warning_and_is_no_form_to_evaluate(own):
    lines = []
    model = paths.model(MODEL)
    path, described = tflite.convert(model, "dummy", say=lines.append)
    assert path.name == MODEL + "-dummy.tflite" and described["format"] == "dummy"
    assert "worthless" in lines[0]
    assert "tflite-dummy" not in [form.name for form in catalogue.present(model)]


def test_the_compilers_log_is_read():
    read = tflite_operators.read_compiler_log(LOG)
    assert (read["mapped"], read["cpu"]) == (62, 2)
    assert read["operators"][0] == {
        "operator": "CUSTOM",
        "count": 1,
        "status": "Operation is working on an unsupported data type",
    }
    assert len(read["operators"]) == 3


def fake_compiler(folder, body):
    program = folder / "edgetpu_compiler"
    program.write_text("#!/bin/sh\n" + body)
    program.chmod(0o755)


def test_an_installed_compiler_is_run_and_its_file_kept(tmp_path, monkeypatch):
    (tmp_path / "log").write_text(LOG)
    copy = 'cp "$3" "$2/$(basename "$3" .tflite)_edgetpu.tflite"'
    body = 'while [ "$1" != -o ]; do shift; done\n%s\ncat %s\n' % (copy, tmp_path / "log")
    fake_compiler(tmp_path, body)
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path, os.environ["PATH"]))
    (tmp_path / "a.tflite").write_bytes(b"model")
    compiled = tflite_operators.compile_for_edgetpu(tmp_path / "a.tflite")
    assert (compiled["file"], compiled["mapped"], compiled["cpu"]) == ("a_edgetpu.tflite", 62, 2)
    assert (tmp_path / "a_edgetpu.tflite").read_bytes() == b"model"


def test_a_compiler_may_be_missing_and_its_failure_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert tflite_operators.compile_for_edgetpu(tmp_path / "a.tflite") is None
    fake_compiler(tmp_path, "echo Internal compiler error. Aborting!\nexit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path) + ":/usr/bin:/bin")
    with pytest.raises(TodusError, match="Internal compiler error"):
        tflite_operators.compile_for_edgetpu(tmp_path / "a.tflite")


def test_max_detections_and_fast_nms_are_in_the_file(own):
    model = paths.model(QUANTIZED)
    prefix = checkpoints.choose(model, "pretrained")
    tflite_graph.export(model, prefix, max_detections=7, regular_nms=False)
    path, described = tflite.convert(model)
    assert path.name == QUANTIZED + "-fast.tflite"
    assert described["outputs"][0]["shape"] == [1, 7, 4]


def test_the_models_own_maximum_of_detections_is_the_default(own, monkeypatch):
    model = paths.model(QUANTIZED)
    config = pipeline.read(model.pipeline)
    pipeline.non_max_suppression(config).max_total_detections = 9
    pipeline.non_max_suppression(config).max_detections_per_class = 4
    pipeline.write(model.pipeline, config)
    monkeypatch.setenv("MODEL_DIR", str(model.folder))
    monkeypatch.setenv("CHECKPOINT_PREFIX", "pretrained")
    for given, expected in (("", (9, 4)), ("12", (12, 12))):
        monkeypatch.setenv("MAX_DETECTIONS", given)
        assert export_tflite.main() == 0
        last = read_graph(model.tflite_graph).node[-1]
        limits = [last.attr[name].i for name in ("max_detections", "detections_per_class")]
        assert tuple(limits) == expected
        assert artefacts.tflite_graph(model)["max_detections"] == expected[0]


def class_by_channel(model, quantized):
    """Replaces the TFLite graph: the logits of three classes are 0.02 of red, of blue, and -4."""
    config = pipeline.read(model.exported_pipeline)
    config.model.ssd.feature_extractor.type = "ssd_resnet50_v1_fpn"
    pipeline.write(model.exported_pipeline, config)
    height, width = pipeline.input_size(config)

    def ranged(value, most):
        if not quantized:
            return value
        return tf.quantization.fake_quant_with_min_max_args(value, -most, most)

    with tf.Graph().as_default() as graph:
        pixels = tf.placeholder(tf.float32, [1, height, width, 3], name=tflite.INPUT)
        # Background, red, blue and a class whose weights are 0, for each of 2 x 2 places.
        kernel = np.zeros((1, 1, 3, 4), np.float32)
        kernel[0, 0, 0, 1] = kernel[0, 0, 2, 2] = 0.02
        strides = [1, height // 2, width // 2, 1]

        def convolved(values, name, biases):
            weights = ranged(tf.constant(values), 0.02)
            result = tf.nn.conv2d(pixels, weights, strides, "VALID")
            result = ranged(tf.nn.bias_add(result, tf.constant(biases, tf.float32)), 4.0)
            return tf.reshape(result, [1, 4, len(biases)], name=name)

        convolved(np.full((1, 1, 3, 4), 1e-6, np.float32), "raw_outputs/box_encodings", [0] * 4)
        tf.sigmoid(convolved(kernel, "logits", [0, 0, 0, -4]), name="raw_outputs/class_predictions")
        centres = [[y, x, 0.4, 0.4] for y in (0.25, 0.75) for x in (0.25, 0.75)]
        tf.constant(np.float32(centres), name="anchors")
        scales = {key: {value} for key, value in zip(SCALES, (10.0, 10.0, 5.0, 5.0))}
        made = library.append_postprocessing_op(
            graph.as_graph_def(), 100, 1, {0.0}, {0.6}, 3, scales, 100, True
        )
    model.tflite_graph.unlink()  # a hard link
    model.tflite_graph.write_bytes(made.SerializeToString())
    path = model.inference_graph / "export.json"
    origins = files.read_json(path)
    digests = artefacts.digests(model.inference_graph, "tflite_graph")
    origins["tflite_graph"].update(quantized=quantized, sha256=digests)
    files.write_json(path, origins)


SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")


CASES = [("uint8", True, None), ("float", True, None)]
CASES += [("int8", False, dtype) for dtype in (None, "int8", "float32")]


@pytest.mark.parametrize("wanted, quantized, dtype", CASES)
def test_each_channel_of_a_resnet_has_its_own_mean_and_weights_of_0_are_kept(
    own, wanted, quantized, dtype
):
    model = paths.model(QUANTIZED if quantized else MODEL)
    class_by_channel(model, quantized)
    path, described = tflite.convert(model, wanted, calibration=8, dtype=dtype)
    assert described["input"]["mean"] == [123.68, 116.779, 103.939]
    default = {"uint8": "uint8", "float": "float32", "int8": "uint8"}[wanted]
    assert described["input"]["dtype"] == (dtype or default)
    detector = catalogue.open_form(model, catalogue.find(model, form_of(path, model)))
    found = detector.detect([np.full(detector.size + (3,), 127, np.uint8)])[0]
    logits = {1: 0.02 * (127 - 123.68), 2: 0.02 * (127 - 103.939), 3: -4}
    for identity, logit in logits.items():
        scores = found.scores[found.classes == identity]
        assert len(scores) == 4 and scores == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.015)


def test_a_file_of_three_classes_has_what_reports_each_of_them(own):
    model = paths.model(MODEL)
    class_by_channel(model, False)
    _, described = tflite.convert(model)
    graph = described["graph"]
    assert graph["operators"]["TFLite_Detection_PostProcess"] == 3
    why = "reports every class, whatever number of threads there is"
    assert {"operator": "TOPK_V2", "count": 1, "reason": why} in graph["edgetpu"]["left_on_cpu"]
    assert described["outputs"][0]["shape"] == [1, 100, 4]


def test_the_input_of_other_formats_has_one_type(own):
    with pytest.raises(UsageError, match="INPUT_DTYPE=int8 needs FORMAT=int8.* is uint8"):
        tflite.convert(paths.model(QUANTIZED), dtype="int8")


@pytest.fixture
def without_dataset(own):
    """MODEL as python -m model --categories prepares it."""
    model = paths.model(MODEL)
    path = model.pretrained / "source.json"
    files.write_json(path, dict(files.read_json(path), dataset=None))
    class_by_channel(model, False)
    return model


def test_a_model_without_a_dataset_takes_its_ranges_from_images_of_coco(
    without_dataset, drawn, monkeypatch, capsys
):
    with Server(drawn) as server:
        monkeypatch.setenv("COCO_URL", server.url)
        path, described = tflite.convert(without_dataset, "int8", calibration=5)
    said = capsys.readouterr().err
    assert "5 val images of COCO with circle, four point star" in said
    assert described["calibration_images"] == 5 and path.exists()
    assert described["calibration_source"] == "val images of COCO"


def test_without_images_nothing_is_written(without_dataset, monkeypatch):
    for name, value in (("COCO_URL", "http://127.0.0.1:9"), ("RETRIES", "1")):
        monkeypatch.setenv(name, value)
    path = without_dataset.file_of("tflite-int8")
    for each in (path, beside_json(path)):
        each.unlink()
    shutil.rmtree(str(paths.raw_data()))
    before = sorted(without_dataset.folder.iterdir())
    with pytest.raises(TodusError, match="no images for FORMAT=int8.*refused.*FORMAT=dynamic"):
        tflite.convert(without_dataset, "int8")
    assert sorted(without_dataset.folder.iterdir()) == before


def form_of(path, model):
    return path.stem.replace(model.name, "tflite", 1)
