"""A limited .onnx file gives the scores of its classes unchanged in ONNX Runtime."""

import ast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.places import MODEL
from todus import paths
from todus.errors import TodusError
from todus.slicing.finished import Cutting
from todus.slicing.labels import Choice
from todus.slicing.onnx import OUTPUTS, Onnx, detections, raw

CLASSES = 6


class Builder:
    """Builds an .onnx file operator by operator."""

    def __init__(self):
        self.nodes, self.constants, self.random = [], [], np.random.RandomState(2)

    def constant(self, values, dtype=np.float32):
        name = "constant_%d" % len(self.constants)
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def node(self, op, inputs, outputs=1, **attributes):
        names = ["%s_%d_%d" % (op, len(self.nodes), number) for number in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def convolution(self, given, depth, outputs):
        weights = self.constant(self.random.normal(0, 1, (outputs, depth, 1, 1)))
        return self.node(
            "Conv", [given, weights, self.constant(self.random.normal(-1, 1, outputs))]
        )

    def bytes(self, outputs, metadata=None):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
        ends = [helper.make_tensor_value_info(name, 1, shape) for name, shape in outputs]
        graph = helper.make_graph(self.nodes, "g", [image], ends, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model)
        return model.SerializeToString()


def names():
    return {"names": str({index: "class %d" % index for index in range(CLASSES)})}


def anchor_free():
    """Ultralytics' v8 and v11: [1, 4 + classes, positions], classes and boxes from one Split."""
    build, levels = Builder(), []
    for side in (8, 4):
        step = 8 // side
        given = build.node("MaxPool", ["image"], kernel_shape=[step, step], strides=[step, step])
        both = [build.convolution(given, 3, 4), build.convolution(given, 3, CLASSES)]
        shape = build.constant([1, 4 + CLASSES, -1], np.int64)
        levels.append(build.node("Reshape", [build.node("Concat", both, axis=1), shape]))
    joined = build.node("Concat", levels, axis=2)
    sizes = build.node("Split", [joined], 2, axis=1, split=[4, CLASSES])
    boxes = build.node("Mul", [sizes[0], build.constant([[[2.0], [2.0], [3.0], [3.0]]])])
    out = build.node("Concat", [boxes, build.node("Sigmoid", [sizes[1]])], axis=1)
    return build.bytes([(out, [1, 4 + CLASSES, 80])], names()), 1, 4


def with_objectness():
    """Ultralytics' v5: [1, anchors, 5 + classes], three anchors a position."""
    build, width = Builder(), 5 + CLASSES
    logits = build.convolution("image", 3, 3 * width)
    shape = build.constant([1, 3, width, 8, 8], np.int64)
    moved = build.node("Transpose", [build.node("Reshape", [logits, shape])], perm=[0, 1, 3, 4, 2])
    scores = build.node("Sigmoid", [moved])
    xy, wh, rest = build.node("Split", [scores], 3, axis=4, split=[2, 2, CLASSES + 1])
    parts = [build.node("Mul", [xy, build.constant([2.0])]), build.node("Mul", [wh, wh]), rest]
    joined = build.node("Concat", parts, axis=4)
    out = build.node("Reshape", [joined, build.constant([1, -1, width], np.int64)])
    return build.bytes([(out, [1, 192, width])], names()), 2, 5


def boxes_and_scores():
    """An SSD's: boxes [1, anchors, 4] and scores [1, anchors, classes]."""
    build, ends = Builder(), []
    for count in (4, CLASSES):
        moved = build.node(
            "Transpose", [build.convolution("image", 3, 2 * count)], perm=[0, 2, 3, 1]
        )
        shape = build.constant([1, -1, count], np.int64)
        ends.append(build.node("Reshape", [moved, shape]))
    ends[1] = build.node("Sigmoid", [ends[1]])
    return build.bytes([(ends[0], [1, 128, 4]), (ends[1], [1, 128, CLASSES])], names()), 2, 0


def run(data, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})


def limited(data, indices, shifts=None):
    choices = [Choice("class %d" % index, index) for index in indices]
    return Onnx(data).cut(Cutting(choices, shifts or {}))


@pytest.mark.parametrize("make", [anchor_free, with_objectness, boxes_and_scores])
def test_the_scores_of_the_kept_classes_stay_the_same(make):
    data, axis, first = make()
    pixels = np.random.RandomState(1).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    before = run(data, pixels)
    for indices in ([3], [5, 0], [2, 4, 1]):
        made = limited(data, indices)
        onnx.checker.check_model(onnx.load_from_string(made))
        after = run(made, pixels)
        columns = list(range(first)) + [first + index for index in indices]
        np.testing.assert_allclose(after[-1], before[-1].take(columns, axis), rtol=1e-5, atol=1e-6)
        properties = {each.key: each.value for each in onnx.load_from_string(made).metadata_props}
        assert list(ast.literal_eval(properties["names"]).values()) == [
            "class %d" % index for index in indices
        ]
        assert Onnx(made).labels() == ["class %d" % index for index in indices]


def test_a_threshold_is_moved_by_the_bias_of_its_class():
    data, axis, first = anchor_free()
    pixels = np.random.RandomState(1).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    before = run(data, pixels)[0][0, first + 3].astype(float)
    after = run(limited(data, [3], {"class 3": 0.7}), pixels)[0][0, first].astype(float)
    shift = np.log(after / (1 - after)) - np.log(before / (1 - before))
    np.testing.assert_allclose(shift, 0.7, atol=1e-3)


def test_the_file_for_tensorrt_is_limited_before_its_plugin(exported):
    data = (paths.model(MODEL).file_of("onnx-tensorrt")).read_bytes()
    finished = Onnx(data)
    made = limited(data, [1])
    shape = finished.graph.shape("normalized_input_image_tensor:0")
    pixels = np.random.RandomState(1).uniform(-1, 1, shape).astype(np.float32)
    before, after = (run(raw(each, finished.detector), pixels) for each in (data, made))
    np.testing.assert_allclose(after[1], before[1][..., [1]], atol=1e-6)
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)


@pytest.fixture(scope="module")
def with_loops(once, exported_home):
    """The frozen graph of a model as tf2onnx converts it: with the OD API's loops."""
    from todus.detection.frozen_graph import read_graph
    from todus.export import onnx_conversion

    def make(folder):
        home = exported_home
        graph = read_graph(home / "model" / MODEL / "inference-graph/frozen_inference_graph.pb")
        ends = ["image_tensor:0"], [name + ":0" for name in OUTPUTS]
        model = onnx_conversion.converted(graph, *ends, 11, MODEL)
        (folder / "loops.onnx").write_bytes(model.SerializeToString())

    return once("loops-onnx", make) / "loops.onnx"


@pytest.mark.parametrize("kind", ["plain operators", "loops"])
def test_detections_behind_its_own_suppression_stay_the_same(exported, with_loops, kind):
    path = with_loops if kind == "loops" else paths.model(MODEL).file_of("onnx")
    data = path.read_bytes()
    assert ("Loop" in {each.op_type for each in onnx.load_from_string(data).graph.node}) == (
        kind == "loops"
    )
    pixels = np.random.RandomState(0).randint(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    before = run(detections(data), pixels)
    for indices in ([1], [1, 0]):
        made = limited(data, indices)
        onnx.checker.check_model(onnx.load_from_string(made))
        after = run(detections(made), pixels)
        # Without the other class, the full list has room for lower scores.
        for new, old in enumerate(indices, start=1):
            for place in (0, 2):
                wanted = before[place][0][before[1][0] == old + 1][:-2]
                found = after[place][0][after[1][0] == new][: len(wanted)]
                assert len(wanted) > 3
                np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert set(after[1][0]) <= {0.0, 1.0, float(len(indices))}


def test_one_suppression_of_all_boxes_at_once_is_refused():
    build = Builder()
    boxes, scores = (
        build.node(
            "Reshape", [build.convolution("image", 3, 2 * count), build.constant(shape, np.int64)]
        )
        for count, shape in ((4, [1, -1, 4]), (1, [1, 1, -1]))
    )
    most = build.constant([10], np.int64)
    limits = [build.constant([0.5]), build.constant([0.1])]
    chosen = build.node("NonMaxSuppression", [boxes, scores, most, *limits])
    found = build.node("Cast", [chosen], to=1)
    with pytest.raises(TodusError, match="limit the file it was converted from"):
        Onnx(build.bytes([(found, ["found", 3])]))
