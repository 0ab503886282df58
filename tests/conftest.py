"""The fixtures that the tests of the library share."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.helpers.places import MODEL, QUANTIZED, REPO, ZOO


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Waits until a new xdist worker is idle, so that it runs the tests in its main thread.

    execnet 2.0 starts a thread for them while the main thread still answers the first request;
    signal handlers can only be set in the main thread.
    """
    while node.gateway.remote_status().numexecuting:
        time.sleep(0.05)
    time.sleep(0.05)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty TODUS_HOME."""
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(NAME, MAKE) is a folder that MAKE(folder) filled, in one of the workers of the run."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder_of(name, make):
        folder, part = root / name, root / (name + ".part")
        with open(str(root / (name + ".lock")), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                shutil.rmtree(str(part), ignore_errors=True)
                part.mkdir()
                make(part)
                part.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def drawn(once):
    """The folder of a small drawn COCO, to serve over HTTP."""

    def make(folder):
        command = [sys.executable, "-m", "demo.shapes", str(folder), "--train", "40", "--val", "24"]
        subprocess.run(command, check=True, cwd=str(REPO), stdout=subprocess.DEVNULL)

    return once("drawn", make)


@pytest.fixture(scope="session")
def limited_home(drawn, once):
    """A TODUS_HOME with a limited dataset of two shapes and both models; do not change it."""
    from demo.server import Server

    def make(folder):
        environment = dict(os.environ, TODUS_HOME=str(folder), PYTHON=sys.executable)
        environment.update(CATEGORIES="circle, four point star", JOBS="2")
        with Server(drawn) as server:
            environment["COCO_URL"] = server.url
            script = str(REPO / "dataset-limited.sh")
            subprocess.run([script], check=True, env=environment, cwd=str(REPO))
        for name, more in ((MODEL, []), (QUANTIZED, ["-q"])):
            archive = str(ZOO / (name + ".tar.gz"))
            command = [sys.executable, "-m", "model", "-m", name, "-d", "limited"]
            command += ["--archive", archive] + more
            subprocess.run(command, check=True, env=environment, cwd=str(REPO))

    return once("home", make)


@pytest.fixture
def prepared(limited_home, monkeypatch):
    """limited_home as the TODUS_HOME of the test."""
    monkeypatch.setenv("TODUS_HOME", str(limited_home))
    return limited_home


@pytest.fixture(scope="session")
def exported_home(limited_home, once):
    """A copy of limited_home with both models exported and converted; do not change it.

    MODEL has every form, QUANTIZED the uint8 TFLite file.
    """
    from todus import paths
    from todus.export import inference_graph, onnx, tflite, tflite_graph
    from todus.model import checkpoints

    def make(part):
        home = part / "home"
        shutil.copytree(str(limited_home), str(home))
        with mock.patch.dict(os.environ, TODUS_HOME=str(home)):
            for name, formats in (
                (MODEL, (None, "float16", "dynamic", "int8")),
                (QUANTIZED, (None,)),
            ):
                model = paths.model(name)
                prefix = checkpoints.choose(model, "pretrained")
                inference_graph.export(model, prefix)
                tflite_graph.export(model, prefix)
                for wanted in formats:
                    tflite.convert(model, wanted, calibration=20)
            model = paths.model(MODEL)
            onnx.convert(model)
            onnx.convert(model, "tensorrt")

    return once("exported", make) / "home"


@pytest.fixture
def exported(exported_home, monkeypatch):
    """exported_home as the TODUS_HOME of the test."""
    monkeypatch.setenv("TODUS_HOME", str(exported_home))
    return exported_home
