"""An .onnx file as a graph, and the plan of a cut applied to it."""

import os
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

from todus.errors import TodusError
from todus.slicing.graph import Graph, Node
from todus.slicing.walk import NotUnderstood, Plan
from todus.text import first_line

STAND_IN = 320  # pixels, of an image whose size varies

_ELEMENTWISE = """
    Abs Add BatchNormalization Cast Clip DequantizeLinear Div Elu Exp Floor HardSigmoid Identity
    LeakyRelu Log Max Min Mul Neg Pow QuantizeLinear Relu Sigmoid Sqrt Sub Tanh
"""
_PARAMETERS = {"Clip": (1, 2), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2)}
_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def library():
    """The package onnx. Raises TodusError where it is missing."""
    import sys

    try:
        import onnx
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        what = "the package onnx cannot be imported (%s); run: %s -m pip install onnx"
        raise TodusError(what % (error, sys.executable))
    return onnx


def read(data: bytes):
    """The ModelProto of an .onnx file. Raises TodusError for a damaged one."""
    onnx = library()
    try:
        model = onnx.load_from_string(data)
    except Exception:  # DecodeError is of the protobuf in use
        raise TodusError("it is damaged; download or convert it again")
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise TodusError("it is damaged; download or convert it again")
    if any(each.data_location for each in model.graph.initializer):
        raise TodusError("its weights are in another file; save it as one file with onnx.save")
    _use_constants(model.graph)
    return model


def _use_constants(graph) -> None:
    """Lets nodes read constants that equal others, which are Identity nodes, as constants."""
    constants = {each.name for each in graph.initializer}
    same = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.input[0] in constants
    }
    for node in graph.node:
        for position, value in enumerate(node.input):
            if value in same:
                node.input[position] = same[value]


class OnnxGraph(Graph):
    """The main graph of an .onnx file; values are names."""

    def __init__(self, model):
        onnx = library()
        self.model, self.content = model, model.graph
        self._constants = {}
        for content in contents(model.graph):
            self._constants.update({each.name: each for each in content.initializer})
            for node in content.node:
                value = next((each for each in node.attribute if each.name == "value"), None)
                if node.op_type == "Constant" and value is not None:
                    self._constants[node.output[0]] = value.t
        self._arrays: Dict[str, np.ndarray] = {}
        self._helper = onnx.numpy_helper
        self._shapes = _inferred(model, self._constants)
        nodes = [self._node(number, node) for number, node in enumerate(model.graph.node)]
        super().__init__(nodes, [each.name for each in model.graph.output])

    def shape(self, value: str) -> Tuple[int, ...]:
        if value in self._constants:
            return tuple(self._constants[value].dims)
        shape = self._shapes.get(value)
        if shape is None:
            raise NotUnderstood("the shape of %s depends on the input" % value)
        return shape

    def constant(self, value: str) -> Optional[np.ndarray]:
        if value not in self._constants:
            return None
        if value not in self._arrays:
            self._arrays[value] = self._helper.to_array(self._constants[value])
        return self._arrays[value]

    def _node(self, number: int, node) -> Node:
        inputs = [each or None for each in node.input]
        kind, options = self._rule(node, inputs, number)
        name = "%s (%s)" % (node.op_type, node.name) if node.name else node.op_type
        return Node(number, kind, name, inputs, list(node.output), options)

    def _rule(self, node, inputs: List, number: int) -> Tuple[str, Dict[str, Any]]:
        name = node.op_type
        own = {each.name: each for each in node.attribute}
        axis = own["axis"].i if "axis" in own else None
        if name in _ELEMENTWISE.split():
            options: Dict[str, Any] = {"adds": name == "Add"}
            if name in _PARAMETERS:
                options["parameters"] = self._scalars(inputs, _PARAMETERS[name])
                options["channel"] = 1 if axis is None else axis
            if name == "BatchNormalization":
                options["channel"] = 1
            return "elementwise", options
        if name in _RESHAPES:
            options = {"parameters": (1,)}
            if name == "Reshape":
                options.update(shape=1, computed=lambda *size: self._put_size(inputs[1], *size))
            return "reshape", options
        if name == "Transpose":
            return "transpose", {"permutation": list(own["perm"].ints)} if "perm" in own else {}
        if name == "Concat":
            return "concat", {"axis": axis or 0}
        if name == "Conv" and ("group" not in own or own["group"].i == 1):
            return "predictor", {"weights": 1, "weights_axis": 0, "bias": 2, "channel": 1}
        if name == "Gemm":
            rows = 0 if "transB" in own and own["transB"].i else 1
            return "predictor", {"weights": 1, "weights_axis": rows, "bias": 2, "channel": -1}
        if name == "MatMul" and len(inputs) > 1 and inputs[1] in self._constants:
            last = len(self._constants[inputs[1]].dims) - 1
            return "predictor", {"weights": 1, "weights_axis": last, "channel": -1}
        if name == "Softmax":
            return "softmax", {"axis": -1 if axis is None else axis}
        if name == "Split":
            return self._split(own, inputs, number, axis or 0)
        if name == "Slice":
            return self._slice(own, inputs, number)
        return ("shape", {}) if name == "Shape" else ("", {})

    def _put_size(self, value: str, plan: Plan, axis: int, size: int) -> None:
        """Puts a size into a computed shape, which a Concat joins from numbers."""
        node = self.producer(value)
        while node is not None and node.name.startswith(("Cast", "Identity")):
            node = self.producer(node.inputs[0])
        if node is None or node.kind != "concat":
            raise NotUnderstood("the shape %s is computed, and not by Concat" % value)
        start = 0
        for position, part in enumerate(node.inputs):
            numbers = self.constant(part)
            length = self.shape(part)[0] if numbers is None else numbers.size
            if start <= axis < start + length and numbers is None:
                raise NotUnderstood("the number of classes in the shape %s is computed" % value)
            if start <= axis < start + length and numbers.ravel()[axis - start] > 0:
                changed = numbers.copy()
                changed.ravel()[axis - start] = size
                plan.replaced[node.number, position] = changed
            start += length

    def replace(self, node, position: int, sizes: Dict[int, int], last: bool = False) -> None:
        """Replaces numbers in a node's constant of integers; with `last`, only the last one.

        The node may be in the body of a loop.
        """
        content = self.constant(node.input[position])
        if content is None or content.dtype.kind != "i" or not content.size:
            return
        changed = content.copy().reshape(-1)
        for place in range(changed.size)[-1 if last else 0 :]:
            changed[place] = sizes.get(int(changed[place]), changed[place])
        if (changed != content.ravel()).any():
            array = changed.reshape(content.shape)
            name = _initializer(library(), self.content, node.input[position], array)
            node.input[position] = name

    def _scalars(self, inputs: List, positions: Tuple[int, ...]) -> Tuple[int, ...]:
        """The positions that hold single numbers, which have nothing to cut."""
        constants = ((each, inputs[each]) for each in positions if each < len(inputs))
        return tuple(
            each
            for each, value in constants
            if value is None or value not in self._constants or self.constant(value).size == 1
        )

    def _split(self, own, inputs: List, number: int, axis: int) -> Tuple[str, Dict[str, Any]]:
        options: Dict[str, Any] = {"axis": axis}

        def sizes(plan: Plan, counts: List[int]) -> None:
            if len(inputs) > 1 and inputs[1]:
                plan.replaced[number, 1] = np.array(counts, np.int64)
            elif "split" in own:
                plan.options[number] = {"split": counts}
            elif len(set(counts)) > 1:
                raise NotUnderstood("a Split of classes and other values has no sizes")

        return "split", dict(options, sizes=sizes)

    def _slice(self, own, inputs: List, number: int) -> Tuple[str, Dict[str, Any]]:
        """Slice has its bounds in attributes before opset 10."""
        if "starts" in own:
            starts, ends = list(own["starts"].ints), list(own["ends"].ints)
            axes = list(own["axes"].ints) if "axes" in own else list(range(len(starts)))
            steps = [1] * len(starts)
        else:
            given = [self.constant(each) if each else None for each in inputs[1:]]
            if len(given) < 2 or given[0] is None or given[1] is None:
                return "", {}
            starts, ends = ([int(each) for each in value] for value in given[:2])
            has_axes = len(given) > 2 and given[2] is not None
            axes = [int(each) for each in given[2]] if has_axes else list(range(len(starts)))
            has_steps = len(given) > 3 and given[3] is not None
            steps = [int(each) for each in given[3]] if has_steps else [1] * len(starts)

        def place(axis: int) -> Optional[int]:
            rank = len(self.shape(inputs[0]))
            places = [at for at, each in enumerate(axes) if each % rank == axis]
            return places[0] if places else None

        def bounds(axis: int) -> Tuple[int, int]:
            at, size = place(axis), self.shape(inputs[0])[axis]
            if at is None:
                return 0, size
            begin, end = (each + size if each < 0 else each for each in (starts[at], ends[at]))
            # A step makes the lengths differ, which the rule refuses.
            return begin, min(end, size) if steps[at] == 1 else begin

        def resize(plan: Plan, axis: int, begin: int, end: int) -> None:
            at, size = place(axis), self.shape(inputs[0])[axis]
            if at is None or ends[at] >= size:
                return
            changed = [end if each == at else value for each, value in enumerate(ends)]
            if "starts" in own:
                plan.options[number] = {"ends": changed}
            else:
                plan.replaced[number, 2] = np.array(changed, np.int64)

        return "slice", {"range": bounds, "resize": resize}


def _inferred(model, constants: Dict[str, Any]) -> Dict[str, Tuple[int, ...]]:
    """Name -> shape of the values, for a batch of one and a stand-in for other sizes that vary.

    Args:
      model: the file's.
      constants: name -> content (TensorProto), also of those in loops.
    """
    onnx = library()
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    varies = False
    for given in fixed.graph.input:
        dims = given.type.tensor_type.shape.dim
        for place, dim in enumerate(dims):
            if given.name not in constants and dim.dim_value < 1:
                dim.dim_value = 1 if place == 0 else STAND_IN
                varies = True
    if varies:
        del fixed.graph.value_info[:]
        for each in fixed.graph.output:
            each.type.tensor_type.ClearField("shape")
    given = set()
    while True:
        shapes = _shapes_in(fixed)
        found = _resized(fixed.graph, shapes, constants)
        found = found or _first_convolution(fixed.graph, shapes, constants)
        if given.issuperset(found):
            return shapes
        given.update(found)
        for name, shape in found.items():
            info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            fixed.graph.value_info.append(info)


def _first_convolution(
    graph, shapes: Dict[str, Tuple[int, ...]], constants: Dict[str, Any]
) -> Dict[str, List[int]]:
    """The first convolution's input of unknown shape, as behind a loop that resizes images."""
    for node in graph.node:
        if node.op_type == "Conv" and node.input[0] not in shapes and node.input[1] in constants:
            sides = _sides_in_loop(graph, constants)
            return {node.input[0]: [1, constants[node.input[1]].dims[1], *sides]}
    return {}


def _sides_in_loop(graph, constants: Dict[str, Any]) -> List[int]:
    """The height and width to which a loop resizes images; a stand-in where it has no constant."""
    for body in contents(graph)[1:]:
        inputs = {value: node.input for node in body.node for value in node.output}
        values = [node.input[-1] for node in body.node if node.op_type == "Resize"]
        for value in values:
            if value in constants and constants[value].dims[:1] in ([2], [4]):
                return library().numpy_helper.to_array(constants[value])[-2:].astype(int).tolist()
            values.extend(inputs.get(value, ()))
    return [STAND_IN, STAND_IN]


def _resized(
    graph, shapes: Dict[str, Tuple[int, ...]], constants: Dict[str, Any]
) -> Dict[str, List[int]]:
    """The shapes that are computed from those of other values, which ONNX does not infer."""
    array_of = library().numpy_helper.to_array
    producers = {value: node for node in graph.node for value in node.output}

    def numbers(value: str) -> np.ndarray:
        """Raises LookupError where it is not computed from shapes alone."""
        if value in constants:
            return array_of(constants[value])
        node = producers[value]
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        if node.op_type == "Shape":
            return np.array(shapes[node.input[0]])
        if node.op_type in ("Cast", "Identity", "Squeeze", "Unsqueeze"):
            return numbers(node.input[0])
        inputs = [numbers(each) for each in node.input]
        if node.op_type == "Concat":
            return np.concatenate([each.ravel() for each in inputs])
        if node.op_type == "Gather" and axis == 0:
            return inputs[0].take(inputs[1])
        if node.op_type == "Slice" and len(inputs) <= 4:
            return inputs[0][int(inputs[1].ravel()[0]) : int(inputs[2].ravel()[0])]
        raise LookupError(value)

    result = {}
    for node in graph.node:
        place = {"Reshape": 1, "Resize": 3}.get(node.op_type)
        if place is None or node.output[0] in shapes or len(node.input) <= place:
            continue
        try:
            before, asked = shapes[node.input[0]], numbers(node.input[place]).ravel().tolist()
        except LookupError:
            continue
        sizes = [before[axis] if size == 0 else size for axis, size in enumerate(asked)]
        rest = int(np.prod([size for size in sizes if size > 0]))
        result[node.output[0]] = [int(np.prod(before)) // rest if s < 0 else s for s in sizes]
    return result


def _check_inference(fixed) -> None:
    """Raises TodusError where the inference of shapes ends the process, as on damaged shapes.

    It is tried in a copy of this process; Windows has none.
    """
    infer = library().shape_inference.infer_shapes
    process = os.fork() if hasattr(os, "fork") else None
    if process == 0:
        try:
            for data_prop in (False, True):
                infer(fixed, data_prop=data_prop)
        finally:
            os._exit(0)
    if process and os.waitpid(process, 0)[1]:
        raise TodusError("its shapes are inconsistent: the onnx package crashes on them")


def _shapes_in(fixed) -> Dict[str, Tuple[int, ...]]:
    """Name -> shape of the values of a model whose inputs have fixed shapes."""
    onnx, result = library(), {}
    _check_inference(fixed)
    # The propagation of data resolves computed sizes, and loses the sizes after some Resize.
    for data_prop in (False, True):
        try:
            graph = onnx.shape_inference.infer_shapes(fixed, data_prop=data_prop).graph
        except Exception as error:  # InferenceError, ValueError, RuntimeError by version
            raise TodusError("its shapes are inconsistent (%s)" % first_line(error))
        for each in list(graph.value_info) + list(graph.output) + list(graph.input):
            dims = each.type.tensor_type.shape.dim
            shape = tuple(int(dim.dim_value) for dim in dims)
            if shape and 0 not in shape:
                result.setdefault(each.name, shape)
    return result


def apply(graph: OnnxGraph, plan: Plan) -> None:
    """Changes the graph's file as the plan says."""
    onnx = library()
    content, made = graph.content, {}
    uses = dict(plan.uses)
    for use, cut in uses.items():
        node = content.node[use[0]]
        key = (node.input[use[1]], cut.axis, cut.columns.tobytes(), use in plan.shifts)
        if key not in made:
            array = graph.constant(key[0]).take(cut.columns, cut.axis)
            if use in plan.shifts:
                if array.dtype.kind != "f":
                    raise TodusError("its biases are integers, which --threshold cannot shift")
                array = (array.astype(np.float64) + plan.shifts[use]).astype(array.dtype)
            made[key] = _initializer(onnx, content, key[0], array)
        node.input[use[1]] = made[key]
    for use, array in plan.replaced.items():
        node = content.node[use[0]]
        dtype = graph.constant(node.input[use[1]]).dtype
        name = _initializer(onnx, content, node.input[use[1]], array.astype(dtype))
        node.input[use[1]] = name
    for number, options in plan.options.items():
        for each in content.node[number].attribute:
            if each.name in options:
                each.ints[:] = [int(value) for value in options[each.name]]
    for each in content.output:
        cut = plan.values.get(each.name)
        if cut is not None and len(each.type.tensor_type.shape.dim) > cut.axis:
            each.type.tensor_type.shape.dim[cut.axis].dim_value = len(cut.columns)
    del content.value_info[:]
    drop_unused(content)


def _initializer(onnx, content, name: str, array: np.ndarray) -> str:
    """Adds a constant like another one, under a new name."""
    taken = {each.name for each in content.initializer}
    number = 0
    while "%s/limited_%d" % (name, number) in taken:
        number += 1
    name = "%s/limited_%d" % (name, number)
    content.initializer.append(onnx.numpy_helper.from_array(np.array(array), name))
    return name


def drop_unused(content) -> None:
    """Removes nodes whose results nothing reads, and constants that no node reads."""
    makers = {value: place for place, node in enumerate(content.node) for value in node.output}
    used: Set[str] = set()
    reached: Set[int] = set()
    stack = [each.name for each in content.output]
    while stack:
        value = stack.pop()
        used.add(value)
        place = makers.get(value)
        if place is not None and place not in reached:
            reached.add(place)
            node = content.node[place]
            stack += [*node.input, *captured(node)]
    kept = [node for place, node in enumerate(content.node) if place in reached]
    del content.node[:]
    content.node.extend(kept)
    constants = [each for each in content.initializer if each.name in used]
    gone = {each.name for each in content.initializer} - used
    inputs = [each for each in content.input if each.name not in gone]
    del content.initializer[:], content.input[:]
    content.initializer.extend(constants)
    content.input.extend(inputs)


def captured(node) -> Set[str]:
    """The names that the bodies of a loop or a branch may read from the outside."""
    names: Set[str] = set()
    for body in _bodies(node):
        names.update(each.name for each in body.output)
        for inner in body.node:
            names.update(inner.input)
            names |= captured(inner)
    return names


def _bodies(node) -> List:
    return [each for own in node.attribute for each in [own.g] + list(own.graphs) if each.node]


def contents(graph) -> List:
    """A graph, and the bodies of its loops and branches."""
    bodies = [body for node in graph.node for body in _bodies(node)]
    return [graph] + [content for body in bodies for content in contents(body)]
