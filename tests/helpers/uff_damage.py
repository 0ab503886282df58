"""Ways to damage a frozen SSD: functions that change a GraphDef, or return one that does."""

import re

from todus.tf import tf

import numpy as np

FIRST_CONV = "FeatureExtractor/MobilenetV1/MobilenetV1/Conv2d_0/Conv2D"
FIRST_NORM = "FeatureExtractor/MobilenetV1/MobilenetV1/Conv2d_0/BatchNorm/FusedBatchNormV3"
FIRST_RELU = "FeatureExtractor/MobilenetV1/MobilenetV1/Conv2d_0/Relu6"
FIRST_WEIGHTS = "FeatureExtractor/MobilenetV1/Conv2d_0/weights"
BIAS = "BoxPredictor_0/BoxEncodingPredictor/BiasAdd"


def node_of(graph, name):
    return next(node for node in graph.node if node.name == name)


def without(name):
    def change(graph):
        graph.node.remove(node_of(graph, name))

    return change


def drop_input(name):
    def change(graph):
        node_of(graph, name).input.pop()

    return change


def set_op(name, op):
    def change(graph):
        node_of(graph, name).op = op

    return change


def drop_attr(name, attr):
    def change(graph):
        del node_of(graph, name).attr[attr]

    return change


def set_ints(name, attr, values):
    def change(graph):
        del node_of(graph, name).attr[attr].list.i[:]
        node_of(graph, name).attr[attr].list.i.extend(values)

    return change


def set_string(name, attr, value):
    def change(graph):
        node_of(graph, name).attr[attr].s = value

    return change


def set_input(name, at, edge):
    def change(graph):
        node_of(graph, name).input[at] = edge

    return change


def set_value(name, value):
    def change(graph):
        node = node_of(graph, name)
        node.attr["dtype"].type = tf.as_dtype(np.asarray(value).dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    return change


def rename(old, new):
    """Renames a scope and every edge to it."""

    def renamed(edge):
        return re.sub(r"^(\^?)%s(?=[/:]|$)" % re.escape(old), r"\1" + new, edge)

    def change(graph):
        for node in graph.node:
            node.name = renamed(node.name)
            edges = [renamed(edge) for edge in node.input]
            del node.input[:]
            node.input.extend(edges)

    return change


def swap(first, second):
    def change(graph):
        edges = list(node_of(graph, first).input), list(node_of(graph, second).input)
        for name, new in zip((second, first), edges):
            del node_of(graph, name).input[:]
            node_of(graph, name).input.extend(new)

    return change


def after_first_relu(op):
    """Puts a node of one input behind the first activation."""

    def change(graph):
        for node in graph.node:
            for at, edge in enumerate(node.input):
                if edge == FIRST_RELU:
                    node.input[at] = "extra"
        extra = graph.node.add(name="extra", op=op, input=[FIRST_RELU])
        extra.attr["T"].type = tf.float32.as_datatype_enum

    return change


def truncate_tensor(name):
    def change(graph):
        tensor = node_of(graph, name).attr["value"].tensor
        tensor.tensor_content = tensor.tensor_content[: len(tensor.tensor_content) // 2 - 1]

    return change


def set_first_value(name, value):
    def change(graph):
        array = tf.make_ndarray(node_of(graph, name).attr["value"].tensor).copy()
        array.flat[0] = value
        set_value(name, array)(graph)

    return change


def fewer_layers(graph):
    for name in ("concat", "concat_1"):
        del node_of(graph, name).input[5]
        node_of(graph, name).attr["N"].i = len(node_of(graph, name).input) - 1


def reorder_predictors(graph):
    for name in ("concat", "concat_1"):
        edges = node_of(graph, name).input
        edges[0], edges[1] = edges[1], edges[0]


def duplicate(graph):
    graph.node.add().CopyFrom(graph.node[3])


def fake_quant(graph):
    for edge in ("low", "high"):
        graph.node.add(name=edge, op="Const")
        set_value(edge, np.float32(1))(graph)
    graph.node.add(name="quant", op="FakeQuantWithMinMaxVars", input=[FIRST_RELU, "low", "high"])


def in_training(graph):
    node_of(graph, FIRST_NORM).attr["is_training"].b = True
