"""What only TensorFlow can tell of a frozen SSD: shapes, folded constants, the normalisation of the image, the anchors."""

import contextlib
from dataclasses import dataclass
from typing import Dict, List, Tuple

from todus.tf import tf

import numpy as np

from todus.uff import graphs, surgery
from todus.uff.graphs import Graph, node_name
from todus.uff.settings import ELSEWHERE
from todus.uff.surgery import Network


@dataclass
class Body:
    """The network's nodes with constants folded.

    Attributes:
      nodes: NodeDefs, without the input.
      maps: for each feature map (height, width, box channels, class channels).
    """

    nodes: List["tf.NodeDef"]
    maps: List[Tuple[int, int, int, int]]


@contextlib.contextmanager
def _explained(graph: Graph, doing: str):
    """Turns what TensorFlow says of a damaged graph into one line."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RuntimeError,
        tf.errors.OpError,
    ) as error:
        raise graph.error("%s: %s" % (doing, graphs.first_line(error)))


def _session(tf_graph: "tf.Graph") -> "tf.Session":
    return tf.Session(graph=tf_graph, config=tf.ConfigProto(device_count={"GPU": 0}))


def body(network: Network, height: int, width: int) -> Body:
    """The nodes that remain of the network, for an input of height x width pixels.

    Raises:
      TodusError: TensorFlow cannot build the network, or a predictor is not a Reshape of a feature map's convolution.
    """
    graph = network.graph
    for name in network.nodes:
        if graph.nodes[name].op == "Const":
            graphs.value_of(graph, graph.nodes[name])
    nodes = surgery.body(network)
    tf_graph = tf.Graph()
    with tf_graph.as_default(), _explained(graph, "TensorFlow cannot build the network"):
        graph_def = tf.GraphDef(versions=graph.versions)
        graph_def.node.extend([surgery.placeholder([1, height, width, 3])])
        graph_def.node.extend(nodes)
        tf.import_graph_def(graph_def, name="")
        maps = [
            _feature_map(network, tf_graph, box, score)
            for box, score in zip(network.boxes, network.classes)
        ]
        if len(network.boxes) != len(network.classes):
            raise ValueError(
                "%d box predictors and %d class predictors"
                % (len(network.boxes), len(network.classes))
            )
        nodes = _folded(graph, tf_graph, nodes)
    return Body(nodes, maps)


def _feature_map(
    network: Network, tf_graph: "tf.Graph", box: str, score: str
) -> Tuple[int, int, int, int]:
    shapes = []
    for edge, rank in ((box, 4), (score, 3)):
        operation = tf_graph.get_operation_by_name(node_name(edge))
        if operation.type != "Reshape":
            raise ValueError(
                "predictor %s is a %s and not the Reshape of a convolution" % (edge, operation.type)
            )
        if operation.outputs[0].shape.rank != rank:
            raise ValueError(
                "predictor %s has %s dimensions instead of %d"
                % (edge, operation.outputs[0].shape.rank, rank)
            )
        shape = operation.inputs[0].shape
        if shape.rank != 4 or not shape.is_fully_defined():
            raise ValueError(
                "predictor %s has the shape %s and not [1, height, width, channels]" % (edge, shape)
            )
        shapes.append(shape.as_list())
    if shapes[0][:3] != shapes[1][:3]:
        raise ValueError("predictors %s and %s are of different feature maps" % (box, score))
    return shapes[0][1], shapes[0][2], shapes[0][3], shapes[1][3]


def _folded(graph: Graph, tf_graph: "tf.Graph", nodes: List["tf.NodeDef"]) -> List["tf.NodeDef"]:
    """`nodes` with everything that depends on constants alone computed, and constants without users left out."""
    by_name = {node.name: node for node in nodes}
    fixed = set()
    for name in graphs.ordered(graph, by_name, lambda name: name not in by_name):
        node = by_name[name]
        if node.op == "Const" or (
            node.input and all(node_name(edge) in fixed for edge in node.input)
        ):
            fixed.add(name)
    needed = {node_name(edge) for node in nodes if node.name not in fixed for edge in node.input}
    computed = [
        name for name in by_name if name in fixed and name in needed and by_name[name].op != "Const"
    ]
    values: Dict[str, np.ndarray] = {}
    if computed:
        with _session(tf_graph) as session:
            values = dict(zip(computed, session.run([name + ":0" for name in computed])))
    result = []
    for name, node in by_name.items():
        if name in values:
            result.append(graphs.constant(name, values[name]))
        elif name not in fixed or name in needed:
            result.append(node)
    return result


def image_and_anchors(network: Network, height: int, width: int) -> Tuple[float, float, np.ndarray]:
    """Runs the frozen graph's own preprocessing and anchor generator.

    Args:
      network: the parts of the frozen graph.
      height, width: of the input, pixels.

    Returns:
      (scale, offset): the network sees pixel * scale + offset; and the anchors, float32 [anchors, 4], (ymin, xmin, ymax, xmax).

    Raises:
      TodusError: no image_tensor, or preprocessing is not one scale and offset.
    """
    graph = network.graph
    if "image_tensor" not in graph.nodes or graph.nodes["image_tensor"].op != "Placeholder":
        raise graph.error("no input image_tensor; export it with the input type image_tensor")
    tf_graph = tf.Graph()
    ramp = np.arange(height * width * 3).reshape(1, height, width, 3) * 7 % 256
    with tf_graph.as_default(), _explained(
        graph, "TensorFlow cannot run the preprocessing and the anchors"
    ):
        tf.import_graph_def(_with_needs_of(graph, [network.image, network.anchors]), name="")
        image = tf_graph.get_tensor_by_name(_tensor(network.image))
        anchors = tf_graph.get_tensor_by_name(_tensor(network.anchors))
        pixels = tf_graph.get_tensor_by_name("image_tensor:0")
        with _session(tf_graph) as session:
            black = session.run(image, {pixels: np.zeros_like(ramp)})
            white = session.run(image, {pixels: np.full_like(ramp, 255)})
            mixed, made = session.run([image, anchors], {pixels: ramp})
        if black.shape != ramp.shape:
            raise ValueError(
                "the image becomes %s instead of %s" % (list(black.shape), list(ramp.shape))
            )
    offset = float(black.flat[0])
    scale = (float(white.flat[0]) - offset) / 255
    if not np.allclose(mixed, ramp * scale + offset, atol=1e-4 * max(1.0, abs(scale) * 255)):
        raise graph.error("the image is not normalised by one scale and offset", ELSEWHERE)
    return scale, offset, made.reshape(-1, 4)


def _tensor(edge: str) -> str:
    return edge if ":" in edge else edge + ":0"


def _with_needs_of(graph: Graph, edges: List[str]) -> "tf.GraphDef":
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
