"""The anchors of TensorRT's plugin GridAnchor_TRT, for comparison with those of a graph."""

from typing import List, Sequence, Tuple

import numpy as np


def sizes_of_layers(
    layers: int, low: float, high: float, ratios: Sequence[float]
) -> List[List[Tuple[float, float]]]:
    """The (height, width) of the anchors at a place, for each feature map, relative to the image.

    This is the formula of NVIDIA's gridAnchorPlugin. The lowest layer has the first three aspect
    ratios at the scales 0.1, low and low. Each other layer has every ratio at its own scale, which
    grows evenly to `high`, and a square of the geometric mean of its scale and the next (1 after
    the last).
    """
    scales = [low + (high - low) * layer / (layers - 1) for layer in range(layers)] + [1.0]
    pairs = [list(zip((0.1, low, low), ratios))]
    for scale, following in zip(scales[1:], scales[2:]):
        pairs.append([(scale, ratio) for ratio in ratios] + [(np.sqrt(scale * following), 1.0)])
    return [
        [(scale / np.sqrt(ratio), scale * np.sqrt(ratio)) for scale, ratio in layer]
        for layer in pairs
    ]


def grid(sides: Sequence[int], low: float, high: float, ratios: Sequence[float]) -> np.ndarray:
    """The anchors over square feature maps.

    Args:
      sides: the side of each feature map.
      low, high: the scales of the lowest and the highest.
      ratios: width to height.

    Returns:
      float32 [sum(side * side * anchors), 4], (ymin, xmin, ymax, xmax) relative to the image.
    """
    parts = []
    for side, sizes in zip(sides, sizes_of_layers(len(sides), low, high, ratios)):
        centers = (np.arange(side) + 0.5) / side
        y, x, box = np.meshgrid(centers, centers, np.arange(len(sizes)), indexing="ij")
        height, width = np.array(sizes)[box].transpose(3, 0, 1, 2) / 2
        boxes = np.stack([y - height, x - width, y + height, x + width], axis=-1)
        parts.append(boxes.reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)
