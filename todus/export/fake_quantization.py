"""The fake quantization of a quantization-aware graph in ONNX, which has no such operator.

tf2onnx writes a pair of QuantizeLinear and DequantizeLinear. ONNX Runtime makes integer
convolutions of such pairs, whose weights it quantizes again in steps of its own, and TensorRT
refuses their zero points. Here it is written in plain operators.
"""

from typing import Callable, Dict, NamedTuple

import numpy as np

_OPERATOR = "FakeQuantWithMinMaxVars"


class _Range(NamedTuple):
    """The limits and the step of values; zero is one of the steps."""

    low: np.float32
    high: np.float32
    step: np.float32


class Limits:
    """Makes tf2onnx limit values to the ranges, and remembers them for `add_rounding`.

    Attributes:
      handlers: for tf2onnx's argument custom_op_handlers.
    """

    def __init__(self) -> None:
        self._ranges: Dict[str, _Range] = {}
        self.handlers = {_OPERATOR: (self._limit, [])}

    def _limit(self, graph, node, name: str, _arguments) -> None:
        found = _range(node)
        limits = [
            graph.make_const("%s/%s" % (name, key), np.array(value, np.float32)).output[0]
            for key, value in (("low", found.low), ("high", found.high))
        ]
        shapes, dtypes, output = node.output_shapes, node.output_dtypes, node.output[0]
        inputs = [node.input[0], *limits]
        graph.remove_node(name)
        graph.make_node("Clip", inputs, name=name, outputs=[output], shapes=shapes, dtypes=dtypes)
        self._ranges[name] = found

    def add_rounding(self, model, make_node: Callable, make_tensor: Callable) -> None:
        """Rounds the limited values of an ONNX model to their steps, as TensorFlow computes it.

        Args:
          model: a ModelProto, which is changed.
          make_node, make_tensor: onnx.helper.make_node and onnx.numpy_helper.from_array.
        """
        nodes = []
        for node in model.graph.node:
            nodes.append(node)
            if node.name not in self._ranges:
                continue
            scope, output = node.name + "/rounding/", node.output[0]
            low, _, step = self._ranges[node.name]
            for key, value in (("low", low), ("step", step), ("half", np.float32(0.5))):
                model.graph.initializer.append(make_tensor(np.array(value), scope + key))
            node.output[0] = edge = scope + "limited"
            operators = [("Sub", "low"), ("Div", "step"), ("Add", "half"), ("Floor", "")]
            for kind, key in operators + [("Mul", "step"), ("Add", "low")]:
                inputs = [edge, scope + key] if key else [edge]
                edge = scope + kind.lower() + "_" + key
                nodes.append(make_node(kind, inputs, [edge], name=edge))
            nodes[-1].output[0] = output
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def _range(node) -> _Range:
    """The range of a node of tf2onnx, moved as TensorFlow moves it: zero becomes a step."""
    limits = [each.get_tensor_value() for each in node.inputs[1:3]]
    low, high = np.array(limits, np.float32)
    if low == high == 0:  # TensorFlow returns zeros
        return _Range(low, high, np.float32(1))
    narrow, bits = (node.get_attr(key) for key in ("narrow_range", "num_bits"))
    lowest = np.float32(narrow.i if narrow else 0)
    highest = np.float32(2 ** (bits.i if bits else 8) - 1)
    step = (high - low) / (highest - lowest)
    zero = np.clip(np.floor(lowest - low / step + np.float32(0.5)), lowest, highest)
    return _Range((lowest - zero) * step, (highest - zero) * step, step)
