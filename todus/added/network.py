"""What the training of class columns knows of the frozen network."""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np


class Range(NamedTuple):
    """The range of a fake quantization with 8 bits."""

    least: float
    most: float
    narrow: bool  # 255 steps instead of 256, as of weights


class Level(NamedTuple):
    """A convolution that predicts something of the anchors of one feature map.

    Attributes:
      weights: the name of its variable; the levels of a shared predictor have the same.
      place: of the feature map in a row.
      shape: (height, width, channels) of the feature map.
      kernel: (height, width) of the convolution.
      strides, padding: of the convolution.
      output_range, weights_range: of a quantization-aware network; None for others.
    """

    weights: str
    biases: str
    place: int
    shape: Tuple[int, int, int]
    kernel: Tuple[int, int]
    strides: Tuple[int, int]
    padding: str
    weights_range: Optional[Range]
    output_range: Optional[Range]

    @property
    def span(self) -> slice:
        """Of the feature map in a row."""
        return slice(self.place, self.place + int(np.prod(self.shape)))


class Network:
    """A frozen network, as it is deployed, up to the predictors of one of its heads.

    Attributes:
      size: (height, width) of its input in pixels.
      head, heads: which head, counted from 0, of how many.
      levels: the class predictors' convolutions, in the order of the anchors.
      box_levels: the box predictors' convolutions, where the boxes are trained; else [].
      anchors: of the head, float32 [anchors, 4], ymin, xmin, ymax, xmax from 0 to 1.
      row: the number of values of one image: its feature maps, then its boxes, [anchors, 4], which
        are not there where they are trained.
    """

    size: Tuple[int, int]
    head: int
    heads: int
    levels: List[Level]
    box_levels: List[Level]
    anchors: np.ndarray
    row: int

    def of(self, images: np.ndarray) -> np.ndarray:
        """float32 [batch, row] of images, float32 [batch, height, width, 3] from 0 to 255."""
        raise NotImplementedError
