"""From a frozen graph to ONNX by tf2onnx, and operators added to the result."""

import zlib
from typing import Any, List, Sequence

import numpy as np

from todus.errors import TodusError
from todus.export import fake_quantization
from todus.text import first_line


def library():
    """The packages onnx and tf2onnx. Raises TodusError where one is missing."""
    from todus.tf import tf  # noqa: F401  tf2onnx imports TensorFlow; this makes it quiet

    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise TodusError("tf2onnx cannot be imported (%s); run: make install" % error)
    # tf2onnx iterates over sets of its nodes. With hashes of their names, the order is the same in
    # every run (under the script's PYTHONHASHSEED).
    tf2onnx.graph.Node.__hash__ = lambda node: zlib.crc32(node.name.encode("utf-8"))
    return onnx, tf2onnx


def converted(
    graph_def, inputs: List[str], outputs: List[str], opset: int, name: str, rounds: bool = True
):
    """The ONNX ModelProto of a frozen graph between inputs and outputs.

    `rounds`: whether values are rounded where the graph has fake quantization; else they are only
    limited to its ranges.

    Raises TodusError where tf2onnx refuses the graph.
    """
    from todus.tf import tf

    onnx, tf2onnx = library()

    def convert_graph(catch_errors: bool):
        limits = fake_quantization.Limits()
        folded = tf2onnx.tf_loader.tf_optimize(inputs, outputs, graph_def)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(folded, name="")
            with tf.Session(graph=graph):
                converted = tf2onnx.tfonnx.process_tf_graph(
                    graph,
                    opset=opset,
                    input_names=inputs,
                    output_names=outputs,
                    custom_op_handlers=limits.handlers,
                )
        optimized = tf2onnx.optimizer.optimize_graph(converted, catch_errors)
        made = optimized.make_model("Todus: %s" % name)
        if rounds:
            limits.add_rounding(made, onnx.helper.make_node, onnx.numpy_helper.from_array)
        return made

    # tf2onnx raises ValueError, RuntimeError, KeyError and more for operators that it lacks.
    try:
        try:
            return convert_graph(catch_errors=False)
        except Exception:  # catching copies the graph before each optimizer, which takes seconds
            return convert_graph(catch_errors=True)
    except Exception as error:
        what = "tf2onnx refused the graph of %s (%s: %s); export it again, or try another OPSET"
        raise TodusError(what % (name, type(error).__name__, first_line(error, 300)))


def check(model) -> None:
    """Raises TodusError where ONNX's checker refuses a ModelProto."""
    onnx, _ = library()
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        what = "ONNX's checker refuses the converted model (%s); try another OPSET"
        raise TodusError(what % first_line(error, 300))


class Operators:
    """Operators and constants for an ONNX model, named below a scope. Values are names.

    `append` or `prepend` puts them into the model.
    """

    def __init__(self, model, scope: str):
        self._onnx, _ = library()
        self._model, self._scope = model, scope
        self._nodes: List[Any] = []
        self._constants: List[Any] = []

    def constant(self, values, dtype=np.float32) -> str:
        name = "%s/constant_%d" % (self._scope, len(self._constants))
        array = np.asarray(values).astype(dtype)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        """An int64 constant [number of values], such as a shape."""
        return self.constant(values, np.int64)

    def node(self, kind: str, *inputs: str, output: str = "", **attributes) -> str:
        """The output of a new operator; `output` is its name."""
        return self.nodes(kind, inputs, [output], **attributes)[0]

    def nodes(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes
    ) -> List[str]:
        """The outputs of a new operator; "" is a name of its own."""
        own = "%s/%s_%d" % (self._scope, kind, len(self._nodes))
        names = [name or "%s:%d" % (own, place) for place, name in enumerate(outputs)]
        make = self._onnx.helper.make_node
        self._nodes.append(make(kind, list(inputs), names, name=own, **attributes))
        return names

    def append(self, outputs: Sequence) -> None:
        """Puts the operators last, with `outputs`: (name, dtype, shape) of each."""
        self._model.graph.node.extend(self._nodes)
        self._finish()
        del self._model.graph.output[:]
        self._model.graph.output.extend(self._value(*each) for each in outputs)

    def prepend(self, name: str, dtype: str, shape: Sequence[int]) -> None:
        """Puts the operators first, with a new input of the model in place of all others."""
        nodes = self._nodes + list(self._model.graph.node)
        del self._model.graph.node[:]
        self._model.graph.node.extend(nodes)
        self._finish()
        del self._model.graph.input[:]
        self._model.graph.input.append(self._value(name, dtype, shape))

    def _finish(self) -> None:
        self._model.graph.initializer.extend(self._constants)

    def _value(self, name: str, dtype: str, shape: Sequence):
        kind = self._onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[np.dtype(dtype)]
        return self._onnx.helper.make_tensor_value_info(name, kind, shape)
