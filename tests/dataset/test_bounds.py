"""Bounds of annotations, and the time that a file of four times the size takes."""

import gc
import json
import os
import time

import onnx
import pytest

from tests.helpers import finished_onnx
from tests.helpers import own_images as own
from todus import categories
from todus.dataset import class_ids, image_conversion, image_files, image_folder
from todus.dataset.records import tfrecord
from todus.dataset.settings import Settings
from todus.dataset.sources import cloud, coco_annotations, csv, voc
from todus.errors import TodusError
from todus.slicing import onnx_file

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def in_order(folder, number):
    """The classes of a source that lists many names and has boxes of few."""
    names = ["label %d" % index for index in range(number)]
    own.write(folder / "_annotations.json", json.dumps({"labels": names}))
    class_ids.assign({"label 1": 3}, names, Settings())


def named_objects(folder, number):
    """An XML with an object of each of many names, read and numbered."""
    one = "<object><name>n%d</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
    one += "<ymax>9</ymax></bndbox></object>"
    objects = "".join(one % index for index in range(number))
    own.save(folder / "a.jpg", 1, 20, 20)
    own.write(folder / "a.xml", "<annotation>%s</annotation>" % objects)
    assert len(voc.read(folder).images[0].boxes) == number


def rows_of_one_image(folder, number):
    own.save(folder / "a.jpg", 1, 20, 20)
    own.write(folder / "a.csv", HEADER + "a.jpg,20,20,cat,1,2,13,14\n" * number)
    assert len(csv.read([folder / "a.csv"], folder).images[0].boxes) == number


def objects_in_an_object(folder, number):
    """COCO JSON whose "info" holds many objects."""
    info = {"more": [{"text": "}{", "list": []}] * number}
    whole = {"info": info, "categories": [{"id": 1, "name": "cat"}]}
    own.write(folder / "a.json", json.dumps(whole))
    list(coco_annotations.elements(folder / "a.json", {"categories"}))


def records_beyond_the_end(folder, number):
    """Headers of records that are longer than the file, and zeros."""
    length = (1 << 30).to_bytes(8, "little")
    header = length + tfrecord.masked_crc(length).to_bytes(4, "little")
    (folder / "a.record").write_bytes(header * number + bytes(100 * number))
    assert len(list(tfrecord.scan(folder / "a.record", resume=True))) == number


def nodes_that_nothing_reads(folder, number):
    model = onnx.load_from_string(finished_onnx.anchor_free()[0])
    for index in range(number):
        given = "n%d" % (index - 1) if index else "image"
        model.graph.node.add(op_type="Identity", input=[given], output=["n%d" % index])
    onnx_file.drop_unused(model.graph)
    assert len(model.graph.node) < 30


@pytest.mark.parametrize(
    "work, number",
    [
        (in_order, 3000),
        (named_objects, 1500),
        (rows_of_one_image, 3000),
        (objects_in_an_object, 2000),
        (records_beyond_the_end, 2000),
        (nodes_that_nothing_reads, 500),
    ],
)
def test_four_times_the_input_takes_about_four_times_as_long(tmp_path, work, number):
    def seconds(times):
        (tmp_path / str(times)).mkdir(exist_ok=True)
        gc.collect()
        gc.disable()  # A collection takes as long as what other tests left in this process.
        started = time.process_time()
        try:
            work(tmp_path / str(times), times * number)
        finally:
            gc.enable()
        return time.process_time() - started

    # Work that grows with the square takes 16 times as long on every attempt; a busy machine
    # makes an attempt slow, not all of them.
    work(tmp_path, 10)
    assert any(seconds(4) < 8 * seconds(1) + 0.1 for attempt in range(6))


def test_objects_that_are_nested_too_deep_are_refused_at_once(tmp_path):
    path = tmp_path / "deep.json"
    path.write_bytes(b'{"annotations": [' + b'{"a":' * 1000000 + b"1" + b"}" * 1000000 + b"]}")
    started = time.process_time()
    with pytest.raises(TodusError, match="deep.json .*nested more than 500 deep"):
        list(coco_annotations.elements(path, {"annotations"}))
    assert time.process_time() - started < 2


def test_more_classes_than_a_model_can_have_and_an_image_of_too_many_boxes_are_refused(
    tmp_path, monkeypatch, capsys
):
    seen = {"n%d" % index: 1 for index in range(10001)}
    with pytest.raises(TodusError, match="10001 classes.* 10000: n0, .* set CATEGORIES"):
        class_ids.assign(seen, [], Settings())
    assert list(class_ids.assign(seen, [], Settings(categories="n7 n9")).ids) == ["n7", "n9"]

    run = own.runner(csv.main, tmp_path / "home", monkeypatch, capsys)
    lines = ["%d.jpg,20,20,cat,1,2,13,14\n" % index for index in range(9)]
    lines += ["0.jpg,20,20,cat,%f,2,13,14\n" % (index / 1e4) for index in range(5001)]
    own.write(tmp_path / "t.csv", HEADER + "".join(lines))
    for index in range(9):
        own.save(tmp_path / "images" / ("%d.jpg" % index), index, 20, 20)
    code, out, _ = run(tmp_path / "t.csv", tmp_path / "images", MAX_DROPPED="50%")
    assert code == 0 and "left out 1 times: image with more than 5000 boxes: 0.jpg" in out
    assert "8 images, 8 boxes" in out


def test_of_many_labels_without_a_box_the_first_are_printed(tmp_path, monkeypatch, capsys):
    run = own.runner(cloud.main, tmp_path / "home", monkeypatch, capsys)
    box = {"x": 0.25, "y": 0.5, "x2": 0.5, "y2": 0.75, "label": "label 0"}
    names = ["%d.jpg" % index for index in range(4)]
    for index, name in enumerate(names):
        own.save(tmp_path / "pets" / name, index, 20, 20)
    labels = ["label %d" % index for index in range(30000)]
    whole = {"type": "localization", "labels": labels, "annotations": dict.fromkeys(names, [box])}
    own.write(tmp_path / "pets" / "_annotations.json", json.dumps(whole))
    code, out, _ = run(tmp_path / "pets")
    assert code == 0 and "label 100 and 29899 more\n" in out and len(out) < 5000


def test_a_fifo_is_not_waited_for(tmp_path):
    fifo = tmp_path / "a.jpg"
    os.mkfifo(str(fifo))
    own.save(tmp_path / "b.jpg", 1)
    with pytest.raises(image_files.BadImage, match="image is a pipe or a device, not a file"):
        image_conversion.read_header(fifo)
    for read in (
        lambda: image_folder.given_path(str(fifo)),
        lambda: categories.read_label_map(fifo),
        lambda: categories.split_names("@%s" % fifo),
    ):
        with pytest.raises(TodusError, match="a.jpg is a device or a FIFO; give "):
            read()
