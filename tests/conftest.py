"""What the tests of the library share. Slow things are made once a session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

ZOO = REPO / "demo" / "zoo"
MODEL = "ssd_mobilenet_v1_shapes"
QUANTIZED = "ssd_mobilenet_v1_quantized_shapes"
REAL = REPO.parent / "shared" / "real"


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
    environment = dict(os.environ, TODUS_HOME=str(folder), CATEGORIES="circle, four point star", JOBS="2", PYTHON=sys.executable)
    with Server(drawn) as server:
        environment["COCO_URL"] = server.url
        subprocess.run([str(REPO / "dataset-limited.sh")], check=True, env=environment, cwd=str(REPO))
    for name, more in ((MODEL, []), (QUANTIZED, ["-q"])):
        command = [sys.executable, "-m", "model", "-m", name, "-d", "limited", "--archive", str(ZOO / (name + ".tar.gz"))]
        subprocess.run(command + more, check=True, env=environment, cwd=str(REPO))
    return folder


@pytest.fixture
def prepared(limited_home, monkeypatch):
    """The same as the TODUS_HOME of the test."""
    monkeypatch.setenv("TODUS_HOME", str(limited_home))
    return limited_home
