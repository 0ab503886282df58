"""The fixtures that the tests of the library share."""

import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.helpers import homes


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

    return once("drawn", homes.draw)


@pytest.fixture(scope="session")
def limited_home(drawn, once):
    """A TODUS_HOME with a limited dataset of two shapes and both models; do not change it."""
    return once("home", lambda folder: homes.limit(folder, drawn))


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
    return once("exported", lambda folder: homes.export(folder / "home", limited_home)) / "home"


@pytest.fixture
def exported(exported_home, monkeypatch):
    """exported_home as the TODUS_HOME of the test."""
    monkeypatch.setenv("TODUS_HOME", str(exported_home))
    return exported_home
