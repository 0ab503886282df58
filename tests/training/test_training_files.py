"""The files and functions of a training that work without one: metrics, hosts files, history."""

import contextlib
import csv
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.places import REPO
from todus import files, locks, text
from todus.errors import TodusError, UsageError
from todus.machine import memory
from todus.model import pipeline
from todus.paths import Model
from todus.training import (
    background,
    cluster,
    curves,
    history,
    input_pipeline,
    metrics,
    progress,
    run_record,
    schedule,
    stopping,
)
from todus.training import settings as training_settings


def row(step, ap, **more):
    """A row of metrics.csv."""
    fixed = {"time": "t", "seconds": 1.0, "images": 5, "sample": 1, "train_ap": None}
    return dict(fixed, step=step, ap=ap, **more)


@pytest.fixture
def model(home):
    made = Model(home / "model" / "m")
    made.training.mkdir(parents=True)
    return made


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 20), max_size=12))
def test_a_step_that_is_added_again_keeps_one_row(tmp_path_factory, steps):
    model = Model(tmp_path_factory.mktemp("m"))
    model.training.mkdir()
    for step in steps:
        metrics.add(model, row(step, step / 20))
    assert metrics.steps(model) == sorted(set(steps))


def test_an_unknown_value_is_an_empty_cell(model):
    metrics.add(model, row(1, float("nan")))
    assert next(csv.DictReader(metrics.path_of(model).open()))["ap"] == ""
    assert metrics.read(model)[0]["ap"] is None and metrics.best(metrics.read(model)) is None


def test_a_damaged_metrics_file_is_refused(model):
    metrics.path_of(model).write_text("step,ap\nx,y\n")
    with pytest.raises(TodusError, match="metrics.csv is damaged"):
        metrics.read(model)


def test_the_target_must_be_reached_after_step_0():
    assert metrics.enough([row(0, 0.9)], 0.5, 0) == ""
    assert "TARGET_AP" in metrics.enough([row(0, 0.1), row(10, 0.5)], 0.5, 0)
    assert metrics.enough([row(0, 0.1), row(10, 0.4)], 0.5, 0) == ""


def test_patience_counts_evaluations_since_the_best():
    rows = [row(0, 0.3), row(10, 0.4), row(20, 0.35), row(30, 0.4)]
    assert metrics.enough(rows, None, 3) == "" and metrics.enough(rows, None, 0) == ""
    assert "no better AP than 0.400 at step 10" in metrics.enough(rows, None, 2)


def test_only_rows_of_the_same_sample_and_val_records_are_compared(model):
    old, new = {"sample": 4}, {"sample": 1, "val": "b"}
    rows = [row(1, 0.9, val="b"), row(2, 0.8, val="a"), row(3, 0.2, val="b"), row(4, 0.3)]
    rows[0].update(old)
    assert [each["step"] for each in metrics.comparable(rows, new)] == [3, 4]
    for each in rows:
        metrics.add(model, each)
    assert metrics.kept(model)["step"] == 2  # a row without a digest compares with any
    (model.training / "best").mkdir()
    (model.training / "best" / "model.ckpt-3.index").touch()
    assert metrics.kept(model)["step"] == 3
    assert "best AP   0.2000 at step 3" in background.status(model)


def test_rows_of_an_earlier_version_are_read(model):
    metrics.path_of(model).write_text("step,time,sample,ap,train_ap\n2,now,1,0.5,\n")
    (old,) = metrics.read(model)
    assert (old["ap"], old["val"]) == (0.5, "")
    assert metrics.comparable([old], {"sample": 1, "val": "b"}) == [old]


@pytest.mark.parametrize(
    "more, every", [({}, 0), ({"target_ap": "0.5"}, 90), ({"patience": 2}, 90)]
)
def test_a_run_shorter_than_the_evaluations_is_scored_where_a_stop_depends_on_it(more, every):
    chosen = training_settings.Settings(**more)
    assert training_settings.scoring_for(chosen, 90).every == every


@pytest.mark.parametrize("steps, every", [(100, 100), (600, 100), (5000, 500), (50000, 1000)])
def test_a_run_is_evaluated_ten_times_within_100_and_1000_steps(steps, every):
    chosen = training_settings.Settings()
    assert training_settings.scoring_for(chosen, steps).every == every
    given = training_settings.Settings(scoring=training_settings.Scoring(7))
    assert training_settings.scoring_for(given, steps).every == 7


def test_ap_that_rises_on_train_and_falls_on_val_is_overfitting():
    rows = [row(0, 0.3, train_ap=0.3), row(10, 0.5, train_ap=0.5), row(20, 0.4, train_ap=0.9)]
    assert "fell from 0.500 (step 10) to 0.400" in metrics.overfitting(rows)
    assert metrics.overfitting(rows[:2]) == ""


def test_a_multiple_between_two_steps_is_due_once():
    due = schedule.Due(10, 7)
    assert [due(step) for step in (8, 9, 12, 13, 20, 31)] == [False, False, True, False, True, True]
    assert not schedule.Due(0, 0)(100)


CONFIG = (
    "model { ssd { num_classes: 1 "
    "image_resizer { fixed_shape_resizer { height: 300 width: 300 } } } } "
    "train_config { batch_size: %d }"
)


@settings(deadline=None)
@given(st.integers(0, 1 << 37), st.integers(1, 512), st.integers(1000, 10**7))
def test_the_input_uses_at_most_its_share_of_the_memory(free, batch, record):
    config = pipeline.parse(CONFIG % batch, "x")
    shards = [{"bytes": record * 100, "examples": 100}] * 50
    input_pipeline.fit(config, {"splits": {"train": {"shards": shards}}}, free)
    reader = config.train_input_reader
    assert 1 <= reader.num_readers <= 50 and reader.num_parallel_batches >= 1
    assert 256 <= reader.shuffle_buffer_size <= 2048
    assert reader.shuffle_buffer_size == 256 or reader.shuffle_buffer_size * record <= free / 4


def test_a_size_in_pipeline_config_is_kept_or_the_reduction_is_reported():
    config = pipeline.parse(CONFIG % 8 + " train_input_reader { shuffle_buffer_size: 5000 }", "x")
    manifest = {"splits": {"train": {"shards": [{"bytes": 10**7, "examples": 100}]}}}
    assert input_pipeline.fit(config, manifest, 64 << 30) == []
    assert config.train_input_reader.shuffle_buffer_size == 5000
    notes = input_pipeline.fit(config, manifest, 1 << 30)
    assert "shuffle_buffer_size 5000 does not fit" in notes[0]
    assert config.train_input_reader.shuffle_buffer_size < 5000


def test_the_free_memory_is_limited_by_the_container(tmp_path):
    proc, group = tmp_path / "proc", tmp_path / "group"
    proc.mkdir(), group.mkdir()
    (proc / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable: 8000000 kB\n")
    assert memory.free_memory(proc, group) == 8000000 << 10
    (group / "memory.max").write_text("1000000000\n")
    (group / "memory.current").write_text("400000000\n")
    assert memory.free_memory(proc, group) == 600000000
    (group / "memory.max").write_text("max\n")
    assert memory.free_memory(proc, group) == 8000000 << 10


HOSTS = """# a cluster
chief localhost:1
worker far:2 CUDA_VISIBLE_DEVICES=1 DIR=/srv/todus
worker localhost:3
ps localhost:4
evaluator localhost:5
"""


def test_a_hosts_file_gives_each_role_its_tf_config(tmp_path, model):
    (tmp_path / "hosts").write_text(HOSTS)
    hosts = cluster.read_hosts(tmp_path / "hosts")
    names = [host.name for host in hosts]
    assert names == ["chief-0", "worker-0", "worker-1", "ps-0", "evaluator-0"]
    workers = ["far:2", "localhost:3"]
    assert json.loads(cluster.tf_config(hosts, hosts[2].role)) == {
        "cluster": {"chief": ["localhost:1"], "worker": workers, "ps": ["localhost:4"]},
        "task": {"type": "worker", "index": 1},
    }
    command, _ = cluster.command_of(hosts[1], hosts, model, {"BATCH_SIZE": "4"})
    assert command[0] == "ssh" and command[-2] == "far"
    assert re.match(
        "cd /srv/todus && BATCH_SIZE=4 CUDA_VISIBLE_DEVICES=1 MODEL_DIR=/srv/todus/model/m "
        "TF_CONFIG='{.* exec ./train.sh$",
        command[-1],
    )


@pytest.mark.parametrize(
    "text, words",
    [
        ("chief localhost:1\nmaster localhost:2\n", ":2: not ROLE HOST:PORT"),
        ("chief localhost\n", ":1: not ROLE HOST:PORT"),
        ("chief a:1\nps a:1\n", ":2: a:1 occurs twice"),
        ("chief a:1\nps a:2 GPU\n", ":2: GPU is not NAME=VALUE"),
        ("worker a:1\nps a:2\n", "must have one chief"),
    ],
)
def test_a_hosts_file_that_is_not_valid_is_refused_with_its_line(tmp_path, text, words):
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(UsageError, match=words):
        cluster.read_hosts(tmp_path / "hosts")


UNKNOWN_TASK = '{"cluster": {"chief": ["a:1"]}, "task": {"type": "boss", "index": 0}}'


@pytest.mark.parametrize("text", ["{", "[]", UNKNOWN_TASK, '{"cluster": {"ps": []}}'])
def test_a_tf_config_that_is_not_valid_is_wrong_usage(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match="TF_CONFIG"):
        cluster.role()


def test_a_tf_config_without_a_cluster_is_one_process(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert cluster.role() is None
    monkeypatch.delenv("TF_CONFIG")
    assert cluster.role() is None


def test_config_changes_have_the_names_of_their_fields():
    before, after = pipeline.parse(CONFIG % 8, "x"), pipeline.parse(CONFIG % 16, "x")
    assert pipeline.changes(before, after) == ["train_config.batch_size: 8 -> 16"]
    assert pipeline.changes(run_record.comparable(before), run_record.comparable(after)) == []


def delay_at(model, num_steps):
    """The quantization delay of a start with NUM_TRAIN_STEPS."""
    config = pipeline.read(model.pipeline)
    training_settings.apply(model, config, training_settings.Settings(num_steps=num_steps))
    return config.graph_rewriter.quantization.delay


def quantized(steps, delay):
    config = pipeline.parse(CONFIG % 8, "x")
    config.train_config.num_steps = steps
    pipeline.set_quantization(config, delay)
    return config


def test_the_default_quantization_delay_follows_the_steps_until_a_run_has_passed_it(model):
    model.pretrained.mkdir()
    pipeline.write(model.pipeline, quantized(200000, 20000))
    assert (delay_at(model, 100), delay_at(model, None)) == (10, 20000)
    pipeline.write(model.training / "pipeline.config", quantized(100, 10))
    for name in ("model.ckpt-9.index", "model.ckpt-9.data-00000-of-00001"):
        (model.training / name).touch()
    assert delay_at(model, 1000) == 100
    for name in ("model.ckpt-10.index", "model.ckpt-10.data-00000-of-00001"):
        (model.training / name).touch()
    assert (delay_at(model, 1000), delay_at(model, None)) == (10, 10)


@pytest.mark.parametrize("delay, command", [(20000, ["--quantization-delay", "20000"]), (500, [])])
def test_a_given_quantization_delay_stays(model, delay, command):
    model.pretrained.mkdir()
    files.write_json(model.pretrained / "source.json", {"command": ["-m", "m", *command]})
    pipeline.write(model.pipeline, quantized(200000, delay))
    assert delay_at(model, 100) == delay


def test_output_continues_in_a_new_log_after_a_rotation(model, monkeypatch, tmp_path):
    log = background.log_path(model)
    log.write_text("x" * 100)
    log.with_name("train.log.1").write_text("older")
    monkeypatch.setenv(background.LOG, str(log))
    saved = [os.dup(1), os.dup(2)]
    try:
        assert background.rotate_log(50) and not background.rotate_log(50)
        os.write(1, b"after\n")
    finally:
        for number, handle in zip((1, 2), saved):
            os.dup2(handle, number)
            os.close(handle)
    assert log.read_text() == "after\n"
    assert log.with_name("train.log.1").read_text() == "x" * 100
    assert log.with_name("train.log.2").read_text() == "older"


def test_the_status_of_an_idle_model_is_never_trained_or_killed(model):
    assert "was never trained" in background.status(model)[0]
    start = {"started": "now", "pid": 7, "host": "far"}
    files.write_json(model.training / "run.json", {"events": [start]})
    assert background.status(model)[0] == "idle      m: the last trainer (PID 7 on far) was killed"


def test_a_model_that_another_process_asks_about_is_not_running(model):
    path = locks.path_of(model.training)
    path.write_text("PID 7 on far")  # left by a trainer that was killed
    with path.open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert background.running(model) is None
    with locks.exclusive(model.training, "x"):
        assert background.running(model).pid == os.getpid()


def test_stop_without_a_training_reports_that_none_is_running(model):
    lines = []
    assert background.stop(model, lines.append) is False
    assert lines == ["train: no training of m is running"]


HOLD = """import sys, time
from todus import locks
with locks.exclusive(sys.argv[1], "x"):
    print("held", flush=True)
    time.sleep(60)
"""
# As between flock and the write of the holder's name.
HOLD_WITHOUT_NAME = """import fcntl, sys, time
from todus import locks
with locks.path_of(sys.argv[1]).open("a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held_by(model, *before, code=HOLD):
    """A process that holds the lock of a training."""
    command = [*before, sys.executable, "-c", code, str(model.training)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=str(REPO)) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            yield holder
        finally:
            holder.kill()


def test_stop_ends_the_process_that_holds_the_lock(model):
    with held_by(model) as holder:
        assert background.running(model).is_here
        assert background.stop(model, lambda line: None) is True
        assert holder.wait(10) == -signal.SIGTERM


def test_stop_signals_no_process_that_has_the_pid_of_a_former_trainer(model):
    with subprocess.Popen(["sleep", "60"]) as innocent:
        here = "PID %d on %s" % (innocent.pid, socket.gethostname())
        other = locks.life_of(innocent.pid).rpartition(" ")[0] + " 1"
        for left in (here, here + "\n" + other):
            locks.path_of(model.training).write_text(left)
            with held_by(model, code=HOLD_WITHOUT_NAME) as holder:
                with pytest.raises(TodusError, match="in another machine or container"):
                    background.stop(model, lambda line: None)
                assert holder.poll() is None and innocent.poll() is None
        innocent.kill()


def test_stop_signals_no_process_for_a_trainer_of_another_pid_namespace(model):
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*namespace, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs unshare with PID namespaces")
    with held_by(model, *namespace):
        assert not background.running(model).is_here
        with pytest.raises(TodusError, match="in another machine or container"):
            background.stop(model, lambda line: None)


def test_the_log_and_the_status_have_no_terminal_escapes(model):
    background.log_path(model).write_text("train: a\x1b]0;owned\x07b\n   step 1\n")
    shown = []
    background.follow(model, shown.append)
    assert shown == ["train: a ]0;owned b", "   step 1"]
    stop = {"stopped": "now\x1b[2J", "step": 9, "reason": "an\x1b[31m error\nand more"}
    files.write_json(model.training / "run.json", {"events": [stop]})
    assert background.status(model)[0] == "idle      m: an [31m error and more at now [2J"


def test_history_shows_each_run_and_only_the_settings_that_differ(home):
    stop = {"stopped": "2026-01-01T11:30:00+0000", "step": 9, "reason": "reached num_steps"}
    for folder, rate in (("a/training", 0.1), ("a/training-first", 0.2), ("b/training", 0.1)):
        start = {"started": "2026-01-01T10:00:00+0000", "step": 0, "num_steps": 9, "batch_size": 4}
        run = {"events": [dict(start, learning_rate=rate), stop], "dataset": "limited"}
        (home / "model" / folder).mkdir(parents=True)
        files.write_json(home / "model" / folder / "run.json", dict(run, classes=["x"]))
    metrics.add(Model(home / "model" / "b"), row(9, 0.25, ap50=0.5))
    lines = history.table()
    assert [line[0] for line in lines] == ["model", "a", "a/training-first", "b"]
    assert lines[1][9] == "1:30" and lines[2][4] == "lr 0.2"
    assert lines[3][5:8] == ["0.250", "0.500", "9"]
    printed = text.table(lines, len(lines[0]))
    assert [line.index("limited") for line in printed[1:]] == [len("a/training-first  ")] * 3


def test_a_curve_without_a_training_is_refused(model):
    with pytest.raises(TodusError, match="no losses and no metrics.csv yet"):
        curves.plot(model)


def test_smoothed_values_are_means_of_the_values_before():
    assert curves.smoothed([(0, 1.0), (1, 3.0), (2, 5.0)], 2) == [(0, 1.0), (1, 2.0), (2, 4.0)]


def test_following_the_log_shows_its_last_lines_and_ends_with_the_training(model):
    shown = []
    with pytest.raises(TodusError, match="run ./train.sh --background first"):
        background.follow(model, shown.append)
    background.log_path(model).write_text("".join("line %d\n" % number for number in range(100)))
    background.follow(model, shown.append, lines=3)
    assert shown == ["line 97", "line 98", "line 99"]


def test_after_a_minute_the_length_of_the_run_is_reported_once(model, monkeypatch):
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    lines = []
    shown = progress.Progress(
        model, schedule.Schedule(400, 0, 10, 0), stopping.Stop(), lines.append, writes_status=False
    )
    for step in (1, 11, 21, 31, 41):
        shown.report(step, 1.0, lambda: None)
    (line,) = [line for line in lines if "machine" in line]
    assert line == "399 steps take about 17 min on this machine, apart from evaluations"


def test_the_time_left_is_at_the_mean_speed_and_not_that_of_an_evaluation_alone(model, monkeypatch):
    clock = iter([0, 10, 50, 58])  # an evaluation of 30 s before the third report
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    lines = []
    shown = progress.Progress(
        model, schedule.Schedule(400, 0, 10, 0), stopping.Stop(), lines.append, writes_status=False
    )
    for step in (1, 11, 21, 31):
        shown.report(step, 1.0, lambda: None)
    assert [line.split("steps/s   ")[-1] for line in lines[1:]] == [
        "6 min left",
        "16 min left",
        "12 min left",
    ]
