"""A UFF file computes what its frozen graph computes: the six models of config/, classes, sizes, exports.

The matrix of 90 classes and other sizes takes minutes and runs with TODUS_SLOW=1.
"""

import os

import pytest

from tests.helpers import uff_models
from tests.helpers.uff_compare import assert_equal
from tests.helpers.uff_interpreter import Interpreter
from todus.uff import convert

slow = pytest.mark.skipif(
    not os.environ.get("TODUS_SLOW"), reason="takes minutes; set TODUS_SLOW=1"
)


def converted(name, text, graph_def, num_classes):
    model = uff_models.lay_out(name, text, graph_def, uff_models.classes(num_classes))
    return convert.run(model, False, False, lambda line: None)


def check(name, num_classes, size, images=1):
    text = uff_models.pipeline_text(name, num_classes, size)
    graph_def = uff_models.frozen(text)
    path = converted(name, text, graph_def, num_classes)
    assert assert_equal(path, graph_def, uff_models.images(size, images)) > 0


@pytest.mark.parametrize("name", sorted(uff_models.MODELS))
def test_three_classes_at_300(home, name):
    check(name, 3, 300)


def test_ninety_classes(home):
    check("ssd_mobilenet_v1_coco_2018_01_28", 90, 160)


def test_another_size(home):
    check("ssdlite_mobilenet_v2_coco_2018_05_09", 3, 224)


@slow
@pytest.mark.parametrize("size", [300, 416])
@pytest.mark.parametrize("num_classes", [3, 90])
@pytest.mark.parametrize("name", sorted(uff_models.MODELS))
def test_every_model_with_every_class_count_at_every_size(home, name, num_classes, size):
    uff_models.frozen.cache_clear()
    check(name, num_classes, size)


def test_a_graph_with_the_names_and_ops_of_2018(home):
    name = "ssd_mobilenet_v1_coco_2018_01_28"
    text = uff_models.pipeline_text(name)
    graph_def = uff_models.as_of_2018(uff_models.frozen(text))
    path = converted(name, text, graph_def, 3)
    assert assert_equal(path, graph_def, uff_models.images(300, 1)) > 0
    functions = [
        node.fields["func"].s
        for node in Interpreter(path).nodes.values()
        if node.operation == "Binary"
    ]
    assert functions.count("mul") == 1


def test_explicit_padding_becomes_the_convolutions_own(home):
    name = "ssd_mobilenet_v1_coco_2018_01_28"
    text = uff_models.pipeline_text(name, size=128, features="use_explicit_padding: true")
    graph_def = uff_models.frozen(text)
    path = converted(name, text, graph_def, 3)
    assert_equal(path, graph_def, uff_models.images(128, 1))
    nodes = Interpreter(path).nodes.values()
    assert not [node for node in nodes if node.operation == "Pad"]
    assert [
        node
        for node in nodes
        if node.operation == "Conv" and list(node.fields["padding"].i_list.val) == [1, 1]
    ]


def test_fewer_detections_than_the_limit_and_other_thresholds(home):
    name = "ssd_mobilenet_v1_coco_2018_01_28"
    text = uff_models.pipeline_text(name, 3, 128, scores="score_threshold: 0.2")
    text = (
        text.replace("detections: 100", "detections: 7")
        .replace("per_class: 100", "per_class: 7")
        .replace("old: 0.6", "old: 0.35")
    )
    graph_def = uff_models.frozen(text)
    path = converted(name, text, graph_def, 3)
    assert assert_equal(path, graph_def, uff_models.images(128, 2)) == 14
