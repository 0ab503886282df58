"""How each TensorFlow op is said in UFF: one small function an op, each returning UFF's operation, inputs and fields."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from todus.tf import tf

import numpy as np

from todus.uff import graphs
from todus.uff import schema_pb2 as uff
from todus.uff.graphs import Graph, node_name
from todus.uff.settings import ELSEWHERE


class Said(NamedTuple):
    """What a node becomes. `fields` are name -> Data; `orders` are the layouts of the inputs, such as N+C."""

    operation: str
    inputs: List[str]
    fields: Dict[str, uff.Data]
    orders: Optional[List[str]] = None


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


def say(graph: Graph, node: "tf.NodeDef") -> Said:
    """The UFF form of `node`. Raises TodusError for an op that TensorRT's UFF parser does not know."""
    if node.op.endswith("_TRT"):
        return _plugin(graph, node)
    if node.op not in _OPS:
        raise graph.error(
            "node %s: TensorRT's UFF parser has no %s" % (node.name, node.op), ELSEWHERE
        )
    return _OPS[node.op](graph, node)


def _attr(graph: Graph, node: "tf.NodeDef", name: str) -> "tf.AttrValue":
    if name not in node.attr:
        raise graph.error("node %s (%s) has no %s" % (node.name, node.op, name))
    return node.attr[name]


def _inputs(graph: Graph, node: "tf.NodeDef", count: int) -> List[str]:
    if len(node.input) != count:
        raise graph.error(
            "node %s (%s) has %d inputs instead of %d"
            % (node.name, node.op, len(node.input), count)
        )
    return list(node.input)


def _constant(graph: Graph, node: "tf.NodeDef", edge: str) -> np.ndarray:
    made_by = graph.nodes[node_name(edge)]
    if made_by.op != "Const":
        raise graph.error(
            "node %s (%s) needs a constant where %s is a %s"
            % (node.name, node.op, edge, made_by.op),
            ELSEWHERE,
        )
    return graphs.value_of(graph, made_by)


def _space(graph: Graph, node: "tf.NodeDef", name: str) -> List[int]:
    """(height, width) of an NHWC list of four."""
    values = list(_attr(graph, node, name).list.i)
    if len(values) != 4 or values[0] != 1 or values[3] != 1:
        raise graph.error(
            "node %s (%s) has the %s %s" % (node.name, node.op, name, values), ELSEWHERE
        )
    return values[1:3]


def _check_layout(graph: Graph, node: "tf.NodeDef") -> None:
    if node.attr["data_format"].s not in (b"", b"NHWC"):
        raise graph.error(
            "node %s (%s) is %s, not NHWC"
            % (node.name, node.op, node.attr["data_format"].s.decode("utf-8", "replace"))
        )


def _padding(graph: Graph, node: "tf.NodeDef") -> Dict[str, uff.Data]:
    padding = _attr(graph, node, "padding").s
    if padding not in (b"SAME", b"VALID"):
        raise graph.error(
            "node %s (%s) has the padding %s"
            % (node.name, node.op, padding.decode("utf-8", "replace")),
            ELSEWHERE,
        )
    return {"implicit_padding": data("s", "same")} if padding == b"SAME" else {}


def _unpadded(graph: Graph, node: "tf.NodeDef", said: Said) -> Said:
    """`said` with a Pad before a VALID window told as the window's own padding, where it is the same on both sides."""
    pad = graph.nodes[node_name(said.inputs[0])]
    if "implicit_padding" in said.fields or pad.op != "Pad" or len(pad.input) != 2:
        return said
    sides = _constant(graph, pad, pad.input[1])
    if (
        sides.shape != (4, 2)
        or sides[0].any()
        or sides[3].any()
        or (sides[:, 0] != sides[:, 1]).any()
    ):
        return said
    fields = dict(said.fields, padding=data("i_list", [int(sides[1, 0]), int(sides[2, 0])]))
    return said._replace(inputs=[pad.input[0]] + said.inputs[1:], fields=fields)


def _input(graph: Graph, node: "tf.NodeDef") -> Said:
    shape = [dim.size for dim in _attr(graph, node, "shape").shape.dim]
    fields = {
        "dtype": data("dtype", data_type(tf.as_dtype(_attr(graph, node, "dtype").type))),
        "shape": data("i_list", shape),
    }
    return Said("Input", [], fields)


def _conv(graph: Graph, node: "tf.NodeDef") -> Said:
    _check_layout(graph, node)
    fields = {"strides": data("i_list", _space(graph, node, "strides")), **_padding(graph, node)}
    fields["dilation"] = data(
        "i_list", _space(graph, node, "dilations") if "dilations" in node.attr else [1, 1]
    )
    said = Said("Conv", _inputs(graph, node, 2), fields, ["N+C", "+CK"])
    weights = _constant(graph, node, node.input[1])
    if weights.ndim != 4:
        raise graph.error(
            "node %s (%s) has weights of the shape %s" % (node.name, node.op, list(weights.shape))
        )
    if node.op == "DepthwiseConv2dNative":
        fields["number_groups"] = data("i", weights.shape[2])
    return _unpadded(graph, node, said)


def _pool(graph: Graph, node: "tf.NodeDef") -> Said:
    _check_layout(graph, node)
    fields = {
        "func": data("s", node.op[: -len("Pool")].lower()),
        "kernel": data("i_list", _space(graph, node, "ksize")),
        "strides": data("i_list", _space(graph, node, "strides")),
        **_padding(graph, node),
    }
    return Said("Pool", _inputs(graph, node, 1), fields, ["N+C"])


def _batch_norm(graph: Graph, node: "tf.NodeDef") -> Said:
    _check_layout(graph, node)
    inputs = _inputs(graph, node, 5)
    for edge in inputs[1:]:
        _constant(graph, node, edge)
    epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else 1e-4
    return Said("BatchNorm", inputs, {"epsilon": data("d", epsilon)}, ["N+C"])


def _bias(graph: Graph, node: "tf.NodeDef") -> Said:
    _check_layout(graph, node)
    _constant(graph, node, _inputs(graph, node, 2)[1])
    return Said("Binary", list(node.input), {"func": data("s", "add")})


def _binary(func: str) -> Callable:
    return lambda graph, node: Said("Binary", _inputs(graph, node, 2), {"func": data("s", func)})


def _activation(func: str) -> Callable:
    return lambda graph, node: Said(
        "Activation", _inputs(graph, node, 1), {"func": data("s", func)}
    )


def _concat(graph: Graph, node: "tf.NodeDef") -> Said:
    inputs = list(node.input)
    if "axis" in node.attr:
        axis = node.attr["axis"].i
    else:
        if len(inputs) < 2:
            raise graph.error("node %s (%s) has %d inputs" % (node.name, node.op, len(inputs)))
        axis = int(_constant(graph, node, inputs.pop()))
    return Said("Concat", inputs, {"axis": data("i", axis)})


def _reshape(graph: Graph, node: "tf.NodeDef") -> Said:
    return Said("Reshape", _inputs(graph, node, 2), {})


def _pad(graph: Graph, node: "tf.NodeDef") -> Said:
    _constant(graph, node, _inputs(graph, node, 2)[1])
    return Said("Pad", list(node.input), {})


def _stack(graph: Graph, node: "tf.NodeDef") -> Said:
    return Said("Stack", list(node.input), {"axis": data("i", node.attr["axis"].i)})


def _shape(graph: Graph, node: "tf.NodeDef") -> Said:
    return Said("Shape", _inputs(graph, node, 1), {})


def _strided_slice(graph: Graph, node: "tf.NodeDef") -> Said:
    if node.attr["ellipsis_mask"].i or node.attr["new_axis_mask"].i:
        raise graph.error(
            "node %s: UFF's StridedSlice has neither ellipsis nor new axis" % node.name, ELSEWHERE
        )
    fields = {
        name: data("i", node.attr[name].i)
        for name in ("begin_mask", "end_mask", "shrink_axis_mask")
    }
    return Said("StridedSlice", _inputs(graph, node, 4), fields)


def _squeeze(graph: Graph, node: "tf.NodeDef") -> Said:
    return Said(
        "Squeeze",
        _inputs(graph, node, 1),
        {"axes": data("i_list", node.attr["squeeze_dims"].list.i)},
    )


def _plugin(graph: Graph, node: "tf.NodeDef") -> Said:
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
    return Said("_" + node.op, list(node.input), fields)


_OPS = {
    "Placeholder": _input,
    "Conv2D": _conv,
    "DepthwiseConv2dNative": _conv,
    "MaxPool": _pool,
    "AvgPool": _pool,
    "FusedBatchNorm": _batch_norm,
    "BiasAdd": _bias,
    "ConcatV2": _concat,
    "Reshape": _reshape,
    "Pad": _pad,
    "Pack": _stack,
    "Shape": _shape,
    "StridedSlice": _strided_slice,
    "Squeeze": _squeeze,
    "Add": _binary("add"),
    "Sub": _binary("sub"),
    "Mul": _binary("mul"),
    "Div": _binary("div"),
    "RealDiv": _binary("div"),
    "Minimum": _binary("min"),
    "Maximum": _binary("max"),
    "Relu": _activation("relu"),
    "Relu6": _activation("relu6"),
    "Sigmoid": _activation("sigmoid"),
    "Tanh": _activation("tanh"),
    "Elu": _activation("elu"),
}
