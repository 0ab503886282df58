"""Runs a UFF file: core nodes with TensorFlow, plugins with NumPy as NVIDIA describes them.

Everything comes from the file; only the schema is shared with the code that writes it.
"""

import itertools
import math
from pathlib import Path
from typing import Dict, List

from todus.tf import tf

import numpy as np

from todus.uff import schema_pb2 as uff

DTYPES = {
    uff.DT_INT8: np.int8,
    uff.DT_INT16: np.int16,
    uff.DT_INT32: np.int32,
    uff.DT_INT64: np.int64,
    uff.DT_FLOAT16: np.float16,
    uff.DT_FLOAT32: np.float32,
}


class Interpreter:
    """A UFF file that can be run on normalised images.

    Attributes:
      nodes: id -> Node.
    """

    def __init__(self, path: Path):
        self.meta = uff.MetaGraph()
        self.meta.ParseFromString(Path(path).read_bytes())
        assert self.meta.version == 1 and self.meta.descriptor_core_version == 1
        (graph,) = self.meta.graphs
        self.nodes: Dict[str, uff.Node] = {node.id: node for node in graph.nodes}
        assert len(self.nodes) == len(graph.nodes), "node ids are not unique"
        self.used = set()
        self._tensors: Dict[str, tf.Tensor] = {}
        self._graph = tf.Graph()
        with self._graph.as_default():
            for node in graph.nodes:
                if self._is_core(node.id):
                    self._tensor(node.id)
        self._session = tf.Session(graph=self._graph)

    def output(self) -> str:
        (node,) = [node for node in self.nodes.values() if node.operation == "MarkOutput"]
        return node.inputs[0]

    def run(self, image: np.ndarray, names: List[str]) -> List[np.ndarray]:
        """The values of nodes for one normalised image, float32 [height, width, 3]."""
        (given,) = [node for node in self.nodes.values() if node.operation == "Input"]
        batch = image.transpose(2, 0, 1)[None]
        assert list(batch.shape) == list(given.fields["shape"].i_list.val)
        plugins = [node for node in self.nodes.values() if not self._is_core(node.id)]
        wanted = {edge for node in plugins for edge in node.inputs}.union(names)
        tensors = {name: self._tensors[name] for name in wanted if self._is_core(name)}
        known = self._session.run(tensors, {self._feed: batch})
        return [self._value(name, known) for name in names]

    def detections(self, image: np.ndarray) -> np.ndarray:
        """float32 [detections, 7]: image, label, score, xmin, ymin, xmax, ymax."""
        found, count = self.run(image, [self.output()])[0]
        return found[0, 0, :count]

    # Reading fields.

    def field(self, node: uff.Node, name: str, default=None):
        if name not in node.fields:
            assert default is not None, "%s has no %s" % (node.id, name)
            return default
        self.used.add((node.operation, name))
        value = node.fields[name]
        kind = value.WhichOneof("data_oneof")
        if kind == "ref":
            value = self.meta.referenced_data[value.ref]
            kind = value.WhichOneof("data_oneof")
        value = getattr(value, kind)
        return list(value.val) if kind.endswith("_list") else value

    def _layout(self, node: uff.Node) -> List[str]:
        """The layout of each input, from the places in NC+ (the first) or KC+ in inputs_orders."""
        result = []
        for orders, letters in zip(self.field(node, "inputs_orders"), ("NC", "KC")):
            places, text, at = list(orders.orders[uff.OE_SPECIAL].val), "", 0
            while at < len(places):
                if at + 1 < len(places) and places[at + 1] == uff.OE_INCREMENT:
                    assert places[at] == 2
                    text, at = text + "+", at + 2
                else:
                    text, at = text + letters[places[at]], at + 1
            result.append(text)
        return result

    # Core nodes.

    def _is_core(self, name: str) -> bool:
        node = self.nodes[name]
        if node.operation.startswith("_") or node.operation == "MarkOutput":
            return False
        return node.operation != "Concat" or not all(
            self.nodes[each].operation.startswith("_") for each in node.inputs
        )

    def _tensor(self, name: str) -> "tf.Tensor":
        waiting = [name]
        while waiting:
            node = self.nodes[waiting[-1]]
            missing = [each for each in node.inputs if each not in self._tensors]
            if missing:
                assert not set(missing) & set(waiting), "a cycle"
                waiting.extend(missing)
                continue
            waiting.pop()
            if node.id not in self._tensors:
                make = getattr(self, "_core_" + node.operation.lower())
                self._tensors[node.id] = make(node, [self._tensors[each] for each in node.inputs])
        return self._tensors[name]

    def _core_input(self, node, inputs):
        shape = self.field(node, "shape")
        assert DTYPES[self.field(node, "dtype")] is np.float32
        self._feed = tf.placeholder(tf.float32, shape)
        return tf.transpose(self._feed, [0, 2, 3, 1])

    def _core_const(self, node, inputs):
        dtype = np.dtype(DTYPES[self.field(node, "dtype")]).newbyteorder("<")
        value = np.frombuffer(self.field(node, "values"), dtype)
        return tf.constant(value.reshape(self.field(node, "shape")))

    def _padding(self, node):
        if self.field(node, "implicit_padding", "no") == "same":
            return "SAME"
        pad = self.field(node, "padding", [0, 0])
        return [[0, 0], [pad[0], pad[0]], [pad[1], pad[1]], [0, 0]]

    def _core_conv(self, node, inputs):
        assert self._layout(node) == ["N+C", "+CK"]
        x, weights = inputs
        groups = self.field(node, "number_groups", 1)
        strides, dilation = [1, *self.field(node, "strides"), 1], self.field(node, "dilation")
        padding = self._padding(node)
        if groups == 1:
            assert weights.shape[2] == x.shape[3]
            return tf.nn.conv2d(x, weights, strides, padding, dilations=[1, *dilation, 1])
        assert groups == x.shape[3] == weights.shape[2] and dilation == [1, 1]
        if padding != "SAME":
            x, padding = tf.pad(x, padding), "VALID"
        return tf.nn.depthwise_conv2d(x, weights, strides, padding)

    def _core_pool(self, node, inputs):
        assert self._layout(node) == ["N+C"]
        kernel, strides = ([1, *self.field(node, each), 1] for each in ("kernel", "strides"))
        padding = "SAME" if self._padding(node) == "SAME" else "VALID"
        pool = {"max": tf.nn.max_pool, "avg": tf.nn.avg_pool}[self.field(node, "func")]
        return pool(inputs[0], kernel, strides, padding)

    def _core_batchnorm(self, node, inputs):
        assert self._layout(node) == ["N+C"]
        x, gamma, beta, mean, variance = inputs
        scale = gamma * tf.rsqrt(variance + self.field(node, "epsilon"))
        return x * scale + (beta - mean * scale)

    def _core_binary(self, node, inputs):
        return {
            "add": tf.add,
            "sub": tf.subtract,
            "mul": tf.multiply,
            "div": tf.divide,
            "min": tf.minimum,
            "max": tf.maximum,
        }[self.field(node, "func")](*inputs)

    def _core_activation(self, node, inputs):
        functions = {
            "relu": tf.nn.relu,
            "relu6": tf.nn.relu6,
            "sigmoid": tf.sigmoid,
            "tanh": tf.tanh,
            "elu": tf.nn.elu,
        }
        return functions[self.field(node, "func")](inputs[0])

    def _core_concat(self, node, inputs):
        return tf.concat(inputs, self.field(node, "axis"))

    def _core_pad(self, node, inputs):
        return tf.pad(*inputs)

    def _core_reshape(self, node, inputs):
        return tf.reshape(*inputs)

    def _core_stack(self, node, inputs):
        return tf.stack(inputs, self.field(node, "axis"))

    def _core_shape(self, node, inputs):
        return tf.shape(inputs[0])

    def _core_stridedslice(self, node, inputs):
        names = ("begin_mask", "end_mask", "shrink_axis_mask")
        return tf.strided_slice(*inputs, **{name: self.field(node, name) for name in names})

    def _core_squeeze(self, node, inputs):
        return tf.squeeze(inputs[0], self.field(node, "axes"))

    # Plugins, and the concat of their outputs.

    def _value(self, name: str, known: Dict[str, np.ndarray]):
        if name not in known:
            node = self.nodes[name]
            inputs = [self._value(each, known) for each in node.inputs]
            known[name] = {
                "_GridAnchor_TRT": self._grid_anchor,
                "_FlattenConcat_TRT": self._flatten_concat,
                "_NMS_TRT": self._nms,
                "Concat": self._concat_of_plugins,
            }[node.operation](node, inputs)
        return known[name]

    def _grid_anchor(self, node, inputs):
        """One [2, H * W * boxes * 4, 1] for each feature map.

        The boxes (xmin, ymin, xmax, ymax), then the variances.
        """
        assert inputs, "later TensorRT refuses a plugin without inputs"
        layers = self.field(node, "numLayers_u_int")
        smallest = np.float32(self.field(node, "minSize_u_float"))
        largest = np.float32(self.field(node, "maxSize_u_float"))
        ratios = self.field(node, "aspectRatios_u_flist")
        sides = self.field(node, "featureMapShapes_u_ilist")
        assert len(sides) == layers
        steps = [smallest + (largest - smallest) * layer / (layers - 1) for layer in range(layers)]
        steps.append(1.0)
        outputs = []
        for layer, side in enumerate(sides):
            scale = steps[layer]
            if layer == 0:
                shapes = [(0.1, ratios[0]), (scale, ratios[1]), (scale, ratios[2])]
            else:
                shapes = [(scale, ratio) for ratio in ratios]
                shapes.append((math.sqrt(scale * steps[layer + 1]), 1.0))
            boxes = []
            for row, column in itertools.product(range(side), range(side)):
                x, y = (column + 0.5) / side, (row + 0.5) / side
                for size, ratio in shapes:
                    width, height = size * math.sqrt(ratio), size / math.sqrt(ratio)
                    boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
            variance = np.array(self.field(node, "variance_u_flist"), np.float32)
            variances = np.tile(variance, len(boxes))
            outputs.append(np.stack([np.array(boxes, np.float32).ravel(), variances])[:, :, None])
        return outputs

    def _concat_of_plugins(self, node, inputs):
        (outputs,) = inputs
        return np.concatenate([each[None] for each in outputs], axis=self.field(node, "axis"))

    def _flatten_concat(self, node, inputs):
        assert self.field(node, "axis_u_int") == 1 and self.field(node, "ignoreBatch_u_int") == 0
        rows = [each.reshape(each.shape[0], -1) for each in inputs]
        return np.concatenate(rows, axis=1)[:, :, None, None]

    def _nms(self, node, inputs):
        """([1, 1, keepTopK, 7], number of detections)."""

        def number(name):
            return self.field(node, name + "_u_int")

        assert len(inputs) == 3 and sorted(self.field(node, "inputOrder_u_ilist")) == [0, 1, 2]
        loc, conf, prior = (inputs[at] for at in self.field(node, "inputOrder_u_ilist"))
        classes, top_k, keep = number("numClasses"), number("topK"), number("keepTopK")
        priors = prior.shape[2] // 4
        assert prior.shape == (1, 2, priors * 4, 1)
        assert loc.shape == (1, priors * 4, 1, 1) and conf.shape == (1, priors * classes, 1, 1)
        assert number("shareLocation") == number("isNormalized") == 1
        assert number("varianceEncodedInTarget") == 0
        assert keep <= top_k <= 4096
        boxes = decoded(loc.reshape(-1, 4), prior[0, 0].reshape(-1, 4), prior[0, 1].reshape(-1, 4))
        scores = conf.reshape(priors, classes).astype(np.float32)
        if number("confSigmoid"):
            scores = (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
        threshold = np.float32(self.field(node, "confidenceThreshold_u_float"))
        overlap = self.field(node, "nmsThreshold_u_float")
        rows = []
        background = number("backgroundLabelId")
        for label in [label for label in range(classes) if label != background]:
            (above,) = np.nonzero(scores[:, label] > threshold)
            best = above[np.argsort(-scores[above, label], kind="stable")][:top_k]
            rows += [
                [0, label, scores[box, label], *np.clip(boxes[box], 0, 1)]
                for box in suppressed(boxes, best, overlap)
            ]
        rows = sorted(rows, key=lambda row: -row[2])[:keep]
        result = np.tile(np.array([0, -1, 0, 0, 0, 0, 0], np.float32), (keep, 1))
        if rows:
            result[: len(rows)] = rows
        return result[None, None], len(rows)


def decoded(loc: np.ndarray, priors: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Boxes (xmin, ymin, xmax, ymax) of encodings (y, x, height, width); all [anchors, 4].

    The plugin's kernel applies the variances as (x, y, width, height) to any encoding.
    """
    loc = loc * variances[:, [1, 0, 3, 2]]
    width, height = priors[:, 2] - priors[:, 0], priors[:, 3] - priors[:, 1]
    x = (priors[:, 0] + priors[:, 2]) / 2 + loc[:, 1] * width
    y = (priors[:, 1] + priors[:, 3]) / 2 + loc[:, 0] * height
    half_height, half_width = np.exp(loc[:, 2]) * height / 2, np.exp(loc[:, 3]) * width / 2
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1)


def suppressed(boxes: np.ndarray, order: np.ndarray, overlap: float) -> List[int]:
    """The boxes of `order`, best first, without those that overlap a better one more than that."""
    kept = []
    areas = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        order = order[common <= overlap * (areas[best] + areas[order] - common)]
    return kept
