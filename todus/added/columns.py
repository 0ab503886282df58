"""The columns of added classes, and their boxes if trained: their graph, loss and optimizer."""

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from todus.added.augmentation import IGNORED
from todus.added.network import Level, Network, Range
from todus.model import pipeline

FIRST_SCORE = 0.01  # of every anchor before training, as of Lin et al., arXiv:1708.02002, 3.3


class Columns:
    """Trains the class columns on rows of features, and the boxes where the network has box_levels.

    The values of a weights variable are [kernel height, width, channels, anchors * classes], and
    of biases [anchors * classes], as in a network with only these classes, this head and no
    background; for boxes, 4 takes the place of classes.
    """

    def __init__(
        self,
        network: Network,
        config: pipeline.Config,
        start: Mapping[str, np.ndarray],
        classes: int,
    ):
        """`start` has the first values of each weights and biases variable of the levels."""
        from todus.tf import tf

        from object_detection.builders import (
            box_coder_builder,
            losses_builder,
            optimizer_builder,
        )

        self._network, self._classes = network, classes
        self._coder = box_coder_builder.build(config.model.ssd.box_coder)
        self._normalize_by_code_size = config.model.ssd.normalize_loc_loss_by_codesize
        with tf.Graph().as_default() as graph:
            step = tf.train.get_or_create_global_step()
            self._columns = {name: tf.Variable(value, name=name) for name, value in start.items()}
            self._rows = tf.placeholder(tf.float32, [None, network.row], "rows")
            anchors = len(network.anchors)
            self._targets = tf.placeholder(tf.int32, [None, anchors], "targets")
            self._encodings = tf.placeholder(tf.float32, [None, anchors, 4], "encodings")
            self._prediction = self._predicted()
            self._loss = self._total_loss(losses_builder.build(config.model.ssd.loss))
            optimizer, rates = optimizer_builder.build(config.train_config.optimizer)
            self._rate = rates[0]
            variables = list(self._columns.values())
            gradients = tf.gradients(self._loss, variables)
            most = config.train_config.gradient_clipping_by_norm
            if most > 0:
                gradients, _ = tf.clip_by_global_norm(gradients, most)
            update = optimizer.apply_gradients(zip(gradients, variables), step)
            with tf.control_dependencies([update]):
                self._update = tf.group(*self._kept_in_range())
            self._variables = {each.op.name: each for each in tf.global_variables()}
            self._values = {
                name: tf.placeholder(each.dtype.base_dtype, each.shape)
                for name, each in self._variables.items()
            }
            self._assign = {
                name: tf.assign(each, self._values[name]) for name, each in self._variables.items()
            }
            self._session = tf.Session(graph=graph)
            self._session.run(tf.global_variables_initializer())

    def _predicted(self):
        """The logits, the boxes and, where they are trained, their encodings."""
        from todus.tf import tf

        logits = self._convolved(self._network.levels, self._classes)
        if self._network.box_levels:
            encoded = self._convolved(self._network.box_levels, 4)
            return logits, self._decoded(encoded), encoded
        places = 4 * len(self._network.anchors)
        return logits, tf.reshape(self._rows[:, -places:], [tf.shape(self._rows)[0], -1, 4]), None

    def _convolved(self, levels: Sequence[Level], values: int):
        """What the levels predict of the rows: [batch, anchors, values]."""
        from todus.tf import tf

        found = []
        for level in levels:
            weights = _quantized(self._columns[level.weights], level.weights_range)
            maps = tf.reshape(self._rows[:, level.span], (-1,) + level.shape)
            strides = (1,) + level.strides + (1,)
            result = tf.nn.conv2d(maps, weights, strides, level.padding)
            result = _quantized(result + self._columns[level.biases], level.output_range)
            found.append(tf.reshape(result, [tf.shape(maps)[0], -1, values]))
        return tf.concat(found, axis=1)

    def _total_loss(self, built):
        """The loss of SSDMetaArch.loss for these classes alone."""
        from todus.tf import tf

        logits, boxes, encoded = self._prediction
        loss_of, loss_of_boxes, class_weight, box_weight, miner = built[:5]
        wanted = tf.one_hot(self._targets, self._classes)
        counted = tf.cast(tf.not_equal(self._targets, IGNORED), tf.float32)[..., tf.newaxis]
        losses = loss_of(logits, wanted, weights=counted * tf.ones_like(wanted))
        if losses.shape.rank == 3:
            losses = tf.reduce_sum(losses, axis=2)
        positive = tf.cast(tf.greater_equal(self._targets, 0), tf.float32)
        matches = tf.maximum(tf.reduce_sum(positive), 1.0)
        box_losses = tf.zeros_like(losses)
        if encoded is not None:
            box_losses = loss_of_boxes(encoded, self._encodings, weights=positive)
        box_loss, class_loss = self._mined(miner, box_losses, losses, tf.stop_gradient(boxes))
        if self._normalize_by_code_size:
            box_weight /= self._coder.code_size
        return (class_weight * class_loss + box_weight * box_loss) / matches

    def _decoded(self, encoded):
        """Boxes [batch, anchors, 4] from 0 to 1."""
        from todus.tf import tf

        from object_detection.core import box_list

        count = tf.shape(encoded)[0]
        anchors = tf.tile(tf.constant(self._network.anchors), [count, 1])
        flat = self._coder.decode(tf.reshape(encoded, [-1, 4]), box_list.BoxList(anchors))
        return tf.reshape(flat.get(), [count, -1, 4])

    def _mined(self, miner, box_losses, losses, boxes):
        """The sums of both losses, over the anchors that the miner keeps."""
        from todus.tf import tf

        from object_detection.core import box_list, matcher

        if miner is None:
            return tf.reduce_sum(box_losses), tf.reduce_sum(losses)

        def mined(values):
            of_boxes, of_classes, boxes_of, targets = values
            match = matcher.Match(tf.minimum(targets, 0))
            box_lists = [box_list.BoxList(boxes_of)]
            kept = miner(of_boxes[tf.newaxis], of_classes[tf.newaxis], box_lists, [match])
            return tf.stack([kept[0], kept[1]])

        each = tf.map_fn(mined, (box_losses, losses, boxes, self._targets), tf.float32)
        total = tf.reduce_sum(each, axis=0)
        return total[0], total[1]

    def _kept_in_range(self) -> List:
        """Assignments that keep the weights within the ranges of the network's quantization."""
        from todus.tf import tf

        levels = self._network.levels + self._network.box_levels
        ranges = {level.weights: level.weights_range for level in levels}
        return [
            tf.assign(
                self._columns[name], tf.clip_by_value(self._columns[name], found.least, found.most)
            )
            for name, found in ranges.items()
            if found
        ]

    def train(self, rows: np.ndarray) -> float:
        """Makes a step with rows as views.row_kind describes; returns the loss."""
        feeds = {self._rows: rows["values"].astype(np.float32), self._targets: rows["targets"]}
        if self._network.box_levels:
            feeds[self._encodings] = rows["encodings"].astype(np.float32)
        return float(self._session.run([self._loss, self._update], feeds)[0])

    def rate(self) -> float:
        return float(self._session.run(self._rate))

    def predict(self, values: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """The logits [batch, anchors, classes] and boxes [batch, anchors, 4] of rows' values."""
        return self._session.run(self._prediction[:2], {self._rows: values.astype(np.float32)})

    def state(self) -> Dict[str, np.ndarray]:
        """The values of the columns, of the optimizer and of global_step."""
        return self._session.run(self._variables)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        feeds = {self._values[name]: value for name, value in state.items()}
        self._session.run([self._assign[name] for name in state], feeds)


def _quantized(tensor, found: Optional[Range]):
    from todus.tf import tf

    if not found:
        return tensor
    return tf.quantization.fake_quant_with_min_max_args(
        tensor, found.least, found.most, narrow_range=found.narrow
    )
