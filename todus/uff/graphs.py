"""Frozen TensorFlow graphs as dictionaries of nodes: reading, following edges, constants."""

import warnings
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Set

from todus.tf import tf

import numpy as np

from todus.errors import TodusError
from todus.text import first_line

# Ops whose output is their input at inference.
IDENTITIES = {"Identity", "StopGradient", "CheckNumerics"}

# The ops of loops and conditions, in which a cycle is allowed.
CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}

AGAIN = "export it again with ./export.sh, or take the zoo's with python -m model"


class Graph:
    """A GraphDef in which every edge leads to a node.

    Attributes:
      nodes: name -> NodeDef, in the graph's order.
      where: the file, for messages.
      versions: the VersionDef, by which TensorFlow reads older graphs.
    """

    def __init__(self, graph_def: "tf.GraphDef", where: str):
        self.where = where
        self.versions = graph_def.versions
        self.nodes: Dict[str, tf.NodeDef] = {}
        for node in graph_def.node:
            if node.name in self.nodes:
                raise self.error("two nodes are named %s" % node.name)
            self.nodes[node.name] = node
        for node in graph_def.node:
            for name in map(node_name, node.input):
                if name not in self.nodes:
                    what = "node %s needs %s, which is missing"
                    raise self.error(what % (node.name, name or "(an empty name)"))

    def error(self, what: str, remedy: str = AGAIN) -> TodusError:
        """A TodusError for the caller to raise."""
        return TodusError("%s: %s; %s" % (self.where, what, remedy))

    def skip_identities(self, edge: str) -> str:
        """The edge ("name" or "name:n") with the same value as `edge`, before any identities."""
        for _ in range(len(self.nodes) + 1):
            node = self.nodes[node_name(edge)]
            same = node.op == "Cast" and node.attr["SrcT"].type == node.attr["DstT"].type
            if node.op not in IDENTITIES and not same:
                return edge[: -len(":0")] if edge.endswith(":0") else edge
            if not self.inputs(node):
                raise self.error("node %s has no input" % node.name)
            edge = self.inputs(node)[0]
        raise self.error("node %s is its own input" % node_name(edge))

    @staticmethod
    def inputs(node: "tf.NodeDef") -> List[str]:
        """Data edges, without control edges."""
        return [edge for edge in node.input if not edge.startswith("^")]

    @staticmethod
    def in_scopes(edge: str, scopes: Iterable[str]) -> bool:
        """Whether the node of an edge is in one of the scopes."""
        name = node_name(edge)
        return any(name == scope or name.startswith(scope + "/") for scope in scopes)


def node_name(edge: str) -> str:
    """The name of the node that an edge ("name", "name:n" or "^name") starts from."""
    return edge.lstrip("^").split(":")[0]


def read(path: Path) -> Graph:
    """The frozen graph in `path`. Raises TodusError where the file is not a frozen graph."""
    data = path.read_bytes()
    graph_def = tf.GraphDef()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            graph_def.ParseFromString(data)
    # DecodeError, or SystemError where protobuf warns of bytes that it could not use.
    except Exception:
        what = "%s is not a frozen graph, or only a part of one (%d bytes); %s"
        raise TodusError(what % (path, len(data), AGAIN))
    if not graph_def.node:
        raise TodusError("%s has no nodes (%d bytes); %s" % (path, len(data), AGAIN))
    return Graph(graph_def, str(path))


def ordered(graph: Graph, roots: Iterable[str], stop: Callable[[str], bool]) -> List[str]:
    """The names of the nodes that `roots` (edges) need, inputs before users.

    Args:
      graph: to walk.
      roots: edges.
      stop: called with a name; true leaves that node out, with what only it needs.

    Raises:
      TodusError: there is a cycle, or a loop or condition.
    """
    done: Dict[str, None] = {}
    open_nodes: Set[str] = set()
    stack = [(node_name(root), False) for root in reversed(list(roots))]
    while stack:
        name, leaving = stack.pop()
        if leaving:
            open_nodes.discard(name)
            done[name] = None
        elif name not in done and not stop(name):
            if graph.nodes[name].op in CONTROL_FLOW:
                what = "the network has a loop (%s), which no network in config/ has" % name
                raise graph.error(what)
            open_nodes.add(name)
            stack.append((name, True))
            for edge in reversed(graph.inputs(graph.nodes[name])):
                needed = node_name(graph.skip_identities(edge))
                if needed in open_nodes:
                    raise graph.error("node %s is its own input" % needed)
                stack.append((needed, False))
    return list(done)


def constant(name: str, value: np.ndarray) -> "tf.NodeDef":
    """A Const node."""
    node = tf.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


def value_of(graph: Graph, node: "tf.NodeDef") -> np.ndarray:
    """The array of a Const node. Raises TodusError where it is damaged or has NaN or infinity."""
    try:
        value = tf.make_ndarray(node.attr["value"].tensor)
    # NumPy and TensorFlow raise many kinds of errors for a truncated tensor.
    except Exception as error:
        raise graph.error("constant %s cannot be read (%s)" % (node.name, reason(error)))
    if node.attr["dtype"].type != node.attr["value"].tensor.dtype:
        raise graph.error("constant %s has another type than its dtype" % node.name)
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        remedy = "the training diverged: export an earlier checkpoint"
        raise graph.error("constant %s holds NaN or infinity" % node.name, remedy)
    return value


def reason(error: BaseException) -> str:
    """The first line of an error's text, or the name of its type where it has no text."""
    return first_line(str(error).strip() or type(error).__name__)
