"""The small files that one command writes and another reads, and what tells a process its role: damaged in hundreds of ways."""

import json
import re

import pytest

from tests.helpers import bad_input as bad
from tests.helpers import own_images as own
from todus import files, paths
from todus.errors import TodusError
from todus.evaluation import score_thresholds
from todus.model import artefacts, prepared
from todus.report import measurements, page
from todus.training import cluster, metrics, run_record

SEEDS = 300

NUMBERS = {
    "ap": 0.3,
    "ap50": 0.5,
    "ap75": 0.2,
    "ap_small": None,
    "ap_medium": 0.1,
    "ap_large": 0.4,
    "drop": None,
}
PICKED = {"threshold": 0.4, "precision": 0.9, "recall": 0.5, "f1": 0.6}
SPEED = {"protocol": "p", "images_per_second": 9.0, "bytes": 9, "score_threshold": 0.0}
EVAL = [
    dict(
        NUMBERS,
        title="frozen graph",
        protocol="p",
        images_per_second=9.0,
        bytes=9,
        score_threshold=0.0,
        per_class={"cat": 0.3, "dog": None},
    ),
    dict(NUMBERS, title="TFLite", **SPEED, per_class={}, thresholds={"cat": PICKED}),
]
PARTS = {"preprocess_ms": 1.0, "network_ms": 2.0, "decode_ms": None, "nms_ms": None}
ROW = dict(
    PARTS, title="zoo", format="zoo", classes=90, median_ms=9.0, p90_ms=9.5, gain=1.0, bytes=100
)
BENCHMARK = {
    "rows": [ROW, dict(ROW, title="frozen graph", format="frozen_graph", gain=2.0)],
    "rounds": 5,
    "cores": 2,
    "expected_gain": 1.5,
}
ORIGIN = {
    "checkpoint": "pretrained",
    "checkpoint_sha256": "0",
    "score_threshold": 0.0,
    "quantized": False,
}
EXPORTED = {
    "inference_graph": ORIGIN,
    "tflite_graph": dict(ORIGIN, nms="regular", max_detections=100),
}
DESCRIBED = {
    "format": "float",
    "input": {"mean": [127.5] * 3, "std": 127.5},
    "exported": EXPORTED["tflite_graph"],
    "labels": ["cat"],
}
START = {
    "started": "2024-01-01T00:00:00+0000",
    "pid": 1,
    "host": "h",
    "step": 0,
    "num_steps": 40,
    "batch_size": 8,
    "learning_rate": 0.01,
}
RUN = {
    "classes": ["cat"],
    "events": [START, {"stopped": None, "step": 4, "reason": "killed"}],
    "dataset": "limited",
}
STATUS = {
    "step": 4,
    "num_steps": 40,
    "loss": 1.5,
    "learning_rate": 0.1,
    "steps_per_second": 2.0,
    "seconds_left": 3.0,
    "time": 9.0,
}


def of_tflite(model):
    """What opening, naming and storing thresholds do with FILE.json."""
    about = artefacts.read(model.file_of("tflite"))
    float((about.get("exported") or {}).get("score_threshold") or 0)
    score_thresholds.store(model.file_of("tflite"), {}, None, 1)


def of_export(model):
    artefacts.exported(model.inference_graph)
    float(artefacts.tflite_graph(model)["score_threshold"])


def of_status(model):
    now = run_record.status(model)
    return now and "%d of %d %.1f %.1f" % (
        now["step"],
        now["num_steps"],
        now["time"],
        now.get("loss") or 0,
    )


def of_source(model):
    source = prepared.prepared_from(model)
    return (source.get("dataset") or "") + (source.get("zoo") or "")


SOURCE = {
    "zoo": "m",
    "archive": "a",
    "half": "fp32",
    "dataset": None,
    "start": "slice",
    "categories": [],
    "fresh": ["cat"],
}

BOOKS = {
    "pretrained/source.json": (SOURCE, of_source),
    "eval.json": (EVAL, lambda model: [page._accuracy(model), page._thresholds(model)]),
    "benchmark.json": (BENCHMARK, lambda model: page._speed(model)),
    "inference-graph/export.json": (EXPORTED, of_export),
    "m.tflite.json": (DESCRIBED, of_tflite),
    "training/run.json": (RUN, lambda model: run_record._close_lost(run_record.read(model), 1)),
    "training/status.json": (STATUS, of_status),
}


@pytest.fixture
def model(home):
    return paths.Model(home / "model" / "m")


@pytest.mark.parametrize("name", sorted(BOOKS))
def test_a_book_is_read_or_refused_with_its_name(model, name):
    value, use = BOOKS[name]
    path, refused = model.folder / name, 0
    for seed in range(SEEDS):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, value)
        use(model)
        bad.spoil_json(path, seed)
        try:
            use(model)
        except TodusError as error:
            refused += 1
            assert path.name in str(error)
    assert refused > SEEDS / 8


def test_metrics_are_read_or_refused_with_their_name(model):
    rows = [
        {"step": step, "time": "t", "images": 4, "sample": 1, "ap": 0.1 * step, "ap50": None}
        for step in range(4)
    ]
    for seed in range(SEEDS):
        for row in rows:
            metrics.add(model, row)
        bad.spoil(metrics.path_of(model), seed)
        try:
            found = metrics.read(model)
            metrics.best(found), metrics.overfitting(found), metrics.enough(found, 0.9, 3)
        except TodusError as error:
            assert "metrics.csv" in str(error)
        metrics.path_of(model).unlink()


TASK = {
    "cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["d:4"]},
    "task": {"type": "worker", "index": 1},
}


def test_a_role_is_one_of_the_cluster_or_refused(monkeypatch):
    for seed in range(2 * SEEDS):
        text = json.dumps(bad.swapped(json.loads(json.dumps(TASK)), seed))
        if seed % 2:
            text = (
                bad.damaged(json.dumps(TASK).encode(), bad.edits(seed))
                .decode("utf-8", "replace")
                .replace("\0", "")
            )
        monkeypatch.setenv("TF_CONFIG", text)
        try:
            found = cluster.role()
        except TodusError as error:
            assert "TF_CONFIG" in str(error)
        else:
            assert found is None or (found.kind in cluster.ROLES and found.index >= 0)


@pytest.mark.parametrize(
    "value", ["chief", ["chief"], {"chief": 3}, {"chief": None}, {"chief": ["a:1"], "worker": 5}]
)
def test_a_cluster_that_is_none_is_refused(value, monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": value, "task": {"type": "worker", "index": 0}})
    )
    with pytest.raises(TodusError, match="TF_CONFIG"):
        cluster.role()


def test_a_negative_index_is_no_role(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(dict(TASK, task={"type": "worker", "index": -1})))
    with pytest.raises(TodusError, match="no worker -1"):
        cluster.role()


def test_hosts_are_read_or_refused_with_the_files_name(tmp_path):
    text = "chief localhost:2222\nworker localhost:2223 CUDA_VISIBLE_DEVICES=1\nps 'localhost':2224  # a comment\n"
    text += 'worker host:2225 DIR="/a b"\n'
    for seed in range(SEEDS):
        path = bad.spoil(own.write(tmp_path / "hosts", text), seed)
        try:
            found = cluster.read_hosts(path)
        except TodusError as error:
            assert "hosts" in str(error)
        else:
            assert all(0 < host.port < 65536 and host.role.kind in cluster.ROLES for host in found)


@pytest.mark.parametrize(
    "line, said",
    [
        ("ps 'localhost:2", "hosts:2: No closing quotation"),
        ("ps h:0", "hosts:2"),
        ("ps h:70000", "hosts:2"),
    ],
)
def test_a_line_that_is_no_host_is_named(tmp_path, line, said):
    path = own.write(tmp_path / "hosts", "chief a:1\n%s\n" % line)
    with pytest.raises(TodusError, match=re.escape(said)):
        cluster.read_hosts(path)


def test_a_tflite_file_that_is_not_the_described_one_is_refused_before_it_is_opened(model):
    path = model.file_of("tflite")
    own.write(path, "whole")
    files.write_json(paths.beside_json(path), dict(DESCRIBED, sha256=files.sha256(path)))
    artefacts.check_whole(path, artefacts.read(path))
    own.write(path, "other")
    with pytest.raises(TodusError, match="damaged"):
        artefacts.check_whole(path, artefacts.read(path))


def test_figures_are_absent_without_files(model):
    assert measurements.entries(model) == [] and measurements.benchmark(model) is None
