"""Short trainings of the miniature model: initial weights, results, refusals and resumed runs."""

import csv
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED, REPO, ZOO
from todus import categories, files, paths
from todus.commands import preflight
from todus.dataset.records import reader
from todus.detection import catalogue
from todus.errors import TodusError
from todus.export import checkpoint_graph
from todus.model import checkpoints, pipeline, prepare, prepared
from todus.model.checkpoint_values import read_checkpoint
from todus.paths import Model
from todus.training import (
    background,
    batch_images,
    best_of_run,
    estimator_setup,
    kept_checkpoints,
    metrics,
    run_record,
    trainer,
)
from todus.training.settings import Scoring, Settings

SETTINGS = {"batch_size": 2, "save_steps": 1, "keep": 4, "log_steps": 1, "scoring": Scoring(0)}


def train(model, steps, **settings):
    """Trains until `steps`; returns the step reached and the lines of output."""
    lines = []
    settings = Settings(num_steps=steps, **dict(SETTINGS, **settings))
    return trainer.train(model, settings, lines.append), lines


def copy_of(model, folder):
    shutil.copytree(str(model.folder), str(folder / "model" / model.name))
    return Model(folder / "model" / model.name)


@pytest.fixture(autouse=True)
def home_of_the_test(limited_home, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(limited_home))


@pytest.fixture(scope="module")
def trained(limited_home, tmp_path_factory):
    """The float model after 4 steps, scored at steps 0, 2 and 4, and the lines of output."""
    model = copy_of(Model(limited_home / "model" / MODEL), tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(limited_home))
        step, lines = train(model, 4, keep=9, scoring=Scoring(2, 2, True))
    assert step == 4
    return model, lines


@pytest.fixture
def model(trained, tmp_path):
    """A copy of the trained model."""
    return copy_of(trained[0], tmp_path)


def assert_starts_from_the_slice(model):
    source = read_checkpoint(model.limited_checkpoint)
    start = read_checkpoint(model.training / "model.ckpt-0")
    compared = [name for name in source if name != "global_step"]
    assert len(compared) > 100
    for name in compared:
        np.testing.assert_array_equal(source[name], start[name], err_msg=name)
    return compared, start


def test_a_fresh_head_is_trained_and_scored_from_its_first_checkpoint_on(tmp_path):
    model = Model(tmp_path / "model" / "fresh")
    archive, dataset = str(ZOO / (MODEL + ".tar.gz")), paths.dataset("limited")
    request = prepare.Request(MODEL, dataset=dataset, archive=archive, limit=False)
    prepare.prepare(model, request)
    with pytest.raises(TodusError, match="fresh has a fresh head, which detects nothing"):
        checkpoints.choose(model)
    with pytest.raises(TodusError, match="TARGET_AP=pretrained: fresh starts with a fresh head"):
        train(model, 1, scoring=Scoring(1, 4), target_ap="pretrained")
    step, lines = train(model, 1, scoring=Scoring(1, 4))
    assert step == 1
    assert any("from the zoo's features, with a fresh head" in line for line in lines)
    assert metrics.steps(model)[-1] == 1
    source = read_checkpoint(model.features_checkpoint)
    start = read_checkpoint(model.training / "model.ckpt-0")
    copied = [name for name in source if name != "global_step"]
    assert len(copied) > 100
    assert all(np.array_equal(source[name], start[name]) for name in copied)


def test_step_0_has_the_weights_of_the_slice_and_step_1_has_others(trained):
    compared, start = assert_starts_from_the_slice(trained[0])
    first = read_checkpoint(trained[0].training / "model.ckpt-1")
    assert any(np.any(start[name] != first[name]) for name in compared if name.endswith("weights"))


def test_a_quantized_training_starts_with_the_ranges_of_the_slice(limited_home, tmp_path):
    model = copy_of(Model(limited_home / "model" / QUANTIZED), tmp_path)
    train(model, 1)
    compared, start = assert_starts_from_the_slice(model)
    ranges = [name for name in compared if name.endswith(("quant/min", "quant/max"))]
    assert len(ranges) > 100 and any(start[name] not in (0.0, 6.0, -6.0) for name in ranges)
    first = read_checkpoint(model.training / "model.ckpt-1")
    averaged = [name for name in ranges if name.endswith(("act_quant/min", "act_quant/max"))]
    widest = max(abs(start[name]) for name in averaged)
    assert len(averaged) > 50 and any(first[name] != start[name] for name in averaged)
    for name in averaged:  # one value has a weight of 1 in 1000
        assert abs(first[name] - start[name]) < 0.005 * widest, name


def test_a_short_quantized_run_is_exported_with_the_delay_of_its_own_config(limited_home, tmp_path):
    model = copy_of(Model(limited_home / "model" / QUANTIZED), tmp_path)
    config = pipeline.read(model.pipeline)
    pipeline.set_quantization(config, 20000)
    pipeline.write(model.pipeline, config)
    pipeline.set_quantization(config, 10)
    model.training.mkdir()
    pipeline.write(model.training / "pipeline.config", config)
    prefix = model.training / "model.ckpt-40"
    for path in model.limited_checkpoint.parent.glob("model.ckpt.*"):
        shutil.copy(str(path), str(prefix) + path.name[len("model.ckpt") :])
    exported = checkpoint_graph.config_for(model, prefix, None)
    assert pipeline.is_quantized(exported) and exported.graph_rewriter.quantization.delay == 10
    assert checkpoint_graph.origin_of(model, prefix, exported)["not_quantized_because"] is None
    other = model.folder / "model.ckpt-40"
    for path in model.limited_checkpoint.parent.glob("model.ckpt.*"):
        shutil.copy(str(path), str(other) + path.name[len("model.ckpt") :])
    assert not pipeline.is_quantized(checkpoint_graph.config_for(model, other, None))


def test_each_evaluation_is_one_row_and_the_best_checkpoint_is_kept(trained):
    model, lines = trained
    with metrics.path_of(model).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert all(0 <= float(row["ap"]) <= 1 for row in rows)
    assert all(row["sample"] == "2" and row["train_ap"] for row in rows)
    # The APs in the file are rounded: two may be equal.
    ap = {"model.ckpt-" + row["step"]: float(row["ap"]) for row in rows[1:]}
    assert ap[checkpoints.best(model).name] == max(ap.values())
    assert not (model.training / "pending").exists()
    assert any(line.startswith("step 4   AP ") for line in lines)


def test_each_report_has_step_loss_and_speed(trained):
    reports = [line for line in trained[1] if " of 4   loss " in line]
    assert len(reports) == 4
    for step, line in enumerate(reports, start=1):
        assert re.match(r"step %d of 4   loss \d+\.\d{4}" % step, line)
    assert "steps/s" in reports[-1] and "left" in reports[-1]


def test_run_json_records_settings_dataset_and_versions(trained):
    model, _ = trained
    run = run_record.read(model)
    start, stop = run["events"]
    assert (start["step"], start["num_steps"], start["batch_size"]) == (0, 4, 2)
    assert (stop["step"], stop["reason"]) == (4, "reached num_steps")
    assert run["classes"] == ["circle", "four point star"]
    assert run["dataset_digest"] == reader.read_manifest(prepared.dataset_of(model))["digest"]
    assert run["versions"]["tensorflow"].startswith("1.15")
    assert not (model.training / "pid").exists()


def test_a_finished_run_resumes_with_more_steps_and_stops_at_the_target(model):
    rows = metrics.read(model)
    metrics.add(model, dict(rows[0], ap=1e-6))
    metrics.add(model, dict(rows[-1], ap=0.0))
    settings = {"learning_rate": 0.001, "scoring": Scoring(3, 2), "target_ap": "pretrained"}
    step, lines = train(model, 9, keep=2, **settings)
    assert step == 6 and "AP" in lines[-1] and "reached TARGET_AP 0.000" in lines[-1]
    assert any(line.startswith("train: learning rate 0.001, was ") for line in lines)
    assert "train: steps 9, was 4" in lines
    assert (model.training / "checkpoint").read_text().count("all_model_checkpoint_paths") == 2
    assert run_record.read(model)["events"][-1]["reason"].startswith("AP ")


def test_a_finished_run_changes_nothing(model):
    before = sorted(path.name for path in model.training.iterdir())
    step, lines = train(model, 4)
    assert step == 4
    text = "train: already at step 4 of 4: nothing to do; to continue, set NUM_TRAIN_STEPS=8"
    assert lines[-1] == text
    assert sorted(path.name for path in model.training.iterdir()) == before


def test_an_evaluation_missing_after_a_kill_is_made_at_the_next_start(model):
    rows = metrics.read(model)
    metrics.path_of(model).unlink()
    for row in rows[:2]:
        metrics.add(model, row)
    assert train(model, 4, scoring=Scoring(2, 2))[0] == 4
    assert metrics.steps(model) == [0, 2, 4]


def test_after_a_change_of_the_sample_the_best_checkpoint_is_the_best_of_the_new_sample(model):
    best = checkpoints.step_of(checkpoints.best(model))
    rows = {row["step"]: row for row in metrics.read(model)}
    metrics.add(model, dict(rows[best], ap=0.99))
    train(model, 5, scoring=Scoring(1, 1))
    rows = [row for row in metrics.read(model) if row["sample"] == 1]
    assert {row["step"] for row in rows} == {best, 5} and all(row["val"] for row in rows)
    assert checkpoints.step_of(checkpoints.best(model)) == metrics.best(rows)["step"]
    line = "best AP   %.4f at step %d" % (metrics.best(rows)["ap"], metrics.best(rows)["step"])
    assert line in background.status(model)


def test_a_target_in_a_run_shorter_than_the_evaluations_scores_the_last_step(model):
    step, lines = train(model, 5, scoring=Scoring(1000, 2), target_ap="0.99")
    assert step == 5 and metrics.steps(model) == [0, 2, 4, 5]


def test_a_start_without_a_stop_is_recorded_as_killed(model):
    run = run_record.read(model)
    run["events"].pop()
    files.write_json(model.training / "run.json", run)
    manifest = reader.read_manifest(prepared.dataset_of(model))
    names = categories.read_label_map(model.limited_label_map)
    notes = run_record.begin(model, prepared.resolved(model), names, manifest, 4, {})
    assert "was killed; its lock is stale" in notes[0]
    assert run_record.read(model)["events"][1]["reason"] == "killed"


def test_other_classes_are_refused(model):
    run = dict(run_record.read(model), classes=["circle", "heart"])
    files.write_json(model.training / "run.json", run)
    classes = "the classes circle, heart, the dataset now has circle, four point star"
    with pytest.raises(TodusError, match="was started with " + classes):
        train(model, 8)


def test_another_config_is_refused_with_the_difference(model):
    config = pipeline.read(model.pipeline)
    config.model.ssd.image_resizer.fixed_shape_resizer.height = 160
    pipeline.write(model.pipeline, config)
    changed = "model.ssd.image_resizer.fixed_shape_resizer.height: 128 -> 160"
    with pytest.raises(TodusError, match="another pipeline.config: " + changed):
        train(model, 8)


def test_a_float_training_cannot_be_resumed_quantized(model):
    config = pipeline.read(model.pipeline)
    pipeline.set_quantization(config, 2)
    pipeline.write(model.pipeline, config)
    with pytest.raises(TodusError, match="was started without quantization-aware training"):
        train(model, 8)


def test_after_a_bad_loss_the_checkpoints_since_the_last_good_step_are_removed(model):
    for bad_step, kept in ((4, [0, 1, 2]), (1, [0]), (1, [0])):
        kept_checkpoints.drop_suspects(model, bad_step)
        assert [step for step, _ in checkpoints.trained(model)] == kept
        newest = 'model_checkpoint_path: "model.ckpt-%d"\n' % kept[-1]
        assert (model.training / "checkpoint").read_text().startswith(newest)


def test_the_advice_for_a_damaged_checkpoint_continues_from_the_one_before_it(model):
    damaged = next(model.training.glob("model.ckpt-4.data-*"))
    files.write_text(damaged, "x" * damaged.stat().st_size)
    config = prepared.resolved(model)
    with pytest.raises(TodusError, match="model.ckpt-4") as caught:
        preflight.train(model, config, 4, False, print)
    command = re.search("run: (rm .*)$", str(caught.value)).group(1)
    subprocess.run(["bash", "-c", command], check=True)
    # TensorFlow's list still names the checkpoint that is gone; besides, it is damaged.
    (model.training / "checkpoint").write_bytes(b"\xff\x00 model_checkpoint_path: 4")
    step, lines = train(model, 4, scoring=Scoring(2, 2))
    assert step == 4 and any("step 3 of 4" in line and "model.ckpt-3" in line for line in lines)
    assert sorted(set(metrics.steps(model))) == metrics.steps(model) == [0, 2, 4]


def test_the_list_of_checkpoints_names_those_that_exist(model):
    state = model.training / "checkpoint"
    kept_checkpoints.remove(model.training / "model.ckpt-4")
    killed = model.training / "model.ckpt-4.data-00000-of-00001.tempstate123"
    killed.write_bytes(b"x")
    kept_checkpoints.list_existing(model)
    assert not killed.exists()
    assert 'model_checkpoint_path: "model.ckpt-3"' in state.read_text()
    for _, prefix in checkpoints.trained(model):
        kept_checkpoints.remove(prefix)
    kept_checkpoints.keep_newest(model, 3)
    assert not state.exists()


def test_images_are_found_by_the_hashes_of_their_source_ids(trained):
    dataset = prepared.dataset_of(trained[0])
    some = list(reader.read_examples(dataset, "train"))[:3]
    hashes = batch_images.hashes_of([each.source_id for each in some])
    assert batch_images.file_names(dataset, hashes) == [each.file_name for each in some]


def test_too_little_memory_names_the_next_batch_size(model, monkeypatch):
    from todus.tf import tf

    def full(*_arguments, **_options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(estimator_setup, "estimator", full)
    with pytest.raises(TodusError, match="out of memory at BATCH_SIZE=2; .*: try BATCH_SIZE=1"):
        train(model, 8)


def test_a_graph_that_cannot_be_built_is_one_line_with_the_command_that_prepares_it(tmp_path):
    archive, dataset = str(ZOO / (MODEL + ".tar.gz")), paths.dataset("limited")
    model = Model(tmp_path / "model" / MODEL)
    typed = ["-m", MODEL, "-d", "limited", "--archive", archive]
    prepare.prepare(model, prepare.Request(MODEL, dataset, archive=archive, command=typed))
    config = pipeline.read(model.pipeline)
    config.model.ssd.feature_extractor.type = "ssd_mobilenet_v9"
    pipeline.write(model.pipeline, config)
    with pytest.raises(TodusError, match="cannot be built .*mobilenet_v9.*-d limited") as error:
        train(model, 1)
    assert "\n" not in str(error.value)


def test_a_second_trainer_is_refused_with_the_pid_of_the_first(model):
    hold = "import sys; from todus import locks\n"
    hold += "with locks.exclusive(sys.argv[1], 'x'): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(model.training)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=str(REPO), **pipes) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            assert background.running(model).pid == process.pid
            with pytest.raises(TodusError, match="in use by PID %d on" % process.pid):
                train(model, 8)
        finally:
            process.kill()
    assert background.running(model) is None


def best_of(model, prefix=""):
    lines = []
    return best_of_run.choose(model, prefix, lines.append), lines


def test_the_checkpoint_with_the_best_ap_of_slice_best_and_latest_is_exported(trained, tmp_path):
    model = copy_of(trained[0], tmp_path)
    rows = {row["step"]: row for row in metrics.read(model)}
    for best_step, name in ((0, "the slice"), (4, "model.ckpt-4")):
        for step, row in rows.items():
            metrics.add(model, dict(row, ap=0.9 if step == best_step else 0.1))
        chosen, (line,) = best_of(model)
        assert checkpoints.described(chosen) == name
        assert line.startswith("%s has the best AP on val, 0.9000 (" % name)
    assert best_of(model, "pretrained") == (model.limited_checkpoint, [])


def test_a_checkpoint_without_a_row_is_evaluated_before_it_is_compared(trained, tmp_path):
    model = copy_of(trained[0], tmp_path)
    before = {row["step"]: row for row in metrics.read(model)}
    metrics.path_of(model).unlink()
    for row in (row for step, row in before.items() if step):
        metrics.add(model, row)
    _, lines = best_of(model)
    after = {row["step"]: row for row in metrics.read(model)}
    assert after[0]["ap"] == pytest.approx(before[0]["ap"], abs=1e-6)
    assert any("the slice 0." in line or line.startswith("the slice") for line in lines)


def test_without_val_the_latest_checkpoint_is_exported(trained, tmp_path, monkeypatch):
    model = copy_of(trained[0], tmp_path)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    chosen, (line,) = best_of(model)
    assert chosen.name == "model.ckpt-4" and "there is no val" in line


def test_a_chosen_checkpoint_can_be_read_after_training_removed_it(trained, tmp_path, monkeypatch):
    model = copy_of(trained[0], tmp_path)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    exported, _ = best_of(model)
    compared = catalogue.find(model, "checkpoint", "latest")
    for path in model.training.glob("**/model.ckpt-*"):
        if ".held" not in str(path):
            path.unlink()
    for prefix in (exported, compared.path):
        preflight.export(model, prefix)
        assert len(read_checkpoint(prefix)) > 100
        assert checkpoints.config_of(model, prefix).model == prepared.resolved(model).model
    assert compared.shown == model.training / "model.ckpt-4"
    with compared.path.with_name("model.ckpt-4.data-00000-of-00001").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(TodusError, match="checkpoint %s: " % re.escape(str(compared.shown))):
        preflight.check_checkpoint(compared.path)


def test_links_to_a_checkpoint_are_removed_when_the_process_ends(trained, tmp_path):
    model = copy_of(trained[0], tmp_path)
    code = "import sys; from todus.paths import Model; from todus.model import held\n"
    code += "from pathlib import Path; print(held.choose(Model(Path(sys.argv[1])), 'best'))"
    command = [sys.executable, "-c", code, str(model.folder)]
    before = sorted(model.training.rglob("*"))
    line = subprocess.run(command, cwd=str(REPO), check=True, stdout=subprocess.PIPE).stdout
    assert line.decode().strip() != str(checkpoints.best(model)) and b"/best/model.ckpt-" in line
    assert sorted(model.training.rglob("*")) == before
