"""The features from which a network's predictors predict, and its other constant outputs."""

import copy
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np

from todus.added.network import Level, Network, Range
from todus.detection.checkpoint import quantizes, restore
from todus.model import class_columns, heads, pipeline


class Features(Network):
    """The features of a checkpoint's network.

    Args:
      prefix: the checkpoint.
      config: its pipeline config.
      own_boxes: whether the boxes of its last head are trained; else its first head is taken.
    """

    def __init__(self, prefix: Path, config: pipeline.Config, own_boxes: bool = False):
        from todus.tf import tf

        from object_detection.builders import graph_rewriter_builder, model_builder

        config = copy.deepcopy(config)
        self.size, self.heads = pipeline.input_size(config), heads.count(config)
        self.head = self.heads - 1 if own_boxes else 0
        heads.install()
        with tf.Graph().as_default() as graph:
            tf.keras.backend.set_learning_phase(0)
            self._input = tf.placeholder(tf.float32, [None, *self.size, 3], "images")
            model = model_builder.build(config.model, is_training=False)
            predictions = model.predict(*model.preprocess(self._input))
            if quantizes(config, prefix):
                graph_rewriter_builder.build(config.graph_rewriter, is_training=False)()
            self._session = tf.Session(graph=graph)
            restore(self._session, prefix, config)
            names = dict.fromkeys(variable.op.name for variable in tf.global_variables())
            classes = _convolutions(graph, class_columns.layouts(config, names))
            boxes = _convolutions(graph, heads.box_layouts(names)) if own_boxes else []
            groups = config.model.ssd.num_classes + config.model.ssd.add_background_class
            indices = self._anchor_indices(classes, groups)
            maps = list({op.inputs[0].name: op.inputs[0] for op in classes + boxes}.values())
            outputs = list(maps)
            if not own_boxes:
                outputs.append(tf.gather(_boxes(config, predictions), indices, axis=1))
            flat = [tf.reshape(each, [tf.shape(self._input)[0], -1]) for each in outputs]
            self._rows = tf.concat(flat, axis=1)
            image = np.zeros((1, *self.size, 3), np.float32)
            fetches = [self._rows, predictions["anchors"]] + maps
            rows, anchors, *values = self._session.run(fetches, {self._input: image})
            self.row, self.anchors = rows.shape[1], anchors[indices]
            places = np.cumsum([0] + [value.size for value in values])
            at = {
                each.name: (int(place), value.shape[1:])
                for each, place, value in zip(maps, places, values)
            }
            self.levels = [self._level(op, *at[op.inputs[0].name]) for op in classes]
            self.box_levels = [self._level(op, *at[op.inputs[0].name]) for op in boxes]

    def _anchor_indices(self, classes: List, slots: int) -> np.ndarray:
        """The anchors of the head among those of all heads."""
        image = np.zeros((1, *self.size, 3), np.float32)
        found, first = [], 0
        for value in self._session.run([op.outputs[0] for op in classes], {self._input: image}):
            groups = value.shape[-1] // slots
            here = np.arange(first, first + value[..., 0].size * groups).reshape(-1, groups)
            found.append(here[:, heads.part(groups, self.heads, self.head)].ravel())
            first += here.size
        return np.concatenate(found)

    def _level(self, op, place: int, shape) -> Level:
        weights, (kernel, weights_range) = _variable(op.inputs[1]), self._weights(op)
        strides = op.get_attr("strides")[1:3]
        added = next(each for each in op.outputs[0].consumers() if each.type == "BiasAdd")
        return Level(
            weights,
            _variable(added.inputs[1]),
            place,
            tuple(shape),
            kernel,
            (int(strides[0]), int(strides[1])),
            op.get_attr("padding").decode(),
            weights_range,
            self._range(next(iter(added.outputs[0].consumers()), None)),
        )

    def _weights(self, op):
        shape = op.inputs[1].shape.as_list()
        return (shape[0], shape[1]), self._range(op.inputs[1].op)

    def _range(self, op) -> Optional[Range]:
        if op is None or op.type != "FakeQuantWithMinMaxVars":
            return None
        least, most = self._session.run(list(op.inputs)[1:3])
        return Range(float(least), float(most), op.get_attr("narrow_range"))

    def of(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(self._rows, {self._input: images})


def _convolutions(graph, layouts: Dict) -> List:
    """The convolutions with weights of `layouts`, in the order of their feature maps."""
    return [
        op
        for op in graph.get_operations()
        if op.type == "Conv2D" and _variable(op.inputs[1]) in layouts
    ]


def _variable(tensor) -> str:
    """The name of the variable that a tensor reads, through Identity and fake quantization."""
    op = tensor.op
    while op.type in ("Identity", "FakeQuantWithMinMaxVars", "ReadVariableOp"):
        op = op.inputs[0].op
    return op.name


def _boxes(config: pipeline.Config, predictions: Dict):
    """The boxes of every anchor, [batch, anchors, 4] from 0 to 1."""
    from todus.tf import tf

    from object_detection.builders import box_coder_builder
    from object_detection.core import box_list

    coder = box_coder_builder.build(config.model.ssd.box_coder)
    encoded = predictions["box_encodings"]
    count = tf.shape(encoded)[0]
    anchors = tf.reshape(tf.tile(predictions["anchors"], [count, 1]), [-1, 4])
    flat = coder.decode(tf.reshape(encoded, [-1, coder.code_size]), box_list.BoxList(anchors))
    return tf.reshape(flat.get()[:, :4], tf.stack([count, -1, 4]))
