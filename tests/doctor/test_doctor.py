"""make doctor with deliberate faults: each is found, with its remedy."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from tests.helpers.places import MODEL, REPO
from todus import files, paths
from todus.commands import doctor
from todus.doctor import deep, examine, findings, machine, mirrors, unfinished
from todus.doctor.findings import Finding
from todus.machine import environment, gpus, memory

CPU = environment.Build("tensorflow", "1.15.5", False)
GPU = environment.Build("tensorflow-gpu", "1.15.5", True)
NVIDIAS = environment.Build("nvidia-tensorflow", "1.15.5+nv23.3", True)


def examined(level):
    """`text | remedy` of each finding of a level, without the mirrors."""
    found = examine.examine(offline=True)
    return ["%s | %s" % each[2:] for each in found if each.level == level]


def assert_line(lines, *words):
    """Fails unless one line has all the words."""
    found = [line for line in lines if all(word in line for word in words)]
    assert found, "%s not in\n%s" % (words, "\n".join(lines))


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
    """Puts an nvidia-smi on PATH that lists one GPU."""
    folder = tmp_path / "fake-bin"
    folder.mkdir()
    script = ["#!/bin/sh", 'case "$1" in']
    if not knows_capability:
        script.append("*compute_cap*) echo 'Field compute_cap is not valid.'; exit 2;;")
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
    """Changes versions in the package metadata; None is not installed."""
    real = environment.version
    monkeypatch.setattr(
        environment, "version", lambda name: changed[name] if name in changed else real(name)
    )


def test_an_intact_home_has_no_errors(own):
    assert examined("error") == []
    assert_line(examined("ok"), "1 dataset and 2 models")
    assert_line(examined("ok"), "COCOeval gives AP 1.000")
    assert_line(examined("ok"), "protos import under protobuf 3.20.3")


def test_the_doctor_imports_no_tensorflow_and_takes_less_than_three_seconds(own):
    code = """if True:
        import sys
        from todus.commands.doctor import main
        main(["--offline"])
        assert "tensorflow" not in sys.modules"""
    started = time.perf_counter()
    subprocess.check_output([sys.executable, "-c", code], cwd=str(REPO))
    assert time.perf_counter() - started < 3


def test_json_has_every_finding_and_an_error_exits_with_1(own, capsys):
    assert doctor.main(["--offline", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["error"] == 0
    assert set(found["findings"][0]) == {"level", "check", "text", "remedy"}
    shutil.rmtree(str(own / "model" / MODEL / "pretrained" / "limited"))
    assert doctor.main(["--offline", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["error"] >= 1


def test_lines_fit_80_columns_and_a_remedy_starts_a_line_of_its_own():
    finding = Finding("warning", "gpu", "word " * 40, "do " * 40)
    lines = findings.lines(finding)
    assert max(map(len, lines)) <= 80 and sum("->" in line for line in lines) == 1
    escapes = Finding("ok", "x", "a name\x1b[2J\nof strangers")
    assert findings.lines(escapes) == ["ok       a name [2J of strangers"]


@pytest.mark.parametrize(
    "package, version, words",
    [
        ("tensorflow", "2.4.0", ("1.13 to 1.15, found tensorflow 2.4.0", "make install")),
        ("tensorflow", "1.12.0", ("need TensorFlow 1.13 to 1.15",)),
        ("tensorflow", None, ("not installed", "TensorFlow")),
        ("numpy", "1.21.6", ("numpy 1.21.6", "symbolic Tensor", "pip install numpy==1.18.5")),
        ("protobuf", "4.21.1", ("4.21.1", "Descriptors", "pip install protobuf==3.20.3")),
        ("lxml", None, ("packages are missing: lxml", "make install")),
    ],
)
def test_a_missing_or_incompatible_package_is_an_error(own, monkeypatch, package, version, words):
    versions(monkeypatch, **{package: version})
    assert_line(examined("error"), *words)


def test_other_versions_and_missing_converters_are_warnings(own, monkeypatch):
    versions(monkeypatch, pillow="9.4.0", onnx=None)
    assert_line(examined("warning"), "pillow 9.4.0 (9.5.0)")
    assert_line(examined("warning"), "missing, needed only for conversions: onnx")
    assert examined("error") == []


def test_nets_that_are_not_slims_are_an_error(own, tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in list(sys.modules):
        if name.split(".")[0] == "nets":
            monkeypatch.delitem(sys.modules, name)
    assert_line(
        examined("error"), "No module named 'nets.mobilenet'", "ln -s object_detection/nets"
    )
    sys.modules.pop("nets", None)


def test_protos_that_are_not_compiled_are_an_error(own, monkeypatch):
    monkeypatch.setattr(environment, "missing_protos", lambda: ["pipeline.proto"])
    assert_line(examined("error"), "1 .proto files", "pipeline.proto")


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


def test_a_pycocotools_that_numpy_cannot_run_is_an_error(own, monkeypatch):
    """pycocotools before 2.0.2 passes a float as a count, an error in numpy 1.18."""
    import numpy as np
    from pycocotools.cocoeval import Params

    def old(self):
        self.iouThrs = np.linspace(0.5, 0.95, np.round((0.95 - 0.5) / 0.05) + 1, endpoint=True)

    monkeypatch.setattr(Params, "setDetParams", old)
    remedy = "pip install --force-reinstall pycocotools==2.0.7 numpy==1.18.5"
    assert_line(examined("error"), "do not work together", "TypeError", remedy)


def test_a_check_that_raises_does_not_stop_the_others(own, monkeypatch):
    def broken():
        raise RuntimeError("half installed")

    checks = [("one", broken), ("two", machine.cores), ("three", lambda: __import__("no_such"))]
    monkeypatch.setattr(examine, "CHECKS", checks)
    found = examine.examine(offline=True)
    assert [finding.level for finding in found] == ["error", "ok", "info"]
    assert "half installed" in found[0].text and "doctor/test_doctor.py" in found[0].text


def test_a_full_disk_is_an_error_and_a_small_one_a_warning(own, monkeypatch):
    for free, level in ((10**8, "error"), (3 * 10**9, "warning"), (10**11, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert machine.disk().level == level
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert machine.disk().level == "error" and "is not writable" in machine.disk().text


def test_little_memory_is_a_warning(monkeypatch):
    for free, level in ((10**9, "warning"), (3 * 10**9, "warning"), (10**10, "ok")):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        assert machine.memory().level == level


def with_level(finding):
    return "%s: %s | %s" % (finding.level, finding.text, finding.remedy)


def graphics(monkeypatch, build):
    """`level: text | remedy` of each finding on GPUs."""
    monkeypatch.setattr(environment, "tensorflow", lambda: build)
    return [with_level(finding) for finding in machine.graphics()]


def test_no_gpu_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_line(graphics(monkeypatch, CPU), "warning", "no NVIDIA GPU", "docs/gpu.md")


AMPERE = "0, NVIDIA GeForce RTX 3090, 515.65.01, 24576, 20000, 8.6"
TURING = "0, NVIDIA GeForce RTX 2080 Ti, 470.57.02, 11019, 10000, 7.5"


def test_an_ampere_gpu_is_a_warning_with_pypis_tensorflow(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, AMPERE, "4711, python, 3000\\n")
    lines = graphics(monkeypatch, GPU)
    hang = "would hang or compute wrong results"
    gpu = "RTX 3090, compute capability 8.6 (Ampere or Ada)"
    assert_line(lines, "warning", gpu, hang, "driver 515.65.01")
    assert_line(lines, "CUDA_VISIBLE_DEVICES=-1", "docs/gpu.md")
    assert_line(lines, "warning", "PID 4711 (python) holds 3000 MiB", "kill 4711")
    assert_line(list(gpus.warnings()), hang)


def test_nvidias_build_can_use_an_ampere_gpu(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, AMPERE)
    assert_line(graphics(monkeypatch, NVIDIAS), "ok", "nvidia-tensorflow 1.15.5+nv23.3 can use it")
    assert list(gpus.warnings()) == []


def test_a_build_without_cuda_is_a_warning(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, TURING)
    assert_line(
        graphics(monkeypatch, CPU), "warning", "built without CUDA", "tensorflow-gpu==1.15.5"
    )


def test_build_info_tells_whether_tensorflow_was_built_with_cuda(monkeypatch, tmp_path):
    versions(monkeypatch, tensorflow="1.15.5")
    info = tmp_path / "tensorflow_core" / "python" / "platform" / "build_info.py"
    info.parent.mkdir(parents=True)
    for text, cuda in (("is_cuda_build = True\n", True), ("is_cuda_build = False\n", False)):
        info.write_text(text)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        assert environment.tensorflow().cuda is cuda


def test_a_turing_gpu_needs_cuda_10_and_cudnn_7(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, TURING)
    for missing, cudnn, words in (
        (["libcudart.so.10.0"], None, ("not found: libcudart", "install CUDA 10.0 and cuDNN 7.6")),
        ([], (7, 1), ("warning", "found cuDNN 7.1, need 7.4 to 7.6")),
        ([], (7, 6), ("ok", "tensorflow-gpu 1.15.5 can use it")),
    ):
        monkeypatch.setattr(gpus, "libraries", lambda found=(missing, cudnn): found)
        assert_line(graphics(monkeypatch, GPU), *words)


def test_cuda_libraries_that_the_loader_does_not_find_are_listed(monkeypatch):
    monkeypatch.setattr(gpus, "LIBRARIES", ("libno_such_library.so.10.0", "libc.so.6"))
    assert gpus.libraries() == (["libno_such_library.so.10.0"], None)


def test_without_a_compute_capability_the_name_of_the_gpu_decides(monkeypatch, tmp_path):
    fake_smi(tmp_path, monkeypatch, AMPERE.rpartition(",")[0], knows_capability=False)
    assert_line(
        graphics(monkeypatch, GPU), "warning", "compute capability unknown is newer than CUDA 10.0"
    )


@pytest.mark.parametrize(
    "name, too_new",
    [("NVIDIA A100-SXM4-40GB", 1), ("NVIDIA RTX A6000", 1), ("NVIDIA L4", 1), ("Tesla T4", 0)],
)
def test_gpus_newer_than_cuda_10_are_known_by_name(name, too_new):
    assert gpus.Gpu("0", name, "450", 0, 0, None).is_too_new == bool(too_new)


def test_a_held_lock_names_its_process_and_that_of_a_killed_one_is_not_held(own):
    folder = paths.mscoco_dataset("limited").folder
    code = """if True:
        import sys, time
        from todus import locks
        with locks.exclusive(sys.argv[1], "x"):
            print(flush=True)
            time.sleep(60)"""
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=str(REPO)) as process:
        try:
            process.stdout.readline()
            assert_line(examined("info"), "%s is in use by PID %d" % (folder, process.pid))
            assert unfinished.held(folder)
        finally:
            process.kill()
    assert_line(examined("info"), "is not held", "none needed")
    assert not unfinished.held(folder)


def test_files_of_killed_commands_are_listed_with_the_command_that_removes_them(own):
    mscoco, model = own / "dataset" / "mscoco", own / "model" / MODEL
    (mscoco / ".limited.new").mkdir()
    (mscoco / ".animals.old").mkdir()
    (model / ".eval.json.part-99999999").write_text("{")
    (model / ".m.tflite.scratch-99999999").mkdir()
    (model / (".eval.png.part-%d" % os.getpid())).write_text("")
    (mscoco / "raw-data" / ".val2017.zip.part").write_bytes(b"x" * 2000000)
    files.write_json(mscoco / "raw-data" / ".val2017.zip.part.json", {"url": "u", "size": 8000000})
    warnings, errors, infos = examined("warning"), examined("error"), examined("info")
    again = "run the same command again, or rm "
    assert_line(warnings, ".limited.new is unfinished", again + "-r ")
    assert_line(warnings, ".eval.json.part-99999999: PID 99999999 ended while writing it", again)
    assert_line(warnings, ".m.tflite.scratch-99999999: PID 99999999 ended while", again + "-r ")
    assert_line(errors, "animals was renamed to .animals.old", "mv ")
    assert_line(infos, "val2017.zip: 2.0 of 8.0 MB downloaded", "resumes it")
    assert not any(".eval.png.part" in line for line in warnings + infos)


def test_an_unprepared_model_is_a_warning_and_a_damaged_slice_an_error(own):
    (own / "model" / "empty").mkdir()
    model = paths.model(MODEL)
    data = model.pretrained / "limited" / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    assert_line(examined("warning"), "empty is not prepared", "python -m model -m empty")
    damage, remedy = "limited/model.ckpt: %s has " % data.name, "python -m model -m %s -d limited"
    assert_line(examined("error"), damage, remedy % MODEL)
    model.limited_label_map.unlink()
    assert_line(examined("error"), "label_map.pbtxt is missing", "python -m model")


def test_a_dataset_without_a_shard_or_without_its_models_classes_is_an_error(own):
    dataset = paths.mscoco_dataset("limited")
    dataset.shards("val")[0].unlink()
    remedy = "./dataset-limited.sh makes it again"
    assert_line(examined("error"), "dataset limited: val.record-", "is missing", remedy)
    text = dataset.label_map.read_text()
    dataset.label_map.write_text(text.replace("circle", "ring"))
    now = "its dataset limited now has ring"
    assert_line(examined("error"), "was prepared for circle", now, "python -m model")
    dataset.manifest.unlink()
    assert_line(examined("error"), "has no dataset.json")


def test_a_killed_training_is_listed_with_its_last_checkpoint(own):
    model = paths.model(MODEL)
    model.training.mkdir()
    for path in (model.pretrained / "limited").glob("model.ckpt.*"):
        name = path.name.replace("model.ckpt", "model.ckpt-7")
        shutil.copy2(str(path), str(model.training / name))
    assert_line(examined("warning"), "has checkpoints and no run.json")
    event = {"started": "now", "pid": 1, "host": "h", "step": 0}
    files.write_json(model.training / "run.json", {"events": [event]})
    (model.training / "model.ckpt-9.index").write_bytes(b"")
    assert_line(examined("info"), "its last checkpoint is step 7", "./train.sh continues from it")
    assert_line(examined("warning"), "model.ckpt-9.index has no data file")
    data = model.training / "model.ckpt-7.data-00000-of-00001"
    data.write_bytes(b"\0" + data.read_bytes()[1:])
    assert_line(
        examined("error"), "model.ckpt-7", "is damaged in variable", "the checkpoint before it"
    )


def test_an_export_of_other_classes_or_without_its_description_is_found(own):
    model = paths.model(MODEL)
    model.inference_graph.mkdir()
    assert_line(examined("error"), "has no label_map.pbtxt and no pipeline.config", "./export.sh")
    shutil.copy2(str(model.pipeline), str(model.exported_pipeline))
    shutil.copy2(str(model.zoo_label_map), str(model.exported_label_map))
    model.frozen_graph.write_bytes(b"graph")
    other = "frozen_inference_graph.pb detects circle"
    assert_line(examined("warning"), other, "is prepared for circle", "./export.sh")
    model.file_of("tflite").write_bytes(b"")
    assert_line(examined("warning"), "%s.tflite.json beside it" % MODEL, "./convert-tflite.sh")


def asked(monkeypatch, url):
    """`level: text | remedy` of COCO's and the zoo's mirror, both at this URL."""
    for name, value in (("COCO_URL", url), ("ZOO_URL", url), ("OPENIMAGES_URL", "/a/folder")):
        monkeypatch.setenv(name, value)
    started = time.perf_counter()
    found = mirrors.ask()()
    assert time.perf_counter() - started < 3
    return [with_level(finding) for finding in found]


def test_an_unreachable_mirror_is_a_warning(monkeypatch, closed_port):
    lines = asked(monkeypatch, "http://127.0.0.1:%d" % closed_port)
    assert len(lines) == 2 and all(line.startswith("warning") for line in lines)
    reason = "COCO: 127.0.0.1:%d: connection refused" % closed_port
    assert_line(lines, reason, "set COCO_URL to a mirror")


def test_a_mirror_with_the_file_is_ok_and_one_without_it_a_warning(monkeypatch, tmp_path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200 if self.path.endswith("annotations_trainval2017.zip") else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lines = asked(monkeypatch, "http://user:secret@127.0.0.1:%d" % server.server_port)
        server.shutdown()
    assert_line(lines, "ok: COCO: 127.0.0.1:%d answers" % server.server_port)
    assert_line(lines, "warning: the detection zoo", "answers 404")
    assert not any("secret" in line for line in lines if line.startswith("ok"))


def test_a_mirror_that_does_not_answer_is_a_warning_after_the_timeout(monkeypatch):
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


@pytest.mark.parametrize("probe", [probe for _, probe in deep.PROBES])
def test_each_deep_check_passes(probe):
    assert probe().level == "ok"
