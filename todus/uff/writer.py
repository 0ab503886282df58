"""Writes a graph as UFF.

Nodes, fields, their order and names are those of NVIDIA's converter 0.6.3. The same graph gives the
same bytes.
"""

from typing import List

from todus.tf import tf

from google.protobuf import text_format

from todus.uff import graphs, operations
from todus.uff import schema_pb2 as uff
from todus.uff.graphs import Graph, node_name
from todus.uff.operations import data
from todus.uff.settings import ELSEWHERE

# The layouts of TensorFlow's tensors, and the canonical layouts to which orders refer: NC+ for data
# (batch, channels, space) and KC+ for weights.
_CANONICAL = {"N+C": "NC+", "+CK": "KC+"}

MOST_TEXT_BYTES = 32


def meta_graph(graph_def: "tf.GraphDef", output: str, where: str) -> uff.MetaGraph:
    """The UFF form of everything that node `output` needs.

    Args:
      graph_def: ops of `operations` and TensorRT plugins (ops that end in _TRT).
      output: a node's name.
      where: the file that it was made from, for messages.

    Raises:
      TodusError: a node that UFF cannot hold.
    """
    graph = Graph(graph_def, where)
    result = uff.MetaGraph(version=1, descriptor_core_version=1)
    result.descriptors.add(id="tensorflow_extension", version=1)
    if any(node.op.endswith("_TRT") for node in graph_def.node):
        result.descriptors.add(id="custom", version=1)
    nodes = result.graphs.add(id="main").nodes
    done, work = set(), [output]
    while work:
        name = work.pop()
        if name in done:
            continue
        done.add(name)
        node = graph.nodes[name]
        if node.op == "Const":
            _add_constant(result, graph, node)
            continue
        operation = operations.operation_of(graph, node)
        if node.op == "BiasAdd" and operation.inputs[1] not in done:
            done.add(operation.inputs[1])
            _add_constant(result, graph, graph.nodes[operation.inputs[1]])
        written = nodes.add(id=name, operation=operation.name, inputs=operation.inputs)
        for field, value in operation.fields.items():
            written.fields[field].CopyFrom(value)
        if operation.layouts:
            written.fields["inputs_orders"].ref = _add_orders(result, operation.layouts)
        work.extend(node_name(edge) for edge in operation.inputs)
    nodes.add(id="MarkOutput_0", operation="MarkOutput", inputs=[output])
    return result


def _add_constant(result: uff.MetaGraph, graph: Graph, node: "tf.NodeDef") -> None:
    value = graphs.value_of(graph, node)
    written = result.graphs[0].nodes.add(id=node.name, operation="Const")
    try:
        written.fields["dtype"].dtype = operations.data_type(tf.as_dtype(value.dtype))
    except (KeyError, TypeError):
        what = "constant %s is of type %s, which UFF has not" % (node.name, value.dtype)
        raise graph.error(what, ELSEWHERE)
    written.fields["shape"].CopyFrom(data("i_list", value.shape))
    key = "weights_" + node.name
    result.referenced_data[key].blob = value.astype(value.dtype.newbyteorder("<")).tobytes()
    written.fields["values"].ref = key


def _add_orders(result: uff.MetaGraph, layouts: List[str]) -> str:
    """Adds the orders of `layouts` where they are missing, and returns their key."""
    key = "orders_" + "_".join(layouts)
    if key not in result.referenced_data:
        orders = result.referenced_data[key].dim_orders_list
        for layout in layouts:
            orders.val.add().orders[uff.OE_SPECIAL].val.extend(_positions(layout))
    return key


def _positions(layout: str) -> List[int]:
    """The place of each dimension of `layout` in its canonical layout; + is every spatial one."""
    result = []
    for letter in layout:
        result.append(_CANONICAL[layout].index(letter))
        if letter == "+":
            result.append(uff.OE_INCREMENT)
    return result


def to_bytes(result: uff.MetaGraph) -> bytes:
    """The file. Maps are written in the order of their keys, so equal graphs give equal bytes."""
    return result.SerializeToString(deterministic=True)


def to_text(result: uff.MetaGraph) -> str:
    """The file in protobuf's text format; a blob over MOST_TEXT_BYTES bytes as its size alone."""
    short = uff.MetaGraph()
    short.CopyFrom(result)
    for value in short.referenced_data.values():
        if value.WhichOneof("data_oneof") == "blob" and len(value.blob) > MOST_TEXT_BYTES:
            value.blob = b"(...%d bytes skipped...)" % len(value.blob)
    return text_format.MessageToString(short)
