"""A UFF file detects the same as its frozen graph, for the six models of config/.

All combinations of 90 classes and other sizes take minutes and run with TODUS_SLOW=1.
"""

import os
import re

import pytest

from tests.helpers import uff_models
from tests.helpers.uff_compare import assert_equal
from tests.helpers.uff_interpreter import Interpreter
from todus import files, paths
from todus.uff import convert

NAME = "ssd_mobilenet_v1_coco_2018_01_28"


def converted(name, text, graph_def, num_classes):
    model = uff_models.lay_out(name, text, graph_def, uff_models.classes(num_classes))
    return convert.run(model, False, False, lambda line: None)


def check(name, num_classes, size, images=1):
    text = uff_models.pipeline_text(name, num_classes, size)
    graph_def = uff_models.frozen(text)
    path = converted(name, text, graph_def, num_classes)
    assert assert_equal(path, graph_def, uff_models.images(size, images)) > 0


@pytest.mark.parametrize("name", sorted(uff_models.MODELS))
def test_three_classes_and_300_pixels(home, name):
    check(name, 3, 300)


def test_ninety_classes(home):
    check(NAME, 90, 160)


def test_another_image_size(home):
    check("ssdlite_mobilenet_v2_coco_2018_05_09", 3, 224)


@pytest.mark.skipif(not os.environ.get("TODUS_SLOW"), reason="takes minutes; set TODUS_SLOW=1")
@pytest.mark.parametrize("size", [300, 416])
@pytest.mark.parametrize("num_classes", [3, 90])
@pytest.mark.parametrize("name", sorted(uff_models.MODELS))
def test_every_model_with_every_class_count_at_every_size(home, name, num_classes, size):
    uff_models.frozen.cache_clear()
    check(name, num_classes, size)


def test_a_graph_with_the_names_and_ops_of_2018(home):
    text = uff_models.pipeline_text(NAME)
    graph_def = uff_models.as_of_2018(uff_models.frozen(text))
    path = converted(NAME, text, graph_def, 3)
    assert assert_equal(path, graph_def, uff_models.images(300, 1)) > 0
    nodes = Interpreter(path).nodes.values()
    functions = [node.fields["func"].s for node in nodes if node.operation == "Binary"]
    assert functions.count("mul") == 1


def test_pad_nodes_become_the_padding_of_convolutions(home):
    text = uff_models.pipeline_text(NAME, size=128, features="use_explicit_padding: true")
    graph_def = uff_models.frozen(text)
    path = converted(NAME, text, graph_def, 3)
    assert_equal(path, graph_def, uff_models.images(128, 1))
    nodes = Interpreter(path).nodes.values()
    paddings = [
        list(node.fields["padding"].i_list.val) for node in nodes if node.operation == "Conv"
    ]
    assert [1, 1] in paddings and "Pad" not in [node.operation for node in nodes]


def test_box_coders_with_a_scale_of_each_coordinate(home):
    text = uff_models.pipeline_text(NAME, 3, 128)
    for coordinate, scale in zip(("y", "x", "height", "width"), (4.0, 12.0, 3.0, 7.0)):
        pattern, scaled = r"\b%s_scale: [\d.]+" % coordinate, "%s_scale: %g" % (coordinate, scale)
        text, count = re.subn(pattern, scaled, text)
        assert count == 1
    graph_def = uff_models.frozen(text)
    path = converted(NAME, text, graph_def, 3)
    assert assert_equal(path, graph_def, uff_models.images(128, 2)) > 0


@pytest.mark.parametrize("limit, kept", [(400, 512), (600, 1024)])
def test_suppression_takes_whole_blocks_of_boxes(home, limit, kept):
    text = uff_models.pipeline_text(NAME, 3, 300, scores="score_threshold: 1e-8")
    text = text.replace("max_total_detections: 100", "max_total_detections: %d" % limit)
    path = converted(NAME, text, uff_models.frozen(text), 3)
    fields = Interpreter(path).nodes["NMS"].fields
    assert [fields[each + "_u_int"].i for each in ("topK", "keepTopK")] == [kept, limit]


@pytest.mark.parametrize(
    "name, features",
    [
        (NAME, ""),
        (NAME, "use_explicit_padding: true"),
        ("ssd_inception_v2_coco_2018_01_28", None),
    ],
)
def test_a_file_for_bgr_detects_in_bgr_images_what_the_graph_detects_in_rgb(home, name, features):
    changes = {} if features is None else {"features": features}
    text = uff_models.pipeline_text(name, 3, 128, **changes)
    graph_def = uff_models.frozen(text)
    model = uff_models.lay_out(name, text, graph_def, uff_models.classes(3))
    path = convert.run(model, False, False, lambda line: None, bgr=True)
    assert files.read_json(paths.beside_json(path))["input"]["color"] == "BGR"
    assert assert_equal(path, graph_def, uff_models.images(128, 2), bgr=True) > 0


def test_another_limit_of_detections_and_other_thresholds(home):
    text = uff_models.pipeline_text(NAME, 3, 128, scores="score_threshold: 0.2")
    text = text.replace(": 100", ": 7").replace("iou_threshold: 0.6", "iou_threshold: 0.35")
    graph_def = uff_models.frozen(text)
    path = converted(NAME, text, graph_def, 3)
    assert assert_equal(path, graph_def, uff_models.images(128, 2)) == 14
