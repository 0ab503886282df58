"""Real, short trainings of the miniature: where the weights come from, what is kept, what is refused, what a killed run owes."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED, REPO
from todus import files, paths
from todus.dataset.records import reader
from todus.errors import TodusError
from todus.model import checkpoint_values, checkpoints, pipeline, prepare, prepared
from todus.paths import Model
from todus.training import (
    background,
    batch_images,
    estimator_setup,
    kept_checkpoints,
    metrics,
    run_record,
    trainer,
)
from todus.training.settings import Scoring, Settings

BATCH = 2


def train(model, steps, say=lambda text: None, **more):
    settings = {
        "num_steps": steps,
        "batch_size": BATCH,
        "save_steps": 1,
        "keep": 4,
        "log_steps": 1,
        "scoring": Scoring(0),
    }
    settings.update(more)
    return trainer.train(model, Settings(**settings), say)


@pytest.fixture(scope="module")
def own_home(limited_home, tmp_path_factory):
    """A TODUS_HOME that this module may train in."""
    folder = tmp_path_factory.mktemp("training") / "home"
    shutil.copytree(str(limited_home), str(folder))
    return folder


@pytest.fixture(autouse=True)
def home_of_the_test(own_home, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(own_home))


@pytest.fixture(scope="module")
def trained(own_home):
    """The float miniature after 4 steps, scored at 0, 2 and 4, and what was said meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(own_home))
        model = Model(own_home / "model" / MODEL)
        said = []
        assert train(model, 4, said.append, keep=9, scoring=Scoring(2, 2, True)) == 4
    return model, said


@pytest.fixture
def after(trained, tmp_path):
    """A copy of the trained model, to go on from."""
    folder = tmp_path / "model" / MODEL
    shutil.copytree(str(trained[0].folder), str(folder))
    return Model(folder)


def values(prefix):
    return checkpoint_values.read_checkpoint(Path(prefix))


def assert_starts_from_the_slice(model):
    source, start = values(model.limited_checkpoint), values(model.training / "model.ckpt-0")
    compared = [name for name in source if name != "global_step"]
    assert len(compared) > 100
    for name in compared:
        np.testing.assert_array_equal(source[name], start[name], err_msg=name)
    return compared, start


def test_a_fresh_head_is_trained_and_scored_from_its_first_checkpoint_on(own_home):
    model = Model(own_home / "model" / "fresh")
    archive = str(REPO / "demo" / "zoo" / (MODEL + ".tar.gz"))
    prepare.prepare(
        model,
        prepare.Request(MODEL, dataset=paths.dataset("limited"), archive=archive, limit=False),
        print,
    )
    with pytest.raises(
        TodusError, match="fresh has a fresh head, which detects nothing before training"
    ):
        checkpoints.choose(model)
    with pytest.raises(TodusError, match="TARGET_AP=pretrained: fresh starts with a fresh head"):
        train(model, 1, scoring=Scoring(1, 4), target_ap="pretrained")
    said = []
    assert train(model, 1, said.append, scoring=Scoring(1, 4)) == 1
    assert any("from the zoo's features, with a fresh head" in line for line in said)
    assert metrics.steps(model)[-1] == 1
    source, start = values(model.features_checkpoint), values(model.training / "model.ckpt-0")
    assert all(
        np.array_equal(source[name], start[name]) for name in source if name != "global_step"
    )


def test_the_weights_at_step_0_are_the_slices_and_those_at_step_1_are_not(trained):
    compared, start = assert_starts_from_the_slice(trained[0])
    first = values(trained[0].training / "model.ckpt-1")
    assert any(np.any(start[name] != first[name]) for name in compared if name.endswith("weights"))


def test_a_quantized_start_has_the_slices_ranges_too(own_home):
    model = Model(own_home / "model" / QUANTIZED)
    train(model, 1)
    compared, start = assert_starts_from_the_slice(model)
    ranges = [name for name in compared if name.endswith(("quant/min", "quant/max"))]
    assert len(ranges) > 100 and any(start[name] not in (0.0, 6.0, -6.0) for name in ranges)


def test_each_evaluation_is_one_row_and_the_best_is_kept(trained):
    model, said = trained
    with metrics.path_of(model).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert all(
        0 <= float(row["ap"]) <= 1 and row["sample"] == "2" and row["train_ap"] for row in rows
    )
    ap = {
        "model.ckpt-" + row["step"]: float(row["ap"]) for row in rows[1:]
    }  # rounded: two may be equal here
    assert ap[checkpoints.best(model).name] == max(ap.values())
    assert not (model.training / "pending").exists()
    assert any(line.startswith("step 4   AP ") for line in said)


def test_each_step_that_is_logged_tells_its_loss(trained):
    told = [line for line in trained[1] if " of 4   loss " in line]
    assert len(told) == 4
    for step, line in enumerate(told, start=1):
        assert re.match(r"step %d of 4   loss \d+\.\d{4}" % step, line)
    assert "steps/s" in told[-1] and "left" in told[-1]


def test_the_run_is_on_record(trained):
    model, _ = trained
    run = run_record.read(model)
    start, stop = run["events"]
    assert (start["step"], start["num_steps"], start["batch_size"]) == (0, 4, BATCH)
    assert (stop["step"], stop["reason"]) == (4, "reached num_steps")
    assert run["classes"] == ["circle", "four point star"]
    assert run["dataset_digest"] == reader.read_manifest(prepared.dataset_of(model))["digest"]
    assert run["versions"]["tensorflow"].startswith("1.15")
    assert not (model.training / "pid").exists()


def test_a_finished_run_goes_on_with_more_steps_until_the_target_and_keeps_as_many_as_asked(after):
    rows = metrics.read(after)
    metrics.add(after, dict(rows[0], ap=1e-6))
    metrics.add(after, dict(rows[-1], ap=0.0))
    said = []
    reached = train(
        after,
        9,
        said.append,
        keep=2,
        learning_rate=0.001,
        scoring=Scoring(3, 2),
        target_ap="pretrained",
    )
    assert reached == 6 and "AP" in said[-1] and "reached TARGET_AP 0.000" in said[-1]
    assert "train: learning rate 0.001, was " in "\n".join(said) and "train: steps 9, was 4" in said
    assert (after.training / "checkpoint").read_text().count("all_model_checkpoint_paths") == 2
    assert run_record.read(after)["events"][-1]["reason"].startswith("AP ")


def test_a_run_that_is_done_says_so_and_changes_nothing(after):
    said = []
    before = sorted(path.name for path in after.training.iterdir())
    assert train(after, 4, said.append) == 4
    assert said[-1] == "train: already at step 4 of 4: nothing to do; NUM_TRAIN_STEPS=8 goes on"
    assert sorted(path.name for path in after.training.iterdir()) == before


def test_an_evaluation_that_a_kill_prevented_is_made_up_for(after):
    rows = metrics.read(after)
    metrics.path_of(after).unlink()
    for row in rows[:2]:
        metrics.add(after, row)
    assert train(after, 4, scoring=Scoring(2, 2)) == 4
    assert metrics.steps(after) == [0, 2, 4]


def test_a_start_without_a_stop_is_noticed_as_killed(after):
    run = run_record.read(after)
    run["events"].pop()
    files.write_json(after.training / "run.json", run)
    config = prepared.resolved(after)
    notes = run_record.begin(after, config, reader.read_manifest(prepared.dataset_of(after)), 4, {})
    assert "was killed; its lock is stale" in notes[0]
    assert [event.get("reason") for event in run_record.read(after)["events"]][
        1
    ] == "killed, without a word"


def test_other_classes_are_refused_by_name(after):
    run = run_record.read(after)
    run["classes"] = ["circle", "heart"]
    files.write_json(after.training / "run.json", run)
    with pytest.raises(
        TodusError,
        match="begun with the classes circle, heart, the dataset now has circle, four point star",
    ):
        train(after, 8)


def test_another_config_is_refused_with_the_difference(after):
    config = pipeline.read(after.pipeline)
    config.model.ssd.image_resizer.fixed_shape_resizer.height = 160
    pipeline.write(after.pipeline, config)
    with pytest.raises(
        TodusError,
        match=r"another pipeline.config: model.ssd.image_resizer.fixed_shape_resizer.height: 128 -> 160",
    ):
        train(after, 8)


def test_a_float_training_is_not_continued_quantized(after):
    config = pipeline.read(after.pipeline)
    pipeline.set_quantization(config, 2)
    pipeline.write(after.pipeline, config)
    with pytest.raises(TodusError, match="was begun without quantization-aware training"):
        train(after, 8)


def test_a_loss_that_is_no_number_puts_what_was_saved_since_the_last_good_one_in_doubt(after):
    kept_checkpoints.drop_suspects(after, 4)
    assert [step for step, _ in checkpoints.trained(after)] == [0, 1, 2]
    assert 'model_checkpoint_path: "model.ckpt-2"' in (after.training / "checkpoint").read_text()
    kept_checkpoints.drop_suspects(after, 1)
    assert [step for step, _ in checkpoints.trained(after)] == [0]
    kept_checkpoints.drop_suspects(after, 1)
    assert [step for step, _ in checkpoints.trained(after)] == [0]


def test_images_are_found_by_the_hashes_that_the_input_makes(after):
    dataset = prepared.dataset_of(after)
    some = list(reader.read_examples(dataset, "train"))[:3]
    hashes = batch_images._hashes([each.source_id for each in some])
    assert batch_images.named(dataset, hashes) == [each.file_name for each in some]


def test_too_little_memory_names_the_next_batch_size(after, monkeypatch):
    from todus.tf import tf

    def full(*_arguments, **_options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(estimator_setup, "estimator", full)
    with pytest.raises(
        TodusError,
        match="out of memory at BATCH_SIZE=2; nothing that was saved is lost: try BATCH_SIZE=1",
    ):
        train(after, 8)


def test_a_second_trainer_is_refused_with_pid_and_host(after):
    hold = "import sys; from todus import locks; from pathlib import Path\n"
    hold += "with locks.exclusive(Path(sys.argv[1]), 'x'):\n  print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(after.training)],
        cwd=str(REPO),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"held\n"
        assert background.running(after).pid == process.pid
        with pytest.raises(TodusError, match="in use by PID %d on" % process.pid):
            train(after, 8)
        process.kill()
        process.wait()
        assert background.running(after) is None
    finally:
        process.kill()
        process.communicate()
