"""What verify finds in records that were damaged."""

import os
import subprocess
import sys

import pytest

from tests.helpers.datasets import NAMES, build
from todus import paths
from todus.dataset.records import example, reader, shards, tfrecord, verify
from todus.errors import TodusError


def run_verify(target, **more):
    command = [sys.executable, "-m", "todus.commands.verify", str(target)]
    more["env"] = dict(os.environ, PYTHONPATH=str(paths.REPO))
    return subprocess.run(command, capture_output=True, text=True, **more)


def test_verify_prints_counts_a_class(home):
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


def problems_of(dataset):
    return verify.dataset(dataset)[1]


def test_verify_names_shard_offset_and_image_of_a_flipped_bit(home):
    dataset = build(home)
    path = dataset.shards("train")[0]
    data = bytearray(path.read_bytes())
    second = list(tfrecord.scan(path))[1]
    name = example.decode(second.data).file_name
    at = data.index(example.decode(second.data).encoded) + 200
    data[at] ^= 1
    path.write_bytes(bytes(data))
    assert any(
        "%s, offset %d, image %d (%s): its CRC is wrong"
        % (path.name, second.offset, int(name[:3]), name)
        in each
        for each in problems_of(dataset)
    )
    assert run_verify(dataset.folder).returncode == 1
    with pytest.raises(
        TodusError,
        match="offset %d: its CRC is wrong; see python -m todus.commands.verify" % second.offset,
    ):
        list(reader.read_examples(dataset, "train"))


def test_verify_says_where_a_file_is_cut(home):
    dataset = build(home)
    path = dataset.shards("train")[0]
    last = list(tfrecord.scan(path))[-1]
    path.write_bytes(path.read_bytes()[: last.offset + 20])
    assert "%s, offset %d: the file ends inside a record" % (path.name, last.offset) in problems_of(
        dataset
    )


def test_verify_says_where_a_length_is_damaged(home):
    dataset = build(home)
    path = dataset.shards("train")[0]
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    assert "%s, offset 0: the CRC of its length is wrong" % path.name in problems_of(dataset)


def test_verify_finds_an_image_that_is_there_twice(home):
    dataset = build(home)
    path = dataset.shards("train")[0]
    first = list(tfrecord.scan(path))[0]
    with path.open("ab") as file:
        tfrecord.Writer(file).write(first.data)
    found = problems_of(dataset)
    assert any(each.endswith("this image/source_id is there twice") for each in found)


def test_verify_misses_a_shard_and_finds_a_strange_one(home):
    dataset = build(home, options=shards.Options(shards=2))
    first = dataset.shards("train")[0]
    first.rename(first.with_name("train.record-00007-of-00009"))
    found = problems_of(dataset)
    assert "%s is missing" % first.name in found
    assert "train.record-00007-of-00009 does not belong to this dataset" in found


def features(home):
    data = next(iter(tfrecord.scan(build(home).shards("train")[0]))).data
    message = example.ExampleMessage()
    message.ParseFromString(data)
    return message


def change(message, key, kind, values):
    feature = message.features.feature[key]
    feature.Clear()
    getattr(feature, kind).value.extend(values)


@pytest.mark.parametrize(
    "key, kind, values, words",
    [
        ("image/object/class/label", "int64_list", [7], "class id 7 is not in the label map"),
        (
            "image/object/class/text",
            "bytes_list",
            [b"dog"],
            'class/text "dog" is not the label map\'s "cat" for id 1',
        ),
        ("image/object/bbox/ymax", "float_list", [1.5], "a box lies outside the image"),
        ("image/object/bbox/ymax", "float_list", [0.01], "a box has its sides exchanged"),
        (
            "image/object/bbox/ymax",
            "float_list",
            [float("nan")],
            "a box has a side that is no number",
        ),
        (
            "image/object/bbox/ymax",
            "float_list",
            [0.5, 0.6],
            "image/object/bbox/ymax has 2 values for 1 boxes",
        ),
        ("image/object/area", "int64_list", [5], "image/object/area is a int64_list, not a float"),
        (
            "image/key/sha256",
            "bytes_list",
            [b"0"],
            "image/encoded has another SHA-256 than image/key/sha256",
        ),
        (
            "image/height",
            "int64_list",
            [49],
            "the image is a jpeg of 64 x 48, the record says jpeg of 64 x 49",
        ),
        ("image/source_id", "bytes_list", [], "has no image/source_id"),
    ],
)
def test_verify_knows_every_field(home, key, kind, values, words):
    message = features(home)
    while len(message.features.feature["image/object/class/label"].int64_list.value) != 1:
        for each in tfrecord.scan(paths.mscoco_dataset("few").shards("train")[0]):
            message.ParseFromString(each.data)
            if len(message.features.feature["image/object/class/label"].int64_list.value) == 1:
                break
    change(message, key, kind, values)
    path = home / "one.record"
    with path.open("wb") as file:
        tfrecord.Writer(file).write(message.SerializeToString())
    found = verify.check_shard(path, NAMES).problems
    assert len(found) == 1, found
    assert words in found[0] and found[0].startswith("one.record, offset 0")
