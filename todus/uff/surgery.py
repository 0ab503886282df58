"""From a frozen SSD to a graph that UFF can hold: Input, the network itself, and TensorRT's plugins for the rest."""

from dataclasses import dataclass
from typing import List, Tuple

from todus.tf import tf

from todus.uff import graphs
from todus.uff.graphs import Graph, node_name
from todus.uff.scopes import Scopes
from todus.uff.settings import ELSEWHERE, QUANTIZED_ELSEWHERE, Settings

INPUT = "Input"
NMS = "NMS"

# NMS_TRT works on at most eight blocks of 512 boxes a class.
MOST_TOP_K = 4096

# What TensorFlow renamed without changing what it computes at inference.
RENAMED = {
    "AddV2": "Add",
    "FusedBatchNormV2": "FusedBatchNorm",
    "FusedBatchNormV3": "FusedBatchNorm",
}

_QUANTIZING = ("FakeQuant", "Quantize", "Dequantize")
_VARIABLES = ("Variable", "VariableV2", "VarHandleOp", "ReadVariableOp")


@dataclass
class Network:
    """The part of a frozen SSD that stays: from the normalised image to the inputs of the two concats.

    Attributes:
      graph: the frozen graph.
      image: the edge that brings the normalised image.
      nodes: names, in the graph's order.
      boxes, classes: the edges that the concats join, a feature map each; [N, anchors, 1, 4] and [N, anchors, num_classes].
      anchors: the edge of the joined anchors, [anchors, 4].
      order: of the inputs of the detections, some order of "boxes", "classes", "anchors".
    """

    graph: Graph
    image: str
    nodes: List[str]
    boxes: List[str]
    classes: List[str]
    anchors: str
    order: Tuple[str, ...]


def cut(graph: Graph, scopes: Scopes) -> Network:
    """Finds the network in a frozen SSD. Raises TodusError where the graph is not one that `scopes` describes."""
    _check_frozen(graph)
    boxes = _joined(graph, scopes.boxes)
    classes = _joined(graph, scopes.classes)
    anchors = _anchors(graph, scopes)
    box_edges, class_edges = _concat_inputs(graph, boxes), _concat_inputs(graph, classes)
    fronts = {}

    def outside(name: str) -> bool:
        return graph.in_scopes(name, scopes.image)

    reached = set(graphs.ordered(graph, box_edges + class_edges, outside))
    for name in reached:
        for edge in map(graph.source, graph.inputs(graph.nodes[name])):
            if outside(node_name(edge)):
                fronts[edge] = name
    if len(fronts) != 1:
        found = ", ".join(sorted(fronts)) or "nothing"
        raise graph.error(
            "the network must begin at one tensor of %s, it begins at %s"
            % ("/".join(scopes.image), found),
            ELSEWHERE,
        )
    return Network(
        graph=graph,
        image=next(iter(fronts)),
        nodes=[name for name in graph.nodes if name in reached],
        boxes=box_edges,
        classes=class_edges,
        anchors=anchors,
        order=_detection_order(
            graph, scopes, {boxes: "boxes", classes: "classes", anchors: "anchors"}
        ),
    )


def _check_frozen(graph: Graph) -> None:
    for node in graph.nodes.values():
        if node.op.startswith(_QUANTIZING):
            what = "node %s (%s): a quantization-aware graph cannot be held by UFF" % (
                node.name,
                node.op,
            )
            raise graph.error(what, QUANTIZED_ELSEWHERE)
        if node.op in _VARIABLES:
            raise graph.error("node %s is a variable: the graph is not frozen" % node.name)


def _joined(graph: Graph, name: str) -> str:
    for candidate in (name, name + "/concat"):
        node = graph.nodes.get(candidate)
        if node is not None and node.op == "ConcatV2":
            if len(graph.inputs(node)) < 2:
                raise graph.error("concat %s has no inputs" % candidate)
            axis = graph.nodes[node_name(graph.source(graph.inputs(node)[-1]))]
            if axis.op != "Const" or graphs.value_of(graph, axis).tolist() != 1:
                raise graph.error("concat %s does not join along the anchors (axis 1)" % candidate)
            return candidate
    raise graph.error("no concat named %s; is it an SSD's frozen_inference_graph.pb?" % name)


def _concat_inputs(graph: Graph, name: str) -> List[str]:
    return [graph.source(edge) for edge in graph.inputs(graph.nodes[name])[:-1]]


def _anchors(graph: Graph, scopes: Scopes) -> str:
    for scope in scopes.anchors:
        for candidate in (scope, scope + "/concat"):
            if candidate in graph.nodes and graph.nodes[candidate].op in ("ConcatV2", "Const"):
                return candidate
    raise graph.error(
        "no anchors under %s; is it an SSD's frozen_inference_graph.pb?"
        % " or ".join(scopes.anchors)
    )


def _detection_order(graph: Graph, scopes: Scopes, known) -> Tuple[str, ...]:
    """The order in which the scope of the detections takes boxes, classes and anchors."""
    order: List[str] = []
    for name, node in graph.nodes.items():
        if not graph.in_scopes(name, [scopes.detections]):
            continue
        for edge in graph.inputs(node):
            if graph.in_scopes(edge, [scopes.detections]):
                continue
            found = known.get(node_name(_behind_squeeze(graph, edge)))
            if found and found not in order:
                order.append(found)
    if len(order) != 3:
        missing = ", ".join(sorted(set(known.values()) - set(order)))
        raise graph.error(
            "scope %s does not take %s of this graph" % (scopes.detections, missing), ELSEWHERE
        )
    return tuple(order)


def _behind_squeeze(graph: Graph, edge: str) -> str:
    edge = graph.source(edge)
    while graph.nodes[node_name(edge)].op in ("Squeeze", "Reshape") and graph.inputs(
        graph.nodes[node_name(edge)]
    ):
        edge = graph.source(graph.inputs(graph.nodes[node_name(edge)])[0])
    return edge


def body(network: Network) -> List["tf.NodeDef"]:
    """The network's nodes under the names of ops that TensorRT knows, without what changes nothing, beginning at INPUT."""
    graph, result = network.graph, []
    for name in network.nodes:
        node = tf.NodeDef()
        node.CopyFrom(graph.nodes[name])
        if node.op in RENAMED:
            node.op = RENAMED[node.op]
            node.attr.pop("U", None)
        edges = [graph.source(edge) for edge in graph.inputs(node)]
        for edge in edges:
            if ":" in edge and edge != network.image:
                raise graph.error(
                    "node %s takes the second output of %s, which UFF cannot say"
                    % (name, node_name(edge)),
                    ELSEWHERE,
                )
        del node.input[:]
        node.input.extend(INPUT if edge == network.image else edge for edge in edges)
        if node.op == "FusedBatchNorm" and node.attr["is_training"].b:
            raise graph.error("node %s is in training mode" % name)
        if name in (INPUT, NMS):
            raise graph.error("node %s has the name of a plugin" % name, ELSEWHERE)
        result.append(node)
    return result


def placeholder(shape) -> "tf.NodeDef":
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
      network: where the network's ends are.
      nodes: its body, constants folded.
      settings: the plugins' numbers.
      sides: the side of each feature map.
      num_anchors: of all feature maps.
    """
    import numpy as np

    inputs = {"boxes": "concat_box_loc", "classes": "concat_box_conf", "anchors": "concat_priorbox"}
    result = tf.GraphDef(versions=network.graph.versions)
    result.node.extend([placeholder([1, 3, settings.height, settings.width])])
    result.node.extend(nodes)
    # Later TensorRT refuses a plugin without inputs; GridAnchor_TRT does not read it.
    result.node.extend([graphs.constant("AnchorInput", np.array([1, 1], np.float32))])
    result.node.extend([_grid_anchor(settings, sides)])
    joined = _node("concat_priorbox", "ConcatV2", ["GridAnchor"])
    joined.attr["axis"].i = 2
    joined.attr["dtype"].type = tf.float32.as_datatype_enum
    result.node.extend([joined])
    result.node.extend(
        [
            _flatten_concat("concat_box_loc", network.boxes),
            _flatten_concat("concat_box_conf", network.classes),
        ]
    )
    result.node.extend(
        [
            _detections(
                settings, num_anchors, network.order, [inputs[each] for each in network.order]
            )
        ]
    )
    return result


def top_k(settings: Settings, num_anchors: int) -> int:
    """How many boxes a class NMS_TRT considers.

    TensorFlow considers every box above the threshold and cuts afterwards, NMS_TRT cuts before: so all of them. Never fewer than
    keepTopK, below which the plugin gives nothing.
    """
    return max(min(num_anchors, MOST_TOP_K), 1)


def keep_top_k(settings: Settings, num_anchors: int) -> int:
    return min(settings.max_total, top_k(settings, num_anchors))


def _node(name: str, op: str, inputs: List[str]) -> "tf.NodeDef":
    return tf.NodeDef(name=name, op=op, input=inputs)


def _set(node: "tf.NodeDef", **fields) -> "tf.NodeDef":
    """Sets plugin fields; TensorRT's parser takes the type from the suffix of the name."""
    for name, value in fields.items():
        if isinstance(value, (list, tuple)):
            floats = any(isinstance(each, float) for each in value)
            getattr(
                node.attr[name + ("_u_flist" if floats else "_u_ilist")].list,
                "f" if floats else "i",
            ).extend(value)
        elif isinstance(value, float):
            node.attr[name + "_u_float"].f = value
        else:
            node.attr[name + "_u_int"].i = int(value)
    return node


def _grid_anchor(settings: Settings, sides: List[int]) -> "tf.NodeDef":
    return _set(
        _node("GridAnchor", "GridAnchor_TRT", ["AnchorInput"]),
        numLayers=settings.num_layers,
        minSize=settings.min_scale,
        maxSize=settings.max_scale,
        aspectRatios=settings.aspect_ratios,
        variance=settings.variances,
        featureMapShapes=list(sides),
    )


def _flatten_concat(name: str, inputs: List[str]) -> "tf.NodeDef":
    node = _set(_node(name, "FlattenConcat_TRT", inputs), axis=1, ignoreBatch=0)
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    return node


def _detections(
    settings: Settings, num_anchors: int, order: Tuple[str, ...], inputs: List[str]
) -> "tf.NodeDef":
    return _set(
        _node(NMS, "NMS_TRT", inputs),
        shareLocation=1,
        varianceEncodedInTarget=0,
        backgroundLabelId=0,
        confidenceThreshold=settings.score_threshold,
        nmsThreshold=settings.iou_threshold,
        topK=top_k(settings, num_anchors),
        keepTopK=keep_top_k(settings, num_anchors),
        numClasses=settings.num_classes,
        inputOrder=[order.index(each) for each in ("boxes", "classes", "anchors")],
        confSigmoid=settings.sigmoid,
        isNormalized=1,
    )
