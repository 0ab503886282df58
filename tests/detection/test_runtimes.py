"""The runtimes of .runtimes, and the processes that run a model in them."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.detection.test_detectors import largest_difference, val_images
from tests.helpers.places import MODEL, QUANTIZED, REPO
from todus import command, paths
from todus.commands import evaluate
from todus.detection import catalogue, runtimes, worker_process
from todus.errors import TodusError, UsageError
from todus.evaluation import latency

MEDIAPIPE = REPO / "tests" / "helpers" / "mediapipe_detector.py"
needs_runtimes = pytest.mark.skipif(
    not runtimes.installed(), reason="no .runtimes here; make runtimes installs it"
)


def wrapper(path, code):
    """Writes a bash program that can stand for a Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/usr/bin/env bash\n%s\n" % code)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def onnx_worker(exported):
    """started(**more): the miniature's ONNX file in a worker of this Python."""
    model = paths.model(MODEL)
    path = catalogue.find(model, "onnx").path

    def started(python=sys.executable, **more):
        opened = worker_process.Opened(python, "onnxruntime", "ONNX Runtime", path, 1, **more)
        return worker_process.Worker(opened)

    return started


@pytest.fixture
def this_environment(tmp_path, monkeypatch):
    """.runtimes with the packages of this Python: an ONNX Runtime and no LiteRT."""
    folder = tmp_path / "runtimes"
    wrapper(folder / "bin" / "python", 'exec "%s" "$@"' % sys.executable)
    (folder / ".installed").write_text("1")
    monkeypatch.setattr(runtimes, "FOLDER", folder)


@pytest.fixture
def no_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "FOLDER", tmp_path / "none")


def opened(name, runtime=None, threads=None, model=MODEL):
    form = catalogue.find(paths.model(model), name)
    chosen = runtimes.choose(runtime, name)
    return catalogue.open_form(paths.model(model), form, threads, chosen)


IMAGE = np.zeros((1, 96, 96, 3), np.uint8)


def test_a_worker_gives_the_detections_of_this_process(exported, this_environment):
    images = val_images(6)
    here, there = opened("onnx", "venv"), opened("onnx", threads=1)
    assert there.runtime.startswith("ONNX Runtime 1.") and here.runtime == ""
    assert there.size == here.size and there.batch == here.batch
    expected = [here.detect([image])[0] for image in images]
    found = [there.detect([image])[0] for image in images]
    assert sum(len(each.scores) for each in expected) > 5
    assert max(map(largest_difference, expected, found)) < 1e-4


def test_a_worker_counts_its_processor_time(onnx_worker):
    worker = onnx_worker()
    before = worker_process.processor()
    for _ in range(5):
        worker.run([IMAGE])
    assert 0 < worker.processor <= worker_process.processor()
    assert worker_process.processor() > before


def test_a_worker_that_is_killed_is_an_error_of_one_line(onnx_worker):
    worker = onnx_worker()
    worker.run([IMAGE])
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(TodusError, match=r"was terminated by SIGKILL while it ran \S+\.onnx; run"):
        worker.run([IMAGE])


def test_a_worker_that_hangs_is_an_error_of_one_line_and_is_ended(onnx_worker):
    worker = onnx_worker(silence=5)
    worker.run([IMAGE])
    worker_silent = onnx_worker(silence=0.3)
    os.kill(worker_silent.pid, signal.SIGSTOP)
    with pytest.raises(TodusError, match="was silent for 0.3 s while it opened"):
        worker_silent.run([IMAGE])
    assert not is_running(worker_silent.pid)
    worker.run([IMAGE])


def test_a_hanging_worker_is_noticed_while_it_takes_a_large_input(onnx_worker):
    worker = onnx_worker(silence=1)
    worker.run([IMAGE])
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(TodusError, match="was silent for 1 s while it ran"):
        worker.run([np.zeros((1, 1000, 1000, 3), np.uint8)])


def test_the_error_for_a_worker_that_ends_has_its_last_words(onnx_worker, tmp_path):
    code = "echo begun; echo 'first' >&2; printf 'GLIBC_9.9 \\033[1mnot found\\n' >&2; exit 3"
    with pytest.raises(TodusError) as caught:
        onnx_worker(wrapper(tmp_path / "python", code)).run([IMAGE])
    assert "ended with exit code 3 while it opened" in str(caught.value)
    assert "(GLIBC_9.9  [1mnot found); run this again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_runtime_prints_is_no_part_of_an_answer(onnx_worker, tmp_path):
    site = "import sys, runpy; sys.argv = sys.argv[1:]; print('hello'); "
    site += "runpy.run_path(sys.argv[0], run_name='__main__')"
    code = 'shift; exec "%s" -I -c "%s" "$@"' % (sys.executable, site)
    assert len(onnx_worker(wrapper(tmp_path / "python", code)).run([IMAGE])) == 4


def test_a_worker_ends_with_the_process_that_started_it(exported):
    path = catalogue.find(paths.model(MODEL), "onnx").path
    code = """
import os, signal, sys
from pathlib import Path
from todus.detection import worker_process
opened = worker_process.Opened(sys.executable, "onnxruntime", "R", Path(sys.argv[1]), 1)
worker = worker_process.Worker(opened)
print(worker.pid, len(worker.about["inputs"]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    arguments = [sys.executable, "-c", code, str(path)]
    environment = dict(os.environ, PYTHONPATH=str(REPO))
    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE)
    pid, inputs = map(int, done.stdout.split())
    assert done.returncode == -signal.SIGKILL and inputs == 1
    for _ in range(100):
        if not is_running(pid):
            return
        time.sleep(0.1)
    raise AssertionError("the worker still runs")


def is_running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE).stdout
    return bool(state.strip()) and not state.startswith(b"Z")


def test_a_file_that_a_runtime_cannot_read_is_an_error_of_one_line(tmp_path, onnx_worker):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    opened = worker_process.Opened(sys.executable, "onnxruntime", "ONNX Runtime", broken)
    with pytest.raises(
        TodusError, match="ONNX Runtime cannot run .*broken.onnx .*convert"
    ) as caught:
        worker_process.Session(opened, 1)
    assert "\n" not in str(caught.value)


def test_a_runtime_that_is_not_in_the_environment_is_an_error_with_the_command(
    exported, this_environment
):
    with pytest.raises(TodusError, match="LiteRT cannot run .*ai_edge_litert.*run: make runtimes"):
        opened("tflite")


def test_without_the_environment_the_packages_of_venv_run_every_form(no_environment):
    assert runtimes.choose(None, "tflite-int8") is None
    assert runtimes.choose("venv", "onnx") is None
    with pytest.raises(TodusError, match="needs LiteRT.*not installed; run: make -C %s run" % REPO):
        runtimes.choose("litert", "tflite")
    assert "make -C %s runtimes" % REPO in runtimes.advice("tflite-int8", "TFLite int8")
    assert runtimes.advice("tflite", "TFLite float") == runtimes.advice("onnx", "ONNX") == ""


def test_with_the_environment_its_first_runtime_for_the_form_is_the_default(this_environment):
    chosen = {name: runtimes.choose(None, name) for name in ("zoo", "tflite-int8", "onnx")}
    assert chosen.pop("zoo") is None
    assert {name: row.name for name, row in chosen.items()} == {
        "tflite-int8": "litert",
        "onnx": "onnxruntime",
    }
    assert runtimes.choose("venv", "onnx") is None
    assert runtimes.choose("openvino", "onnx").name == "openvino"
    assert runtimes.choose("openvino", "tflite", strict=False).name == "litert"
    assert runtimes.advice("tflite-int8", "TFLite int8") == ""


def test_a_runtime_that_does_not_run_the_form_is_wrong_usage(this_environment):
    with pytest.raises(UsageError, match="runs .tflite files, not the form zoo; add --format tfl"):
        runtimes.choose("litert", "zoo")
    with pytest.raises(UsageError, match="choose from litert, onnxruntime, openvino, venv"):
        runtimes.choose("tensorrt", "onnx")


def test_eval_says_which_runtime_it_used(exported, this_environment, capsys):
    arguments = ["-m", MODEL, "--format", "onnx", "--limit", "4"]
    assert command.run("eval", evaluate.main, arguments) == 0
    assert "eval: in ONNX Runtime 1." in capsys.readouterr().err
    assert command.run("eval", evaluate.main, arguments + ["--runtime", "venv"]) == 0
    assert "eval: in " not in capsys.readouterr().err


def test_eval_without_the_environment_names_the_command_that_installs_it(
    exported, no_environment, capsys
):
    arguments = ["-m", MODEL, "--format", "tflite", "--limit", "4", "--runtime", "litert"]
    assert command.run("eval", evaluate.main, arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("which is not installed; run: make -C %s runtimes" % REPO)


def test_the_benchmark_measures_a_file_in_each_runtime_that_takes_it(exported, this_environment):
    said = []
    images = val_images(2)
    found = latency.run(paths.model(MODEL), images, 1, None, lambda title: None, said.append)
    titles = [row["title"] for row in found["rows"]]
    assert [title for title in titles if title.startswith("ONNX, ONNX Runtime 1.")]
    assert not [title for title in titles if title.startswith("TFLite")]
    assert "LiteRT cannot run" in said[0] and "OpenVINO cannot run" in said[-1]


@needs_runtimes
@pytest.mark.parametrize(
    "name, runtime, most",
    [
        ("tflite", "litert", 1e-3),
        ("tflite-float16", "litert", 1e-2),
        ("tflite-int8", "litert", 0.1),
        ("onnx", "onnxruntime", 1e-3),
        ("onnx", "openvino", 0.1),  # computes in bfloat16 where the processor does
    ],
)
def test_the_newest_runtimes_detect_the_same_as_this_one(exported, name, runtime, most):
    images = val_images(8)
    here, there = opened(name, "venv"), opened(name, runtime, 1)
    expected = [confident(here.detect([image])[0]) for image in images]
    found = [there.detect([image])[0] for image in images]
    assert sum(len(each.scores) for each in expected) > 5
    assert max(map(largest_difference, expected, found)) < most


def confident(found):
    keep = found.scores > 0.4
    return type(found)(found.boxes[keep], found.classes[keep], found.scores[keep])


@needs_runtimes
def test_a_quantization_aware_file_has_the_same_detections_in_litert(exported):
    images = val_images(8)
    here, there = (opened("tflite", runtime, 1, QUANTIZED) for runtime in ("venv", "litert"))
    assert there.prepare(images[0]).dtype == np.uint8
    expected = [confident(here.detect([image])[0]) for image in images]
    found = [there.detect([image])[0] for image in images]
    assert max(map(largest_difference, expected, found)) < 0.1


@needs_runtimes
def test_a_file_for_the_edge_tpu_is_an_error_of_one_line(exported, tmp_path):
    data = catalogue.find(paths.model(MODEL), "tflite").path.read_bytes()
    name = b"TFLite_Detection_PostProcess"
    compiled = tmp_path / "compiled.tflite"
    compiled.write_bytes(data.replace(name, b"edgetpu-custom-op".ljust(len(name), b"\0")))
    runtime = runtimes.choose("litert", "tflite")
    with pytest.raises(TodusError, match="compiled for the Edge TPU; use the file") as caught:
        runtimes.opener(runtime, 1)(compiled).get_input_details()
    assert "\n" not in str(caught.value)


@needs_runtimes
def test_mediapipe_loads_every_tflite_file(exported, tmp_path):
    python = runtimes.FOLDER / "bin" / "python"
    code = "import importlib.util as u; exit(u.find_spec('mediapipe') is None)"
    if subprocess.run([str(python), "-I", "-c", code]).returncode:
        pytest.skip("MediaPipe is not installed in .runtimes")
    files = [
        each.path
        for name in (MODEL, QUANTIZED)
        for each in catalogue.exported(paths.model(name))
        if each.name.startswith("tflite")
    ]
    image = max(val_images(8), key=lambda each: each.shape[0])
    np.save(str(tmp_path / "image.npy"), image)
    arguments = [str(python), "-I", str(MEDIAPIPE), str(tmp_path / "image.npy")]
    done = subprocess.run(arguments + list(map(str, files)), capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(files) >= 5
    assert {kind for each in found for kind, _ in each} <= {"circle", "four point star"}
    assert all(found)
