"""Normalises the channels of a graph's pixels inside it, for an 8-bit input.

An 8-bit tensor has one scale and one zero point, so that its channels cannot have means of their
own. A depthwise 1x1 convolution computes (pixel - mean) / std of each: its bias has 32 bits.
"""

from pathlib import Path
from typing import Sequence

import numpy as np

from todus.detection.frozen_graph import read_graph

_SCOPE = "pixel_normalization/"


def write(
    graph: Path,
    target: Path,
    placeholder: str,
    mean: Sequence[float],
    std: Sequence[float],
    has_ranges: bool = True,
) -> Path:
    """Writes the frozen graph with pixels 0 to 255 as its input.

    Args:
      graph: its input is normalised.
      target: the file to write.
      placeholder: the name of the input, which stays.
      mean, std: by channel.
      has_ranges: whether the graph's tensors have ranges, so that those added need them too.

    Returns:
      `target`.
    """
    from todus.tf import tf

    graph_def = read_graph(graph)
    means, scales = np.float32(mean), 1 / np.float32(std)
    for node in graph_def.node:
        for place, name in enumerate(node.input):
            if name in (placeholder, placeholder + ":0"):
                node.input[place] = _SCOPE + "normalized"
    with tf.Graph().as_default() as added:
        pixels = tf.placeholder(tf.float32, [1, None, None, len(mean)], name=placeholder)
        kernel = tf.constant(scales.reshape(1, 1, -1, 1), name=_SCOPE + "scales")
        bias = tf.constant(-means * scales, name=_SCOPE + "biases")
        scaled = tf.nn.depthwise_conv2d(pixels, kernel, [1] * 4, "VALID", name=_SCOPE + "scaled")
        shifted = tf.nn.bias_add(scaled, bias, name=_SCOPE + "shifted")
        low, high = (float(each) for each in (min(-means * scales), max((255 - means) * scales)))
        name = _SCOPE + "normalized"
        if has_ranges:
            tf.quantization.fake_quant_with_min_max_args(shifted, low, high, name=name)
        else:
            tf.identity(shifted, name=name)
    graph_def.node.extend(node for node in added.as_graph_def().node if node.name != placeholder)
    target.write_bytes(graph_def.SerializeToString(deterministic=True))
    return target
