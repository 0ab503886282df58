"""Annotations written as records and read back."""

import hashlib
import io
import json
import struct
import subprocess
import sys
import zlib
from collections import Counter

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.datasets import SQUARE, annotated, build, contents, picture
from tests.helpers.places import REPO
from todus import files, paths
from todus.dataset import image_files
from todus.dataset.annotations import Annotations, Box, Image, ZipMember, clean
from todus.dataset.records import example, reader, shards, tfrecord
from todus.errors import TodusError


def entry_of(home, split, max_dropped=0.1, **more):
    """The manifest's entry of a dataset whose only split is `split`."""
    dataset = build(home, splits={"train": split}, max_dropped=max_dropped, **more)
    return reader.read_manifest(dataset)["splits"]["train"]


def test_records_are_read_back_as_written(home):
    dataset = build(home)
    found = {each.source_id: each for each in reader.read_examples(dataset, "train")}
    assert sorted(found, key=int) == [str(index) for index in range(12)]
    one = found["1"]
    assert (one.file_name, one.format, one.height, one.width) == ("001.jpg", "jpeg", 48, 64)
    assert one.encoded == (home / "images" / "001.jpg").read_bytes()
    assert one.sha256 == hashlib.sha256(one.encoded).hexdigest()
    np.testing.assert_allclose(one.boxes, [[10 / 48, 0.25, 34 / 48, 0.75], [0, 0, 1, 1]], rtol=1e-6)
    assert one.classes.tolist() == [1, 2]
    assert one.class_texts == ["cat", "traffic light"]
    flags = one.is_crowd.tolist(), one.difficult.tolist(), one.truncated.tolist()
    assert flags == ([False, True],) * 3
    np.testing.assert_allclose(one.area, [500.5, 3072])
    assert found["2"].boxes.shape == (0, 4)


def test_an_error_in_a_single_process_is_that_error(tmp_path):
    # In a process of its own: the module of the error is loaded with the first pool.
    code = """import sys
from pathlib import Path
from todus.dataset.records import shards
plan = shards.Plan(Path(sys.argv[1]) / "none" / "x", "train", [])
try:
    list(shards.write([plan], {}, {}, shards.Options(jobs=1)))
except FileNotFoundError:
    print("as it is")
"""
    done = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], cwd=str(REPO))
    assert done == b"as it is\n"


def test_the_manifest_describes_the_records(home):
    manifest = reader.read_manifest(build(home, settings={"seed": 0}, inputs={"a.json": "00"}))
    assert (manifest["source"], manifest["name"]) == ("coco", "few")
    assert manifest["categories"] == [
        {"id": 1, "name": "cat", "source_id": 17},
        {"id": 2, "name": "traffic light", "source_id": 10},
    ]
    train = manifest["splits"]["train"]
    assert (train["images"], train["boxes"], train["negatives"]) == (12, 12, 4)
    assert train["per_category"] == {
        "cat": {"images": 8, "boxes": 8},
        "traffic light": {"images": 4, "boxes": 4},
    }
    assert train["dropped"] == {}
    assert [shard["examples"] for shard in train["shards"]] == [12]
    assert (manifest["settings"], manifest["inputs"]) == ({"seed": 0}, {"a.json": "00"})


def test_the_od_api_reads_the_records(home):
    """The OD API's own decoder with the label map reads the same values."""
    from todus.tf import tf

    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
    from object_detection.protos.input_reader_pb2 import PNG_MASKS

    dataset = build(home, options=shards.Options(masks=True))
    with tf.Graph().as_default(), tf.Session() as session:
        decoder = TfExampleDecoder(
            load_instance_masks=True,
            instance_mask_type=PNG_MASKS,
            label_map_proto_file=str(dataset.label_map),
        )
        serialised = tf.placeholder(tf.string, [])
        fetched = decoder.decode(serialised)
        session.run(tf.tables_initializer())
        records = list(tfrecord.scan(dataset.shards("train")[0]))
        assert len(records) == 12
        for record, mine in zip(records, reader.read_examples(dataset, "train")):
            theirs = session.run(fetched, {serialised: record.data})
            assert theirs["source_id"].decode() == mine.source_id
            assert theirs["image"].shape == (48, 64, 3)
            np.testing.assert_array_equal(theirs["groundtruth_boxes"], mine.boxes)
            np.testing.assert_array_equal(theirs["groundtruth_classes"], mine.classes)
            np.testing.assert_array_equal(theirs["groundtruth_is_crowd"], mine.is_crowd)
            np.testing.assert_array_equal(theirs["groundtruth_area"], mine.area)
            assert theirs["groundtruth_instance_masks"].shape == (len(mine.boxes), 48, 64)


def test_the_bytes_are_the_same_for_any_number_of_jobs_and_order_of_images(home):
    one = contents(build(home, "one", shards.Options(shards=3, jobs=1)))
    backwards = annotated(home / "images")
    backwards.images.reverse()
    splits = {"train": backwards, "val": annotated(home / "images", 5, 100)}
    dataset = build(home, "one", shards.Options(shards=3, jobs=3), splits)
    assert contents(dataset) == one


def test_the_seed_changes_the_order(home):
    orders = []
    for seed in (0, 1):
        dataset = build(home, options=shards.Options(seed=seed))
        orders.append([each.source_id for each in reader.read_examples(dataset, "train")])
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])
    assert sorted(orders[0]) == sorted(orders[1])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=40), number=st.integers(0, 50))
def test_every_image_is_in_one_shard_and_no_shard_is_empty(sizes, number):
    listed = [
        Image(index, "x", 1, 1, member=ZipMember("x", 0, size, size, 0, False))
        for index, size in enumerate(sizes)
    ]
    plans = shards.plan(paths.Path("/"), "train", listed, shards.Options(shards=number))
    assert sorted(image.id for each in plans for image in each.images) == list(range(len(sizes)))
    assert all(each.images for each in plans)
    assert len(plans) == max(1, min(number, len(sizes)))
    assert plans[-1].path.name == "train.record-%05d-of-%05d" % (len(plans) - 1, len(plans))


def test_a_split_may_have_no_images(home):
    dataset = build(home, splits={"train": annotated(home / "images"), "val": Annotations({}, [])})
    assert list(reader.read_examples(dataset, "val")) == []


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda data: data[: len(data) // 2], "JPEG ends too early"),
        (lambda data: data[:100], "JPEG ends in its header"),
        (lambda data: b"<!DOCTYPE html><html></html>", "image is a web page"),
        (lambda data: b"", "image is empty"),
        (lambda data: b"GIF89a" + data, "image is neither JPEG nor PNG"),
    ],
)
def test_a_corrupt_image_is_left_out_with_its_name_and_reason(home, capsys, damage, reason):
    split = annotated(home / "images")
    split.images[4].path.write_bytes(damage(split.images[4].path.read_bytes()))
    entry = entry_of(home, split)
    assert entry["dropped"] == {reason: 1}
    assert entry["left_out"] == [{"image": "004.jpg", "reason": reason}]
    assert (entry["images"], entry["boxes"]) == (11, 10)
    assert "train: left out 004.jpg: %s" % reason in capsys.readouterr().err


def test_too_many_left_out_images_are_an_error_and_the_old_dataset_stays(home):
    before = contents(build(home))
    split = annotated(home / "images")
    split.images[4].path.write_bytes(b"")
    refusal = r"train: 1 of 12 images .*more than MAX_DROPPED=1% \(image is empty: 1\)"
    with pytest.raises(TodusError, match=refusal):
        entry_of(home, split, max_dropped=0.01)
    assert contents(paths.mscoco_dataset("few")) == before


def test_too_many_dropped_boxes_are_an_error(home):
    split = annotated(home / "images")
    split.dropped = Counter({"box without area": 1})
    with pytest.raises(TodusError, match="1 of 13 boxes"):
        entry_of(home, split, max_dropped=0.01)


def test_an_image_of_another_size_than_its_annotations_is_left_out(home):
    split = annotated(home / "images")
    picture(split.images[0].path, 0, (32, 32))
    assert entry_of(home, split)["dropped"] == {shards.OTHER_SIZE: 1}


def test_damaged_pixels_in_a_valid_structure_are_found_by_decode(home):
    split = annotated(home / "images")
    path = picture(split.images[0].path, 0, kind="PNG")
    whole = path.read_bytes()
    at = whole.index(b"IDAT")
    broken = whole[at : at + 4] + bytes(len(whole) - at - 4 - 16)
    crc = struct.pack(">I", zlib.crc32(broken))
    path.write_bytes(whole[:at] + broken + crc + whole[-12:])
    assert entry_of(home, split)["images"] == 12
    assert entry_of(home, split, options=shards.Options(decode=True))["images"] == 11


def test_the_format_of_an_image_is_recognised_by_its_content(home):
    split = annotated(home / "images")
    picture(split.images[0].path, 0, kind="PNG")
    dataset = build(home, splits={"train": split})
    formats = {each.source_id: each.format for each in reader.read_examples(dataset, "train")}
    assert (formats["0"], formats["1"]) == ("png", "jpeg")


def test_an_image_id_that_occurs_twice_is_an_error(home):
    split = annotated(home / "images")
    split.images[1].id = 0
    with pytest.raises(TodusError, match="image id 0 occurs twice"):
        entry_of(home, split)


def test_a_missing_image_is_an_error(home):
    split = annotated(home / "images")
    split.images[3].path.unlink()
    with pytest.raises(TodusError, match="003.jpg cannot be read"):
        entry_of(home, split)


def test_boxes_are_clipped_and_empty_ones_are_counted():
    boxes = [
        Box(1, -5, -5, 20, 20, 9),
        Box(1, 5, 5, 5, 9, 1),
        Box(1, 90, 90, 95, 95, 1),
        Box(1, float("nan"), 0, 1, 1, 1),
        Box(2, 1, 1, 2, 2, 1),
    ]
    found = clean(Annotations({1: "a", 2: "b"}, [Image(1, "x", 50, 40, boxes)]))
    assert [box[:5] for box in found.images[0].boxes] == [(1, 0, 0, 20, 20), (2, 1, 1, 2, 2)]
    assert found.dropped == {
        "box without area": 1,
        "box outside the image": 1,
        "box with a coordinate that is not a number": 1,
    }


def mask_of(home, segmentation):
    split = annotated(home / "images", 1)
    split.images[0].boxes = [split.images[0].boxes[0]._replace(mask=segmentation)]
    options = shards.Options(masks=True)
    dataset = build(home, splits={"train": split}, options=options, max_dropped=1.0)
    found = next(reader.read_examples(dataset, "train"))
    return np.asarray(PIL.Image.open(io.BytesIO(found.masks[0])))


def test_a_mask_is_drawn_from_polygons_run_lengths_or_the_box(home):
    inside = mask_of(home, SQUARE)
    assert inside.shape == (48, 64)
    assert inside[20, 20] and not inside[5, 5] and abs(int(inside.sum()) - 400) < 50
    runs = mask_of(home, {"counts": [48 * 10, 48 * 5, 48 * 49], "size": [48, 64]})
    assert runs[:, 10:15].all() and runs.sum() == 48 * 5
    assert mask_of(home, None)[10:34, 16:48].all()


@pytest.mark.filterwarnings("ignore:Unexpected end-group tag")
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_not_an_example(data):
    with pytest.raises(example.BadExample):
        example.decode(data)


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xc0\0\x0b\x08\0\x10\0\x10"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.binary(max_size=300), start=st.sampled_from(HEADS))
def test_random_bytes_are_not_an_image(data, start):
    try:
        image_files.inspect(start + data)
    except image_files.BadImage:
        pass
    else:
        assert b"\xff\xda" in data and b"\xff\xd9" in data


def test_a_record_has_the_bytes_that_tensorflow_writes(tmp_path):
    from todus.tf import tf

    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for data in (b"", b"todus", bytes(1000)):
            writer.write(data)
    with (tmp_path / "mine").open("wb") as file:
        writer = tfrecord.Writer(file)
        for data in (b"", b"todus", bytes(1000)):
            writer.write(data)
    assert (tmp_path / "mine").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert writer.bytes == (tmp_path / "mine").stat().st_size
    assert writer.sha256 == files.sha256(tmp_path / "mine")


def test_a_manifest_of_something_else_is_an_error(home):
    dataset = build(home)
    dataset.manifest.write_text(json.dumps([1]))
    with pytest.raises(TodusError, match="not a dataset's manifest"):
        reader.read_manifest(dataset)
    dataset.manifest.write_text("{")
    with pytest.raises(TodusError, match="not readable JSON"):
        reader.read_manifest(dataset)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    data=st.binary(max_size=300),
    size=st.sampled_from([0, 100, 1 << 14, 1 << 21]),
    labels=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    areas=st.lists(st.floats(width=32, allow_nan=False), max_size=3),
)
def test_the_pieces_of_an_example_are_what_protobuf_serialises(data, size, labels, areas):
    data += bytes(size)
    features = {
        "image/object/class/label": labels,
        "image/object/area": areas,
        "image/filename": [b"x"],
        "image/object/class/text": [],
    }
    pieces = b"".join(example.encode(data, features, example.KINDS))
    message = example.ExampleMessage.FromString(pieces)
    feature = message.features.feature
    assert feature["image/encoded"].bytes_list.value[:] == [data]
    assert list(feature["image/object/class/label"].int64_list.value) == labels
    assert feature["image/object/class/text"].WhichOneof("kind") == "bytes_list"
    assert message.SerializeToString(deterministic=True) == pieces
