"""TFLite: formats, refusals, metadata, operators, and the EdgeTPU compiler's log."""

import os
import stat

import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import files, paths
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


def test_metadata_and_labels_are_read_back_by_the_librarys_own_reader(exported):
    model = paths.model(MODEL)
    packed = tflite_metadata.read(model.file_of("tflite").read_bytes())
    assert packed.name == MODEL
    assert packed.labels == ["circle", "four point star"]
    assert packed.labels == model.exported_labels.read_text().splitlines()
    assert (packed.mean, packed.std) == ([127.5], [127.5])
    assert "counts from 0" in packed.description
    assert (
        tflite_metadata.read(paths.model(QUANTIZED).file_of("tflite").read_bytes()).labels
        == packed.labels
    )


def test_a_file_without_metadata_is_one_line(exported, tmp_path):
    model = paths.model(MODEL)
    with pytest.raises(TodusError, match="no metadata"):
        tflite_metadata.read(
            tflite._converted(
                model.tflite_graph, pipeline.read(model.exported_pipeline), "float", None, tmp_path
            )
        )


def test_the_json_says_what_a_device_must_know(exported):
    described = files.read_json(beside_json(paths.model(QUANTIZED).file_of("tflite")))
    assert described["format"] == "uint8" and described["input"]["dtype"] == "uint8"
    assert (
        described["labels"] == ["circle", "four point star"]
        and "counts from 0" in described["labels_note"]
    )
    assert described["outputs"][0]["shape"] == [1, 100, 4]
    assert described["bytes"] == paths.model(QUANTIZED).file_of("tflite").stat().st_size


def test_a_quantized_graph_goes_to_the_edgetpu_but_for_its_last_operator(exported):
    report = tflite_operators.report(paths.model(QUANTIZED).file_of("tflite").read_bytes())
    left = [operator.name for operator in report.operators if operator.left_out]
    assert left == ["TFLite_Detection_PostProcess"]
    assert len(report.operators) > 40 and report.types["UINT8"] > 40


def test_a_float_graph_stays_on_the_cpu_and_int8_keeps_only_its_ends_there(exported):
    model = paths.model(MODEL)
    assert all(
        operator.left_out
        for operator in tflite_operators.report(model.file_of("tflite").read_bytes()).operators
    )
    left = {
        each.name
        for each in tflite_operators.report(model.file_of("tflite-int8").read_bytes()).operators
        if each.left_out
    }
    assert left <= {"QUANTIZE", "DEQUANTIZE", "TFLite_Detection_PostProcess"}
    assert (
        0 < files.read_json(beside_json(model.file_of("tflite-int8")))["calibration_images"] <= 20
    )


def test_uint8_of_a_float_model_is_refused_with_what_helps(exported):
    with pytest.raises(TodusError, match="-q and train.*FORMAT=int8"):
        tflite.convert(paths.model(MODEL), "uint8")
    with pytest.raises(UsageError, match="float16"):
        tflite.convert(paths.model(MODEL), "int4")


def test_a_checkpoint_younger_than_the_delay_is_refused_with_the_step_it_needs(exported, tmp_path):
    model = paths.model(QUANTIZED)
    for path in model.pretrained.glob("limited/model.ckpt.*"):
        os.link(str(path), str(tmp_path / path.name.replace("model.ckpt", "model.ckpt-40")))
    config = pipeline.read(model.pipeline)
    config.graph_rewriter.quantization.delay = 500
    reason = checkpoint_graph.not_quantized_because(model, tmp_path / "model.ckpt-40", config)
    assert (
        "step 40" in reason and "begins at step 500" in reason and "NUM_TRAIN_STEPS=1000" in reason
    )
    assert checkpoint_graph.not_quantized_because(model, model.limited_checkpoint, config) is None


def test_a_graph_without_ranges_is_refused_before_the_converter_runs(exported, monkeypatch):
    model = paths.model(QUANTIZED)
    path = model.inference_graph / "export.json"
    before = files.read_json(path)
    changed = dict(
        before,
        tflite_graph=dict(
            before["tflite_graph"], quantized=False, not_quantized_because="train beyond step 500"
        ),
    )
    monkeypatch.setattr(tflite, "_converted", lambda *_: pytest.fail("the converter ran"))
    try:
        files.write_json(path, changed)
        for wanted in (None, "uint8"):
            with pytest.raises(TodusError, match="train beyond step 500"):
                tflite.convert(model, wanted)
    finally:
        files.write_json(path, before)


def test_made_up_ranges_only_by_name_and_with_a_warning(exported):
    said = []
    path, described = tflite.convert(paths.model(MODEL), "dummy", say=said.append)
    try:
        assert path.name == MODEL + "-dummy.tflite" and described["format"] == "dummy"
        assert "worthless" in said[0]
        from todus.detection import catalogue

        assert "tflite-dummy" not in [form.name for form in catalogue.present(paths.model(MODEL))]
    finally:
        path.unlink()
        beside_json(path).unlink()


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
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_an_installed_compiler_is_run_and_its_file_kept(tmp_path, monkeypatch):
    (tmp_path / "log").write_text(LOG)
    body = (
        'while [ "$1" != -o ]; do shift; done\ncp "$3" "$2/$(basename "$3" .tflite)_edgetpu.tflite"\ncat %s\n'
        % (tmp_path / "log")
    )
    fake_compiler(tmp_path, body)
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path, os.environ["PATH"]))
    (tmp_path / "a.tflite").write_bytes(b"model")
    compiled = tflite_operators.compile_for_edgetpu(tmp_path / "a.tflite")
    assert (compiled["file"], compiled["mapped"], compiled["cpu"]) == ("a_edgetpu.tflite", 62, 2)
    assert (tmp_path / "a_edgetpu.tflite").read_bytes() == b"model"


def test_a_compiler_that_fails_is_one_line_and_none_is_no_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert tflite_operators.compile_for_edgetpu(tmp_path / "a.tflite") is None
    fake_compiler(tmp_path, "echo Internal compiler error. Aborting!\nexit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path) + ":/usr/bin:/bin")
    with pytest.raises(TodusError, match="Internal compiler error"):
        tflite_operators.compile_for_edgetpu(tmp_path / "a.tflite")


def test_max_detections_and_fast_nms_are_in_the_file(exported):
    model = paths.model(QUANTIZED)
    try:
        tflite_graph.export(
            model, checkpoints.choose(model, "pretrained"), max_detections=7, regular_nms=False
        )
        path, described = tflite.convert(model)
        assert path.name == QUANTIZED + "-fast.tflite"
        assert described["outputs"][0]["shape"] == [1, 7, 4]
        path.unlink()
        beside_json(path).unlink()
    finally:
        tflite_graph.export(model, checkpoints.choose(model, "pretrained"))
