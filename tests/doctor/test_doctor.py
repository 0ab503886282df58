"""make doctor in environments that are broken on purpose: each fault is found, and comes with what to do."""

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.helpers.places import MODEL, REPO
from todus import files, locks, paths
from todus.commands import doctor
from todus.doctor import examine, findings, machine, mirrors, unfinished
from todus.doctor.findings import Finding
from todus.machine import environment, gpus, memory

CPU = environment.Build("tensorflow", "1.15.5", False)
GPU = environment.Build("tensorflow-gpu", "1.15.5", True)
NVIDIAS = environment.Build("nvidia-tensorflow", "1.15.5+nv23.3", True)


def examined(level=None):
    """`text | remedy` of each finding, of one level or all."""
    found = examine.examine(offline=True)
    return [
        "%s | %s" % (finding.text, finding.remedy)
        for finding in found
        if level in (None, finding.level)
    ]


def has(lines, *words):
    assert any(all(word in line for word in words) for line in lines), "%s not in\n%s" % (
        words,
        "\n".join(lines),
    )


@pytest.fixture
def own(limited_home, tmp_path, monkeypatch):
    """A TODUS_HOME with a dataset and a prepared model that the test may break."""
    home = tmp_path / "home"
    shutil.copytree(str(limited_home), str(home))
    monkeypatch.setenv("TODUS_HOME", str(home))
    return home


@pytest.fixture
def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fake_smi(tmp_path, monkeypatch, gpu, holders="", knows_capability=True):
    """An nvidia-smi on PATH that answers with one GPU."""
    folder = tmp_path / "fake-bin"
    folder.mkdir()
    script = ["#!/bin/sh", 'case "$1" in']
    if not knows_capability:
        script.append(
            '*compute_cap*) echo "Field compute_cap is not a valid field to query."; exit 2;;'
        )
    script += [
        "--query-gpu=*) echo '%s';;" % gpu,
        "--query-compute-apps=*) printf '%%b' '%s';;" % holders,
        "esac",
    ]
    path = folder / "nvidia-smi"
    path.write_text("\n".join(script) + "\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (folder, os.environ["PATH"]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def versions(monkeypatch, **changed):
    """Package metadata with some versions changed; None is not installed."""
    real = environment.version
    wanted = {name.replace("_", "-"): version for name, version in changed.items()}
    monkeypatch.setattr(
        environment,
        "version",
        lambda package: wanted[package] if package in wanted else real(package),
    )


def test_here_all_is_well_but_what_this_machine_has_not(own):
    assert examined("error") == []
    has(examined("ok"), "1 dataset and 2 models")
    has(examined("ok"), "COCOeval gives AP 1.0")
    has(examined("ok"), "protos import under protobuf 3.20.3")


def test_it_takes_no_tensorflow_and_less_than_three_seconds(own):
    code = "import sys\nfrom todus.commands.doctor import main\nmain(['--offline'])\nassert 'tensorflow' not in sys.modules"
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=str(REPO), stdout=subprocess.DEVNULL
    )
    assert time.perf_counter() - started < 3


def test_json_has_every_finding_and_the_exit_code_is_of_the_errors(own, capsys):
    assert doctor.main(["--offline", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["error"] == 0 and {"level", "check", "text", "remedy"} == set(
        found["findings"][0]
    )
    shutil.rmtree(str(own / "model" / MODEL / "pretrained" / "limited"))
    assert doctor.main(["--offline", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["error"] >= 1


def test_lines_fit_80_columns_and_remedies_have_their_own():
    finding = Finding("warning", "gpu", "word " * 40, "do " * 40)
    lines = findings.lines(finding)
    assert max(map(len, lines)) <= 80 and sum("->" in line for line in lines) == 1
    assert findings.lines(Finding("ok", "x", "a name\x1b[2J\nof strangers")) == [
        "ok       a name [2J of strangers"
    ]


@pytest.mark.parametrize(
    "changed, words",
    [
        (
            {"tensorflow": "2.4.0"},
            ("need TensorFlow 1.13 to 1.15, found tensorflow 2.4.0", "make install"),
        ),
        ({"tensorflow": "1.12.0"}, ("need TensorFlow 1.13 to 1.15",)),
        ({"tensorflow": None}, ("not installed", "TensorFlow")),
        (
            {"numpy": "1.21.6"},
            ("numpy 1.21.6", "Cannot convert a symbolic Tensor", "pip install numpy==1.18.5"),
        ),
        (
            {"protobuf": "4.21.1"},
            ("protobuf 4.21.1", "Descriptors", "pip install protobuf==3.20.3"),
        ),
        ({"lxml": None}, ("packages are missing: lxml", "make install")),
    ],
)
def test_a_package_that_cannot_work_is_an_error(own, monkeypatch, changed, words):
    versions(monkeypatch, **changed)
    has(examined("error"), *words)


def test_other_versions_and_missing_converters_are_warnings(own, monkeypatch):
    versions(monkeypatch, pillow="9.4.0", onnx=None)
    has(examined("warning"), "pillow 9.4.0 (9.5.0)")
    has(examined("warning"), "missing, for conversions: onnx")
    assert examined("error") == []


def test_nets_that_are_not_slims_are_an_error(own, tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name == "nets" or name.startswith("nets.")]:
        monkeypatch.delitem(sys.modules, name)
    has(examined("error"), "No module named 'nets.mobilenet'", "ln -s object_detection/nets")
    sys.modules.pop("nets", None)


def test_protos_that_are_not_compiled_are_an_error(own, monkeypatch):
    monkeypatch.setattr(environment, "missing_protos", lambda: ["pipeline.proto"])
    has(examined("error"), "1 .proto files", "pipeline.proto")


def test_the_protos_of_the_installed_api_are_all_compiled(tmp_path, monkeypatch):
    assert environment.missing_protos() == []
    package = tmp_path / "object_detection"
    (package / "protos").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("ssd.proto", "ssd_pb2.py", "pipeline.proto"):
        (package / "protos" / name).write_text("")
    found = type("Spec", (), {"origin": str(package / "__init__.py")})
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: found)
    assert environment.missing_protos() == ["pipeline.proto"]


def test_a_cocoeval_that_numpy_refuses_is_an_error(own, monkeypatch):
    """pycocotools before 2.0.2 counts its thresholds in floats, which numpy 1.18 no longer takes."""
    import numpy as np
    from pycocotools.cocoeval import Params

    def old(self):
        self.iouThrs = np.linspace(0.5, 0.95, np.round((0.95 - 0.5) / 0.05) + 1, endpoint=True)

    monkeypatch.setattr(Params, "setDetParams", old)
    has(
        examined("error"),
        "cannot evaluate together",
        "TypeError",
        "pip install --force-reinstall pycocotools==2.0.7 numpy==1.18.5",
    )


def test_a_check_that_fails_leaves_the_others(own, monkeypatch):
    def broken():
        raise RuntimeError("half installed")

    monkeypatch.setattr(
        examine,
        "CHECKS",
        [("one", broken), ("two", machine.cores), ("three", lambda: __import__("no_such_package"))],
    )
    found = examine.examine(offline=True)
    assert [finding.level for finding in found] == ["error", "ok", "info"]
    assert "half installed" in found[0].text and "doctor/test_doctor.py" in found[0].text


def test_a_full_disk_is_an_error_and_a_small_one_a_warning(own, monkeypatch):
    for free, level in ((10**8, "error"), (3 * 10**9, "warning"), (10**11, "ok")):
        monkeypatch.setattr(
            shutil,
            "disk_usage",
            lambda _, free=free: shutil._ntuple_diskusage(10**12, 10**12 - free, free),
        )
        assert machine.disk().level == level
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert machine.disk().level == "error" and "cannot be written" in machine.disk().text


def test_little_memory_is_a_warning(monkeypatch):

    for free, level in ((10**9, "warning"), (3 * 10**9, "warning"), (10**10, "ok")):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        assert machine.memory().level == level


def graphics(monkeypatch, build):
    monkeypatch.setattr(environment, "tensorflow", lambda: build)
    return [
        "%s: %s | %s" % (finding.level, finding.text, finding.remedy)
        for finding in machine.graphics()
    ]


def test_no_gpu_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    has(graphics(monkeypatch, CPU), "warning", "no NVIDIA GPU", "docs/gpu.md")


AMPERE = "0, NVIDIA GeForce RTX 3090, 515.65.01, 24576, 20000, 8.6"
TURING = "0, NVIDIA GeForce RTX 2080 Ti, 470.57.02, 11019, 10000, 7.5"


def test_an_ampere_gpu_is_refused_for_the_tensorflow_of_pypi(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, AMPERE, "4711, python, 3000\\n")
    lines = graphics(monkeypatch, GPU)
    has(
        lines,
        "warning",
        "RTX 3090, compute capability 8.6 (Ampere or Ada)",
        "would hang or compute nonsense",
        "driver 515.65.01",
    )
    has(lines, "CUDA_VISIBLE_DEVICES=-1", "docs/gpu.md")
    has(lines, "warning", "PID 4711 (python) holds 3000 MiB", "kill 4711")
    has(list(gpus.doubts()), "would hang or compute nonsense")


def test_nvidias_own_build_takes_an_ampere_gpu(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, AMPERE)
    has(graphics(monkeypatch, NVIDIAS), "ok", "nvidia-tensorflow 1.15.5+nv23.3 can use it")
    assert list(gpus.doubts()) == []


def test_a_build_without_cuda_is_told_by_its_build_info(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, TURING)
    has(graphics(monkeypatch, CPU), "warning", "built without CUDA", "tensorflow-gpu==1.15.5")
    info = tmp_path / "tensorflow_core" / "python" / "platform" / "build_info.py"
    info.parent.mkdir(parents=True)
    for text, cuda in (("is_cuda_build = True\n", True), ("is_cuda_build = False\n", False)):
        info.write_text(text)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        assert environment._is_cuda_build() is cuda


def test_a_turing_gpu_wants_cuda_10_and_cudnn_7(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, TURING)
    monkeypatch.setattr(gpus, "libraries", lambda: (["libcudart.so.10.0"], None))
    has(
        graphics(monkeypatch, GPU),
        "warning",
        "not found: libcudart.so.10.0",
        "install CUDA 10.0 and cuDNN 7.6",
    )
    monkeypatch.setattr(gpus, "libraries", lambda: ([], (7, 1)))
    has(graphics(monkeypatch, GPU), "warning", "cuDNN 7.1 is found, 7.4 to 7.6 expected")
    monkeypatch.setattr(gpus, "libraries", lambda: ([], (7, 6)))
    has(graphics(monkeypatch, GPU), "ok", "tensorflow-gpu 1.15.5 can use it")


def test_what_this_machine_has_of_cuda_is_found_out_by_the_loader(monkeypatch):
    monkeypatch.setattr(gpus, "LIBRARIES", ("libno_such_library.so.10.0", "libc.so.6"))
    assert gpus.libraries() == (["libno_such_library.so.10.0"], None)


def test_a_driver_too_old_to_tell_the_capability_still_tells_the_name(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, AMPERE.rpartition(",")[0], knows_capability=False)
    has(graphics(monkeypatch, GPU), "warning", "compute capability unknown is later than CUDA 10.0")


@pytest.mark.parametrize(
    "name, late",
    [("NVIDIA A100-SXM4-40GB", 1), ("NVIDIA RTX A6000", 1), ("NVIDIA L4", 1), ("Tesla T4", 0)],
)
def test_names_of_late_gpus(name, late):
    assert gpus.Gpu("0", name, "450", 0, 0, None).is_late == bool(late)


def test_a_held_lock_names_its_holder_and_one_of_the_dead_is_free(own):
    dataset = paths.mscoco_dataset("limited")
    code = "import sys, time\nfrom todus import locks\nwith locks.exclusive(sys.argv[1], 'x'):\n    print(flush=True)\n    time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(dataset.folder)], stdout=subprocess.PIPE, cwd=str(REPO)
    )
    try:
        process.stdout.readline()
        has(examined("info"), "%s is in use by PID %d" % (dataset.folder, process.pid))
        assert unfinished.held(dataset.folder)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    has(examined("info"), "is held by nobody", "nothing to do")
    assert not unfinished.held(dataset.folder)


def test_looking_at_a_lock_does_not_take_it(own):
    folder = own / "dataset" / "mscoco" / "limited"
    with locks.exclusive(folder, "x"):
        assert locks.holder(folder).pid == os.getpid()
    assert not files.beside(folder, "lock").exists()


def test_what_killed_commands_leave_is_told_with_the_way_to_be_rid_of_it(own):
    mscoco, model = own / "dataset" / "mscoco", own / "model" / MODEL
    (mscoco / ".limited.new").mkdir()
    (mscoco / ".animals.old").mkdir()
    (model / ".eval.json.part-99999999").write_text("{")
    (model / ".m.tflite.scratch-99999999").mkdir()
    (model / (".eval.png.part-%d" % os.getpid())).write_text("")
    (mscoco / "raw-data" / ".val2017.zip.part").write_bytes(b"x" * 2000000)
    files.write_json(mscoco / "raw-data" / ".val2017.zip.part.json", {"url": "u", "size": 8000000})
    warnings, errors, infos = examined("warning"), examined("error"), examined("info")
    has(warnings, ".limited.new is half-finished", "rm -r ")
    has(warnings, ".eval.json.part-99999999 was being written", "rm ")
    has(
        warnings,
        ".m.tflite.scratch-99999999 was being written",
        "the same command clears it; or rm -r ",
    )
    has(errors, "animals was moved aside", "mv ")
    has(infos, "val2017.zip: 2.0 of 8.0 MB are downloaded", "goes on from there")
    assert not any(".eval.png.part" in line for line in warnings + infos)


def test_an_unprepared_model_and_a_broken_slice(own):
    (own / "model" / "empty").mkdir()
    model = paths.model(MODEL)
    data = model.pretrained / "limited" / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    has(examined("warning"), "empty is not prepared", "python -m model -m empty")
    has(
        examined("error"),
        "limited/model.ckpt: model.ckpt.data-00000-of-00001 has ",
        "python -m model -m %s -d limited" % MODEL,
    )
    model.limited_label_map.unlink()
    has(examined("error"), "label_map.pbtxt is missing", "python -m model")


def test_a_dataset_without_a_shard_or_with_other_classes_than_its_model(own):
    dataset = paths.mscoco_dataset("limited")
    dataset.shards("val")[0].unlink()
    has(
        examined("error"),
        "dataset limited: val.record-",
        "is missing",
        "./dataset-limited.sh makes it again",
    )
    text = dataset.label_map.read_text()
    dataset.label_map.write_text(text.replace("circle", "ring"))
    has(
        examined("error"),
        "was prepared for circle",
        "its dataset limited now has ring",
        "python -m model",
    )
    dataset.manifest.unlink()
    has(examined("error"), "has no dataset.json")


def test_a_training_that_was_killed_is_told_with_what_is_saved(own):
    model = paths.model(MODEL)
    model.training.mkdir()
    for path in (model.pretrained / "limited").glob("model.ckpt.*"):
        shutil.copy2(
            str(path), str(model.training / path.name.replace("model.ckpt", "model.ckpt-7"))
        )
    has(examined("warning"), "has checkpoints and no run.json")
    files.write_json(
        model.training / "run.json",
        {"events": [{"started": "now", "pid": 1, "host": "h", "step": 0}]},
    )
    (model.training / "model.ckpt-9.index").write_bytes(b"")
    has(examined("info"), "was killed; saved is step 7", "./train.sh goes on from there")
    has(examined("warning"), "model.ckpt-9.index has no data file")
    data = model.training / "model.ckpt-7.data-00000-of-00001"
    data.write_bytes(b"\0" + data.read_bytes()[1:])
    has(examined("error"), "model.ckpt-7", "is damaged in variable", "the one before it is taken")


def test_an_export_of_other_classes(own):
    model = paths.model(MODEL)
    model.inference_graph.mkdir()
    has(examined("error"), "has no label_map.pbtxt and no pipeline.config", "./export.sh")
    shutil.copy2(str(model.pipeline), str(model.exported_pipeline))
    shutil.copy2(str(model.zoo_label_map), str(model.exported_label_map))
    model.frozen_graph.write_bytes(b"graph")
    has(
        examined("warning"),
        "frozen_inference_graph.pb detects circle",
        "is prepared for circle",
        "./export.sh",
    )
    model.file_of("tflite").write_bytes(b"")
    has(examined("warning"), "%s.tflite.json beside it" % MODEL, "./convert-tflite.sh")


def asked(monkeypatch, **urls):
    for name in ("COCO_URL", "ZOO_URL", "OPENIMAGES_URL"):
        monkeypatch.setenv(
            name, urls.get(name, "/a/folder" if name == "OPENIMAGES_URL" else urls["COCO_URL"])
        )
    started = time.perf_counter()
    found = mirrors.ask()()
    assert time.perf_counter() - started < 3
    return ["%s: %s | %s" % (finding.level, finding.text, finding.remedy) for finding in found]


def test_a_mirror_that_nobody_serves_is_a_warning(monkeypatch, closed_port):
    lines = asked(monkeypatch, COCO_URL="http://127.0.0.1:%d" % closed_port)
    assert len(lines) == 2 and all(line.startswith("warning") for line in lines)
    has(
        lines,
        "COCO: 127.0.0.1:%d: it refuses the connection" % closed_port,
        "set COCO_URL to a mirror",
    )


def test_a_mirror_that_has_the_file_and_one_that_has_not(monkeypatch, tmp_path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200 if self.path.endswith("annotations_trainval2017.zip") else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lines = asked(monkeypatch, COCO_URL="http://user:secret@127.0.0.1:%d" % server.server_port)
        server.shutdown()
    has(lines, "ok: COCO: 127.0.0.1:%d answers" % server.server_port)
    has(lines, "warning: the detection zoo", "answers 404")
    assert not any("secret" in line for line in lines if line.startswith("ok"))


def test_a_mirror_that_accepts_and_says_nothing_is_not_waited_for(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        monkeypatch.setenv("COCO_URL", "http://127.0.0.1:%d" % listener.getsockname()[1])
        monkeypatch.setenv("ZOO_URL", os.environ["COCO_URL"])
        monkeypatch.setenv("OPENIMAGES_URL", "/a/folder")
        started = time.perf_counter()
        found = mirrors.ask(0.5)()
        assert time.perf_counter() - started < 1.5
    assert [finding.level for finding in found] == ["warning", "warning"]
    assert "no answer" in found[0].text


@pytest.mark.parametrize(
    "probe", ["tensorflow", "quantization", "slim_nets", "evaluation", "tflite", "onnx"]
)
def test_the_deep_probes_work_here(probe):
    from todus.doctor import deep

    assert getattr(deep, probe)().level == "ok"
