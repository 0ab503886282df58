"""Damages to the files that one command writes for another, to TF_CONFIG and to hosts files."""

import copy
import json
import re
import shutil

import pytest

from tests.helpers import bad_input as bad
from tests.helpers import own_images as own
from tests.helpers.places import MODEL
from todus import files, paths
from todus.errors import TodusError
from todus.evaluation import score_thresholds
from todus.model import artefacts, prepared
from todus.report import measurements, page
from todus.training import background, cluster, history, metrics

SEEDS = 300

FIGURES = {"ap": 0.3, "ap50": 0.5, "ap75": 0.2, "ap_small": None, "ap_medium": 0.1}
FIGURES.update(ap_large=0.4, drop=None, protocol="p", images_per_second=9.0, bytes=9)
FIGURES.update(score_threshold=0.0)
PICKED = {"threshold": 0.4, "precision": 0.9, "recall": 0.5, "f1": 0.6}
EVAL = [
    dict(FIGURES, title="frozen graph", per_class={"cat": 0.3, "dog": None}),
    dict(FIGURES, title="TFLite", per_class={}, thresholds={"cat": PICKED}),
]
ROW = {"title": "zoo", "format": "zoo", "classes": 90, "gain": 1.0, "bytes": 100}
ROW.update(median_ms=9.0, p90_ms=9.5, preprocess_ms=1.0, network_ms=2.0)
ROW.update(decode_ms=None, nms_ms=None)
BENCHMARK = {
    "rows": [ROW, dict(ROW, title="frozen graph", format="frozen_graph", gain=2.0)],
    "rounds": 5,
    "cores": 2,
    "expected_gain": 1.5,
}
ORIGIN = {"checkpoint": "pretrained", "checkpoint_sha256": "0", "score_threshold": 0.0}
ORIGIN.update(quantized=False)
TFLITE_GRAPH = dict(ORIGIN, nms="regular", max_detections=100)
EXPORTED = {"inference_graph": ORIGIN, "tflite_graph": TFLITE_GRAPH}
DESCRIBED = {
    "format": "float",
    "input": {"mean": [127.5] * 3, "std": 127.5},
    "exported": TFLITE_GRAPH,
    "labels": ["cat"],
}
SETTINGS = {"step": 0, "num_steps": 40, "batch_size": 8, "learning_rate": 0.01}
START = dict(SETTINGS, started="2024-01-01T00:00:00+0000", pid=1, host="h")
STOP = {"stopped": None, "step": 4, "reason": "killed"}
RUN = {"classes": ["cat"], "events": [START, STOP], "dataset": "limited"}
STATUS = {"step": 4, "num_steps": 40, "loss": 1.5, "learning_rate": 0.1, "time": 9.0}
STATUS.update(steps_per_second=2.0, seconds_left=3.0)
SOURCE = {"zoo": "m", "archive": "a", "half": "fp32", "dataset": None, "start": "slice"}
SOURCE.update(categories=[], fresh=["cat"])


def use_tflite(model):
    """Reads FILE.json as opening a detector does, and stores score thresholds in it."""
    about = artefacts.read(model.file_of("tflite"))
    float((about.get("exported") or {}).get("score_threshold") or 0)
    score_thresholds.store(model.file_of("tflite"), {}, None, 1)


def use_export(model):
    artefacts.exported(model.inference_graph)
    float(artefacts.tflite_graph(model)["score_threshold"])


def use_source(model):
    source = prepared.prepared_from(model)
    return (source.get("dataset") or "") + (source.get("zoo") or "")


def use_run(model):
    history.table()
    background.status(model)


# file -> a valid content, and a function that uses the file
FILES = {
    "pretrained/source.json": (SOURCE, use_source),
    "eval.json": (EVAL, page.write),
    "benchmark.json": (BENCHMARK, page.write),
    "inference-graph/export.json": (EXPORTED, use_export),
    "%s.tflite.json" % MODEL: (DESCRIBED, use_tflite),
    "training/run.json": (RUN, use_run),
    "training/status.json": (STATUS, use_run),
}


@pytest.fixture
def model(home, limited_home):
    """A model with a pipeline.config and label maps, without a checkpoint or a dataset."""
    found = paths.Model(home / "model" / MODEL)
    original = paths.Model(limited_home / "model" / MODEL)
    found.limited_label_map.parent.mkdir(parents=True)
    for name in ("pipeline", "limited_label_map", "zoo_label_map"):
        shutil.copy2(str(getattr(original, name)), str(getattr(found, name)))
    return found


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_file_is_used_or_refused_with_its_name(model, name):
    value, use = FILES[name]
    seeds = 80 if use is page.write else SEEDS  # writing a page is slow
    path, refused = model.folder / name, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, value)
    use(model)
    for seed in range(seeds):
        files.write_json(path, value)
        bad.spoil_json(path, seed)
        try:
            use(model)
        except TodusError as error:
            refused += 1
            assert path.name in str(error)
    assert refused > seeds / 8


def test_a_damaged_metrics_csv_is_read_or_refused_with_its_name(model):
    row = {"time": "t", "images": 4, "sample": 1, "ap50": None}
    rows = [dict(row, step=step, ap=0.1 * step) for step in range(4)]
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


def test_a_damaged_tf_config_gives_a_role_of_the_cluster_or_is_refused(monkeypatch):
    for seed in range(2 * SEEDS):
        monkeypatch.setenv("TF_CONFIG", bad.damaged_json(copy.deepcopy(TASK), seed))
        try:
            found = cluster.role()
        except TodusError as error:
            assert "TF_CONFIG" in str(error)
        else:
            assert found is None or (found.kind in cluster.ROLES and found.index >= 0)


@pytest.mark.parametrize(
    "value", ["chief", ["chief"], {"chief": 3}, {"chief": None}, {"chief": ["a:1"], "worker": 5}]
)
def test_a_tf_config_without_a_valid_cluster_is_refused(value, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(dict(TASK, cluster=value)))
    with pytest.raises(TodusError, match="TF_CONFIG"):
        cluster.role()


def test_a_tf_config_with_a_negative_index_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(dict(TASK, task={"type": "worker", "index": -1})))
    with pytest.raises(TodusError, match="no worker -1"):
        cluster.role()


def test_a_damaged_hosts_file_is_read_or_refused_with_its_name(tmp_path):
    for seed in range(SEEDS):
        path = bad.spoil(own.write(tmp_path / "hosts", bad.HOSTS), seed)
        try:
            found = cluster.read_hosts(path)
        except TodusError as error:
            assert "hosts" in str(error)
        else:
            assert all(0 < host.port < 65536 and host.role.kind in cluster.ROLES for host in found)


@pytest.mark.parametrize(
    "line, words",
    [
        ("ps 'localhost:2", "hosts:2: No closing quotation"),
        ("ps h:0", "hosts:2"),
        ("ps h:70000", "hosts:2"),
    ],
)
def test_an_invalid_line_of_a_hosts_file_is_named(tmp_path, line, words):
    path = own.write(tmp_path / "hosts", "chief a:1\n%s\n" % line)
    with pytest.raises(TodusError, match=re.escape(words)):
        cluster.read_hosts(path)


def test_a_tflite_file_with_another_digest_than_its_description_is_refused(model):
    path = model.file_of("tflite")
    own.write(path, "whole")
    files.write_json(paths.beside_json(path), dict(DESCRIBED, sha256=files.sha256(path)))
    artefacts.check_digest(path, artefacts.read(path))
    own.write(path, "other")
    with pytest.raises(TodusError, match="damaged"):
        artefacts.check_digest(path, artefacts.read(path))


def test_the_report_has_no_measurements_without_eval_json_and_benchmark_json(model):
    assert measurements.entries(model) == [] and measurements.benchmark(model) is None
