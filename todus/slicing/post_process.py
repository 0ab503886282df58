"""Makes a TFLite detector report all its classes, whatever number of threads runs it.

Regular non-max suppression in TFLite_Detection_PostProcess never reports the class at index T where
the runtime has T threads, 2 <= T < classes (github.com/tensorflow/tensorflow/issues/56058): T tasks
begin with the classes 0 to T - 1 and go on with a shared counter, which starts at T and is raised
before it is read. The operators added here find that class while the model runs:

    a post-process operator with as many classes, on one box of all classes: which one is not there?
    GATHER of that class's scores, and a post-process operator on them: its detections
    CONCATENATION with those of all other classes, and TOPK_V2

The model's own operator stays as it is, with its options and its inputs, and the file's outputs
keep their tensors. Where every class is there, the detections added have a score of 0.
"""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from todus.slicing import tflite_schema as schema

POST_PROCESS = "TFLite_Detection_PostProcess"
SAFE_CLASSES = 2  # indices 0 and 1 are reported at any number of threads

_SCOPE = "every_class/"
_OWN = _SCOPE + "others/"  # before the name of an output: what the model's own operator writes
_FLOAT32, _INT32 = schema.TensorType.FLOAT32, schema.TensorType.INT32


def unpacked(data: bytes) -> schema.ModelT:
    """The content of a .tflite file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))


def options_of(operator: schema.OperatorT) -> Dict[str, Any]:
    """The options of a custom operator."""
    from flatbuffers import flexbuffers

    return flexbuffers.Loads(bytes(bytearray(operator.customOptions)))


def find(model: schema.ModelT, graph: schema.SubGraphT) -> List[schema.OperatorT]:
    """The post-process operators of a graph, without those that add_lost_class adds."""
    return [
        operator
        for operator in graph.operators
        if _text(model.operatorCodes[operator.opcodeIndex].customCode) == POST_PROCESS
        and not is_added(graph, operator)
    ]


def is_added(graph: schema.SubGraphT, operator: schema.OperatorT) -> bool:
    """Whether add_lost_class added the operator."""
    used = list(operator.inputs) + list(operator.outputs)
    return _named(graph, used) and not _own(graph, operator)


def add_lost_class(model: schema.ModelT) -> bool:
    """Adds the operators to `model`, in place, where it can lose a class.

    Returns:
      False where there is nothing to add: no post-process operator with regular non-max
      suppression and more than two classes, or one that has the operators.
    """
    changed = False
    for graph in model.subgraphs:
        for operator in find(model, graph):
            if not _own(graph, operator) and _can_lose_a_class(graph, operator):
                _Addition(model, graph, operator).add()
                changed = True
    return changed


def remove_lost_class(model: schema.ModelT) -> bool:
    """Removes what add_lost_class added, in place. Returns False where there is nothing of it."""
    changed = False
    for graph in model.subgraphs:
        for own in [each for each in find(model, graph) if _own(graph, each)]:
            by_name = {_text(tensor.name): at for at, tensor in enumerate(graph.tensors)}
            names = [_text(graph.tensors[at].name)[len(_OWN) :] for at in own.outputs]
            graph.operators = [each for each in graph.operators if not is_added(graph, each)]
            own.outputs = np.array([by_name[name] for name in names], np.int32)
            changed = True
        while changed and _named(graph, [len(graph.tensors) - 1]):
            model.buffers[graph.tensors.pop().buffer].data = None
    used = {each.opcodeIndex for graph in model.subgraphs for each in graph.operators}
    while changed and len(model.operatorCodes) - 1 not in used:
        model.operatorCodes.pop()
    return changed


def _can_lose_a_class(graph: schema.SubGraphT, operator: schema.OperatorT) -> bool:
    options = options_of(operator)
    shape = graph.tensors[operator.inputs[1]].shape
    return (
        bool(options.get("use_regular_nms"))
        and options["num_classes"] > SAFE_CLASSES
        and options["max_classes_per_detection"] == 1
        and shape is not None
        and len(shape) == 3
    )


def _own(graph: schema.SubGraphT, operator: schema.OperatorT) -> bool:
    return _text(graph.tensors[operator.outputs[0]].name).startswith(_OWN)


def _named(graph: schema.SubGraphT, indices: Sequence[int]) -> bool:
    """Whether a tensor is one of those added."""
    return any(at >= 0 and _text(graph.tensors[at].name).startswith(_SCOPE) for at in indices)


def _text(name: Any) -> str:
    return name.decode("utf-8") if isinstance(name, bytes) else name or ""


class _Addition:
    """What is added for `own`, a post-process operator.

    The methods return indices of tensors; detections are boxes, classes, scores and their number.
    """

    def __init__(self, model: schema.ModelT, graph: schema.SubGraphT, own: schema.OperatorT):
        self._model, self._graph, self._own = model, graph, own
        self._options = options_of(own)
        self._classes, self._rows = self._options["num_classes"], self._options["max_detections"]
        columns = int(graph.tensors[own.inputs[1]].shape[2])
        self._background = columns - self._classes  # 1 with a column before the classes, or 0

    def add(self) -> None:
        operators, outputs = self._graph.operators, list(self._own.outputs)
        place = [operator is self._own for operator in operators].index(True) + 1
        self._graph.operators, after = operators[:place], operators[place:]
        others = [
            self._tensor(_OWN + _text(self._graph.tensors[at].name), shape)
            for at, shape in zip(outputs, self._shapes(self._rows))
        ]
        self._own.outputs = np.array(others, np.int32)
        lost = self._lost_class()
        self._join(others, self._detections_of(lost), outputs)
        self._graph.operators += after

    def _lost_class(self) -> int:
        """float32 [1]: the index of the class that is not reported; 0 where all of them are."""
        count = self._classes
        box, anchor = np.zeros([1, 1, 4], np.float32), np.ones([1, 4], np.float32)
        scores = np.ones([1, 1, count + self._background], np.float32)
        inputs = [self._constant(each) for each in (box, scores, anchor)]
        found = self._post_process(
            inputs,
            max_detections=count,
            detections_per_class=1,
            nms_score_threshold=0.5,
        )
        total = self._float("SUM", found[1], self._constant(np.int32([1])), [1], "Reducer")
        return self._float("SUB", self._number(count * (count - 1) // 2), total, [1])

    def _detections_of(self, lost: int) -> List[int]:
        """The detections of one class; their scores and number are 0 where `lost` is."""
        boxes, scores, anchors = self._own.inputs
        # The column of the background, if there is one, and the class's.
        first = np.arange(self._background + 1, dtype=np.float32)
        step = np.float32([0] * self._background + [1])
        shape = [len(first)]
        moved = self._float("MUL", lost, self._constant(step), shape)
        column = self._float("ADD", moved, self._constant(first), shape)
        indices = self._tensor("columns", shape, _INT32)
        self._operator("CAST", [column], [indices], "Cast", inDataType=_FLOAT32, outDataType=_INT32)
        all_scores = self._graph.tensors[scores]
        shape = [1, int(all_scores.shape[1])] + shape
        of_class = self._tensor("scores", shape, all_scores.type, all_scores.quantization)
        self._operator("GATHER", [scores, indices], [of_class], "Gather", axis=2)
        found = self._post_process([boxes, of_class, anchors], num_classes=1)
        is_lost = self._float("MINIMUM", lost, self._number(1), [1], "MaximumMinimum")
        return [
            found[0],
            self._float("ADD", found[1], lost, [1, self._rows]),
            self._float("MUL", found[2], is_lost, [1, self._rows]),
            self._float("MUL", found[3], is_lost, [1]),
        ]

    def _join(self, others: List[int], added: List[int], outputs: List[int]) -> None:
        """Writes the best detections of both to `outputs`.

        Of equal scores TOPK_V2 takes the first, so that `others` come before `added`, and the rows
        after the last detection are those of the model's own operator.
        """
        rows, both = self._rows, []
        for left, right, shape in zip(others, added, self._shapes(2 * rows)[:3]):
            both.append(self._tensor("both", shape))
            self._operator("CONCATENATION", [left, right], both[-1:], "Concatenation", axis=1)
        best, order = self._tensor("best", [1, rows], _INT32), self._tensor("order", [rows], _INT32)
        inputs = [both[2], self._constant(np.int32(rows))]
        self._operator("TOPK_V2", inputs, [outputs[2], best], "TopKV2")
        inputs = [best, self._constant(np.int32([rows]))]
        self._operator("RESHAPE", inputs, [order], "Reshape", newShape=np.int32([rows]))
        for at in (0, 1):
            self._operator("GATHER", [both[at], order], [outputs[at]], "Gather", axis=1)
        total = self._float("ADD", others[3], added[3], [1])
        inputs = [total, self._number(rows)]
        self._operator("MINIMUM", inputs, [outputs[3]], "MaximumMinimum")
        for at, shape in zip(outputs, self._shapes(rows)):
            self._graph.tensors[at].shape = np.int32(shape)

    def _shapes(self, rows: int) -> List[List[int]]:
        return [[1, rows, 4], [1, rows], [1, rows], [1]]

    def _post_process(self, inputs: List[int], **changes: Any) -> List[int]:
        """Adds a post-process operator with the options of the model's own, but for `changes`."""
        from flatbuffers import flexbuffers

        options = dict(self._options, **changes)
        outputs = [
            self._tensor("detections", shape) for shape in self._shapes(options["max_detections"])
        ]
        operator = self._add_operator(self._own.opcodeIndex, inputs, outputs)
        by_name = bytes(flexbuffers.Dumps(dict(sorted(options.items()))))
        operator.customOptions = np.frombuffer(by_name, np.uint8)
        return outputs

    def _float(self, code: str, left: int, right: int, shape: List[int], kind: str = "") -> int:
        """Adds an operator of two inputs and a float32 output."""
        output = self._tensor(code.lower(), shape)
        self._operator(code, [left, right], [output], kind or code.capitalize())
        return output

    def _operator(
        self, code: str, inputs: List[int], outputs: List[int], kind: str, **options: Any
    ) -> None:
        """Adds a built-in operator, whose options are the schema's `kind`Options."""
        number = getattr(schema.BuiltinOperator, code)
        codes = self._model.operatorCodes
        at = next(
            (
                at
                for at, each in enumerate(codes)
                if max(each.builtinCode, each.deprecatedBuiltinCode) == number and each.version == 1
            ),
            len(codes),
        )
        if at == len(codes):
            new = schema.OperatorCodeT()
            new.builtinCode = new.deprecatedBuiltinCode = number
            codes.append(new)
        operator = self._add_operator(at, inputs, outputs)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind + "Options")
        operator.builtinOptions = getattr(schema, kind + "OptionsT")()
        vars(operator.builtinOptions).update(options)

    def _add_operator(self, code: int, inputs: List[int], outputs: List[int]) -> schema.OperatorT:
        operator = schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs, operator.outputs = np.int32(inputs), np.int32(outputs)
        self._graph.operators.append(operator)
        return operator

    def _number(self, value: float) -> int:
        return self._constant(np.float32([value]))

    def _constant(self, values: np.ndarray) -> int:
        kind = _FLOAT32 if values.dtype == np.float32 else _INT32
        data = np.frombuffer(values.tobytes(), np.uint8)
        return self._tensor("constant", list(values.shape), kind, data=data)

    def _tensor(
        self,
        name: str,
        shape: List[int],
        kind: int = _FLOAT32,
        quantization: Optional[schema.QuantizationParametersT] = None,
        data: Optional[np.ndarray] = None,
    ) -> int:
        tensor, buffer, at = schema.TensorT(), schema.BufferT(), len(self._graph.tensors)
        tensor.name = name if name.startswith(_OWN) else "%s%s_%d" % (_SCOPE, name, at)
        tensor.shape, tensor.type = np.array(shape, np.int32), kind
        tensor.quantization, tensor.buffer = quantization, len(self._model.buffers)
        buffer.data = data
        self._model.buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return at
