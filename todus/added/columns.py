"""The columns of added classes: their graph, loss and optimizer."""

from typing import Dict, List, Mapping, Optional

import numpy as np

from todus.added.augmentation import IGNORED
from todus.added.network import Network, Range
from todus.model import pipeline

FIRST_SCORE = 0.01  # of every anchor before training, as of Lin et al., arXiv:1708.02002, 3.3


class Columns:
    """Trains the class columns on rows of features.

    The values of a weights variable are [kernel height, width, channels, anchors * classes], and
    of biases [anchors * classes], as in a network with only these classes and no background.
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

        from object_detection.builders import losses_builder, optimizer_builder

        self._levels, self._classes = network.levels, classes
        with tf.Graph().as_default() as graph:
            step = tf.train.get_or_create_global_step()
            self._columns = {name: tf.Variable(value, name=name) for name, value in start.items()}
            self._rows = tf.placeholder(tf.float32, [None, network.row], "rows")
            self._targets = tf.placeholder(tf.int32, [None, len(network.anchors)], "targets")
            logits, boxes = self._scored()
            self._best = tf.reduce_max(logits, axis=1)
            built = losses_builder.build(config.model.ssd.loss)
            loss_of, miner, weight = built[0], built[4], built[2]
            self._loss = weight * self._classification_loss(loss_of, miner, logits, boxes)
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

    def _scored(self):
        """The logits [batch, anchors, classes] and boxes [batch, anchors, 4] of the rows."""
        from todus.tf import tf

        parts = tf.split(self._rows, [level.size for level in self._levels] + [-1], axis=1)
        found = []
        for level, part in zip(self._levels, parts):
            weights = _quantized(self._columns[level.weights], level.weights_range)
            maps = tf.reshape(part, (-1,) + level.shape)
            strides = (1,) + level.strides + (1,)
            scored = tf.nn.conv2d(maps, weights, strides, level.padding)
            scored = _quantized(scored + self._columns[level.biases], level.output_range)
            found.append(tf.reshape(scored, [tf.shape(maps)[0], -1, self._classes]))
        boxes = tf.reshape(parts[-1], [tf.shape(self._rows)[0], -1, 4])
        return tf.concat(found, axis=1), boxes

    def _classification_loss(self, loss_of, miner, logits, boxes):
        """The loss of SSDMetaArch.loss for these classes alone: their boxes are constant."""
        from todus.tf import tf

        from object_detection.core import box_list, matcher

        wanted = tf.one_hot(self._targets, self._classes)
        counted = tf.cast(tf.not_equal(self._targets, IGNORED), tf.float32)[..., tf.newaxis]
        losses = loss_of(logits, wanted, weights=counted * tf.ones_like(wanted))
        if losses.shape.rank == 3:
            losses = tf.reduce_sum(losses, axis=2)
        positive = tf.greater_equal(self._targets, 0)
        matches = tf.maximum(tf.reduce_sum(tf.cast(positive, tf.float32)), 1.0)
        if miner is None:
            return tf.reduce_sum(losses) / matches

        def mined(values):
            each, boxes_of, targets = values
            match = matcher.Match(tf.minimum(targets, 0))
            box_lists = [box_list.BoxList(boxes_of)]
            kept = miner(tf.zeros_like(each)[tf.newaxis], each[tf.newaxis], box_lists, [match])
            return kept[1]

        total = tf.map_fn(mined, (losses, boxes, self._targets), tf.float32)
        return tf.reduce_sum(total) / matches

    def _kept_in_range(self) -> List:
        """Assignments that keep the weights within the ranges of the network's quantization."""
        from todus.tf import tf

        ranges = {level.weights: level.weights_range for level in self._levels}
        return [
            tf.assign(
                self._columns[name], tf.clip_by_value(self._columns[name], found.least, found.most)
            )
            for name, found in ranges.items()
            if found
        ]

    def train(self, rows: np.ndarray, targets: np.ndarray) -> float:
        """Makes a step; returns the loss."""
        feeds = {self._rows: rows, self._targets: targets}
        return float(self._session.run([self._loss, self._update], feeds)[0])

    def rate(self) -> float:
        return float(self._session.run(self._rate))

    def highest(self, rows: np.ndarray) -> np.ndarray:
        """float32 [batch, classes]: the highest logit of each class in each image."""
        return self._session.run(self._best, {self._rows: rows})

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
