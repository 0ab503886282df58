"""A .tflite file as a graph, and the plan of a cut applied to it."""

from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from todus.errors import TodusError
from todus.slicing import post_process
from todus.slicing import tflite_schema as schema
from todus.slicing.graph import Graph, Node
from todus.slicing.walk import Cut, Plan

IDENTIFIER = b"TFL3"
EDGETPU = "edgetpu-custom-op"
_ALIGNMENT = 16  # of the content of a buffer, which runtimes map into memory

TYPES = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.FLOAT16: np.dtype("<f2"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.UINT8: np.dtype("u1"),
    schema.TensorType.INT64: np.dtype("<i8"),
    schema.TensorType.INT16: np.dtype("<i2"),
    schema.TensorType.INT8: np.dtype("i1"),
    schema.TensorType.BFLOAT16: np.dtype("<u2"),
}

_NAMES = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if type(number) is int
}
_ELEMENTWISE = """
    ABS ADD CAST DEQUANTIZE DIV ELU EXP FAKE_QUANT HARD_SWISH LEAKY_RELU LOGISTIC MAXIMUM MINIMUM
    MUL NEG QUANTIZE RELU RELU6 RELU_N1_TO_1 SQRT SQUARE SUB TANH
"""
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


class _Buffer(schema.BufferT):
    """A buffer whose content is aligned as the format asks, which flatc's Python does not do."""

    def Pack(self, builder):
        data = None
        if self.data is not None and len(self.data):
            content = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(content), _ALIGNMENT)
            builder.head = builder.Head() - len(content)
            builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


MOST_PARTS = 10000  # tensors, operators and buffers; detectors have some hundred


def read(data: bytes) -> schema.ModelT:
    """The content of a .tflite file. Raises TodusError for a damaged one."""
    if data[4:8] != IDENTIFIER:
        raise TodusError("it is no TFLite file")
    # flatbuffers checks nothing: a damaged file raises struct.error, IndexError, TypeError ...
    try:
        model = post_process.unpacked(data) if _is_in_bounds(data) else None
        whole = model is not None and _is_whole(model)
    except Exception:
        whole = False
    if not whole:
        raise TodusError("it is damaged; download or convert it again")
    return model


def _is_in_bounds(data: bytes) -> bool:
    """Whether a file has room for its parts: in a hostile one many have the same bytes."""
    model = schema.Model.GetRootAs(data, 0)
    parts = model.SubgraphsLength() + model.OperatorCodesLength() + model.BuffersLength()
    if parts > MOST_PARTS:
        return False
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        parts += graph.TensorsLength() + graph.OperatorsLength()
    constants = map(model.Buffers, range(model.BuffersLength()))
    return parts <= MOST_PARTS and sum(each.DataLength() for each in constants) <= len(data)


def _is_whole(model: schema.ModelT) -> bool:
    """Whether every index leads somewhere, and every constant has the size of its tensor."""
    if not model.subgraphs or not model.operatorCodes or not model.buffers:
        return False
    for graph in model.subgraphs:
        count, absent = len(graph.tensors), -1
        for operator in graph.operators:
            if not 0 <= operator.opcodeIndex < len(model.operatorCodes):
                return False
            indices = list(operator.inputs) + list(operator.outputs)
            if any(not absent <= each < count for each in indices):
                return False
        if any(not 0 <= each < count for each in list(graph.inputs) + list(graph.outputs)):
            return False
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            kind, shape = TYPES.get(tensor.type), tensor.shape
            shape = [] if shape is None else [int(side) for side in shape]
            if data is None or not len(data) or kind is None or tensor.sparsity is not None:
                continue
            if any(side < 0 for side in shape):
                return False
            size = 1
            for side in shape:
                size *= side
            if size * kind.itemsize != len(data):
                return False
    return True


def packed(model: schema.ModelT) -> bytes:
    """The bytes of a .tflite file, without the buffers that nothing uses."""
    import flatbuffers

    _drop_buffers(model)
    for buffer in model.buffers:
        buffer.__class__ = _Buffer
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = flatbuffers.Builder(2 * size + 65536)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _drop_buffers(model: schema.ModelT) -> None:
    """Removes the operator codes and buffers that nothing uses. Buffer 0 is the empty one."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    metadata = list(model.metadata or [])
    used = {0} | {each.buffer for each in tensors + metadata}
    old_metadata = [] if model.metadataBuffer is None else [int(e) for e in model.metadataBuffer]
    used.update(old_metadata)
    place = {old: new for new, old in enumerate(sorted(used))}
    model.buffers = [model.buffers[old] for old in sorted(used)]
    for each in tensors + metadata:
        each.buffer = place[each.buffer]
    model.metadataBuffer = [place[each] for each in old_metadata] or None


class TFLiteGraph(Graph):
    """The first subgraph of a .tflite file; values are indices of tensors."""

    def __init__(self, model: schema.ModelT):
        self.model, self.subgraph = model, model.subgraphs[0]
        self.operators = self.subgraph.operators
        nodes = [self._node(number, operator) for number, operator in enumerate(self.operators)]
        super().__init__(nodes, [int(each) for each in self.subgraph.outputs])

    def shape(self, value: int) -> Tuple[int, ...]:
        shape = self.subgraph.tensors[value].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def constant(self, value: int) -> Optional[np.ndarray]:
        tensor = self.subgraph.tensors[value]
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data):
            return None
        if tensor.sparsity is not None or tensor.type not in TYPES:
            what = "the constant %s is sparse or of a type that this cannot cut"
            raise TodusError(what % self.name_of(value))
        content = np.asarray(data, np.uint8).tobytes()
        return np.frombuffer(content, TYPES[tensor.type]).reshape(self.shape(value))

    def name_of(self, value: int) -> str:
        name = self.subgraph.tensors[value].name
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)

    def operator_name(self, operator: schema.OperatorT) -> str:
        """Such as CONV_2D, or a custom operator's own name."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        if code.customCode:
            custom = code.customCode
            return custom.decode("utf-8", "replace") if isinstance(custom, bytes) else custom
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return _NAMES.get(number, "operator %d" % number)

    def _node(self, number: int, operator: schema.OperatorT) -> Node:
        name = self.operator_name(operator)
        inputs = [int(each) if each >= 0 else None for each in operator.inputs]
        outputs = [int(each) for each in operator.outputs]
        kind, options = self._rule(name, operator, inputs, number)
        return Node(number, kind, name, inputs, outputs, options)

    def _rule(
        self, name: str, operator: schema.OperatorT, inputs: List, number: int
    ) -> Tuple[str, Dict[str, Any]]:
        own = operator.builtinOptions
        if name in _ELEMENTWISE.split():
            return "elementwise", {"adds": name == "ADD"}
        if name in _RESHAPES:
            options: Dict[str, Any] = {}
            if name == "RESHAPE" and len(inputs) > 1:
                options["shape"] = 1
            if name == "RESHAPE" and own is not None and own.newShape is not None:
                options["new_shape"] = own.newShape
            return "reshape", options
        if name == "CONCATENATION":
            return "concat", {"axis": own.axis if own else 0}
        if name == "CONV_2D":
            return "predictor", {"weights": 1, "weights_axis": 0, "bias": 2, "channel": -1}
        if name == "FULLY_CONNECTED" and not (own and own.weightsFormat):
            return "predictor", {"weights": 1, "weights_axis": 0, "bias": 2, "channel": -1}
        if name == "SOFTMAX":
            return "softmax", {}
        if name == "TRANSPOSE" and self.constant(inputs[1]) is not None:
            return "transpose", {"permutation": self.constant(inputs[1])}
        if name in ("SPLIT", "SPLIT_V"):
            return self._split(name, inputs, number)
        if name in ("SLICE", "STRIDED_SLICE"):
            return self._slice(name, own, inputs, number)
        return ("shape", {}) if name == "SHAPE" else ("", {})

    def _split(self, name: str, inputs: List, number: int) -> Tuple[str, Dict[str, Any]]:
        place = 0 if name == "SPLIT" else 2
        axis = self.constant(inputs[place])
        if axis is None:
            return "", {}
        options = {"axis": int(axis.ravel()[0]), "data": 1 if name == "SPLIT" else 0}
        if name == "SPLIT_V":

            def sizes(plan: Plan, counts: List[int]) -> None:
                plan.replaced[number, 1] = np.array(counts, np.int32)

            options["sizes"] = sizes
        return "split", options

    def _slice(self, name: str, own: Any, inputs: List, number: int) -> Tuple[str, Dict[str, Any]]:
        """SLICE has a begin and a size, STRIDED_SLICE a begin, an end and strides."""
        given = [self.constant(each) for each in inputs[1:]]
        whole = self.shape(inputs[0])
        if any(each is None for each in given):
            return "", {}
        given = [[int(each) for each in value.ravel()] for value in given]
        strided = name == "STRIDED_SLICE"
        masks = (own.ellipsisMask, own.newAxisMask, own.shrinkAxisMask) if strided else ()
        if strided and (any(masks) or any(step != 1 for step in given[2])):
            return "", {}

        def bounds(axis: int) -> Tuple[int, int]:
            size, begin, second = whole[axis], given[0][axis], given[1][axis]
            if not strided:
                return begin, size if second < 0 else begin + second
            begin = 0 if own.beginMask >> axis & 1 else begin % size if begin < 0 else begin
            end = size if own.endMask >> axis & 1 else second % size if second < 0 else second
            return begin, min(end, size)

        def resize(plan: Plan, axis: int, begin: int, end: int) -> None:
            values = list(given[1])
            if strided or values[axis] >= 0:
                values[axis] = end if strided else end - begin
                plan.replaced[number, 2] = np.array(values, np.int32)

        return "slice", {"range": bounds, "resize": resize}


class Detector(NamedTuple):
    """Where a detector's classes are.

    Attributes:
      scores: the tensor of the scores.
      axis: of the classes in it.
      first: columns before the first class: 1 for a background.
      classes: their number.
      operator: the post-process operator; None where the scores are an output.
    """

    scores: int
    axis: int
    first: int
    classes: int
    operator: Optional[schema.OperatorT] = None


def apply(graph: TFLiteGraph, plan: Plan) -> None:
    """Changes the graph's file as the plan says."""
    tensors = graph.subgraph.tensors
    uses = Counter(value for operator in graph.operators for value in operator.inputs if value >= 0)
    shared: Dict[Tuple, List[Tuple[int, int]]] = {}
    for use, cut in plan.uses.items():
        value = int(graph.operators[use[0]].inputs[use[1]])
        shared.setdefault((value, cut.axis, cut.columns.tobytes()), []).append(use)
    for (value, *_), places in shared.items():
        content = graph.constant(value)
        cut = plan.uses[places[0]]
        tensor, content = _cut_tensor(tensors[value], cut), content.take(cut.columns, cut.axis)
        if places[0] in plan.shifts:
            content = _shifted(content, plan.shifts[places[0]], tensor)
        tensor.buffer = _new_buffer(graph.model, content)
        _place(graph, value, tensor, places, uses[value])
    for use, content in plan.replaced.items():
        value = int(graph.operators[use[0]].inputs[use[1]])
        tensor = _copied(tensors[value])
        tensor.shape = np.array(content.shape, np.int32)
        content = content.astype(TYPES[tensor.type])
        tensor.buffer = _new_buffer(graph.model, content)
        _place(graph, value, tensor, [use], uses[value])
    for value, cut in plan.values.items():
        tensors[value] = _cut_tensor(tensors[value], cut)
    for number, options in plan.options.items():
        graph.operators[number].builtinOptions.newShape = options["new_shape"].astype(np.int32)


def _place(
    graph: TFLiteGraph,
    value: int,
    tensor: schema.TensorT,
    places: List[Tuple[int, int]],
    uses: int,
) -> None:
    """Gives the uses of a tensor another one: in its place where nothing else uses it."""
    if len(places) == uses:
        graph.subgraph.tensors[value] = tensor
        return
    graph.subgraph.tensors.append(tensor)
    for number, position in places:
        inputs = np.array(graph.operators[number].inputs)
        inputs[position] = len(graph.subgraph.tensors) - 1
        graph.operators[number].inputs = inputs


def _shifted(content: np.ndarray, shift: np.ndarray, tensor: schema.TensorT) -> np.ndarray:
    """Biases with something added, in the units of an integer tensor's scales."""
    if content.dtype.kind == "f":
        return (content.astype(np.float64) + shift).astype(content.dtype)
    moved = content + np.round(shift / np.asarray(tensor.quantization.scale, np.float64))
    limits = np.iinfo(content.dtype)
    return np.clip(moved, limits.min, limits.max).astype(content.dtype)


def _new_buffer(model: schema.ModelT, content: np.ndarray) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.asarray(content).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _copied(thing: Any) -> Any:
    copy = type(thing)()
    copy.__dict__.update(thing.__dict__)
    return copy


def _cut_tensor(tensor: schema.TensorT, cut: Cut) -> schema.TensorT:
    """A tensor with fewer columns: its shape, and scales and zero points of single channels."""
    result = _copied(tensor)
    for key in ("shape", "shapeSignature"):
        shape = getattr(tensor, key)
        if shape is not None and len(shape) and (key == "shape" or shape[cut.axis] >= 0):
            setattr(result, key, np.array(cut.shape([int(side) for side in shape]), np.int32))
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) < 2:
        return result
    if quantization.quantizedDimension == cut.axis:
        result.quantization = _copied(quantization)
        for key in ("scale", "zeroPoint", "min", "max"):
            values = getattr(quantization, key)
            if values is not None and len(values) > 1:
                setattr(result.quantization, key, np.asarray(values)[cut.columns])
    return result
