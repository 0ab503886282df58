"""The anchors that the plugin GridAnchor_TRT makes, to compare with those of a graph."""

from typing import List, Sequence, Tuple

import numpy as np


def boxes_of_layers(
    layers: int, low: float, high: float, ratios: Sequence[float]
) -> List[List[Tuple[float, float]]]:
    """(height, width) of the anchors at a place, for each feature map, relative to the image.

    The formula is the one in NVIDIA's description of gridAnchorPlugin: the lowest layer has the first three aspect ratios at
    scales 0.1, low and low; the others have every ratio at a scale that grows evenly to `high`, and a square of the geometric
    mean of their scale and the next (1 after the last).
    """
    scales = [low + (high - low) * layer / (layers - 1) for layer in range(layers)] + [1.0]
    result = []
    for layer in range(layers):
        if layer == 0:
            pairs = list(zip((0.1, low, low), ratios[:3]))
        else:
            pairs = [(scales[layer], ratio) for ratio in ratios] + [
                (np.sqrt(scales[layer] * scales[layer + 1]), 1.0)
            ]
        result.append([(scale / np.sqrt(ratio), scale * np.sqrt(ratio)) for scale, ratio in pairs])
    return result


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
    for side, sizes in zip(sides, boxes_of_layers(len(sides), low, high, ratios)):
        centers = (np.arange(side) + 0.5) / side
        y, x, box = np.meshgrid(centers, centers, np.arange(len(sizes)), indexing="ij")
        height, width = np.array(sizes)[box].transpose(3, 0, 1, 2) / 2
        parts.append(
            np.stack([y - height, x - width, y + height, x + width], axis=-1).reshape(-1, 4)
        )
    return np.concatenate(parts).astype(np.float32)
