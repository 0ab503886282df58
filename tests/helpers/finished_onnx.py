"""Small .onnx detectors in the layouts of their exporters."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
