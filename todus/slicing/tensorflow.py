"""Limits a frozen SSD graph of the OD API to some of its classes.

Its non-max suppression has a part for each class, which takes a column of the scores: the parts of
the first classes stay, and the others go. The scores of the kept classes are moved to the front.
"""

from collections import Counter, defaultdict
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from todus.errors import TodusError
from todus.slicing import finished, graph_def, proof, walk
from todus.slicing.finished import Cutting
from todus.slicing.graph import Graph, Node
from todus.slicing.graph_def import attribute, data_inputs, node_of
from todus.slicing.walk import NotUnderstood, Plan

SIDE = 2  # the stand-in for the sides of a feature map
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")

_ELEMENTWISE = """
    Add AddV2 BiasAdd Cast FakeQuantWithMinMaxVars Identity Mul RealDiv Relu Relu6 Sigmoid Sub
"""
_SUPPRESSION = ("NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4")
_SUPPRESSION += ("NonMaxSuppression", "NonMaxSuppressionV5")
_SECOND_STAGE = "CropAndResize"
# The operators after the scores that can have the number of classes as a constant.
_SIZED = ("Reshape", "Sub", "Select", "SelectV2", "Pack", "Slice")


class FrozenGraphView(Graph):
    """A GraphDef; values are names of nodes with one output."""

    def __init__(self, definition):
        self.definition = definition
        self.by_name = {node.name: node for node in definition.node}
        self.users: Dict[str, List[str]] = defaultdict(list)
        for node in definition.node:
            for value in node.input:
                self.users[node_of(value)].append(node.name)
        nodes = [self._node(number, node) for number, node in enumerate(definition.node)]
        super().__init__(nodes, [])
        self._shapes: Dict[str, Tuple[int, ...]] = {}

    def constant(self, value: str) -> Optional[np.ndarray]:
        node = self.by_name.get(value)
        if node is None or node.op != "Const":
            return None
        tensor = attribute(node, "value").tensor
        return graph_def.array_of(tensor) if tensor.dtype in graph_def.DTYPES else None

    def shape(self, value: str) -> Tuple[int, ...]:
        if value not in self._shapes:
            self._shapes[value] = tuple(int(size) for size in self._shape(self.by_name[value]))
        return self._shapes[value]

    def _shape(self, node) -> Sequence[int]:
        """The shape for a batch of one, and feature maps of SIDE x SIDE."""
        constant = self.constant(node.name)
        if constant is not None:
            return constant.shape
        inputs = data_inputs(node)
        if node.op == "Conv2D":
            return [1, SIDE, SIDE, self.shape(inputs[1])[-1]]
        if node.op == "MatMul":
            return [1, self.shape(inputs[1])[-1]]
        if node.op in _ELEMENTWISE.split() + ["Softmax"]:
            shapes = [self.shape(each) for each in inputs]
            return max(shapes[:1] if node.op.startswith("Fake") else shapes, key=len)
        if node.op == "Reshape":
            size, target = int(np.prod(self.shape(inputs[0]))), self._numbers(inputs[1])
            # The sides of the real feature map, or its number of anchors.
            if min(target) > 0 and len(target) == 5:
                target = [target[0], SIDE, SIDE] + target[3:]
            elif min(target) > 0 and len(target) == 3:
                target = [target[0], -1, target[2]]
            known = int(np.prod([each for each in target if each >= 0]))
            return [size // max(known, 1) if each < 0 else each for each in target]
        if node.op == "ConcatV2":
            axis = self._numbers(inputs[-1])[0]
            result = list(self.shape(inputs[0]))
            result[axis] = sum(self.shape(each)[axis] for each in inputs[:-1])
            return result
        if node.op == "Squeeze":
            shape = self.shape(inputs[0])
            return [size for size in shape if size != 1] or [1]
        raise NotUnderstood("the shape after %s (%s) is not known" % (node.op, node.name))

    def _numbers(self, value: str) -> List[int]:
        """The content of a vector of sizes."""
        node, constant = self.by_name[value], self.constant(value)
        if constant is not None:
            return [int(each) for each in constant.ravel()]
        inputs = data_inputs(node)
        if node.op == "Shape":
            try:
                return list(self.shape(inputs[0]))
            except NotUnderstood:  # a feature map, of which a Reshape takes the size of the batch
                return [1, SIDE, SIDE, 1]
        if node.op in ("Pack", "Identity"):
            return [number for each in inputs for number in self._numbers(each)]
        if node.op == "StridedSlice":
            begin, end = (self._numbers(each)[0] for each in inputs[1:3])
            return self._numbers(inputs[0])[begin:end]
        raise NotUnderstood("a size that comes from %s (%s) is not known" % (node.op, node.name))

    def _node(self, number: int, node) -> Node:
        kind, options = self._rule(node)
        name = "%s (%s)" % (node.op, node.name)
        return Node(number, kind, name, data_inputs(node), [node.name], options)

    def _rule(self, node) -> Tuple[str, Dict[str, Any]]:
        if node.op in _ELEMENTWISE.split():
            options: Dict[str, Any] = {"adds": node.op in ("Add", "AddV2", "BiasAdd")}
            if node.op.startswith("Fake"):
                options["parameters"] = (1, 2)
            return "elementwise", options
        if node.op == "Conv2D" and attribute(node, "data_format").s in (b"", b"NHWC"):
            return "predictor", {"weights": 1, "weights_axis": 3, "channel": -1}
        if node.op == "MatMul" and not attribute(node, "transpose_b").b:
            return "predictor", {"weights": 1, "weights_axis": 1, "channel": -1}
        if node.op == "Reshape":
            return "reshape", {"shape": 1}
        if node.op == "Squeeze":
            return "reshape", {}
        if node.op == "ConcatV2":
            last = len(data_inputs(node)) - 1
            axis = self.constant(data_inputs(node)[last])
            options = {"parameters": (last,)}
            return ("concat", dict(options, axis=int(axis))) if axis is not None else ("", {})
        if node.op == "Softmax":
            return "softmax", {}
        return ("shape", {}) if node.op == "Shape" else ("", {})


class FrozenGraph(finished.Finished):
    """A frozen SSD with the OD API's non-max suppression.

    Raises TodusError, without the file's name, where the file is damaged or no such detector.
    """

    kind = "frozen graph"
    runtime = "graph"

    def __init__(self, data: bytes):
        self.data = data
        definition = self._definition(data)
        if not definition.node or not all(node.name and node.op for node in definition.node):
            raise TodusError("it is no frozen graph, or is damaged")
        if any(node.op == _SECOND_STAGE for node in definition.node):
            what = "it is a Faster R-CNN or R-FCN (%s), whose classes share a softmax; "
            raise TodusError(what % _SECOND_STAGE + finished.BY_CHECKPOINT)
        self.graph = FrozenGraphView(definition)
        self.parts = self._parts()
        self.classes = len(self.parts)
        self.scores, self.first = self._find_scores()

    def _definition(self, data: bytes):
        """The GraphDef in a file."""
        definition = graph_def.messages()["Graph"]()
        try:
            definition.ParseFromString(data)
        except Exception:  # DecodeError is of the protobuf in use
            raise TodusError("it is damaged; download or export it again")
        return definition

    def _graph_of(self, data: bytes) -> bytes:
        """A file's GraphDef."""
        return data

    def _parts(self) -> List[str]:
        """The nodes that take a class's column of the scores, by class."""
        found: Dict[int, str] = {}
        ops = {node.op for node in self.graph.definition.node}
        for node in self.graph.definition.node:
            if node.op in _SUPPRESSION:
                part = self._upwards(data_inputs(node)[1], ("Slice",))
                begin = self.graph.constant(data_inputs(part)[1]) if part else None
                if begin is None or begin.size != 2 or int(begin[1]) in found:
                    found.clear()
                    break
                found[int(begin[1])] = part.name
        if not found or sorted(found) != list(range(len(found))):
            suppression = sorted(op for op in ops if "NonMaxSuppression" in op)
            what = "its classes are not found: it has %s; an SSD with a NonMaxSuppression a class, "
            what += "as the TF1 Object Detection API exports it, is understood"
            raise TodusError(what % (", ".join(suppression) or "no non-max suppression"))
        return [found[index] for index in range(len(found))]

    def _upwards(self, value: str, ops: Sequence[str], most: int = 12):
        """The nearest node of these operators from which a value's data comes."""
        for _ in range(most):
            node = self.graph.by_name.get(node_of(value))
            if node is None or not data_inputs(node):
                return None
            if node.op in ops:
                return node
            position = {"TensorArrayReadV3": 2, "TensorArrayScatterV3": 2}.get(node.op, 0)
            value = data_inputs(node)[position]
        return None

    def _find_scores(self) -> Tuple[str, int]:
        """The node of the scores [batch, anchors, columns], and the columns before the classes."""
        first_part = self.graph.by_name[self.parts[0]]
        node = self._upwards(data_inputs(first_part)[0], ("Sigmoid", "Softmax", "Mul", "ConcatV2"))
        if node is None:
            raise TodusError("no Sigmoid or Softmax gives the scores of its non-max suppression")
        columns = self.graph.shape(node.name)[-1]
        if not 0 <= columns - self.classes <= 1:
            what = "its scores have %d columns and its non-max suppression %d classes"
            raise TodusError(what % (columns, self.classes))
        return node.name, columns - self.classes

    def cut(self, wanted: Cutting) -> bytes:
        """The limited file. The object can cut once."""
        cut = wanted.columns(len(self.graph.shape(self.scores)) - 1, self.first)
        plan = walk.back(self.graph, self.scores, cut, wanted.approximate)
        if plan.warnings:
            raise TodusError("its softmax cannot be cut; " + finished.BY_CHECKPOINT)
        for node, position, owners in finished.biases_to_shift(plan) if wanted.shifts else ():
            plan.shifts[node.number, position] = wanted.shift_of(owners)
        after = self._after()
        self._resize_after(after, len(wanted.choices))
        self._apply(plan)
        self._drop_parts(after, len(wanted.choices))
        return self.graph.definition.SerializeToString()

    def _after(self) -> Set[str]:
        """The nodes that the scores reach."""
        return self._reached([self.scores]) - {self.scores}

    def _reached(self, names: Sequence[str]) -> Set[str]:
        """The nodes that these reach, with themselves."""
        reached, waiting = set(), list(names)
        while waiting:
            name = waiting.pop()
            if name in reached:
                continue
            reached.add(name)
            waiting += self.graph.users[name]
        return reached

    def _resize_after(self, after: Set[str], count: int) -> None:
        """Puts the new number of classes into sizes that follow the scores."""
        sizes = {self.classes: count, self.classes + self.first: count + self.first}
        for name in sorted(after):
            node = self.graph.by_name[name]
            for position, value in enumerate(data_inputs(node)):
                content = self.graph.constant(value)
                if content is None or content.dtype.kind != "i":
                    continue
                if not np.isin(content, list(sizes)).any():
                    continue
                if node.op in ("Slice", "StridedSlice", "AddV2", "Add", "ConcatV2"):
                    continue  # a class's own column, or its number
                if node.op not in _SIZED:
                    what = "the number %s in %s (%s) may be that of its classes or another one"
                    raise TodusError(what % (content.tolist(), node.op, name))
                changed = [sizes.get(int(each), int(each)) for each in content.ravel()]
                self._own_constant(node, position, np.array(changed).reshape(content.shape))
            for each in node.attr:
                for dim in each.value.shape.dim[-1:] if node.op.startswith("TensorArray") else ():
                    dim.size = sizes.get(dim.size, dim.size)

    def _own_constant(self, node, position: int, content: np.ndarray) -> None:
        """Gives a node's input another content, without changing it for other nodes."""
        value = data_inputs(node)[position]
        constant = self.graph.by_name[value]
        if len(self.graph.users[value]) > 1:
            copy = self.graph.definition.node.add()
            copy.CopyFrom(constant)
            copy.name = "%s/limited_%s_%d" % (value, node.name.rpartition("/")[2], position)
            node.input[list(node.input).index(value)] = copy.name
            self.graph.by_name[copy.name], constant = copy, copy
        graph_def.put_array(attribute(constant, "value").tensor, content)

    def _apply(self, plan: Plan) -> None:
        changed: Dict[str, np.ndarray] = {}
        nodes = list(self.graph.definition.node)
        for (number, position), cut in plan.uses.items():
            value = data_inputs(nodes[number])[position]
            if value in changed:
                continue
            content = self.graph.constant(value).take(cut.columns, cut.axis)
            if (number, position) in plan.shifts:
                content = content + plan.shifts[number, position].astype(content.dtype)
            changed[value] = content
        for value, content in changed.items():
            graph_def.put_array(attribute(self.graph.by_name[value], "value").tensor, content)
        for value, cut in plan.values.items():
            node = self.graph.by_name[value]
            if node.op == "Reshape":
                self._resize(data_inputs(node)[1], cut.axis, len(cut.columns), node)

    def _resize(self, value: str, axis: int, count: int, user) -> None:
        """Puts a size into the shape of a Reshape: a constant, or a Pack of numbers."""
        node = self.graph.by_name[value]
        if node.op == "Pack":
            sizes = self.graph.constant(data_inputs(node)[axis])
            if sizes is not None and int(sizes) >= 0:
                self._own_constant(node, axis, np.array(count).reshape(sizes.shape))
        elif node.op == "Const":
            sizes = np.array(self.graph.constant(value))
            if sizes[axis] >= 0:
                sizes[axis] = count
                self._own_constant(user, 1, sizes)
        else:
            raise NotUnderstood("the shape of %s comes from %s" % (user.name, node.op))

    def _drop_parts(self, after: Set[str], count: int) -> None:
        """Removes the suppression of the classes from `count` on, and what only it uses."""
        definition, by_name = self.graph.definition, self.graph.by_name
        reached = [self._reached([part]) for part in self.parts]
        times = Counter(name for each in reached for name in each)
        own = [{name for name in each if times[name] == 1} for each in reached]
        gone = set().union(*own[count:])
        ends = [node.name for node in definition.node if not self.graph.users[node.name]]
        ends = [name for name in ends if name not in gone]
        for name in sorted(after) if count < self.classes else ():
            node, inputs = by_name[name], data_inputs(by_name[name])
            parts = [node_of(value) for value in inputs[: self.classes]]
            joins = node.op == "ConcatV2" and len(inputs) == self.classes + 1
            if not joins or not all(part in own[at] for at, part in enumerate(parts)):
                continue
            kept = inputs[:count] + inputs[-1:]
            if count == 1:
                node.op, kept = "Identity", inputs[:1]
                attributes = [each for each in node.attr if each.key == "T"]
                del node.attr[:]
                node.attr.extend(attributes)
            else:
                next(each for each in node.attr if each.key == "N").value.i = count
            del node.input[:]
            node.input.extend(kept)
        self._keep_ancestors(ends)
        names = {node.name for node in definition.node}
        if names.intersection(self.parts[count:]):
            raise NotUnderstood("something beside the detections uses single classes")

    def _keep_ancestors(self, ends: List[str]) -> None:
        definition, kept, waiting = self.graph.definition, set(), list(ends)
        by_name = {node.name: node for node in definition.node}
        while waiting:
            name = waiting.pop()
            if name not in kept and name in by_name:
                kept.add(name)
                waiting += [node_of(value) for value in by_name[name].input]
        nodes = [node for node in definition.node if node.name in kept]
        del definition.node[:]
        definition.node.extend(nodes)

    def description(self) -> Dict[str, Any]:
        return {"format": "frozen_graph", "labels_note": "detection_classes counts from 1"}

    def prove(
        self, made: bytes, wanted: Cutting, images: Sequence[str]
    ) -> Optional[Dict[str, Any]]:
        given = [node.name for node in self.graph.definition.node if node.op == "Placeholder"]
        names = {node.name for node in self.graph.definition.node}
        if len(given) != 1:
            return None
        raw = {"input": given[0] + ":0", "outputs": [self.scores + ":0"]}
        ends = {"raw": raw}
        if names.issuperset(OUTPUTS):
            ends["whole"] = ends["low"] = dict(raw, outputs=[name + ":0" for name in OUTPUTS])
        spec = self.comparison(wanted, wanted.columns(2, self.first), self.first, images)
        spec.update(ends=ends, scores=0, first_class=1)
        spec.update(quantization=(1.0, 0), mean=[0.0], std=[1.0])
        before, after = (dict.fromkeys(ends, self._graph_of(each)) for each in (self.data, made))
        return proof.compare(spec, before, after)
