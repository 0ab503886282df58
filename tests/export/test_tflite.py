"""TFLite: formats, refusals, metadata, operators, and the EdgeTPU compiler."""

import os
import shutil

from todus.tf import tf

import flatbuffers
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import files, paths
from todus.detection import catalogue
from todus.errors import TodusError, UsageError
from todus.export import checkpoint_graph, tflite, tflite_graph, tflite_metadata, tflite_operators
from todus.model import checkpoints, pipeline
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


def test_the_library_reads_the_metadata_and_labels_back(exported):
    packed = tflite_metadata.read(bytes_of(MODEL))
    assert packed.name == MODEL
    assert packed.labels == ["circle", "four point star"]
    assert packed.labels == paths.model(MODEL).exported_labels.read_text().splitlines()
    assert (packed.mean, packed.std) == ([127.5], [127.5])
    assert "counts from 0" in packed.description
    assert tflite_metadata.read(bytes_of(QUANTIZED)).labels == packed.labels


def test_a_file_without_metadata_is_refused(exported):
    content = tflite_operators.model_of(bytes_of(MODEL))
    content.metadata = None
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), b"TFL3")
    with pytest.raises(TodusError, match="no metadata"):
        tflite_metadata.read(bytes(builder.Output()))


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
