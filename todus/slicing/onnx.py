"""Limits an .onnx detector to some of its classes."""

import ast
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from todus.errors import TodusError
from todus.slicing import finished, onnx_file, onnx_suppression, proof, walk
from todus.slicing.finished import Cutting
from todus.slicing.onnx_file import OnnxGraph
from todus.slicing.walk import Cut
from todus.text import one_line

PLUGINS = ("EfficientNMS_TRT",)
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
_BOX = 4


class Detector(NamedTuple):
    """Where the classes are: `first` columns of the scores' `axis` come before them.

    Attributes:
      plugin: whether the scores go into TensorRT's plugin.
      suppression: the file's own non-max suppression, of onnx_suppression.
    """

    scores: str
    axis: int
    first: int
    classes: int
    plugin: bool = False
    suppression: Any = None


class Onnx(finished.Finished):
    """An .onnx file: Ultralytics', or an SSD, with boxes and scores as outputs or suppressed.

    Raises TodusError, without the file's name, where the file is damaged or no such detector.
    """

    kind = "ONNX"
    runtime = "onnx"

    def __init__(self, data: bytes, labels: Optional[int] = None):
        self.data = data
        model = onnx_file.read(data)
        self.graph = OnnxGraph(model)
        names = _names(model)
        self._labels = list(names.values()) if names else None
        self.detector = find(self.graph, labels or (len(names) if names else None))
        self.classes = self.detector.classes
        self._notes: List[str] = []

    def labels(self) -> Optional[List[str]]:
        return self._labels

    def notes(self) -> List[str]:
        return self._notes

    def cut(self, wanted: Cutting) -> bytes:
        """The limited file. The object can cut once."""
        plan = walk.back(self.graph, self.detector.scores, self._cut(wanted), wanted.approximate)
        self._notes += plan.warnings
        if any(wanted.shifts.values()):
            for node, position, owners in finished.biases_to_shift(plan):
                use = node.number, position
                if use not in plan.uses:
                    raise TodusError("its biases are computed, so --threshold cannot shift them")
                plan.shifts[use] = wanted.shift_of(owners)
        if self.detector.suppression is not None:
            self.detector.suppression.cut(len(wanted.choices))
        onnx_file.apply(self.graph, plan)
        for each in self.graph.model.metadata_props:
            if each.key == "names":
                each.value = str(dict(enumerate(wanted.names)))
        return self.graph.model.SerializeToString()

    def _cut(self, wanted: Cutting) -> Cut:
        return wanted.columns(self.detector.axis, self.detector.first)

    def description(self) -> Dict[str, Any]:
        given = self._input()
        shape = [side.dim_value or None for side in given.type.tensor_type.shape.dim]
        return {"format": "onnx", "input": {"name": given.name, "shape": shape}}

    def _input(self):
        constants = {each.name for each in self.graph.content.initializer}
        return [each for each in self.graph.content.input if each.name not in constants][0]

    def prove(
        self, made: bytes, wanted: Cutting, images: Sequence[str]
    ) -> Optional[Dict[str, Any]]:
        detector = self.detector
        before, after = ({"raw": raw(data, detector)} for data in (self.data, made))
        outputs = [each.name for each in onnx_file.read(before["raw"]).graph.output]
        scores = outputs.index(detector.scores)
        for side, data in ((before, self.data), (after, made)):
            whole = detections(data)
            if detector.suppression is not None and whole is not None:
                side["whole"] = side["low"] = whole
        spec = self.comparison(wanted, self._cut(wanted), detector.first, images)
        spec.update(scores=scores, first_class=1, quantization=(1.0, 0), mean=[0.0], std=[255.0])
        return proof.compare(spec, before, after)


def raw(data: bytes, detector: Detector) -> bytes:
    """The file up to its non-max suppression; TensorRT's plugin is in no other runtime."""
    if not detector.plugin and detector.suppression is None:
        return data
    onnx = onnx_file.library()
    model = onnx_file.read(data)
    ends, kind = [detector.scores], onnx.TensorProto.FLOAT
    if detector.plugin:
        plugin = next(node for node in model.graph.node if node.op_type in PLUGINS)
        ends = list(plugin.input[:2])
        model.graph.node.remove(plugin)
    del model.graph.output[:]
    for name in ends:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    onnx_file.drop_unused(model.graph)
    return model.SerializeToString()


def detections(data: bytes) -> Optional[bytes]:
    """The file with the outputs of the OD API alone, in its order; None where it lacks one."""
    model = onnx_file.read(data)
    outputs = {each.name.partition(":")[0]: each for each in model.graph.output}
    if not set(OUTPUTS).issubset(outputs):
        return None
    kept = [outputs[name] for name in OUTPUTS]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model.SerializeToString()


def _names(model) -> Dict[int, str]:
    """The classes that Ultralytics' exporter writes, {0: 'person'}; {} where there are none."""
    for each in model.metadata_props:
        if each.key == "names":
            try:
                names = ast.literal_eval(each.value)
                names = dict(enumerate(names)) if isinstance(names, list) else names
                if sorted(names) == list(range(len(names))):
                    return {index: one_line(str(names[index])) for index in sorted(names)}
            except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError):
                return {}
    return {}


def find(graph: OnnxGraph, labels: Optional[int] = None) -> Detector:
    """Where the classes of a file are. Raises TodusError where it is no such detector."""
    plugins = [node for node in graph.content.node if node.op_type in PLUGINS]
    if len(plugins) == 1:
        scores = plugins[0].input[1]
        return Detector(scores, 2, 0, graph.shape(scores)[2], plugin=True)
    suppression = onnx_suppression.find(graph)
    if suppression is not None:
        return Detector(*suppression.scores, suppression=suppression)
    if "TopK" in {node.op_type for node in graph.content.node}:
        what = "it ends in TopK over all classes (an end-to-end head); export it without: "
        raise TodusError(what + "nms=False, end2end=False")
    shapes = {name: graph.shape(name) for name in graph.outputs}
    if len(shapes) == 1:
        return _single(*next(iter(shapes.items())), labels)
    return _two(shapes, labels)


def _single(name: str, shape: Tuple[int, ...], labels: Optional[int]) -> Detector:
    """Ultralytics' heads: [1, 4 + classes, N], or [1, N, 5 + classes] with an objectness."""
    if len(shape) == 3:
        axis = 1 if shape[1] < shape[2] else 2
        count = shape[axis]
        first = _BOX if axis == 1 else _BOX + 1
        if labels is not None and count - labels in (_BOX, _BOX + 1):
            first = count - labels
        if count > first and (labels is None or count - first == labels):
            return Detector(name, axis, first, count - first)
    what = "its output of shape %s is none of a detector that is understood (%s)"
    known = "boxes and classes in one, with a name for each class"
    raise TodusError(what % (list(shape), known))


def _two(shapes: Dict[str, Tuple[int, ...]], labels: Optional[int]) -> Detector:
    """Boxes [.., anchors, 4] and scores [.., anchors, classes]."""
    boxes = {shape[1] for shape in shapes.values() if len(shape) > 2 and shape[-1] == _BOX}
    found = [
        name
        for name, shape in shapes.items()
        if len(shape) == 3 and shape[1] in boxes and (shape[2] != _BOX or "score" in name.lower())
    ]
    if len(found) != 1 or len(shapes) != 2:
        given = ", ".join(str(list(shape)) for shape in shapes.values())
        raise TodusError("its outputs (%s) are not boxes and scores of a detector" % given)
    columns = shapes[found[0]][2]
    first = int(labels == columns - 1 or (labels is None and columns == 91))
    return Detector(found[0], 2, first, columns - first)
