"""The UFF operation of each TensorFlow op: one small function an op."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from todus.tf import tf

import numpy as np

from todus.errors import TodusError
from todus.uff import graphs
from todus.uff import schema_pb2 as uff
from todus.uff.graphs import Graph, node_name
from todus.uff.settings import ELSEWHERE


class Operation(NamedTuple):
    """A node of a UFF file, without its id.

    Attributes:
      name: of the operation, such as Conv.
      inputs: edges.
      fields: name -> Data.
      layouts: of the inputs, such as N+C.
    """

    name: str
    inputs: List[str]
    fields: Dict[str, uff.Data]
    layouts: Optional[List[str]] = None


def data(kind: str, value: Any) -> uff.Data:
    """A Data message; `kind` is the name of its field, such as i_list."""
    result = uff.Data()
    if kind.endswith("_list"):
        getattr(result, kind).SetInParent()
        getattr(result, kind).val.extend(value)
    else:
        setattr(result, kind, value)
    return result


def data_type(dtype: "tf.DType") -> int:
    """UFF's number of a TensorFlow type. Raises KeyError for one that UFF has not."""
    return {
        tf.int8: uff.DT_INT8,
        tf.int16: uff.DT_INT16,
        tf.int32: uff.DT_INT32,
        tf.int64: uff.DT_INT64,
        tf.float16: uff.DT_FLOAT16,
        tf.float32: uff.DT_FLOAT32,
    }[dtype]


def operation_of(graph: Graph, node: "tf.NodeDef") -> Operation:
    """The UFF operation of `node`. Raises TodusError for an op that TensorRT's UFF parser lacks."""
    if node.op.endswith("_TRT"):
        return _plugin(graph, node)
    if node.op not in _OPS:
        what = "node %s: TensorRT's UFF parser has no %s" % (node.name, node.op)
        raise graph.error(what, ELSEWHERE)
    return _OPS[node.op](graph, node)


def _error(graph: Graph, node: "tf.NodeDef", what: str, remedy: str = graphs.AGAIN) -> TodusError:
    return graph.error("node %s (%s) %s" % (node.name, node.op, what), remedy)


def _attr(graph: Graph, node: "tf.NodeDef", name: str) -> "tf.AttrValue":
    if name not in node.attr:
        raise _error(graph, node, "has no %s" % name)
    return node.attr[name]


def _inputs(graph: Graph, node: "tf.NodeDef", count: int) -> List[str]:
    if len(node.input) != count:
        raise _error(graph, node, "has %d inputs instead of %d" % (len(node.input), count))
    return list(node.input)


def _constant(graph: Graph, node: "tf.NodeDef", edge: str) -> np.ndarray:
    made_by = graph.nodes[node_name(edge)]
    if made_by.op != "Const":
        what = "needs a constant where %s is a %s" % (edge, made_by.op)
        raise _error(graph, node, what, ELSEWHERE)
    return graphs.value_of(graph, made_by)


def _space(graph: Graph, node: "tf.NodeDef", name: str) -> uff.Data:
    """The [height, width] of an NHWC attribute such as strides."""
    values = list(_attr(graph, node, name).list.i)
    if len(values) != 4 or values[0] != 1 or values[3] != 1:
        raise _error(graph, node, "has the %s %s" % (name, values), ELSEWHERE)
    return data("i_list", values[1:3])


def _check_layout(graph: Graph, node: "tf.NodeDef") -> None:
    layout = node.attr["data_format"].s
    if layout not in (b"", b"NHWC"):
        raise _error(graph, node, "is %s, not NHWC" % layout.decode("utf-8", "replace"))


def _padding(graph: Graph, node: "tf.NodeDef") -> Dict[str, uff.Data]:
    padding = _attr(graph, node, "padding").s
    if padding not in (b"SAME", b"VALID"):
        what = "has the padding %s" % padding.decode("utf-8", "replace")
        raise _error(graph, node, what, ELSEWHERE)
    return {"implicit_padding": data("s", "same")} if padding == b"SAME" else {}


def _with_pad_merged(graph: Graph, operation: Operation) -> Operation:
    """A VALID convolution with the Pad before it as its own padding, where both sides are equal."""
    pad = graph.nodes[node_name(operation.inputs[0])]
    if "implicit_padding" in operation.fields or pad.op != "Pad" or len(pad.input) != 2:
        return operation
    sides = _constant(graph, pad, pad.input[1])
    if sides.shape != (4, 2) or sides[[0, 3]].any() or (sides[:, 0] != sides[:, 1]).any():
        return operation
    fields = dict(operation.fields, padding=data("i_list", [int(sides[1, 0]), int(sides[2, 0])]))
    return operation._replace(inputs=[pad.input[0], *operation.inputs[1:]], fields=fields)


def _input(graph: Graph, node: "tf.NodeDef") -> Operation:
    shape = [dim.size for dim in _attr(graph, node, "shape").shape.dim]
    dtype = data_type(tf.as_dtype(_attr(graph, node, "dtype").type))
    return Operation("Input", [], {"dtype": data("dtype", dtype), "shape": data("i_list", shape)})


def _conv(graph: Graph, node: "tf.NodeDef") -> Operation:
    _check_layout(graph, node)
    fields = {"strides": _space(graph, node, "strides"), **_padding(graph, node)}
    dilated = "dilations" in node.attr
    fields["dilation"] = _space(graph, node, "dilations") if dilated else data("i_list", [1, 1])
    operation = Operation("Conv", _inputs(graph, node, 2), fields, ["N+C", "+CK"])
    shape = list(_constant(graph, node, node.input[1]).shape)
    if len(shape) != 4:
        raise _error(graph, node, "has weights of the shape %s" % shape)
    if node.op == "DepthwiseConv2dNative":
        fields["number_groups"] = data("i", shape[2])
    return _with_pad_merged(graph, operation)


def _pool(graph: Graph, node: "tf.NodeDef") -> Operation:
    _check_layout(graph, node)
    fields = {
        "func": data("s", node.op[: -len("Pool")].lower()),
        "kernel": _space(graph, node, "ksize"),
        "strides": _space(graph, node, "strides"),
        **_padding(graph, node),
    }
    return Operation("Pool", _inputs(graph, node, 1), fields, ["N+C"])


def _batch_norm(graph: Graph, node: "tf.NodeDef") -> Operation:
    _check_layout(graph, node)
    inputs = _inputs(graph, node, 5)
    for edge in inputs[1:]:
        _constant(graph, node, edge)
    epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else 1e-4
    return Operation("BatchNorm", inputs, {"epsilon": data("d", epsilon)}, ["N+C"])


def _bias(graph: Graph, node: "tf.NodeDef") -> Operation:
    _check_layout(graph, node)
    _constant(graph, node, _inputs(graph, node, 2)[1])
    return Operation("Binary", list(node.input), {"func": data("s", "add")})


def _concat(graph: Graph, node: "tf.NodeDef") -> Operation:
    inputs = list(node.input)
    if "axis" in node.attr:
        axis = node.attr["axis"].i
    else:
        if len(inputs) < 2:
            raise _error(graph, node, "has %d inputs" % len(inputs))
        axis = int(_constant(graph, node, inputs.pop()))
    return Operation("Concat", inputs, {"axis": data("i", axis)})


def _pad(graph: Graph, node: "tf.NodeDef") -> Operation:
    _constant(graph, node, _inputs(graph, node, 2)[1])
    return Operation("Pad", list(node.input), {})


def _stack(graph: Graph, node: "tf.NodeDef") -> Operation:
    return Operation("Stack", list(node.input), {"axis": data("i", node.attr["axis"].i)})


def _strided_slice(graph: Graph, node: "tf.NodeDef") -> Operation:
    if node.attr["ellipsis_mask"].i or node.attr["new_axis_mask"].i:
        what = "node %s: UFF's StridedSlice has neither ellipsis nor new axis" % node.name
        raise graph.error(what, ELSEWHERE)
    masks = ("begin_mask", "end_mask", "shrink_axis_mask")
    fields = {name: data("i", node.attr[name].i) for name in masks}
    return Operation("StridedSlice", _inputs(graph, node, 4), fields)


def _squeeze(graph: Graph, node: "tf.NodeDef") -> Operation:
    axes = data("i_list", node.attr["squeeze_dims"].list.i)
    return Operation("Squeeze", _inputs(graph, node, 1), {"axes": axes})


def _plugin(graph: Graph, node: "tf.NodeDef") -> Operation:
    fields = {}
    for name, value in node.attr.items():
        kind = value.WhichOneof("value")
        if kind == "type":
            fields[name] = data("dtype", data_type(tf.as_dtype(value.type)))
        elif kind == "list":
            floats = list(value.list.f)
            fields[name] = data("d_list", floats) if floats else data("i_list", value.list.i)
        else:
            fields[name] = data({"i": "i", "f": "d", "b": "b"}[kind], getattr(value, kind))
    return Operation("_" + node.op, list(node.input), fields)


def _simple(name: str, inputs: int, **texts: str) -> Callable[[Graph, "tf.NodeDef"], Operation]:
    """The conversion of an op by its number of inputs, with fields of text."""
    fields = {field: data("s", text) for field, text in texts.items()}
    return lambda graph, node: Operation(name, _inputs(graph, node, inputs), fields)


_OPS = {
    "Placeholder": _input,
    "Conv2D": _conv,
    "DepthwiseConv2dNative": _conv,
    "MaxPool": _pool,
    "AvgPool": _pool,
    "FusedBatchNorm": _batch_norm,
    "BiasAdd": _bias,
    "ConcatV2": _concat,
    "Reshape": _simple("Reshape", 2),
    "Pad": _pad,
    "Pack": _stack,
    "Shape": _simple("Shape", 1),
    "StridedSlice": _strided_slice,
    "Squeeze": _squeeze,
    "Add": _simple("Binary", 2, func="add"),
    "Sub": _simple("Binary", 2, func="sub"),
    "Mul": _simple("Binary", 2, func="mul"),
    "Div": _simple("Binary", 2, func="div"),
    "RealDiv": _simple("Binary", 2, func="div"),
    "Minimum": _simple("Binary", 2, func="min"),
    "Maximum": _simple("Binary", 2, func="max"),
    **{
        op: _simple("Activation", 1, func=op.lower())
        for op in ("Relu", "Relu6", "Sigmoid", "Tanh", "Elu")
    },
}
