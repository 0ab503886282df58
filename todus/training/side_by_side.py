"""An image with its groundtruth boxes beside the same image with its detections."""

import io
from typing import Dict, Tuple

import numpy as np

from todus.dataset import image_files
from todus.detection import drawing
from todus.detection.detector import Detections

LEAST_SCORE = 0.3


def side_by_side(
    example, found: Detections, names: Dict[int, str]
) -> Tuple[bytes, Tuple[int, int]]:
    """A PNG, groundtruth boxes on the left, detections on the right; its (width, height)."""
    pixels = image_files.decode(example.encoded)
    truth = Detections(example.boxes, example.classes, np.ones(len(example.classes), np.float32))
    left = drawing.draw(pixels, truth, names, 0.0, with_scores=False)
    right = drawing.draw(pixels, found, names, LEAST_SCORE)
    both = drawing.beside(left, right, gap=8)
    png = io.BytesIO()
    both.save(png, "PNG")
    return png.getvalue(), both.size
