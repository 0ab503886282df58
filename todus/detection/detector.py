"""The interface of every detector: detect(images) -> boxes, classes, scores."""

from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

# The outputs of a detection model, in the OD API's names.
DETECTIONS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")

LEAST_SCORE = 1e-8  # the score threshold that keeps every detection for the evaluation


class Detections(NamedTuple):
    """The detections in one image, highest score first."""

    boxes: np.ndarray  # float32 [N, 4]: ymin, xmin, ymax, xmax, normalised to 0..1
    classes: np.ndarray  # int64 [N]: ids of the model's label map, 1 is the first
    scores: np.ndarray  # float32 [N], 0..1


class Detector:
    """A model that detects.

    Attributes:
      form: "checkpoint", "frozen_graph", "saved_model", "tflite" or "onnx".
      path: the model's file or folder, or a checkpoint's prefix.
      names: id -> name, the model's label map.
      size: (height, width) of its input in pixels, None where it takes any.
      takes_batches: whether one call takes several images, all of one size.
      batch: their number, where it is fixed.
      runtime: "LiteRT 2.3.0" where that of .runtimes runs it, "" for one of .venv.
      workers: how many calls of detect or detect_prepared may run at once.
    """

    form = ""
    path: Path
    names: Dict[int, str]
    size: Optional[Tuple[int, int]] = None
    takes_batches = False
    batch: Optional[int] = None
    runtime = ""
    workers = 1

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """The detections in each of the uint8 [height, width, 3] RGB images."""
        return self.detect_prepared([self.prepare(image) for image in images])

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The model's input for a uint8 [height, width, 3] RGB image. Thread-safe."""
        return image

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """The detections in each of the images from `prepare`."""
        raise NotImplementedError


def in_batches(
    images: Sequence[np.ndarray], size: Optional[int]
) -> Iterator[Tuple[np.ndarray, int]]:
    """(batch, how many of its images count) of images of one shape, in order.

    The last batch is filled up with its first image. `size` None takes all in one batch.
    """
    size = size or max(1, len(images))
    for start in range(0, len(images), size):
        part = list(images[start : start + size])
        yield np.stack(part + [part[0]] * (size - len(part))), len(part)


def split(
    boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, counts: np.ndarray
) -> List[Detections]:
    """The detections of each image from a model's outputs for a batch.

    Args:
      boxes: [batch, most, 4].
      classes: [batch, most], ids.
      scores: [batch, most].
      counts: [batch], how many of each image's detections count.
    """
    return [
        Detections(boxes[i][:count], classes[i][:count].astype(np.int64), scores[i][:count])
        for i, count in enumerate(counts.astype(int))
    ]
