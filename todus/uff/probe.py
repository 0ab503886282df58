"""Runs parts of a frozen SSD in TensorFlow: shapes, constants, image normalisation, anchors."""

import contextlib
from typing import Dict, Iterator, List, NamedTuple, Tuple

from todus.tf import tf

import numpy as np

from todus.slicing import graph_operations
from todus.uff import graphs, surgery
from todus.uff.graphs import Graph, node_name
from todus.uff.settings import ELSEWHERE
from todus.uff.surgery import Network

# What TensorFlow raises for damaged graphs.
_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError)


class Body(NamedTuple):
    """The network's nodes with constants folded.

    Attributes:
      nodes: NodeDefs, without the input.
      maps: for each feature map (height, width, box channels, class channels).
    """

    nodes: List["tf.NodeDef"]
    maps: List[Tuple[int, int, int, int]]


@contextlib.contextmanager
def _one_line_errors(graph: Graph, doing: str) -> Iterator[None]:
    try:
        yield
    except _ERRORS + (tf.errors.OpError,) as error:
        raise graph.error("%s: %s" % (doing, graphs.reason(error)))


def _session(tf_graph: "tf.Graph") -> "tf.Session":
    return tf.Session(graph=tf_graph, config=tf.ConfigProto(device_count={"GPU": 0}))


def body(network: Network, height: int, width: int) -> Body:
    """The nodes of the network that remain, for an input of height x width pixels.

    Raises:
      TodusError: TensorFlow cannot build the network, or a predictor is not a Reshape of a feature
        map's convolution.
    """
    graph = network.graph
    for name in network.nodes:
        if graph.nodes[name].op == "Const":
            graphs.value_of(graph, graph.nodes[name])
    nodes = surgery.body(network)
    tf_graph = tf.Graph()
    with tf_graph.as_default(), _one_line_errors(graph, "TensorFlow cannot build the network"):
        graph_def = tf.GraphDef(versions=graph.versions)
        graph_def.node.extend([surgery.placeholder([1, height, width, 3]), *nodes])
        graph_operations.check(graph_def, graph.where)
        tf.import_graph_def(graph_def, name="")
        predictors = zip(network.boxes, network.classes)
        maps = [_feature_map(tf_graph, box, score) for box, score in predictors]
        counts = len(network.boxes), len(network.classes)
        if counts[0] != counts[1]:
            raise ValueError("%d box predictors and %d class predictors" % counts)
        return Body(_folded(graph, tf_graph, nodes), maps)


def _feature_map(tf_graph: "tf.Graph", box: str, score: str) -> Tuple[int, int, int, int]:
    """(height, width, box channels, class channels) before the Reshapes of the two predictors."""
    shapes = []
    for edge, rank in ((box, 4), (score, 3)):
        operation = tf_graph.get_operation_by_name(node_name(edge))
        if operation.type != "Reshape":
            what = "predictor %s is a %s and not the Reshape of a convolution"
            raise ValueError(what % (edge, operation.type))
        found = operation.outputs[0].shape.rank
        if found != rank:
            raise ValueError("predictor %s has %s dimensions, not %d" % (edge, found, rank))
        shape = operation.inputs[0].shape
        if shape.rank != 4 or not shape.is_fully_defined():
            what = "predictor %s has the shape %s and not [1, height, width, channels]"
            raise ValueError(what % (edge, shape))
        shapes.append(shape.as_list())
    if shapes[0][:3] != shapes[1][:3]:
        raise ValueError("predictors %s and %s are of different feature maps" % (box, score))
    return (*shapes[0][1:], shapes[1][3])


def _folded(graph: Graph, tf_graph: "tf.Graph", nodes: List["tf.NodeDef"]) -> List["tf.NodeDef"]:
    """`nodes` with constants in place of what is computed from constants; unused ones left out."""
    by_name = {node.name: node for node in nodes}
    fixed = set()
    for name in graphs.ordered(graph, by_name, lambda name: name not in by_name):
        edges = by_name[name].input
        if by_name[name].op == "Const" or (
            edges and all(node_name(edge) in fixed for edge in edges)
        ):
            fixed.add(name)
    needed = {node_name(edge) for node in nodes if node.name not in fixed for edge in node.input}
    kept = fixed & needed
    computed = [name for name in by_name if name in kept and by_name[name].op != "Const"]
    values: Dict[str, np.ndarray] = {}
    if computed:
        with _session(tf_graph) as session:
            values = dict(zip(computed, session.run([name + ":0" for name in computed])))
    return [
        graphs.constant(name, values[name]) if name in values else node
        for name, node in by_name.items()
        if name in kept or name not in fixed
    ]


def image_and_anchors(network: Network, height: int, width: int) -> Tuple[float, float, np.ndarray]:
    """Runs the frozen graph's own preprocessing and anchor generator.

    Args:
      network: the parts of the frozen graph.
      height, width: of the input, pixels.

    Returns:
      (scale, offset, anchors): the network's input is pixel * scale + offset; the anchors are
      float32 [anchors, 4], (ymin, xmin, ymax, xmax).

    Raises:
      TodusError: no image_tensor, or preprocessing is not one scale and offset.
    """
    graph = network.graph
    if "image_tensor" not in graph.nodes or graph.nodes["image_tensor"].op != "Placeholder":
        raise graph.error("no input image_tensor; export it with the input type image_tensor")
    tf_graph = tf.Graph()
    ramp = np.arange(height * width * 3).reshape(1, height, width, 3) * 7 % 256
    doing = "TensorFlow cannot run the preprocessing and the anchors"
    with tf_graph.as_default(), _one_line_errors(graph, doing):
        edges = [network.image, network.anchors]
        graph_def = _needed_by(graph, edges)
        graph_operations.check(graph_def, graph.where)
        tf.import_graph_def(graph_def, name="")
        image, anchors = [edge if ":" in edge else edge + ":0" for edge in edges]
        with _session(tf_graph) as session:
            black = session.run(image, {"image_tensor:0": np.zeros_like(ramp)})
            white = session.run(image, {"image_tensor:0": np.full_like(ramp, 255)})
            mixed, made = session.run([image, anchors], {"image_tensor:0": ramp})
        if black.shape != ramp.shape:
            shapes = list(black.shape), list(ramp.shape)
            raise ValueError("the image becomes %s instead of %s" % shapes)
    offset = float(black.flat[0])
    scale = (float(white.flat[0]) - offset) / 255
    if not np.allclose(mixed, ramp * scale + offset, atol=1e-4 * max(1.0, abs(scale) * 255)):
        raise graph.error("the image is not normalised by one scale and offset", ELSEWHERE)
    return scale, offset, made.reshape(-1, 4)


def _needed_by(graph: Graph, edges: List[str]) -> "tf.GraphDef":
    """The part of `graph` (control edges and loops included) that `edges` need."""
    wanted, stack = set(), [node_name(edge) for edge in edges]
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack.extend(node_name(edge) for edge in graph.nodes[name].input)
    result = tf.GraphDef(versions=graph.versions)
    result.node.extend(node for name, node in graph.nodes.items() if name in wanted)
    return result
