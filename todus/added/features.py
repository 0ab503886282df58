"""The features from which a network's class predictors score, and its other constant outputs."""

import copy
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np

from todus.added.network import Level, Network, Range
from todus.detection.checkpoint import quantizes, restore
from todus.model import class_columns, pipeline


class Features(Network):
    """The features of a checkpoint's network."""

    def __init__(self, prefix: Path, config: pipeline.Config):
        from todus.tf import tf

        from object_detection.builders import graph_rewriter_builder, model_builder

        config = copy.deepcopy(config)
        self.size = pipeline.input_size(config)
        with tf.Graph().as_default() as graph:
            tf.keras.backend.set_learning_phase(0)
            self._input = tf.placeholder(tf.float32, [None, *self.size, 3], "images")
            model = model_builder.build(config.model, is_training=False)
            predictions = model.predict(*model.preprocess(self._input))
            if quantizes(config, prefix):
                graph_rewriter_builder.build(config.graph_rewriter, is_training=False)()
            self._session = tf.Session(graph=graph)
            restore(self._session, prefix, config)
            names = [variable.op.name for variable in tf.global_variables()]
            layouts = class_columns.layouts(config, dict.fromkeys(names))
            found = _class_convolutions(graph, layouts)
            outputs = [op.inputs[0] for op in found] + [_boxes(config, predictions)]
            flat = [tf.reshape(each, [tf.shape(self._input)[0], -1]) for each in outputs]
            self._rows = tf.concat(flat, axis=1)
            image = np.zeros((1, *self.size, 3), np.float32)
            fetches = [self._rows, predictions["anchors"]] + outputs
            rows, self.anchors, *values = self._session.run(fetches, {self._input: image})
            self.row = rows.shape[1]
            self.levels = [self._level(op, value.shape[1:]) for op, value in zip(found, values)]

    def _level(self, op, shape) -> Level:
        weights, (kernel, weights_range) = _variable(op.inputs[1]), self._weights(op)
        strides = op.get_attr("strides")[1:3]
        added = next(each for each in op.outputs[0].consumers() if each.type == "BiasAdd")
        return Level(
            weights,
            _variable(added.inputs[1]),
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


def _class_convolutions(graph, layouts: Dict) -> List:
    """The convolutions with class-specific weights, in the order of their feature maps."""
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
