"""One interface over every form a model takes: detect(images) -> boxes, classes, scores."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

# The outputs of a detection model, in the OD API's names: boxes, classes, scores and how many of them count.
DETECTIONS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")


class Detections(NamedTuple):
    """The detections in one image, best first."""

    boxes: np.ndarray  # float32 [N, 4]: ymin, xmin, ymax, xmax, normalised to 0..1
    classes: np.ndarray  # int64 [N]: ids of the model's label map, 1 is the first
    scores: np.ndarray  # float32 [N], 0..1


class Detector:
    """A model that detects.

    Attributes:
      form: "checkpoint", "frozen_graph", "saved_model", "tflite" or "onnx".
      path: what it was made from.
      names: id -> name, the model's label map.
      size: (height, width) of its input in pixels, None where it takes any.
      takes_batches: whether images of one size go in together.
      workers: how many calls of detect or detect_prepared at once are of use.
    """

    form = ""
    path: Path
    names: Dict[int, str]
    size: Optional[Tuple[int, int]] = None
    takes_batches = False
    workers = 1

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """The detections in uint8 [height, width, 3] RGB images; with takes_batches all are of one size."""
        return self.detect_prepared([self.prepare(image) for image in images])

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """What goes into the model for a uint8 [height, width, 3] image, resized where it can be; from any thread."""
        return image

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """The detections in what `prepare` returned; with takes_batches all are of one shape."""
        raise NotImplementedError
