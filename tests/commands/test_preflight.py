"""The checks of train, eval, export and convert before TensorFlow is imported."""

import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import datasets
from tests.helpers.places import MODEL, REPO
from todus import categories, command, files, paths, variables
from todus.commands import convert, export, export_tflite, preflight, train
from todus.commands import evaluate as eval_command
from todus.dataset.records import reader, shards, tfrecord
from todus.errors import TodusError
from todus.machine import environment, gpus, memory
from todus.model import checkpoint_files, checkpoints, pipeline, prepared

NOT_RESET = [HealthCheck.function_scoped_fixture]  # each example overwrites the files
BASE = settings(deadline=None, suppress_health_check=NOT_RESET)


@pytest.fixture
def model(limited_home, tmp_path, monkeypatch):
    """A prepared model and its dataset in a copy of limited_home; TensorFlow cannot be imported."""
    home = tmp_path / "home"
    shutil.copytree(str(limited_home), str(home))
    monkeypatch.setenv("TODUS_HOME", str(home))
    monkeypatch.setenv("MODEL_DIR", str(home / "model" / MODEL))
    for name in ("CHECKPOINT_PREFIX", "TF_CONFIG", "BATCH_SIZE", "NUM_TRAIN_STEPS", "KEEP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "tensorflow.compat.v1", None)
    monkeypatch.delitem(sys.modules, "todus.tf", raising=False)
    return paths.model(MODEL)


@pytest.fixture
def dataset(model):
    return prepared.dataset_of(model)


def error_line(main, capsys, *arguments):
    """The last line of a command that fails before it imports TensorFlow."""
    assert command.run("x", main, list(arguments)) in (1, 2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert "TensorFlow cannot be imported" not in lines[-1]
    return lines[-1]


def warnings_of(model, config=None, keep=5):
    warnings = []
    preflight.train(model, config or prepared.resolved(model), keep, True, warnings.append)
    return warnings


def data_of(prefix):
    return Path("%s.data-00000-of-00001" % prefix)


def test_an_undamaged_model_passes_in_less_than_two_seconds_without_tensorflow(model):
    started = time.perf_counter()
    warnings_of(model)
    preflight.evaluate(prepared.dataset_of(model), "val")
    preflight.export(model, checkpoints.choose(model))
    preflight.convert("onnx", "tf2onnx")
    assert time.perf_counter() - started < 2


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def set_classes(dataset, names):
    """Changes the classes of a dataset to id -> name, as a second dataset-limited.sh would."""
    categories.write_label_map(dataset.label_map, names)
    manifest = reader.read_manifest(dataset)
    listed = [{"id": identity, "name": name} for identity, name in names.items()]
    files.write_json(dataset.manifest, dict(manifest, categories=listed))


def add_shard(model, dataset):
    target = dataset.folder / "train.record-00007-of-00008"
    shutil.copy2(str(dataset.shards("train")[0]), str(target))


def add_incomplete_checkpoint(model, dataset):
    model.training.mkdir()
    for path in model.limited_checkpoint.parent.glob("model.ckpt.*"):
        name = path.name.replace("model.ckpt", "model.ckpt-40")
        shutil.copy2(str(path), str(model.training / name))
    data = data_of(model.training / "model.ckpt-40")
    data.write_bytes(data.read_bytes()[:1000])


def use_own_label_map(model, dataset):
    """Makes pipeline.config name a label map outside the dataset; returns its path."""
    target = dataset.folder.parent / "mine.pbtxt"
    shutil.copy2(str(dataset.label_map), str(target))
    value = 'label_map_path: "%s"' % target
    text = re.sub('label_map_path: ".*"', value, model.pipeline.read_text(), count=1)
    model.pipeline.write_text(text)
    return target


def break_input_path(model, dataset):
    use_own_label_map(model, dataset)
    edit(model.pipeline, 'input_path: "', 'input_path: "/nowhere/of-00100')


BREAKAGES = {
    "a missing shard": (
        lambda m, d: d.shards("train")[0].unlink(),
        "train.record-.* is missing; build the dataset again",
    ),
    "an incomplete shard": (
        lambda m, d: d.shards("val")[0].write_bytes(b"x"),
        "val.record-.* has 1 bytes, dataset.json lists",
    ),
    "a shard of another build": (add_shard, "train.record-00007-of-00008 does not belong to it"),
    "an input_path without files": (
        break_input_path,
        "train_input_reader reads /nowhere/of-00100.*no file has such a name",
    ),
    "a label map with a missing item": (
        lambda m, d: d.label_map.write_text('item { id: 2 name: "four point star" }'),
        "label_map.pbtxt and dataset.json name different classes",
    ),
    "another num_classes": (
        lambda m, d: edit(m.pipeline, "num_classes: 2", "num_classes: 3"),
        "ids up to 2, .* num_classes: 3",
    ),
    "other classes": (
        lambda m, d: set_classes(d, {1: "ring", 2: "four point star"}),
        "was prepared for circle, four point star, and the dataset now has ring.*"
        " run: python -m model -m ",
    ),
    "a missing slice": (
        lambda m, d: shutil.rmtree(str(m.limited_checkpoint.parent)),
        "limited.* is missing",
    ),
    "a slice without its data": (
        lambda m, d: data_of(m.limited_checkpoint).unlink(),
        "data-00000-of-00001 is missing; run python -m model again",
    ),
    "an incomplete slice": (
        lambda m, d: data_of(m.limited_checkpoint).write_bytes(b"x" * 99),
        r"data-00000-of-00001 has 99 of \d+ bytes; run python -m model again",
    ),
    "an incomplete checkpoint": (
        add_incomplete_checkpoint,
        r"model.ckpt-40.data-.* has 1000 of \d+ bytes; .* run: rm .*model.ckpt-40\.\*$",
    ),
}


@pytest.mark.parametrize("breakage", sorted(BREAKAGES))
def test_a_training_that_cannot_work_ends_before_it_begins(breakage, model, dataset, capsys):
    breaks, words = BREAKAGES[breakage]
    breaks(model, dataset)
    line = error_line(train.main, capsys)
    assert re.search(words, line), line
    assert not (model.training / "run.json").exists()


def test_a_gap_in_a_label_map_of_ones_own_is_named(model, dataset):
    names = {1: "circle", 3: "four point star"}
    own = use_own_label_map(model, dataset)
    for path in (own, model.limited_label_map):
        categories.write_label_map(path, names)
    config = prepared.resolved(model)
    config.model.ssd.num_classes = 3
    with pytest.raises(TodusError, match="no item with id 2; ids are 1 to 3, each once"):
        preflight.check_classes(model, config, dataset)
    set_classes(dataset, names)
    preflight.check_classes(model, config, dataset)


def test_too_little_disk_for_the_checkpoints_names_keep(model, monkeypatch, capsys):
    size = checkpoint_files.size(model.limited_checkpoint)
    free = 12 * size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setenv("KEEP", "20")
    assert "checkpoints will take about" in error_line(train.main, capsys)
    warnings_of(model, keep=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    assert "the export will take about" in error_line(export.main, capsys)


def test_a_batch_too_large_for_the_memory_is_warned_of_with_one_that_fits(model, monkeypatch):
    config = prepared.resolved(model)
    config.train_config.batch_size = 4096
    monkeypatch.setattr(gpus, "warnings", lambda: iter([]))
    monkeypatch.setattr(memory, "free_memory", lambda: 1 << 30)
    (warning,) = warnings_of(model, config)
    assert "batch size 4096 needs about" in warning and "BATCH_SIZE=" in warning
    assert int(warning.rpartition("=")[2]) < 4096
    monkeypatch.setattr(memory, "free_memory", lambda: 1 << 50)
    assert not warnings_of(model, config)
    card = gpus.Gpu("0", "a small GPU", "470", 2 << 30, 1 << 30, (7, 5))
    monkeypatch.setattr(gpus, "found", lambda: [card])
    assert not warnings_of(model, config)  # this TensorFlow was built without CUDA
    monkeypatch.setattr(gpus, "problem_of", lambda *_: None)
    assert "a small GPU has 1.1 GB free" in warnings_of(model, config)[0]


def test_boxes_too_small_for_the_network_are_counted_by_class(model, dataset, monkeypatch):
    config = prepared.resolved(model)
    assert not list(preflight.tiny_boxes(dataset, config))
    resizer = config.model.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = 6
    (warning,) = preflight.tiny_boxes(dataset, config)
    assert warning.startswith("boxes under 2 pixels at the network's 6x6")
    assert "circle " in warning and "make the loss NaN" in warning


def test_a_gpu_on_which_training_would_hang_is_warned_of(model, monkeypatch):
    monkeypatch.setattr(gpus, "warnings", lambda: iter(["GPU 0, an Ampere, would hang"]))
    assert "GPU 0, an Ampere, would hang" in warnings_of(model)


def fake_package(folder, name, version):
    info = folder / ("%s-%s.dist-info" % (name, version))
    info.mkdir()
    text = "Metadata-Version: 2.1\nName: %s\nVersion: %s\n"
    (info / "METADATA").write_text(text % (name, version))


@pytest.mark.parametrize(
    "script",
    [
        "train.sh",
        "eval.sh",
        "export.sh",
        "export-tflite.sh",
        "convert-onnx.sh",
        "convert-tflite.sh",
    ],
)
def test_tensorflow_2_is_refused_by_every_script_at_once(script, model, tmp_path):
    fake_package(tmp_path, "tensorflow", "2.4.0")
    variables = dict(os.environ, PYTHONPATH=str(tmp_path), PYTHON=sys.executable)
    result = subprocess.run([str(REPO / script)], env=variables, capture_output=True, text=True)
    assert result.returncode == 1
    assert "need TensorFlow 1.13 to 1.15, found tensorflow 2.4.0" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "package, version, words",
    [("numpy", "1.21.6", "symbolic Tensor"), ("protobuf", "4.21.0", "Descriptors")],
)
def test_packages_that_do_not_go_together_are_refused(package, version, words, monkeypatch):
    versions = {package: version}
    real = environment.version
    monkeypatch.setattr(environment, "version", lambda name: versions.get(name) or real(name))
    with pytest.raises(TodusError, match=words + ".*pip install " + package):
        environment.check()


def test_an_evaluation_that_numpy_would_refuse_ends_the_training_before_it_begins(
    model, monkeypatch, capsys
):
    from todus.evaluation import average_precision

    def refuse(*_):
        raise TypeError("numpy.float64 cannot be safely interpreted as an integer")

    monkeypatch.setattr(average_precision, "score", refuse)
    monkeypatch.setenv("EVAL_STEPS", "10")
    assert "do not work together" in error_line(train.main, capsys)


def test_eval_checks_the_shards_of_its_split_only(model, dataset, capsys):
    dataset.shards("val")[0].unlink()
    assert "val.record-" in error_line(eval_command.main, capsys, "-m", MODEL)
    preflight.evaluate(dataset, "train")


def test_a_damaged_checkpoint_is_neither_evaluated_nor_exported(model, capsys):
    data = data_of(model.limited_checkpoint)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))
    for main, arguments in (
        (export.main, []),
        (export_tflite.main, []),
        (eval_command.main, ["-m", MODEL, "--checkpoint", "pretrained"]),
    ):
        line = error_line(main, capsys, *arguments)
        assert "is damaged in variable" in line and line.endswith("run python -m model again")


def test_a_missing_converter_is_named(model, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "toco_from_protos" in error_line(lambda argv: convert.main(["tflite"]), capsys)
    monkeypatch.setattr(sys, "path", [str(REPO)])
    monkeypatch.setattr(environment, "check", lambda: None)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("onnx", "tf2onnx")]:
        monkeypatch.delitem(sys.modules, name)
    line = error_line(lambda argv: convert.main(["onnx"]), capsys)
    assert "onnx is not installed; run: make install" in line


@pytest.fixture(scope="module")
def undamaged(limited_home):
    """The prefix of a slice; do not write to it."""
    return limited_home / "model" / MODEL / "pretrained" / "limited" / "model.ckpt"


@settings(BASE, max_examples=60)
@given(place=st.floats(0, 0.999999), bit=st.integers(0, 7))
def test_every_flipped_bit_of_a_checkpoints_values_is_found(undamaged, tmp_path, place, bit):
    copy = tmp_path / "model.ckpt"
    shutil.copy2(str(undamaged) + ".index", str(copy) + ".index")
    content = bytearray(data_of(undamaged).read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    data_of(copy).write_bytes(bytes(content))
    with pytest.raises(TodusError, match="is damaged in variable"):
        checkpoint_files.check(copy, "x")


@settings(BASE, max_examples=150)
@given(place=st.floats(0, 0.999999), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_index_of_a_checkpoint_is_found_or_harmless(undamaged, tmp_path, place, bit, cut):
    copy = tmp_path / "model.ckpt"
    content = bytearray(Path(str(undamaged) + ".index").read_bytes())
    at = int(place * len(content))
    content[at] ^= 1 << bit
    Path(str(copy) + ".index").write_bytes(bytes(content[:at] if cut else content))
    if not data_of(copy).exists():
        os.link(str(data_of(undamaged)), str(data_of(copy)))
    try:
        assert checkpoint_files.check(copy, "x") == checkpoint_files.check(undamaged, "x")
        assert not cut
    except TodusError as error:
        assert "model.ckpt" in str(error)


def varint(number):
    rest = [number >> shift & 0x7F | 0x80 for shift in range(0, 64, 7) if number >> shift]
    return bytes(rest[:-1] + [rest[-1] & 0x7F]) if rest else b"\0"


def block(pairs):
    """A block of a checkpoint's index: (bytes of the last key, more of it, value) of each entry."""
    parts = [
        varint(n) + varint(len(key)) + varint(len(value)) + key + value for n, key, value in pairs
    ]
    content = b"".join(parts) + struct.pack("<II", 0, 1)
    return content + b"\0" + struct.pack("<I", tfrecord.masked_crc(content, b"\0"))


def write_checkpoint(folder, entries, blocks=1):
    """A checkpoint with these entries in its index, whose block is listed `blocks` times."""
    data = block(entries)
    handle = varint(0) + varint(len(data) - 5)
    index = block([(0, b"k", handle)] * blocks)
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(index) - 5)
    whole = data + index + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / "m.index").write_bytes(whole)
    data_of(folder / "m").write_bytes(bytes(9))
    return folder / "m"


VALUE = b"\x08\x01\x28\x09\x35" + struct.pack("<I", tfrecord.masked_crc(bytes(9)))  # 9 bytes at 0


def test_a_hostile_index_of_a_checkpoint_is_refused_before_it_takes_long(tmp_path):
    assert checkpoint_files.check(write_checkpoint(tmp_path, [(0, b"a", VALUE)]), "x") == 9
    two = [(0, b"a", VALUE), (0, b"b", VALUE)]
    names = [(min(9 * place, 5000), b"long name", b"") for place in range(1000)]
    for entries, blocks, words in (
        (two, 1, "variables that share their bytes"),
        ([(0, b"a", VALUE)], 2, "is damaged"),
        (names, 1, "is damaged"),
        ([(0, b"a", b"\x28" + b"\x80" * 1000 + b"\1")], 1, "is damaged"),
    ):
        with pytest.raises(TodusError, match=words):
            checkpoint_files.check(write_checkpoint(tmp_path, entries, blocks), "x")


def test_the_bytes_of_a_checkpoint_are_those_that_tensorflow_counts(undamaged):
    from todus.model.checkpoint_values import read_checkpoint

    sizes = [value.nbytes for value in read_checkpoint(undamaged).values()]
    assert checkpoint_files.check(undamaged, "x") == sum(sizes)


def test_partitioned_variables_and_strings_are_read_as_tensorflow_writes_them(tmp_path):
    from todus.tf import tf

    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("parts", [6, 3], partitioner=tf.fixed_size_partitioner(3))
        tf.get_variable("words", initializer=tf.constant(["one", "two"]))
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    assert checkpoint_files.check(tmp_path / "m", "x") >= 6 * 3 * 4 + len("onetwo")
    data = data_of(tmp_path / "m")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(TodusError, match="has 8[0-9] of "):
        checkpoint_files.check(tmp_path / "m", "x")


def test_a_split_that_the_dataset_lacks_is_an_error_with_those_that_it_has(model, capsys):
    for split in ("test", "tset"):
        line = error_line(eval_command.main, capsys, "-m", MODEL, "--split", split)
        text = "x: --split %s: dataset limited has no such records; it has: train, val"
        assert line == text % split


def as_mask_rcnn(model):
    """Makes the model's pipeline.config one of a Mask R-CNN."""
    config = prepared.resolved(model)
    config.model.faster_rcnn.num_classes = 2
    config.model.faster_rcnn.feature_extractor.type = "faster_rcnn_inception_v2"
    predictor = config.model.faster_rcnn.second_stage_box_predictor
    predictor.mask_rcnn_box_predictor.predict_instance_masks = True
    pipeline.write(model.pipeline, config)
    return config


def test_a_mask_rcnn_on_a_dataset_without_masks_gets_the_command_that_makes_them(
    model, dataset, capsys, monkeypatch
):
    as_mask_rcnn(model)
    line = error_line(train.main, capsys)
    assert "learns masks, and dataset limited has none; make it again: " in line
    command_line = line.split("make it again: ")[1]
    expected = "INCLUDE_MASKS=1 CATEGORIES='circle,four point star' ./dataset-limited.sh"
    assert command_line == expected
    *assignments, script = shlex.split(command_line)
    given = dict(word.split("=", 1) for word in assignments)
    assert variables.check(Path(script).stem, given) == []
    manifest = reader.read_manifest(dataset)
    files.write_json(dataset.manifest, dict(manifest, source="voc"))
    assert "only COCO's have masks" in error_line(train.main, capsys)


def test_a_mask_rcnn_on_a_dataset_with_masks_passes(model, home):
    made = datasets.build(home, options=shards.Options(masks=True))
    preflight.check_masks(as_mask_rcnn(model), made)


def test_an_option_of_an_earlier_version_is_left_out_of_the_command_to_type(model):
    path = model.pretrained / "source.json"
    source = files.read_json(path)
    files.write_json(path, dict(source, command=source["command"] + ["--eval-images", "5"]))
    assert "--eval-images" not in prepared.preparation(model)
