"""RUNNER=: records written on Apache Beam have the bytes of records written here."""

import importlib.util
import os
import socket
import subprocess
import sys
import time

import pytest

from tests.helpers import datasets, own_images
from tests.helpers.places import REPO
from todus.dataset.records import beam, shards
from todus.dataset.records.shards import Options
from todus.dataset.sources import voc

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None
with_beam = pytest.mark.skipif(not HAS_BEAM, reason="needs make beam")


def built(home, name, runner=""):
    """File name -> bytes of a dataset of three shards a split, without its manifest."""
    splits = {"train": datasets.annotated(home / "images", 9)}
    splits["val"] = datasets.annotated(home / "images", 4, 100)
    dataset = datasets.build(home, name, Options(shards=3, runner=runner, jobs=2), splits)
    found = datasets.contents(dataset)
    assert not dataset.folder.with_name(".%s.shards" % name).exists()
    return {file: data for file, data in found.items() if file != "dataset.json"}


@pytest.fixture
def with_python(monkeypatch):
    """Workers find the modules of Todus, and this Python."""
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    monkeypatch.setenv("PATH", path)


def test_without_beam_the_message_says_what_to_install(tmp_path, monkeypatch, capsys):
    own_images.voc_folder(tmp_path / "in", 4)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    run = own_images.runner(voc.main, tmp_path / "home", monkeypatch, capsys)
    code, _, err = run(tmp_path / "in", RUNNER="memory")
    assert code == 1 and err.count("\n") == 1
    assert "RUNNER needs Apache Beam; run: make -C %s beam" % REPO in err
    code, _, err = run(tmp_path / "in", RUNNER="spark")
    assert code == 2 and "RUNNER=spark: give memory, processes, or options" in err


@with_beam
@pytest.mark.parametrize("runner", ["memory", "processes"])
def test_the_shards_are_those_of_a_build_without_beam(home, with_python, runner):
    expected = built(home, "here")
    assert len(expected) == 7 and built(home, "there", runner) == expected


@with_beam
def test_an_interrupted_build_keeps_its_shards_except_those_of_changed_images(home, capsys):
    expected = built(home, "here")
    options, work = (
        Options(shards=3, runner="memory"),
        home / "dataset" / "mscoco" / ".there.shards",
    )
    splits = {"train": datasets.annotated(home / "images", 9)}
    splits["val"] = datasets.annotated(home / "images", 4, 100)
    (home / "new").mkdir()
    plans = []
    for split, annotations in splits.items():
        plans += shards.plan(home / "new", split, annotations.images, options)
    written = beam.write(plans, datasets.NAMES, {17: 1, 10: 2}, options, work)
    next(written)  # is moved to home / "new", and lost with it
    written.close()
    os.utime(str(home / "images" / "100.jpg"), (0, 0))
    capsys.readouterr()
    dataset = datasets.build(home, "there", options, splits)
    assert "Apache Beam writes 2 shards; 4 are there from before" in capsys.readouterr().err
    content = datasets.contents(dataset)
    assert {name: content[name] for name in expected} == expected and not work.exists()


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@with_beam
@pytest.mark.skipif(not os.environ.get("TODUS_SLOW"), reason="TODUS_SLOW=1")
def test_workers_over_tcp_write_the_same_shards(home, with_python):
    expected = built(home, "here")
    jobs, workers = free_port(), free_port()
    modules = {
        "apache_beam.runners.portability.local_job_service_main": "--port=%d" % jobs,
        "apache_beam.runners.worker.worker_pool_main": "--service_port=%d" % workers,
    }
    started = [
        subprocess.Popen([sys.executable, "-m", module, option], cwd="/")
        for module, option in modules.items()
    ]
    try:
        for port in (jobs, workers):
            until = time.monotonic() + 60
            while time.monotonic() < until:
                with socket.socket() as probe:
                    if not probe.connect_ex(("localhost", port)):
                        break
                time.sleep(0.2)
        runner = "--runner=PortableRunner --job_endpoint=localhost:%d --sdk_worker_parallelism=2 "
        runner += "--environment_type=EXTERNAL --environment_config=localhost:%d"
        assert built(home, "there", runner % (jobs, workers)) == expected
    finally:
        for process in started:
            process.terminate()
            process.wait()
