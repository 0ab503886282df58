"""The problems that verify finds in damaged records."""

import os
import subprocess
import sys

import pytest

from tests.helpers.datasets import NAMES, build
from todus import files, paths
from todus.dataset.records import example, reader, shards, tfrecord, verify
from todus.errors import TodusError


def run_verify(target, **more):
    command = [sys.executable, "-m", "todus.commands.verify", str(target)]
    more["env"] = dict(os.environ, PYTHONPATH=str(paths.REPO))
    return subprocess.run(command, capture_output=True, text=True, **more)


def test_verify_prints_the_counts_of_each_class(home):
    dataset = build(home)
    result = run_verify(dataset.folder)
    assert result.returncode == 0, result.stderr
    assert "train: 12 images, 12 boxes, 4 negatives" in result.stdout
    assert "  traffic light              4 images        4 boxes" in result.stdout
    assert "no fault" in result.stdout


def test_verify_takes_a_relative_folder_and_a_name(home):
    dataset = build(home)
    assert run_verify("few", cwd=str(dataset.folder.parent)).returncode == 0
    assert run_verify("few").returncode == 0
    missing = run_verify("nothing")
    assert missing.returncode == 1
    assert "no dataset at" in missing.stderr and "Traceback" not in missing.stderr


@pytest.mark.parametrize(
    "key, value",
    [
        ("images", [1]),
        ("repeats", "x"),
        ("shards", [{"file": {"a": None}, "bytes": 1, "sha256": ""}]),
        ("shards", [{"file": "train\0", "bytes": 1, "sha256": ""}]),
        ("shards", [{"file": "../x", "bytes": 1, "sha256": ""}]),
        ("shards", [{"file": "x", "bytes": None, "sha256": ""}]),
    ],
)
def test_a_damaged_entry_of_a_split_is_an_error_of_one_line(home, key, value):
    dataset = build(home)
    manifest = reader.read_manifest(dataset)
    manifest["splits"]["train"][key] = value
    files.write_json(dataset.manifest, manifest)
    with pytest.raises(TodusError, match="dataset.json is not a dataset's manifest"):
        verify.dataset(dataset)
    if key == "shards":
        assert list(verify.shard_faults(dataset, manifest))


def shard_of(home):
    """A new dataset and its only train shard."""
    dataset = build(home)
    return dataset, dataset.shards("train")[0]


def test_a_flipped_bit_is_reported_with_shard_offset_and_image(home):
    dataset, path = shard_of(home)
    data = bytearray(path.read_bytes())
    second = list(tfrecord.scan(path))[1]
    found = example.decode(second.data)
    data[data.index(found.encoded) + 200] ^= 1
    path.write_bytes(bytes(data))
    place = (path.name, second.offset, found.source_id, found.file_name)
    problem = "%s, offset %d, image %s (%s): its CRC is wrong" % place
    assert any(problem in each for each in verify.dataset(dataset)[1])
    assert run_verify(dataset.folder).returncode == 1
    text = "offset %d: its CRC is wrong; see python -m todus.commands.verify" % second.offset
    with pytest.raises(TodusError, match=text):
        list(reader.read_examples(dataset, "train"))


def test_a_truncated_shard_is_reported_with_its_offset(home):
    dataset, path = shard_of(home)
    last = list(tfrecord.scan(path))[-1]
    path.write_bytes(path.read_bytes()[: last.offset + 20])
    problem = "%s, offset %d: the file ends inside a record" % (path.name, last.offset)
    assert problem in verify.dataset(dataset)[1]


def test_a_damaged_length_is_reported_with_its_offset(home):
    dataset, path = shard_of(home)
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    problem = "%s, offset 0: the CRC of its length is wrong" % path.name
    assert problem in verify.dataset(dataset)[1]


def test_an_image_that_occurs_twice_is_reported(home):
    dataset, path = shard_of(home)
    first = list(tfrecord.scan(path))[0]
    with path.open("ab") as file:
        tfrecord.Writer(file).write(first.data)
    problems = verify.dataset(dataset)[1]
    assert any(each.endswith("its image/source_id occurs twice") for each in problems)


def test_a_missing_shard_and_an_unknown_one_are_reported(home):
    dataset = build(home, options=shards.Options(shards=2))
    first = dataset.shards("train")[0]
    first.rename(first.with_name("train.record-00007-of-00009"))
    found = verify.dataset(dataset)[1]
    assert "%s is missing" % first.name in found
    assert "train.record-00007-of-00009 does not belong to this dataset" in found


@pytest.fixture(scope="module")
def one_box(tmp_path_factory):
    """The serialised tf.train.Example of an image with one box."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("one-box")
        patch.setenv("TODUS_HOME", str(home))
        records = tfrecord.scan(shard_of(home)[1])
        return next(each.data for each in records if len(example.decode(each.data).boxes) == 1)


@pytest.mark.parametrize(
    "key, kind, values, problem",
    [
        ("object/class/label", "int64", [7], "class id 7 is not in the label map"),
        ("object/class/text", "bytes", [b"dog"], '"dog" is not the label map\'s "cat" for id 1'),
        ("object/bbox/ymax", "float", [1.5], "a box lies outside the image"),
        ("object/bbox/ymax", "float", [0.01], "a box has its minimum and maximum exchanged"),
        ("object/bbox/ymax", "float", [float("nan")], "a box coordinate is not a number"),
        ("object/bbox/ymax", "float", [0.5, 0.6], "bbox/ymax has 2 values for 1 boxes"),
        ("object/area", "int64", [5], "image/object/area is a int64_list, not a float"),
        ("key/sha256", "bytes", [b"0"], "SHA-256 of image/encoded is not image/key/sha256"),
        ("height", "int64", [49], "is a jpeg of 64 x 48, the record has jpeg of 64 x 49"),
        ("source_id", "bytes", [], "has no image/source_id"),
    ],
)
def test_a_wrong_value_of_a_feature_is_reported(one_box, tmp_path, key, kind, values, problem):
    message = example.ExampleMessage.FromString(one_box)
    feature = message.features.feature["image/" + key]
    feature.Clear()
    getattr(feature, kind + "_list").value.extend(values)
    path = tmp_path / "one.record"
    with path.open("wb") as file:
        tfrecord.Writer(file).write(message.SerializeToString())
    (found,) = verify.check_shard(path, NAMES)[1]
    assert problem in found and found.startswith("one.record, offset 0")
