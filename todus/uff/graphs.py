"""Frozen TensorFlow graphs as dictionaries of nodes: reading, following edges, folding constants."""

import warnings
from pathlib import Path
from typing import Dict, Iterable, List, Set

from todus.tf import tf

from google.protobuf.message import DecodeError

from todus.errors import TodusError

# An edge through these changes nothing at inference.
TRANSPARENT = {"Identity", "StopGradient", "CheckNumerics"}

# Loops and conditions, where a cycle is no damage.
CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}

AGAIN = "export it again with ./export.sh, or take the zoo's with python -m model"


class Graph:
    """A GraphDef whose edges are known to be whole.

    Attributes:
      nodes: name -> NodeDef, in the graph's order.
      where: the file, for messages.
      versions: the VersionDef, which tells TensorFlow how to read older graphs.
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
                    raise self.error(
                        "node %s needs %s, which is missing"
                        % (node.name, name or "(an empty name)")
                    )

    def error(self, what: str, remedy: str = AGAIN) -> TodusError:
        return TodusError("%s: %s; %s" % (self.where, what, remedy))

    def source(self, edge: str) -> str:
        """The edge ("name" or "name:n") that `edge` repeats, with nodes that change nothing skipped."""
        for _ in range(len(self.nodes) + 1):
            node = self.nodes[node_name(edge)]
            same = node.op == "Cast" and node.attr["SrcT"].type == node.attr["DstT"].type
            if node.op not in TRANSPARENT and not same:
                return edge[: -len(":0")] if edge.endswith(":0") else edge
            edge = self.inputs(node)[0] if self.inputs(node) else ""
            if not edge:
                raise self.error("node %s has no input" % node.name)
        raise self.error("node %s is its own input" % node_name(edge))

    @staticmethod
    def inputs(node: "tf.NodeDef") -> List[str]:
        """Data edges, without control edges."""
        return [edge for edge in node.input if not edge.startswith("^")]

    def in_scopes(self, edge: str, scopes: Iterable[str]) -> bool:
        name = node_name(edge)
        return any(name == scope or name.startswith(scope + "/") for scope in scopes)


def node_name(edge: str) -> str:
    return edge.lstrip("^").split(":")[0]


def read(path: Path) -> Graph:
    """The frozen graph in `path`. Raises TodusError for a file that is none, in one line."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TodusError("%s is missing; %s" % (path, AGAIN))
    graph_def = tf.GraphDef()
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            graph_def.ParseFromString(data)
        if told:
            raise DecodeError(str(told[0].message))
    except (DecodeError, RuntimeError, ValueError):
        raise TodusError(
            "%s is not a frozen graph, or only a part of one (%d bytes); %s"
            % (path, len(data), AGAIN)
        )
    if not graph_def.node:
        raise TodusError("%s has no nodes (%d bytes); %s" % (path, len(data), AGAIN))
    return Graph(graph_def, str(path))


def ordered(graph: Graph, roots: Iterable[str], stop) -> List[str]:
    """The names of the nodes that `roots` (edges) need, inputs before users.

    Args:
      graph: to walk.
      roots: edges.
      stop: called with a name; nodes for which it is true are left out with what only they need.

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
            if name in open_nodes:
                raise graph.error("node %s is its own input" % name)
            if graph.nodes[name].op in CONTROL_FLOW:
                raise graph.error(
                    "a loop (%s) is part of the network, so this is not the graph that config/ describes"
                    % name
                )
            open_nodes.add(name)
            stack.append((name, True))
            for edge in reversed(graph.inputs(graph.nodes[name])):
                needed = node_name(graph.source(edge))
                if needed in open_nodes:
                    raise graph.error("node %s is its own input" % needed)
                stack.append((needed, False))
    return list(done)


def constant(name: str, value) -> "tf.NodeDef":
    """A Const node of a NumPy array."""
    node = tf.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


def value_of(graph: Graph, node: "tf.NodeDef"):
    """The array of a Const node. Raises TodusError for one that is damaged or holds NaN or infinity."""
    try:
        value = tf.make_ndarray(node.attr["value"].tensor)
    except (
        Exception
    ) as error:  # NumPy and TensorFlow raise many kinds for a tensor that is not whole
        raise graph.error("constant %s cannot be read (%s)" % (node.name, first_line(error)))
    if node.attr["dtype"].type != node.attr["value"].tensor.dtype:
        raise graph.error("constant %s is declared as another type than it holds" % node.name)
    if value.dtype.kind == "f" and not _finite(value):
        raise graph.error(
            "constant %s holds NaN or infinity" % node.name,
            "the training diverged: export an earlier checkpoint",
        )
    return value


def _finite(value) -> bool:
    import numpy as np

    return bool(np.isfinite(value).all())


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
