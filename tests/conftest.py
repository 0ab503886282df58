"""What the tests of the library share. Slow things are made once a session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.helpers.places import MODEL, QUANTIZED, REPO, ZOO


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty TODUS_HOME."""
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A served folder with a small drawn COCO."""
    folder = tmp_path_factory.mktemp("drawn")
    command = [sys.executable, "-m", "demo.shapes", str(folder), "--train", "40", "--val", "24"]
    subprocess.run(command, check=True, cwd=str(REPO), stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def limited_home(drawn, tmp_path_factory):
    """A TODUS_HOME with a limited dataset of two shapes and both miniature models prepared for it."""
    from demo.server import Server

    folder = tmp_path_factory.mktemp("home")
    environment = dict(
        os.environ,
        TODUS_HOME=str(folder),
        CATEGORIES="circle, four point star",
        JOBS="2",
        PYTHON=sys.executable,
    )
    with Server(drawn) as server:
        environment["COCO_URL"] = server.url
        subprocess.run(
            [str(REPO / "dataset-limited.sh")], check=True, env=environment, cwd=str(REPO)
        )
    for name, more in ((MODEL, []), (QUANTIZED, ["-q"])):
        command = [
            sys.executable,
            "-m",
            "model",
            "-m",
            name,
            "-d",
            "limited",
            "--archive",
            str(ZOO / (name + ".tar.gz")),
        ]
        subprocess.run(command + more, check=True, env=environment, cwd=str(REPO))
    return folder


@pytest.fixture
def prepared(limited_home, monkeypatch):
    """The same as the TODUS_HOME of the test."""
    monkeypatch.setenv("TODUS_HOME", str(limited_home))
    return limited_home


@pytest.fixture(scope="session")
def exported_home(limited_home, tmp_path_factory):
    """A copy of limited_home in which both models are exported and converted: the float one to every format, the other to uint8."""
    import shutil

    from todus import paths
    from todus.export import inference_graph, onnx, tflite, tflite_graph
    from todus.model import checkpoints

    folder = tmp_path_factory.mktemp("exported") / "home"
    shutil.copytree(str(limited_home), str(folder))
    before = os.environ.get("TODUS_HOME")
    os.environ["TODUS_HOME"] = str(folder)
    try:
        for name, formats in ((MODEL, (None, "float16", "dynamic", "int8")), (QUANTIZED, (None,))):
            model = paths.model(name)
            prefix = checkpoints.choose(model, "pretrained")
            inference_graph.export(model, prefix)
            tflite_graph.export(model, prefix)
            for wanted in formats:
                tflite.convert(model, wanted, calibration=20)
        model = paths.model(MODEL)
        onnx.convert(model)
        onnx.convert(model, "tensorrt")
    finally:
        os.environ.pop("TODUS_HOME")
        if before is not None:
            os.environ["TODUS_HOME"] = before
    return folder


@pytest.fixture
def exported(exported_home, monkeypatch):
    """The same as the TODUS_HOME of the test."""
    monkeypatch.setenv("TODUS_HOME", str(exported_home))
    return exported_home
