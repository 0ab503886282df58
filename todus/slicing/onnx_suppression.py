"""The non-max suppression in an .onnx file: which scores it takes, and its part for each class.

tf2onnx writes an SSD of the OD API with a NonMaxSuppression for each class, in the body of a loop
over the images. Other files have one NonMaxSuppression for all classes.
"""

from collections import Counter, defaultdict
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from todus.errors import TodusError
from todus.slicing import finished, onnx_file
from todus.slicing.onnx_file import OnnxGraph
from todus.slicing.walk import NotUnderstood

OPERATOR = "NonMaxSuppression"
_CLASSES, _ANCHORS = 1, 2  # axes of a NonMaxSuppression's scores
_STEPS = ("Cast", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze")
_INSTEAD = "limit the file it was converted from, and convert again"


class Scores(NamedTuple):
    """The scores of a suppression: `first` columns of their `axis` come before the classes."""

    name: str
    axis: int
    first: int
    classes: int


class OfAll:
    """One NonMaxSuppression for all classes, in the main graph."""

    def __init__(self, graph: OnnxGraph, node):
        self._graph, self._node = graph, node
        self._shape = graph.shape(node.input[1])
        self.scores = Scores(node.input[1], _CLASSES, 0, self._shape[_CLASSES])

    def cut(self, count: int) -> None:
        """Puts the new number of classes into what follows the scores."""
        classes, anchors = self.scores.classes, self._shape[_ANCHORS]
        scope = _Scope(self._graph.content, self._graph.constant)
        for number in sorted(scope.reached([self.scores.name])):
            node = scope.nodes[number]
            if node.op_type == "Reshape" and self._holds_all(node.output[0]):
                sizes = {classes: count, classes * anchors: count * anchors}
                self._graph.replace(node, 1, sizes)
            elif node.op_type in ("Div", "Mod", "Mul") and classes != anchors:
                self._graph.replace(node, 1, {classes: count})
            elif node.op_type == "TopK":
                most = self._graph.constant(node.input[1])
                if most is not None and int(most.ravel()[0]) > count * anchors:
                    what = "its list of %d detections is longer than its %d boxes; "
                    raise TodusError(what % (most.ravel()[0], count * anchors) + _INSTEAD)

    def _holds_all(self, value: str) -> bool:
        """Whether a value has a number for each class of each box of an image."""
        return np.prod(self._graph.shape(value)) == self.scores.classes * self._shape[_ANCHORS]


class ByClass:
    """A NonMaxSuppression for each class, whose scores are a slice of those of all classes.

    Attributes:
      scores: of the main graph.
    """

    def __init__(self, graph: OnnxGraph, content):
        self._graph, self._content = graph, content
        self._main = _Scope(graph.content, graph.constant)
        self._scope = _Scope(content, graph.constant)
        nodes = [node for node in content.node if node.op_type == OPERATOR]
        self._parts = self._found(nodes)
        self._refuse_boxes_by_class(nodes)
        trail = self._scope.upwards(self._scope.nodes[self._parts[0]].input[0])
        if content is not graph.content:
            trail = self._main.upwards(trail[-1])
        columns = graph.shape(trail[-1])[-1]
        classes = len(self._parts)
        if trail[-1] not in self._main.producers or columns - classes not in (0, 1):
            what = "its scores have %d columns and its non-max suppression %d classes; "
            raise TodusError(what % (columns, classes) + _INSTEAD)
        axis = len(graph.shape(trail[-1])) - 1
        self.scores = Scores(trail[-1], axis, columns - classes, classes)

    def _found(self, nodes: Sequence) -> List[int]:
        """The numbers of the nodes that take a class's column of the scores, by class."""
        found: Dict[int, int] = {}
        for node in nodes:
            for value in self._scope.upwards(node.input[1]):
                number = self._scope.producers.get(value)
                column = None if number is None else self._column(self._scope.nodes[number])
                if column is not None:
                    found[column] = number
                    break
        data = {self._scope.nodes[number].input[0] for number in found.values()}
        if sorted(found) != list(range(len(nodes))) or len(data) != 1:
            what = "the classes of its %d operators %s are not found; "
            raise TodusError(what % (len(nodes), OPERATOR) + _INSTEAD)
        return [found[index] for index in range(len(found))]

    def _column(self, node) -> Optional[int]:
        """The first column that a Slice takes of a matrix; None for another node."""
        if node.op_type != "Slice":
            return None
        starts, axes = (
            self._graph.constant(node.input[place]) if len(node.input) > place else None
            for place in (1, 3)
        )
        if starts is None:
            return None
        axes = np.arange(starts.size) if axes is None else axes.ravel()
        places = [place for place, axis in enumerate(axes) if axis == 1]
        return int(starts.ravel()[places[0]]) if places else None

    def _refuse_boxes_by_class(self, nodes: Sequence) -> None:
        """Raises TodusError where each class has boxes of its own."""
        parts: Dict[str, Set[str]] = defaultdict(set)
        for node in nodes:
            for value in self._scope.upwards(node.input[0]):
                number = self._scope.producers.get(value)
                if number is not None and self._scope.nodes[number].op_type in ("Slice", "Split"):
                    parts[self._scope.nodes[number].input[0]].add(value)
        if any(len(values) > 1 for values in parts.values()):
            what = "each class has boxes of its own, as in a Faster R-CNN; "
            raise TodusError(what + finished.BY_CHECKPOINT)

    def cut(self, count: int) -> None:
        """Removes the suppression of the classes from `count` on."""
        after = [
            self._scope.reached(list(self._scope.nodes[part].output)) | {part}
            for part in self._parts
        ]
        times = Counter(number for each in after for number in each)
        for node in self._content.node:
            makers = [self._scope.producers.get(value) for value in node.input]
            if node.op_type != "Concat" or len(makers) != len(after):
                continue
            if all(each in part and times[each] == 1 for each, part in zip(makers, after)):
                del node.input[count:]
        self._resize(count, set().union(*after))
        removed = {self._scope.nodes[part].output[0] for part in self._parts[count:]}
        onnx_file.drop_unused(self._content)
        if removed.intersection(value for node in self._content.node for value in node.output):
            raise NotUnderstood("something beside the detections uses single classes")

    def _resize(self, count: int, after: Set[int]) -> None:
        """Puts the new number of classes into shapes between the scores and their columns."""
        classes, first = self.scores.classes, self.scores.first
        sizes = {classes: count, classes + first: count + first}
        main = self._main.reached([self.scores.name])
        values = {value for number in main for value in self._main.nodes[number].output}
        of_body = self._scope.reached(sorted(values | {self.scores.name})) - after
        nodes = [self._scope.nodes[number] for number in sorted(of_body)]
        if self._content is not self._graph.content:
            nodes += [self._main.nodes[number] for number in sorted(main)]
        for node in nodes:
            if node.op_type == "Reshape":
                self._graph.replace(node, 1, sizes, last=True)


class _Scope:
    """The nodes of the main graph, or of a loop's body, by number."""

    def __init__(self, content, constant):
        self.nodes, self._constant = list(content.node), constant
        self.producers = {
            value: number for number, node in enumerate(self.nodes) for value in node.output
        }
        self._users: Dict[str, List[int]] = defaultdict(list)
        for number, node in enumerate(self.nodes):
            for value in set(node.input) | onnx_file.captured(node):
                self._users[value].append(number)

    def upwards(self, value: str) -> List[str]:
        """The values from which a value's data comes, by operators that only move numbers."""
        trail = [value]
        while True:
            number = self.producers.get(trail[-1])
            if number is None or self.nodes[number].op_type not in _STEPS:
                return trail
            trail.append(self.nodes[number].input[0])

    def reached(self, values: Sequence[str]) -> Set[int]:
        """The numbers of the nodes that read these values, or what comes from them."""
        reached: Set[int] = set()
        waiting = list(values)
        while waiting:
            for number in self._users.get(waiting.pop(), ()):
                if number not in reached:
                    reached.add(number)
                    waiting += self.nodes[number].output
        return reached


def find(graph: OnnxGraph):
    """The suppression of a file, OfAll or ByClass; None where it has none.

    Raises TodusError where its classes are not found.
    """
    bodies = [
        each.g for node in graph.content.node for each in node.attribute if each.type == each.GRAPH
    ]
    found: List[Tuple] = []
    for content in [graph.content] + bodies:
        nodes = [node for node in content.node if node.op_type == OPERATOR]
        if nodes:
            found.append((content, nodes))
    if not found:
        return None
    if len(found) > 1:
        raise TodusError("it has %s in several loops; " % OPERATOR + _INSTEAD)
    content, nodes = found[0]
    first = nodes[0]
    of_all = len(nodes) == 1 and content is graph.content
    if of_all and graph.shape(first.input[1])[_CLASSES] > 1:
        return OfAll(graph, first)
    return ByClass(graph, content)
