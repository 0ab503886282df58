"""Batch normalisation folded into the weights of the convolution before it, in a frozen graph.

At inference y = gamma * (conv(x, w) - mean) / sqrt(variance + epsilon) + beta equals
conv(x, w * factor) + (beta - mean * factor) with factor = gamma / sqrt(variance + epsilon) for each
output channel (Jacob et al. 2018, arXiv:1712.05877, section 3.2). TensorFlow 1.15 leaves the
normalisation of depthwise convolutions unfused, which costs a pass over each of their outputs.
"""

from collections import Counter
from typing import List, Optional, Set

import numpy as np

_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def fold_batch_norms(graph_def) -> int:
    """Folds in place and returns the number of folded normalisations.

    Each becomes a BiasAdd of the same name; no other name changes. A normalisation stays where its
    input is not a convolution with constant weights, where that convolution's output is used
    elsewhere too, or where it is in training mode. Weights that several convolutions share are
    copied.
    """
    graph = _Graph(graph_def)
    folded = [node for node in graph_def.node if node.op in _NORMS and graph.fold(node)]
    graph.remove_unused()
    return len(folded)


class _Graph:
    def __init__(self, graph_def):
        self._graph_def = graph_def
        self._nodes = {node.name: node for node in graph_def.node}
        self._uses = Counter(each for node in graph_def.node for each in node.input)
        self._orphans: List[str] = []

    def fold(self, norm) -> bool:
        """Folds a normalisation where that is possible, and returns whether it was."""
        convolution = self._nodes.get(norm.input[0])
        if convolution is None or convolution.op not in _CONVOLUTIONS:
            return False
        statistics = ["%s:%d" % (norm.name, number) for number in range(1, 6)]
        if self._uses[norm.input[0]] != 1 or any(self._uses[each] for each in statistics):
            return False
        names = [convolution.input[1], *norm.input[1:5]]
        constants = [self._constant(name) for name in names]
        layouts = [node.attr["data_format"].s or b"NHWC" for node in (norm, convolution)]
        mismatch = norm.attr["is_training"].b or layouts[0] != layouts[1]
        if mismatch or any(value is None for value in constants):
            return False
        weights, gamma, beta, mean, variance = (value.astype(np.float64) for value in constants)
        factor = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
        # Depthwise weights are [height, width, in, multiplier], their channels in * multiplier.
        depthwise = convolution.op == "DepthwiseConv2dNative"
        scaled = weights * (factor.reshape(weights.shape[2:]) if depthwise else factor)
        self._orphans += names
        convolution.input[1] = self._add(norm.name + "/folded_weights", scaled)
        bias = self._add(norm.name + "/folded_bias", beta - mean * factor)
        del norm.input[1:]
        norm.input.append(bias)
        kind = norm.attr["T"].type
        norm.op = "BiasAdd"
        norm.attr.clear()
        norm.attr["T"].type = kind
        norm.attr["data_format"].s = layouts[0]
        return True

    def _constant(self, name: str) -> Optional[np.ndarray]:
        from todus.tf import tf

        node = self._nodes.get(name)
        while node is not None and node.op == "Identity":
            node = self._nodes.get(node.input[0])
        if node is None or node.op != "Const":
            return None
        return tf.make_ndarray(node.attr["value"].tensor)

    def _add(self, name: str, value: np.ndarray) -> str:
        from todus.tf import tf

        node = self._graph_def.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
        return name

    def remove_unused(self) -> None:
        """Removes the constants that are no longer used, and the identities after them."""
        gone: Set[str] = set()
        edges = [edge for node in self._graph_def.node for edge in node.input]
        uses = Counter(edge.lstrip("^").split(":")[0] for edge in edges)
        removable = ("Const", "Identity")
        for name in self._orphans:
            while name not in gone and not uses[name] and self._nodes[name].op in removable:
                gone.add(name)
                for before in self._nodes[name].input:
                    uses[before] -= 1
                    name = before
        kept = [node for node in self._graph_def.node if node.name not in gone]
        del self._graph_def.node[:]
        self._graph_def.node.extend(kept)
