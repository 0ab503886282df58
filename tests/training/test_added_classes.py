"""Classes added to a slice: what changes, what stays as it is, and runs that were interrupted."""

import os
import shutil
import signal

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED, ZOO
from todus import categories, files, paths
from todus.commands import model as model_command
from todus.commands import preflight
from todus.detection.checkpoint import Checkpoint
from todus.errors import TodusError, UsageError
from todus.model import checkpoints, class_columns, heads, pipeline, prepare, prepared
from todus.model.checkpoint_values import read_checkpoint
from todus.training import metrics, trainer
from todus.training.run_record import FINISHED
from todus.training.settings import Scoring, Settings

STEPS, NEW = 8, "kite"
ENOUGH = 1e9  # bytes for cached features


def make_dataset(limited_home, home):
    """The dataset voc/own: the two classes of the limited one, the second under a new name."""
    source = paths.Dataset(limited_home / "dataset" / "mscoco" / "limited")
    own = paths.Dataset(home / "dataset" / "voc" / "own")
    shutil.copytree(str(source.folder), str(own.folder))
    names = dict(categories.read_label_map(source.label_map))
    names[max(names)] = NEW
    categories.write_label_map(own.label_map, names)
    about = files.read_json(own.manifest)
    about["categories"] = [{"id": number, "name": name} for number, name in names.items()]
    files.write_json(own.manifest, about)


def prepare_grown(name, folder, *more):
    words = ["-m", name, "-d", "voc/own", "--as", folder, "--steps", str(STEPS)]
    words += ["--batch-size", "4", "--learning-rate", "0.1"]
    assert model_command.main(words + list(more)) == 0
    return paths.model(folder)


def archive_of(name):
    return "--archive", str(ZOO / (name + ".tar.gz"))


@pytest.fixture(scope="module")
def grown(limited_home, tmp_path_factory):
    """A TODUS_HOME with models that keep a circle and add a kite, one with a head of its own."""
    folder = tmp_path_factory.mktemp("grown")
    make_dataset(limited_home, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(folder))
        prepare_grown(MODEL, "float", "--keep", "circle", *archive_of(MODEL))
        prepare_grown(QUANTIZED, "uint8", "--keep", "circle", "-q", *archive_of(QUANTIZED))
        prepare_grown(MODEL, "own", "--keep", "circle", "--own-head", *archive_of(MODEL))
    return folder


@pytest.fixture(autouse=True)
def home_of_the_test(grown, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(grown))


def copy_of(name, target):
    shutil.copytree(str(paths.model(name).folder), str(paths.model(target).folder))
    return paths.model(target)


def train(model, say=lambda line: None, room=ENOUGH, **settings):
    settings.setdefault("scoring", Scoring(0))
    chosen = Settings(save_steps=3, log_steps=1, cache_bytes=room, **settings)
    assert trainer.train(model, chosen, say)
    return read_checkpoint(checkpoints.latest(model)[1])


@pytest.fixture(scope="module")
def trained(grown):
    """Name -> (variables after training, lines) of a copy of each model."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(grown))
        for name, every in (("float", 4), ("uint8", 0), ("own", 0)):
            lines = []
            model = copy_of(name, "trained-" + name)
            found[name] = train(model, lines.append, scoring=Scoring(every)), lines
    return found


def slots_that_differ(before, after, config):
    """Variable -> indices of the slots (0: background) in which it differs."""
    found, layouts = {}, class_columns.layouts(config, before)
    for name, value in before.items():
        differs = value != after[name]
        if name in layouts:
            slots = pipeline.meta(config).num_classes + layouts[name].background
            by_slot = differs.reshape(differs.shape[:-1] + (-1, slots))
            found[name] = set(np.nonzero(by_slot)[-1])
        elif differs.any() and name != "global_step":
            found[name] = "all"
    return found


@pytest.mark.parametrize("name", ["float", "uint8"])
def test_only_the_columns_of_the_new_class_change(trained, name):
    model = paths.model(name)
    before, (after, _) = read_checkpoint(model.limited_checkpoint), trained[name]
    changed = slots_that_differ(before, after, prepared.resolved(model))
    names = categories.read_label_map(model.limited_label_map)
    assert names == {1: "circle", 2: NEW}
    assert changed and all(slots == {2} for slots in changed.values())


def test_an_own_head_has_boxes_for_the_new_class_alone_and_leaves_the_other_head_as_it_is(trained):
    slice_, (after, _) = read_checkpoint(paths.model("float").limited_checkpoint), trained["own"]
    config = prepared.resolved(paths.model("float"))
    boxes, scores, learnt = heads.box_layouts(slice_), class_columns.layouts(config, slice_), []
    assert boxes and scores
    for name in boxes:
        np.testing.assert_array_equal(halves(after[name])[0], slice_[name])
    # Feature maps whose anchors match no box of these images learn nothing.
    assert any((halves(after[name])[1] != slice_[name]).any() for name in boxes)
    for name, layout in scores.items():
        first, second = halves(after[name])
        np.testing.assert_array_equal(first, slice_[name])  # the kite is silent in both
        kept = class_columns.columns_at(second, layout, 2, [0])
        new = class_columns.columns_at(second, layout, 2, [1])
        silent = class_columns.SILENT if name.endswith("biases") else 0
        assert (kept == silent).all()
        learnt.append((new != silent).any())
    assert any(learnt)


def halves(value):
    return np.split(value, 2, axis=-1)


def test_an_own_head_leaves_the_kept_class_its_detections(trained):
    image = np.random.RandomState(0).randint(0, 255, (120, 160, 3)).astype(np.uint8)
    model, grown_model = paths.model("float"), paths.model("trained-own")
    names = categories.read_label_map(model.limited_label_map)
    before, after = [
        Checkpoint(prefix, prepared.resolved(each), names, 1e-6).detect([image])[0]
        for each, prefix in (
            (model, model.limited_checkpoint),
            (grown_model, checkpoints.latest(grown_model)[1]),
        )
    ]
    kept = after.classes == 1  # the new class takes some of the 100 places
    assert 0 < kept.sum() < len(after.scores)
    np.testing.assert_array_equal(after.scores[kept], before.scores[: kept.sum()])
    np.testing.assert_array_equal(after.boxes[kept], before.boxes[: kept.sum()])


def test_weights_stay_in_the_ranges_of_the_quantization(trained):
    after, _ = trained["uint8"]
    layouts = class_columns.layouts(prepared.resolved(paths.model("uint8")), after)
    weights = {name: layout for name, layout in layouts.items() if name.endswith("weights")}
    assert weights
    for name, layout in weights.items():
        new = class_columns.columns_at(after[name], layout, 2, [1])
        assert after[name + "_quant/min"] <= new.min() and new.max() <= after[name + "_quant/max"]


def test_before_training_the_new_class_is_silent_and_the_kept_one_scores_as_in_the_slice(grown):
    model = paths.model("float")
    config, names = prepared.resolved(model), categories.read_label_map(model.limited_label_map)
    image = np.random.RandomState(0).randint(0, 255, (120, 160, 3)).astype(np.uint8)
    found = Checkpoint(model.limited_checkpoint, config, names, 1e-6).detect([image])[0]
    assert set(found.classes) == {1}


def test_the_run_has_the_files_of_any_training_and_removes_its_cache(trained):
    _, lines = trained["float"]
    model = paths.model("trained-float")
    assert [row["step"] for row in metrics.read(model)] == [4, 8]
    assert checkpoints.best(model) and checkpoints.latest(model)[0] == STEPS
    assert not (model.training / "features").exists() and not (model.training / "pid").exists()
    text = "\n".join(lines)
    assert "from the slice, to which it adds %s" % NEW in text and "step 8 of 8 saved" in text
    assert "nothing to do" in "\n".join(again(model))


@pytest.mark.parametrize("reason", [None, "signal SIGHUP"], ids=["killed", "stopped"])
def test_a_run_cut_after_its_last_step_is_finished_by_the_next_one(trained, reason):
    model = copy_of("trained-float", "cut-%d" % bool(reason))
    record, features = model.training / "run.json", model.training / "features"
    run = files.read_json(record)
    stop = run["events"].pop()
    run["events"] += [dict(stop, reason=reason)] * bool(reason)
    files.write_json(record, run)
    features.mkdir()
    assert "nothing to do" in "\n".join(again(model))
    found = files.read_json(record)["events"][-1]
    assert (found["reason"], found["step"]) == (stop["reason"], stop["step"]) == (FINISHED, STEPS)
    assert not features.exists()
    events = files.read_json(record)["events"]
    assert "nothing to do" in "\n".join(again(model))
    assert files.read_json(record)["events"] == events


def again(model):
    lines = []
    trainer.train(model, Settings(num_steps=STEPS, scoring=Scoring(0)), lines.append)
    return lines


@pytest.mark.parametrize("room", [ENOUGH, 0], ids=["cached", "not cached"])
def test_an_interrupted_run_ends_with_the_same_weights(trained, room):
    model = copy_of("float", "interrupted-%d" % bool(room))

    def interrupt(line):
        if line.startswith(("step 2 of", "step 5 of")):
            os.kill(os.getpid(), signal.SIGTERM)

    steps = []
    for _ in range(2):
        values = train(model, interrupt, room)
        steps.append(int(values["global_step"]))
    values = train(model, room=room)
    assert steps == [2, 5]
    if room:
        expected, _ = trained["float"]
    else:
        expected = train(copy_of("float", "whole"), room=room)
    for key, value in expected.items():
        np.testing.assert_array_equal(value, values[key], err_msg=key)


def test_a_grown_model_grows_again_and_keeps_what_it_had(trained, limited_home, grown):
    base = paths.model("trained-float")
    own = paths.dataset("voc/own")
    names = categories.read_label_map(own.label_map)
    second = paths.Dataset(grown / "dataset" / "voc" / "second")
    shutil.copytree(str(own.folder), str(second.folder))
    categories.write_label_map(second.label_map, {**names, 1: "ring"})
    words = ["-m", base.name, "-d", "voc/second", "--keep", "all", "--as", "again"]
    assert model_command.main(words) == 0
    model = paths.model("again")
    wanted = {1: "circle", 2: NEW, 3: "ring"}
    assert categories.read_label_map(model.limited_label_map) == wanted
    assert prepared.added_classes(model) == ["ring"]
    before, after = trained["float"][0], read_checkpoint(model.limited_checkpoint)
    config = prepared.resolved(base)
    for name, layout in class_columns.layouts(config, before).items():
        np.testing.assert_array_equal(
            class_columns.columns_at(before[name], layout, 2, [0, 1]),
            class_columns.columns_at(after[name], layout, 3, [0, 1]),
        )
    assert not any(name.startswith(class_columns.ADDED_STATE) for name in after)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--keep", "circle and"], 'no class "and"'),
        (["--keep", "circle, %s" % NEW], 'no class "%s"' % NEW),
        (["--keep", "circle", "-q"], "--keep trains no ranges for -q"),
        (["--keep", "circle", "--no-limit"], "no --no-limit"),
        (["--own-head"], "--own-head is for classes that are added with --keep"),
    ],
)
def test_what_cannot_be_added_is_refused_in_one_line(words, message, grown):
    with pytest.raises((TodusError, UsageError), match=message):
        prepare_grown(MODEL, "refused", *words, *archive_of(MODEL))
    assert not paths.model("refused").folder.exists()


def test_a_dataset_without_a_class_to_add_is_refused(limited_home):
    request = prepare.Request(
        zoo_name=MODEL,
        dataset=paths.Dataset(limited_home / "dataset" / "mscoco" / "limited"),
        keep="all",
        archive=archive_of(MODEL)[1],
    )
    with pytest.raises(UsageError, match="--keep names every class of the dataset"):
        prepare.prepare(paths.model("none"), request)


def test_a_dataset_that_lost_the_new_class_is_refused_before_training(grown):
    model = paths.model("float")
    config, dataset = prepared.resolved(model), prepared.dataset_of(model)
    preflight.check_classes(model, config, dataset)
    before = dataset.label_map.read_bytes(), dataset.manifest.read_bytes()
    names = {1: "circle", 2: "other"}
    about = dict(files.read_json(dataset.manifest))
    about["categories"] = [{"id": number, "name": name} for number, name in names.items()]
    try:
        categories.write_label_map(dataset.label_map, names)
        files.write_json(dataset.manifest, about)
        with pytest.raises(TodusError, match="was prepared for"):
            preflight.check_classes(model, config, dataset)
    finally:
        dataset.label_map.write_bytes(before[0])
        dataset.manifest.write_bytes(before[1])
