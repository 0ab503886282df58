"""TensorFlow 1's bilinear resize, one image at a time."""

from typing import Tuple

import numpy as np


class Resizer:
    """Resizes a uint8 [height, width, 3] image to float32, as the exported graph does."""

    def __init__(self, size: Tuple[int, int]):
        from todus.tf import tf

        with tf.Graph().as_default() as graph:
            self._image = tf.placeholder(tf.uint8, [None, None, 3])
            pixels = tf.cast(self._image, tf.float32)[tf.newaxis]
            self._resized = tf.image.resize_bilinear(pixels, size)[0]
        config = tf.ConfigProto(
            intra_op_parallelism_threads=1,
            inter_op_parallelism_threads=1,
            use_per_session_threads=True,
        )
        self._session = tf.Session(graph=graph, config=config)
        self._options = tf.RunOptions(inter_op_thread_pool=-1)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self._session.run(self._resized, {self._image: image}, options=self._options)
