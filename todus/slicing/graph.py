"""A view of a graph that the formats share: nodes, constants, shapes, consumers."""

from typing import Any, Dict, Hashable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

Value = Hashable  # what identifies a tensor in its format: an index or a name


class Node(NamedTuple):
    """An operator.

    Attributes:
      number: its place in the graph.
      kind: how it moves columns, a key of walk.RULES; "" where that is not known.
      name: the operator's name in its format, for messages.
      inputs: None for an absent one.
      outputs: its results.
      options: what its rule reads: axis, weights, bias, new_shape ...
    """

    number: int
    kind: str
    name: str
    inputs: Sequence[Optional[Value]]
    outputs: Sequence[Value]
    options: Dict[str, Any]


class Graph:
    """The nodes of a graph, in which each value has one producer at most."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Value]):
        self.nodes = list(nodes)
        self.outputs = list(outputs)
        self._producers = {value: node for node in nodes for value in node.outputs}
        self._consumers: Dict[Value, List[Node]] = {}
        for node in nodes:
            for value in set(node.inputs) - {None}:
                self._consumers.setdefault(value, []).append(node)

    def producer(self, value: Value) -> Optional[Node]:
        return self._producers.get(value)

    def consumers(self, value: Value) -> List[Node]:
        return self._consumers.get(value, [])

    def shape(self, value: Value) -> Tuple[int, ...]:
        """The value's shape; a dimension that varies has a stand-in of the adapter's choice."""
        raise NotImplementedError

    def constant(self, value: Value) -> Optional[np.ndarray]:
        """The content of a constant; None for a computed value."""
        raise NotImplementedError
