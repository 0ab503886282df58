"""The walk from a detector's scores back to the convolutions that compute them.

A cut keeps some columns along one axis of the scores. The walk carries it back through each
operator, whose rule says which columns of its inputs remain, to the weights and biases of the class
predictors. The plan that results changes no file: an adapter of the format applies it.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus.errors import TodusError
from todus.slicing.graph import Graph, Node, Value

BACKGROUND = -1


class Cut(NamedTuple):
    """The columns of one axis that remain, and the class that each belongs to.

    Attributes:
      axis: from 0.
      columns: int [N], indices of the uncut value, in the new order.
      owners: int [N], the class in the cut file; BACKGROUND for what belongs to none.
    """

    axis: int
    columns: np.ndarray
    owners: np.ndarray

    def same(self, other: "Cut") -> bool:
        return self.axis == other.axis and np.array_equal(self.columns, other.columns)

    def keeps_all(self, size: int) -> bool:
        return np.array_equal(self.columns, np.arange(size))

    def shape(self, before: Sequence[int]) -> Tuple[int, ...]:
        """The shape of the cut value."""
        return tuple(before[: self.axis]) + (len(self.columns),) + tuple(before[self.axis + 1 :])


class Predictor(NamedTuple):
    """A class predictor: its node, the position of its biases, the classes of its outputs."""

    node: Node
    bias: Optional[int]
    owners: np.ndarray


class Plan:
    """What a cut changes.

    Attributes:
      values: value -> cut, of the computed values on the way.
      uses: (number of a node, position of an input) -> cut of the constant there.
      shifts: the same -> float [N], what is added to the cut constant.
      replaced: (number of a node, position of an input) -> new content of the constant there.
      options: number of a node -> options to change.
      predictors: the convolutions at which the walk ended.
      added: those additions of a constant on the way that are cut, in the same form.
    """

    def __init__(self):
        self.values: Dict[Value, Cut] = {}
        self.uses: Dict[Tuple[int, int], Cut] = {}
        self.shifts: Dict[Tuple[int, int], np.ndarray] = {}
        self.replaced: Dict[Tuple[int, int], np.ndarray] = {}
        self.options: Dict[int, Dict] = {}
        self.predictors: List[Predictor] = []
        self.added: List[Predictor] = []
        self.warnings: List[str] = []


class NotUnderstood(TodusError):
    """The walk stopped at an operator that it has no rule for."""


def back(graph: Graph, scores: Value, cut: Cut, approximate: bool = False) -> Plan:
    """The plan for a cut of the scores.

    Args:
      graph: the file's.
      scores: the value whose columns are the classes.
      cut: of the scores.
      approximate: accept a softmax over the classes.

    Raises:
      NotUnderstood: an operator on the way has no rule, or something else uses a value on the way.
    """
    walk = _Walk(graph, approximate)
    walk.reach(scores, cut, "the scores")
    while walk.waiting:
        node = walk.waiting.pop()
        rule = RULES.get(node.kind)
        if rule is None:
            raise NotUnderstood(_stopped(node, "is not an operator that it can follow"))
        cuts = {place: walk.plan.values.get(value) for place, value in enumerate(node.outputs)}
        rule(walk, node, next((each for each in cuts.values() if each is not None), None))
        walk.passed.add(node.number)
    walk.check_others(scores)
    if not walk.plan.predictors:
        raise NotUnderstood("no convolution computes the scores, so there is nothing to cut")
    return walk.plan


def _stopped(node: Node, why: str) -> str:
    return "the way from the scores to the class predictor stops at %s, which %s" % (
        node.name,
        why,
    )


class _Walk:
    """The state of one walk."""

    def __init__(self, graph: Graph, approximate: bool):
        self.graph, self.approximate = graph, approximate
        self.plan, self.waiting, self.passed = Plan(), [], set()

    def reach(self, value: Value, cut: Cut, what: str) -> None:
        """Cuts a computed value; its producer is the next on the way."""
        known = self.plan.values.get(value)
        if known is not None:
            if not known.same(cut):
                raise NotUnderstood("%s are used in two different orders of classes" % what)
            return
        producer = self.graph.producer(value)
        if producer is None:
            raise NotUnderstood("%s come from no convolution but from an input of the file" % what)
        self.plan.values[value] = cut
        self.waiting.append(producer)

    def cut_input(self, node: Node, position: int, cut: Cut) -> None:
        """Cuts an input, be it computed or a constant."""
        value = node.inputs[position]
        if self.graph.constant(value) is not None:
            self.plan.uses[node.number, position] = cut
        else:
            self.reach(value, cut, "the inputs of %s" % node.name)

    def check_others(self, scores: Value) -> None:
        """Raises NotUnderstood where a value on the way is used beside it."""
        for value in self.plan.values:
            if value == scores:
                continue
            if value in self.graph.outputs:
                raise NotUnderstood("a value between scores and class predictor is an output too")
            for node in self.graph.consumers(value):
                if node.number not in self.passed and node.kind != "shape":
                    raise NotUnderstood(_stopped(node, "uses values of the classes too"))


def _elementwise(walk: _Walk, node: Node, cut: Cut) -> None:
    """Each output element depends on the inputs' elements at its place, with broadcasting."""
    whole = walk.graph.shape(node.outputs[0])
    for position, value in enumerate(node.inputs):
        if value is None or position in node.options.get("parameters", ()):
            continue
        shape = walk.graph.shape(value)
        if "channel" in node.options and len(shape) == 1:  # a vector along that axis
            if cut.axis == node.options["channel"] % len(whole):
                walk.cut_input(node, position, cut._replace(axis=0))
            continue
        axis = cut.axis - (len(whole) - len(shape))
        if axis >= 0 and shape[axis] == whole[cut.axis]:
            walk.cut_input(node, position, cut._replace(axis=axis))
            if node.options.get("adds") and walk.graph.constant(value) is not None:
                walk.plan.added.append(Predictor(node, position, cut.owners))
        elif axis >= 0 and shape[axis] != 1:
            raise NotUnderstood(_stopped(node, "mixes the classes"))


def _concat(walk: _Walk, node: Node, cut: Cut) -> None:
    axis = node.options["axis"] % len(walk.graph.shape(node.outputs[0]))
    if axis != cut.axis:
        for position in _computed(node):
            walk.cut_input(node, position, cut)
        return
    start, taken = 0, 0
    for position, size in zip(_computed(node), _sizes(walk.graph, node, axis)):
        inside = (cut.columns >= start) & (cut.columns < start + size)
        part = Cut(axis, cut.columns[inside] - start, cut.owners[inside])
        if not inside[taken : taken + len(part.columns)].all() or not len(part.columns):
            raise NotUnderstood(_stopped(node, "joins classes that it would have to reorder"))
        if not part.keeps_all(size):
            walk.cut_input(node, position, part)
        start, taken = start + size, taken + len(part.columns)


def _sizes(graph: Graph, node: Node, axis: int) -> List[int]:
    """The sizes of the parts of a concatenation; the shape of one of them may be unknown."""
    sizes, unknown = [], []
    for position in _computed(node):
        try:
            sizes.append(graph.shape(node.inputs[position])[axis])
        except NotUnderstood:
            unknown.append(len(sizes))
            sizes.append(0)
    if len(unknown) == 1:
        sizes[unknown[0]] = graph.shape(node.outputs[0])[axis] - sum(sizes)
    elif unknown:
        raise NotUnderstood(_stopped(node, "joins values of unknown shapes"))
    return sizes


def _computed(node: Node) -> List[int]:
    """The positions of the inputs that hold values, without parameters such as a shape."""
    skipped = node.options.get("parameters", ())
    return [place for place in range(len(node.inputs)) if place not in skipped]


def _reshape(walk: _Walk, node: Node, cut: Cut) -> None:
    shape = walk.graph.shape(node.outputs[0])
    target = cut.shape(shape)
    found = _through(walk, node, cut, lambda cells: cells.reshape(target))
    walk.cut_input(node, node.options.get("data", 0), found)
    place = node.options.get("shape")
    asked = walk.graph.constant(node.inputs[place]) if place is not None else None
    asked = node.options.get("new_shape") if asked is None else asked
    if asked is None:
        if "computed" in node.options:
            node.options["computed"](walk.plan, cut.axis, target[cut.axis])
        return
    # -1 and 0 (ONNX: as the input's) stay where they still give the right size.
    changed = np.array(asked).copy()
    if changed[cut.axis] > 0:
        changed[cut.axis] = target[cut.axis]
    if place is not None:
        walk.plan.replaced[node.number, place] = changed
    if "new_shape" in node.options:
        walk.plan.options[node.number] = {"new_shape": changed}


def _transpose(walk: _Walk, node: Node, cut: Cut) -> None:
    permutation = [int(axis) for axis in node.options["permutation"]]
    walk.cut_input(node, 0, cut._replace(axis=permutation[cut.axis]))


def _through(walk: _Walk, node: Node, cut: Cut, again: Callable) -> Cut:
    """The cut of the input of an operator that only moves cells.

    Args:
      walk: the walk.
      node: such an operator.
      cut: of its output.
      again: the operator on the cut input's cells.
    """
    before = walk.graph.shape(node.inputs[node.options.get("data", 0)])
    after = walk.graph.shape(node.outputs[0])
    if np.prod(before, dtype=np.float64) != np.prod(after, dtype=np.float64):
        raise NotUnderstood(_stopped(node, "has an input and an output of different sizes"))
    cells = np.arange(int(np.prod(before)), dtype=np.int32)
    kept = cells.reshape(after).take(cut.columns, cut.axis)
    owner_of = np.empty(cells.size, np.int32)
    sides = [-1 if axis == cut.axis else 1 for axis in range(len(after))]
    owner_of[kept] = cut.owners.reshape(sides)
    places = np.unravel_index(kept.ravel(), before)
    for axis in range(len(before)):
        others = [place for each, place in enumerate(places) if each != axis]
        columns = places[axis][np.all([place == 0 for place in others], axis=0)]
        rest = cells.reshape(before).take(columns, axis)
        if rest.size != kept.size or not np.array_equal(again(rest), kept):
            continue
        owners = np.moveaxis(owner_of[rest], axis, 0).reshape(len(columns), -1)
        if (owners == owners[:, :1]).all():
            return Cut(axis, columns, owners[:, 0])
    raise NotUnderstood(_stopped(node, "mixes classes and positions"))


def _slice(walk: _Walk, node: Node, cut: Cut) -> None:
    """A part of the input: what it leaves out stays in the input as it is."""
    begin, end = node.options["range"](cut.axis)
    size = walk.graph.shape(node.inputs[0])[cut.axis]
    if end - begin != walk.graph.shape(node.outputs[0])[cut.axis]:
        raise NotUnderstood(_stopped(node, "takes some of the classes, with gaps"))
    before, behind = np.arange(begin), np.arange(end, size)
    columns = np.concatenate([before, begin + cut.columns, behind])
    none = [np.full(len(part), BACKGROUND) for part in (before, behind)]
    walk.cut_input(node, 0, Cut(cut.axis, columns, np.concatenate([none[0], cut.owners, none[1]])))
    node.options["resize"](walk.plan, cut.axis, begin, begin + len(cut.columns))


def _split(walk: _Walk, node: Node, cut: Cut) -> None:
    """Several parts of one input along an axis, of which one is cut."""
    axis = node.options["axis"] % len(walk.graph.shape(node.outputs[0]))
    data = node.options.get("data", 0)
    if axis != cut.axis:
        for value in node.outputs:
            walk.plan.values.setdefault(value, cut)
        walk.cut_input(node, data, cut)
        return
    columns, owners, sizes, start = [], [], [], 0
    for value in node.outputs:
        size = walk.graph.shape(value)[axis]
        part = walk.plan.values.get(value)
        part = part or Cut(axis, np.arange(size), np.full(size, BACKGROUND))
        columns.append(start + part.columns)
        owners.append(part.owners)
        sizes.append(len(part.columns))
        start += size
    walk.cut_input(node, data, Cut(axis, np.concatenate(columns), np.concatenate(owners)))
    if "sizes" not in node.options and len(set(sizes)) > 1:
        raise NotUnderstood(_stopped(node, "splits classes and other values evenly"))
    if "sizes" in node.options:
        node.options["sizes"](walk.plan, sizes)


def _predictor(walk: _Walk, node: Node, cut: Cut) -> None:
    """A convolution or matrix product: the end of the way."""
    options, rank = node.options, len(walk.graph.shape(node.outputs[0]))
    if cut.axis != options["channel"] % rank:
        raise NotUnderstood(_stopped(node, "has the classes along another axis than its outputs"))
    weights, bias = options["weights"], options.get("bias")
    if bias is not None and (bias >= len(node.inputs) or node.inputs[bias] is None):
        bias = None
    walk.cut_input(node, weights, cut._replace(axis=options["weights_axis"]))
    if bias is not None:
        walk.cut_input(node, bias, cut._replace(axis=0))
    walk.plan.predictors.append(Predictor(node, bias, cut.owners))


def _softmax(walk: _Walk, node: Node, cut: Cut) -> None:
    axis = node.options.get("axis", -1) % len(walk.graph.shape(node.outputs[0]))
    if axis == cut.axis:
        what = "compares the classes with each other: the scores of fewer classes are higher"
        if not walk.approximate:
            raise NotUnderstood(_stopped(node, "%s; add --approximate to accept that" % what))
        walk.plan.warnings.append("%s %s" % (node.name, what))
    walk.cut_input(node, 0, cut)


RULES = {
    "elementwise": _elementwise,
    "concat": _concat,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "split": _split,
    "predictor": _predictor,
    "softmax": _softmax,
}
