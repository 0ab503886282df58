"""Replaces what UFF cannot hold in a frozen SSD, all but the network, by TensorRT's plugins."""

import functools
from typing import Dict, List, NamedTuple, Tuple

from todus.tf import tf

import numpy as np

from todus.uff import graphs
from todus.uff.graphs import Graph, node_name
from todus.uff.scopes import Scopes
from todus.uff.settings import ELSEWHERE, QUANTIZED_ELSEWHERE, Settings

INPUT = "Input"
NMS = "NMS"

# NMS_TRT suppresses in blocks of 512 boxes a class, of which it has at most eight.
BLOCK = 512
MOST_BLOCKS = 8

# Newer op -> the older op that computes the same at inference.
RENAMED = {
    "AddV2": "Add",
    "FusedBatchNormV2": "FusedBatchNorm",
    "FusedBatchNormV3": "FusedBatchNorm",
}

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")

_QUANTIZING = ("FakeQuant", "Quantize", "Dequantize")
_VARIABLES = ("Variable", "VariableV2", "VarHandleOp", "ReadVariableOp")


class Network(NamedTuple):
    """The part of a frozen SSD from the normalised image to the inputs of the two concats.

    Attributes:
      graph: the frozen graph.
      image: the edge of the normalised image.
      nodes: names, in the graph's order.
      boxes, classes: the edges that the concats join, one for each feature map; [N, anchors, 1, 4]
        and [N, anchors, num_classes].
      anchors: the edge of the joined anchors, [anchors, 4].
      order: "boxes", "classes" and "anchors" in the order of the detections' inputs.
    """

    graph: Graph
    image: str
    nodes: List[str]
    boxes: List[str]
    classes: List[str]
    anchors: str
    order: Tuple[str, ...]


def cut(graph: Graph, scopes: Scopes) -> Network:
    """The network in a frozen SSD. Raises TodusError where `scopes` does not describe the graph."""
    _check_frozen(graph)
    boxes = _concat(graph, scopes.boxes)
    classes = _concat(graph, scopes.classes)
    anchors = _anchors(graph, scopes)
    box_edges, class_edges = _concat_inputs(graph, boxes), _concat_inputs(graph, classes)

    def outside(name: str) -> bool:
        return graph.in_scopes(name, scopes.image)

    reached = set(graphs.ordered(graph, box_edges + class_edges, outside))
    inputs = [edge for name in reached for edge in graph.inputs(graph.nodes[name])]
    begins = {graph.skip_identities(edge) for edge in inputs}
    begins = sorted(edge for edge in begins if outside(node_name(edge)))
    if len(begins) != 1:
        what = "the network must begin at one tensor of %s, it begins at %s"
        found = ", ".join(begins) or "nothing"
        raise graph.error(what % ("/".join(scopes.image), found), ELSEWHERE)
    known = {boxes: "boxes", classes: "classes", anchors: "anchors"}
    return Network(
        graph=graph,
        image=begins[0],
        nodes=[name for name in graph.nodes if name in reached],
        boxes=box_edges,
        classes=class_edges,
        anchors=anchors,
        order=_detection_order(graph, scopes, known),
    )


def _check_frozen(graph: Graph) -> None:
    for node in graph.nodes.values():
        if node.op.startswith(_QUANTIZING):
            what = "node %s (%s): UFF cannot hold a quantization-aware graph"
            raise graph.error(what % (node.name, node.op), QUANTIZED_ELSEWHERE)
        if node.op in _VARIABLES:
            raise graph.error("node %s is a variable: the graph is not frozen" % node.name)


def _concat(graph: Graph, name: str) -> str:
    for candidate in (name, name + "/concat"):
        node = graph.nodes.get(candidate)
        if node is not None and node.op == "ConcatV2":
            if len(graph.inputs(node)) < 2:
                raise graph.error("concat %s has no inputs" % candidate)
            axis = graph.nodes[node_name(graph.skip_identities(graph.inputs(node)[-1]))]
            if axis.op != "Const" or graphs.value_of(graph, axis).tolist() != 1:
                raise graph.error("concat %s does not join along the anchors (axis 1)" % candidate)
            return candidate
    raise graph.error("no concat named %s; is it an SSD's frozen_inference_graph.pb?" % name)


def _concat_inputs(graph: Graph, name: str) -> List[str]:
    return [graph.skip_identities(edge) for edge in graph.inputs(graph.nodes[name])[:-1]]


def _anchors(graph: Graph, scopes: Scopes) -> str:
    for scope in scopes.anchors:
        for candidate in (scope, scope + "/concat"):
            if candidate in graph.nodes and graph.nodes[candidate].op in ("ConcatV2", "Const"):
                return candidate
    what = "no anchors under %s; is it an SSD's frozen_inference_graph.pb?"
    raise graph.error(what % " or ".join(scopes.anchors))


def _detection_order(graph: Graph, scopes: Scopes, known: Dict[str, str]) -> Tuple[str, ...]:
    """The order in which the scope of the detections takes boxes, classes and anchors."""
    inside = [scopes.detections]
    taken = [
        edge
        for name, node in graph.nodes.items()
        if graph.in_scopes(name, inside)
        for edge in graph.inputs(node)
        if not graph.in_scopes(edge, inside)
    ]
    order: List[str] = []
    for edge in taken:
        found = known.get(node_name(_before_reshapes(graph, edge)))
        if found and found not in order:
            order.append(found)
    if len(order) != 3:
        missing = ", ".join(sorted(set(known.values()) - set(order)))
        what = "scope %s does not take %s of this graph" % (scopes.detections, missing)
        raise graph.error(what, ELSEWHERE)
    return tuple(order)


def _before_reshapes(graph: Graph, edge: str) -> str:
    while True:
        edge = graph.skip_identities(edge)
        node = graph.nodes[node_name(edge)]
        if node.op not in ("Squeeze", "Reshape") or not graph.inputs(node):
            return edge
        edge = graph.inputs(node)[0]


def body(network: Network) -> List["tf.NodeDef"]:
    """The network's nodes, from INPUT on, with the ops that TensorRT has and without identities."""
    graph, result = network.graph, []
    for name in network.nodes:
        node = tf.NodeDef()
        node.CopyFrom(graph.nodes[name])
        if node.op in RENAMED:
            node.op = RENAMED[node.op]
            node.attr.pop("U", None)
        edges = [graph.skip_identities(edge) for edge in graph.inputs(node)]
        for edge in edges:
            if ":" in edge and edge != network.image:
                what = "node %s takes the second output of %s, which UFF cannot express"
                raise graph.error(what % (name, node_name(edge)), ELSEWHERE)
        del node.input[:]
        node.input.extend(INPUT if edge == network.image else edge for edge in edges)
        if node.op == "FusedBatchNorm" and node.attr["is_training"].b:
            raise graph.error("node %s is in training mode" % name)
        if name in (INPUT, NMS):
            raise graph.error("node %s has the name of a plugin" % name, ELSEWHERE)
        result.append(node)
    return result


def swap_colors(network: Network, nodes: List["tf.NodeDef"]) -> None:
    """Makes the body take BGR instead of RGB, by the weights of its first convolution.

    Args:
      network: for messages.
      nodes: its body, constants folded; new weights are added to it.

    Raises:
      TodusError: the image does not go straight to a convolution.
    """
    by_name = {node.name: node for node in nodes}
    order, edge = np.arange(3)[::-1], INPUT
    while True:
        users = [node for node in nodes if edge in node.input and node.op != "Shape"]
        kinds = ", ".join(sorted(node.op for node in users)) or "nothing"
        if kinds == "Pad":
            edge = users[0].name
            continue
        weights = by_name.get(users[0].input[1]) if kinds in CONVOLUTIONS else None
        if weights is None or weights.op != "Const":
            what = "%s goes to %s and not to one convolution; its colors cannot be swapped"
            raise network.graph.error(what % (edge, kinds), "convert it without --bgr")
        value = graphs.value_of(network.graph, weights)[:, :, order]
        nodes.append(graphs.constant(weights.name + "/swapped", value))
        users[0].input[1] = nodes[-1].name
        if kinds == "Conv2D":
            return
        # The outputs of a depthwise convolution are in the order of its inputs.
        order = np.arange(value.shape[2] * value.shape[3]).reshape(value.shape[2:])[order].ravel()
        edge = users[0].name


def placeholder(shape: List[int]) -> "tf.NodeDef":
    """The input: float32 of `shape`."""
    node = tf.NodeDef(name=INPUT, op="Placeholder")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    for size in shape:
        node.attr["shape"].shape.dim.add(size=size)
    return node


def with_plugins(
    network: Network,
    nodes: List["tf.NodeDef"],
    settings: Settings,
    sides: List[int],
    num_anchors: int,
) -> "tf.GraphDef":
    """The graph that is written.

    Args:
      network: gives the inputs of the plugins.
      nodes: its body, constants folded.
      settings: the plugins' numbers.
      sides: the side of each feature map.
      num_anchors: of all feature maps.
    """
    grid_anchor = _plugin(
        "GridAnchor",
        "GridAnchor_TRT",
        ["AnchorInput"],
        numLayers=settings.num_layers,
        minSize=settings.min_scale,
        maxSize=settings.max_scale,
        aspectRatios=settings.aspect_ratios,
        variance=settings.variances,
        featureMapShapes=sides,
    )
    anchors = tf.NodeDef(name="concat_priorbox", op="ConcatV2", input=["GridAnchor"])
    anchors.attr["axis"].i = 2
    flatten = functools.partial(_plugin, op="FlattenConcat_TRT", axis=1, ignoreBatch=0)
    boxes = flatten("concat_box_loc", inputs=network.boxes)
    scores = flatten("concat_box_conf", inputs=network.classes)
    for node in (anchors, boxes, scores):
        node.attr["dtype"].type = tf.float32.as_datatype_enum
    joined = {"boxes": boxes.name, "classes": scores.name, "anchors": anchors.name}
    nms = _plugin(
        NMS,
        "NMS_TRT",
        [joined[each] for each in network.order],
        shareLocation=1,
        varianceEncodedInTarget=0,
        backgroundLabelId=0,
        confidenceThreshold=settings.score_threshold,
        nmsThreshold=settings.iou_threshold,
        topK=top_k(settings, num_anchors),
        keepTopK=keep_top_k(settings, num_anchors),
        numClasses=settings.num_classes,
        inputOrder=[network.order.index(each) for each in ("boxes", "classes", "anchors")],
        confSigmoid=settings.sigmoid,
        isNormalized=1,
    )
    # Later TensorRT refuses a plugin without inputs; GridAnchor_TRT does not read this one.
    unread = graphs.constant("AnchorInput", np.array([1, 1], np.float32))
    given = placeholder([1, 3, settings.height, settings.width])
    result = tf.GraphDef(versions=network.graph.versions)
    result.node.extend([given, *nodes, unread, grid_anchor, anchors, boxes, scores, nms])
    return result


def top_k(settings: Settings, num_anchors: int) -> int:
    """How many boxes a class NMS_TRT suppresses: the best of them, in whole blocks.

    TensorFlow suppresses among all boxes above the threshold and limits their number afterwards,
    NMS_TRT before. One block has enough for an image; a further one takes as long again. Never
    fewer than keepTopK: the plugin then returns nothing.
    """
    blocks = min(-(-settings.max_total // BLOCK), MOST_BLOCKS)
    return max(min(num_anchors, blocks * BLOCK), 1)


def keep_top_k(settings: Settings, num_anchors: int) -> int:
    """How many detections NMS_TRT returns."""
    return min(settings.max_total, top_k(settings, num_anchors))


def _plugin(name: str, op: str, inputs: List[str], **fields) -> "tf.NodeDef":
    """A plugin's node; TensorRT's parser takes the type of a field from the suffix of its name."""
    node = tf.NodeDef(name=name, op=op, input=inputs)
    for field, value in fields.items():
        if not isinstance(value, (list, tuple)):
            if isinstance(value, float):
                node.attr[field + "_u_float"].f = value
            else:
                node.attr[field + "_u_int"].i = int(value)
        elif any(isinstance(each, float) for each in value):
            node.attr[field + "_u_flist"].list.f.extend(value)
        else:
            node.attr[field + "_u_ilist"].list.i.extend(value)
    return node
