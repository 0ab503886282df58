"""Limits a .tflite detector to some of its classes."""

import shlex
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from todus.errors import TodusError
from todus.slicing import (
    finished,
    graph_operations,
    metadata,
    post_process,
    proof,
    tflite_file,
    walk,
)
from todus.slicing.finished import Cutting, logit, sigmoid
from todus.slicing.tflite_file import Detector, TFLiteGraph

LOW = 0.01  # the score threshold of a comparison on noise

_BOX = 4
_FLEX = "Flex"  # begins the names of TensorFlow's operators, which TensorFlow's interpreter runs


class TFLite(finished.Finished):
    """A .tflite file with the detection post-process operator, or with raw boxes and scores.

    Raises TodusError, without the file's name, where the file is damaged or no such detector.
    """

    kind = "TFLite"
    runtime = "tflite"

    def __init__(self, data: bytes, labels: Optional[int] = None):
        """Reads the file.

        Args:
          data: its bytes.
          labels: the number of labels that the user gave, to tell a background in raw scores.
        """
        self.data = data
        model = tflite_file.read(data)
        self.packed = metadata.Packed(model, data)
        self._repaired = post_process.remove_lost_class(model)
        self.graph = TFLiteGraph(model)
        _check_operators(self.graph)
        known = self.packed.labels()
        self.detector = find(self.graph, labels or (len(known) if known else None))
        self.classes = self.detector.classes
        self._notes: List[str] = []
        self._scale = _scale(self.graph.subgraph.tensors[self.detector.scores])

    def labels(self) -> Optional[List[str]]:
        return self.packed.labels()

    def notes(self) -> List[str]:
        return self._notes

    def input(self) -> Dict:
        """Shape and type of the input."""
        tensor = self.graph.subgraph.tensors[int(self.graph.subgraph.inputs[0])]
        dtype = tflite_file.TYPES.get(tensor.type)
        shape = self.graph.shape(int(self.graph.subgraph.inputs[0]))
        return {"shape": list(shape), "dtype": dtype.name if dtype else "unknown"}

    def cut(self, wanted: Cutting) -> bytes:
        """The limited file. The object can cut once."""
        detector, graph = self.detector, self.graph
        cut = wanted.columns(detector.axis, detector.first)
        plan = walk.back(graph, detector.scores, cut, wanted.approximate)
        self._notes += plan.warnings
        if self._is_fast():
            self._notes.append(
                "its fast non-max suppression keeps the best class of a box: without the other "
                "classes a box can come out as one of yours"
            )
        if any(wanted.shifts.values()):
            self._shift(plan, wanted)
        tflite_file.apply(graph, plan)
        if detector.operator is not None:
            options = post_process.options_of(detector.operator)
            options["num_classes"] = len(wanted.choices)
            _set_options(detector.operator, options)
            post_process.add_lost_class(graph.model)
        return self._packed(wanted)

    def _packed(self, wanted: Cutting) -> bytes:
        model, packed = self.graph.model, self.packed
        if packed.content is not None and packed.labels() is not None:
            packed.cut(wanted.names, wanted.indices, self.classes)
        elif self.detector.operator is not None:
            scaling = self.scaling() if self.input()["dtype"] == "float32" else None
            packed.make("limited detector", wanted.names, scaling)
        else:
            packed.files = {}
        packed.put(model)
        return packed.appended(tflite_file.packed(model))

    def scaling(self) -> Dict[str, List[float]]:
        """{"mean", "std"} of a float input: the metadata's, else what SSDs of the zoo take."""
        return self.packed.scaling() or {"mean": [127.5], "std": [127.5]}

    def description(self) -> Dict[str, Any]:
        given = dict(self.input(), color="RGB")
        if given["dtype"] == "float32":
            known = self.packed.scaling() is not None
            note = "feed (pixel - mean) / std"
            given.update(self.scaling(), note=note if known else note + ", as SSDs of the zoo take")
        else:
            given["note"] = "feed pixels" + " - 128" * (given["dtype"] == "int8")
        return {"format": "tflite", "input": given, "labels_note": metadata.LABELS_NOTE}

    def _is_fast(self) -> bool:
        """Whether suppression takes the best class of each box first.

        The detections of a class then depend on the other classes.
        """
        operator = self.detector.operator
        return operator is not None and not post_process.options_of(operator).get("use_regular_nms")

    def next_command(self, target: Path) -> str:
        if self.input()["dtype"] in ("uint8", "int8"):
            return "next, for a Coral EdgeTPU: edgetpu_compiler -s " + shlex.quote(str(target))
        return ""

    def prove(
        self, made: bytes, wanted: Cutting, images: Sequence[str]
    ) -> Optional[Dict[str, Any]]:
        detector = self.detector
        scores = 1 if detector.operator is not None else self.graph.outputs.index(detector.scores)
        cut = wanted.columns(detector.axis, detector.first)
        spec = self.comparison(wanted, cut, detector.first, images)
        spec.update(scores=scores, quantization=self._scale, fast=self._is_fast(), **self.scaling())
        return proof.compare(spec, variants(self.data), variants(made))

    def _shift(self, plan: walk.Plan, wanted: Cutting) -> None:
        for node, position, owners in finished.biases_to_shift(plan):
            use = node.number, position
            while use not in plan.uses:  # the constant behind a DEQUANTIZE
                producer = self.graph.producer(self.graph.nodes[use[0]].inputs[use[1]])
                use = producer.number, 0
            plan.shifts[use] = wanted.shift_of(owners)
        for value in plan.values:
            self._check_range(value, wanted)

    def _check_range(self, value: int, wanted: Cutting) -> None:
        """Notes or refuses shifts that an 8-bit value of logits cannot hold."""
        bounds = _range(self.graph.subgraph.tensors[value])
        followed = {node.name for node in self.graph.consumers(value)}
        if bounds is None or "LOGISTIC" not in followed:
            return
        low, high = bounds
        for name, shift in wanted.shifts.items():
            if not low < logit(wanted.at) < high:
                what = "--at %.3g is outside of what its 8-bit scores can hold, %.3g to %.3g"
                raise TodusError(what % (wanted.at, sigmoid(low), sigmoid(high)))
            if shift > 0:
                what = "%s: scores of %.2f and more all become %.2f, the highest of its 8 bits"
                self._notes.append(what % (name, sigmoid(high - shift), sigmoid(high)))


def _scale(tensor) -> Tuple[float, int]:
    """Scale and zero point of an integer tensor; 1 and 0 of a float one."""
    quantization, dtype = tensor.quantization, tflite_file.TYPES.get(tensor.type)
    if dtype is None or dtype.kind == "f" or quantization is None or quantization.scale is None:
        return 1.0, 0
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])


def _range(tensor) -> Optional[Tuple[float, float]]:
    """The least and greatest number that an 8-bit tensor can hold; None for another type."""
    dtype, quantization = tflite_file.TYPES.get(tensor.type), tensor.quantization
    if dtype is None or dtype.itemsize != 1 or quantization is None or quantization.scale is None:
        return None
    if len(quantization.scale) != 1:
        return None
    limits = np.iinfo(dtype)
    zero = int(quantization.zeroPoint[0])
    scale = float(quantization.scale[0])
    return (limits.min - zero) * scale, (limits.max - zero) * scale


def find(graph: TFLiteGraph, labels: Optional[int] = None) -> Detector:
    """Where the classes of a file are. Raises TodusError where it is no such detector."""
    names = [node.name for node in graph.nodes]
    if tflite_file.EDGETPU in names:
        what = "it is compiled for the EdgeTPU; limit the file that it was compiled from, then run"
        raise TodusError(what + " edgetpu_compiler on the result")
    own = post_process.find(graph.model, graph.subgraph)
    if len(own) > 1:
        raise TodusError("it has %d post-process operators; one is understood" % len(own))
    return _with_operator(graph, own[0]) if own else _raw(graph, labels)


def _with_operator(graph: TFLiteGraph, operator) -> Detector:
    try:
        classes = int(post_process.options_of(operator)["num_classes"])
    except Exception:  # flexbuffers checks nothing
        raise TodusError("the options of its post-process operator are damaged")
    scores = int(operator.inputs[1])
    shape = graph.shape(scores)
    if len(shape) != 3 or not 0 <= shape[2] - classes <= 1 or classes < 1:
        what = "its post-process operator has %d classes and scores of shape %s"
        raise TodusError(what % (classes, list(shape)))
    return Detector(scores, 2, shape[2] - classes, classes, operator)


def _raw(graph: TFLiteGraph, labels: Optional[int]) -> Detector:
    """The scores among the outputs: [1, anchors, classes] beside boxes of [1, anchors, 4]."""
    shapes = {value: graph.shape(value) for value in graph.outputs}
    boxes = {s[1] for s in shapes.values() if len(s) in (3, 4) and s[-1] == _BOX and s[0] == 1}
    found = [
        value
        for value, shape in shapes.items()
        if len(shape) == 3 and shape[1] in boxes and shape[1] > shape[2] and len(shapes) == 2
    ]
    if len(found) == 2:  # as many columns as a box has
        found = [value for value in found if "LOGISTIC" in _before(graph, value)]
    if len(found) != 1:
        given = ", ".join(str(list(shape)) for shape in shapes.values())
        if len(shapes) == 1 and len(next(iter(shapes.values()))) == 3:
            what = (
                "its output %s has boxes and classes in one, as Ultralytics' .tflite files have; "
                "limit its .onnx file (yolo export format=onnx), and convert that (onnx2tf -i FILE)"
            )
            raise TodusError(what % given)
        classifier = all(len(shape) == 2 for shape in shapes.values())
        kind = "a classifier" if classifier else "segmentation or another kind of model"
        what = (
            "it has neither a detection post-process operator nor outputs of boxes and scores "
            "(outputs: %s), so it is probably %s; only detectors can be limited"
        )
        raise TodusError(what % (given, kind))
    columns = shapes[found[0]][2]
    first = int(labels == columns - 1 or (labels is None and columns == 91))
    return Detector(found[0], 2, first, columns - first)


def _before(graph: TFLiteGraph, value: int) -> List[str]:
    """The names of the last operators before a value."""
    names = []
    while graph.producer(value) is not None and len(names) < 4:
        node = graph.producer(value)
        names.append(node.name)
        value = node.inputs[0]
    return names


def variants(data: bytes) -> Dict[str, bytes]:
    """The files that the proof runs.

    Returns:
      "raw", with boxes and scores as its outputs. With a post-process operator also "whole", the
      file as it is, and "low", which has a low score threshold.
    """
    model = tflite_file.read(data)
    post_process.remove_lost_class(model)
    graph = model.subgraphs[0]
    own = post_process.find(model, graph)
    if not own:
        return {"raw": data}
    result = {"whole": data, "low": _with_options(data, nms_score_threshold=LOW)}
    graph.outputs = np.array([own[0].inputs[0], own[0].inputs[1]], np.int32)
    graph.operators = [operator for operator in graph.operators if operator is not own[0]]
    model.signatureDefs = None
    return dict(result, raw=tflite_file.packed(model))


def _with_options(data: bytes, **changes: Any) -> bytes:
    """The file with other options of its post-process operators."""
    model = tflite_file.read(data)
    changed = post_process.remove_lost_class(model)
    for operator in post_process.find(model, model.subgraphs[0]):
        _set_options(operator, dict(post_process.options_of(operator), **changes))
    if changed:
        post_process.add_lost_class(model)
    return tflite_file.packed(model)


def _set_options(operator, options: Dict[str, Any]) -> None:
    from flatbuffers import flexbuffers

    by_name = bytes(flexbuffers.Dumps(dict(sorted(options.items()))))
    operator.customOptions = np.frombuffer(by_name, np.uint8)


def _check_operators(graph: TFLiteGraph) -> None:
    """Raises TodusError for an operator of TensorFlow ("Flex...") that may not be run."""
    names = {graph.operator_name(operator) for operator in graph.subgraph.operators}
    flex = {name[len(_FLEX) :] for name in names if name.startswith(_FLEX)}
    refused = sorted(flex - graph_operations.allowed())
    if refused:
        raise graph_operations.refusal("it", refused)
