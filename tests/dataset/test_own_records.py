"""dataset-records.sh: TFRecords of the OD API that exist already."""

import gzip
import io
import shlex
import zlib

import pytest
from PIL import Image

from tests.helpers import own_images as own
from todus import paths
from todus.commands import find_dataset, verify
from todus.dataset.records import example, tfrecord
from todus.dataset.sources import records, voc
from todus.fetching import archives

CORNERS = {"xmin": 0.125, "ymin": 0.2, "xmax": 0.625, "ymax": 0.8}
BOX = (5.0, 6.0, 25.0, 24.0)  # of CORNERS in 40x30 pixels
LABEL_MAP = 'item { id: 7 name: "dog" }\nitem { id: 3 name: "cat" display_name: "Cat" }\n'


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    own.write(tmp_path / "in" / "map.pbtxt", LABEL_MAP)
    return own.runner(records.main, tmp_path / "home", monkeypatch, capsys)


def record(seed, text=b"cat", label=3, **more):
    """A serialised tf.train.Example of a drawn image; a value None leaves its key out."""
    data = io.BytesIO()
    Image.fromarray(own.pixels(seed)).save(data, "JPEG")
    values = {"image/encoded": data.getvalue(), "image/filename": b"i%d.jpg" % seed}
    values.update({"image/object/bbox/" + side: value for side, value in CORNERS.items()})
    values.update({"image/object/class/text": text, "image/object/class/label": label})
    values.update({key.replace("__", "/"): value for key, value in more.items()})
    message = example.ExampleMessage()
    for key, value in values.items():
        listed = value if isinstance(value, list) else [value]
        kinds = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
        if value is not None and listed:
            into = getattr(message.features.feature[key], kinds[type(listed[0])])
            into.value.extend(listed)
    return message.SerializeToString()


def tfrecords(path, examples):
    """Writes a TFRecord file; returns the offsets of its records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = tfrecord.Writer(file)
        for each in examples:
            writer.write(each)
    return [each.offset for each in tfrecord.scan(path)]


def test_records_are_taken_over_with_classes_by_name_else_by_id(build, tmp_path):
    train = [
        record(0),
        record(1, text=None, label=7),  # of a map without names in the records
        record(2, text=b"Dog", label=1),  # of another label map
        record(3, label=None, image__filename=None, image__source_id=b"a/b\\n.jpg"),
        record(4, image__object__is_crowd=1, image__object__difficult=1, image__height=30),
        record(5, text=b"cow", label=99),
        record(
            6,
            text=[],
            label=[],
            **dict.fromkeys(["image__object__bbox__" + side for side in CORNERS], []),
        ),
    ]
    tfrecords(tmp_path / "in/train.record-00000-of-00002", train[:3])
    tfrecords(tmp_path / "in/train.record-00001-of-00002", train[3:])
    tfrecords(tmp_path / "in/val.record", [record(20), record(0)])
    call = "in/train.record-*", "in/val.record", "in/map.pbtxt"
    code, out, _ = build(*call, MAX_DROPPED="40%")
    assert code == 0 and out.startswith("records/in: 6 images, 6 boxes, 2 classes\n")
    assert own.label_map("records/in") == {1: "Cat", 2: "dog"}
    found = own.examples("records/in")
    assert {key: own.boxes_of(one) for key, one in found["train"].items()} == {
        "train/i1.jpg": [("dog", *BOX)],
        "train/i2.jpg": [("dog", *BOX)],
        "train/n.jpg": [("Cat", *BOX)],
        "train/i4.jpg": [("Cat", *BOX)],
    }
    assert set(found["val"]) == {"val/i20.jpg", "val/i0.jpg"}  # of copies that of val
    crowd = found["train"]["train/i4.jpg"]
    assert crowd.is_crowd.tolist() == crowd.difficult.tolist() == [True]
    assert crowd.encoded in train[4] and crowd.file_name == "i4.jpg"
    for line in (
        "left out 1 times: image of which no box can be used: train/i5.jpg",
        "left out 1 times: image without a box (KEEP_EMPTY=1 keeps such images): train/i6.jpg",
        "left out 1 times: copy",
    ):
        assert line in out, out
    assert verify.main(["records/in"]) == 0
    assert "nothing to do" in build(*call, MAX_DROPPED="40%")[1]
    assert not list((tmp_path / "home/dataset/records").glob(".in*images*"))


def test_damaged_records_are_named_by_file_and_offset_and_the_rest_is_read(build, tmp_path):
    path = tmp_path / "in/all.tfrecord"
    offsets = tfrecords(path, [record(seed) for seed in range(8)])
    data = bytearray(path.read_bytes())
    data[offsets[2] + 300] ^= 1  # its CRC is wrong
    data[offsets[4]] ^= 1  # where the next record begins is unknown
    data += record(9)[:50]
    path.write_bytes(bytes(data))
    code, out, err = build("in/all.tfrecord", "in/map.pbtxt", NAME="d")
    assert code == 1 and "3 of 9 images or annotation files cannot be used" in err
    code, out, err = build("in/all.tfrecord", "in/map.pbtxt", NAME="d", MAX_DROPPED="40")
    assert code == 0 and out.startswith("records/d: 6 images, 6 boxes, 1 class\n"), out + err
    place = "all.tfrecord, offset %d"
    assert "record: its CRC is wrong: " + place % offsets[2] in out
    length = "left out 2 times: record: the CRC of its length is wrong: "
    assert length + place % offsets[4] + ", " + place % (len(data) - 50) in out


@pytest.mark.parametrize("kind", ["gzip", "zlib"])
def test_compressed_records_are_read_up_to_the_first_damage(build, tmp_path, kind):
    path = tmp_path / "in/train.record.gz"
    offsets = tfrecords(path, [record(seed) for seed in range(6)])
    packed = {"gzip": gzip.compress, "zlib": zlib.compress}[kind](path.read_bytes())
    path.write_bytes(packed)
    code, out, _ = build("in/train.record.gz", "in/map.pbtxt")
    assert code == 0 and out.startswith("records/in: 6 images, 6 boxes") and len(offsets) == 6
    path.write_bytes(packed[: len(packed) // 2])
    code, out, _ = build("in/train.record.gz", "in/map.pbtxt", MAX_DROPPED="60")
    assert code == 0 and "compressed file that is damaged" in out


def test_records_that_unpack_to_too_much_are_refused(build, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALLOWANCE", 100000)
    path = tmp_path / "in/train.record.gz"
    tfrecords(path, [record(0)])
    path.write_bytes(gzip.compress(path.read_bytes() + bytes(1 << 20)))
    code, _, err = build("in/train.record.gz", "in/map.pbtxt")
    assert code == 1 and "train.record.gz unpacks to too much for its size" in err.splitlines()[-1]


def test_a_missing_shard_is_counted(build, tmp_path):
    for index in (0, 2):
        name = "in/a.record-%05d-of-00003" % index
        tfrecords(tmp_path / name, [record(4 * index + seed) for seed in range(4)])
    code, out, _ = build("in/a.record", "in/map.pbtxt", MAX_DROPPED="20")
    assert code == 0 and "shard that is missing: a.record-00001-of-00003" in out


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no records at all, but text", "train.record is not a TFRecord file"),
        (b"", "no image with a box is left"),
        ([record(0, image__encoded=None)], "record: has no image/encoded"),
        ([record(0, image__object__bbox__xmin=[0.1, 0.2])], "class/text has 1 values for 2 boxes"),
        ([record(0, text=None, label=None)], "has boxes without class/text and class/label"),
        ([record(0, image__object__bbox__xmax=25.0)], "image of which no box can be used"),
        ([record(0, image__object__bbox__xmax=b"1")], "are of the wrong kind"),
        ([b"\xff\xff"], "record: not a tf.train.Example"),
    ],
)
def test_what_is_no_record_of_images_is_one_line(build, tmp_path, content, message):
    path = tmp_path / "in/train.record"
    if isinstance(content, bytes):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    else:
        tfrecords(path, content)
    code, _, err = build(path, "in/map.pbtxt", MAX_DROPPED="100")
    assert code == 1 and message in err and err.count("\n") == 1
    assert not own.tree(tmp_path / "home")


def test_files_are_told_apart_by_their_names_or_the_patterns_must_be_quoted(build, tmp_path):
    for number, name in enumerate(["train/a.tfrecord", "valid/a.tfrecord", "test/a.tfrecord"]):
        tfrecords(tmp_path / "in" / name, [record(2 * number), record(2 * number + 1)])
    listed = ["in/%s/a.tfrecord" % split for split in ("train", "valid", "test")]
    code, _, _ = build(*listed, "in/map.pbtxt", NAME="d")
    splits = own.examples("records/d")
    assert code == 0 and {key: len(one) for key, one in splits.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    for name in ("a", "b", "c"):
        tfrecords(tmp_path / "in" / name, [record(1)])
    code, _, err = build("in/a", "in/b", "in/c", "in/map.pbtxt")
    assert code == 2 and 'quote the patterns: ./dataset-records.sh "DIR/train*"' in err
    code, _, err = build("in/none*", "in/map.pbtxt")
    assert code == 1 and "in/none* is no file or pattern of records; type: " in err


def test_dataset_sh_finds_the_records_and_their_label_map(build, tmp_path, monkeypatch, capsys):
    for split in ("train", "val"):
        for index in range(2):
            name = "in/x_%s.tfrecord-%05d-of-00002" % (split, index)
            tfrecords(tmp_path / name, [record(len(split) * 10 + index)])
    found = own.runner(find_dataset.main, tmp_path / "home", monkeypatch, capsys)
    code, out, err = found("in", NAME="d")
    described, command, *_ = err.splitlines()
    assert described == "%s: TFRecords of the Object Detection API" % (tmp_path / "in")
    patterns = [str(tmp_path / ("in/x_%s.tfrecord-?????-of-00002" % s)) for s in ("train", "val")]
    typed = ["./dataset-records.sh", *patterns, str(tmp_path / "in/map.pbtxt")]
    assert shlex.split(command) == typed
    assert code == 0 and out.startswith("records/d: 4 images, 4 boxes, 1 class\n")
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="v")
    assert voc.main([str(own.voc_folder(tmp_path / "v"))]) == 0
    code, _, err = found(paths.dataset("voc/v").folder)
    assert code == 1 and "is a dataset already" in err
