"""Detections averaged over an image and its mirror image."""

from typing import List, Tuple

import numpy as np

from todus.detection.detector import Detections, Detector
from todus.evaluation.errors import iou

SAME = 0.5  # IoU from which two boxes of a class are of one object

_Row = Tuple[float, np.ndarray, int]  # score, box, class id


def detect(detector: Detector, image: np.ndarray) -> Detections:
    """The mean of the detections in a uint8 [height, width, 3] image and in its mirror image."""
    flipped = np.ascontiguousarray(image[:, ::-1])
    found, other = detector.detect([image, flipped])
    return mean(found, _mirrored(other))


def mean(one: Detections, other: Detections) -> Detections:
    """The mean boxes and scores of two sets of detections in one image.

    Boxes of a class with an IoU of SAME or more are one object. What only one set has gets half its
    score: the other set gives it none.
    """
    rows: List[_Row] = []
    for class_id in sorted({*one.classes.tolist(), *other.classes.tolist()}):
        mine, theirs = _of_class(one, class_id), _of_class(other, class_id)
        overlaps = iou(_sides(mine.boxes), _sides(theirs.boxes))
        for at, (box, score) in enumerate(zip(mine.boxes, mine.scores)):
            best = int(np.argmax(overlaps[at])) if overlaps.shape[1] else -1
            if best >= 0 and overlaps[at, best] >= SAME:
                overlaps[:, best] = -1  # each is the partner of one
                partner, partners_score = theirs.boxes[best], theirs.scores[best]
                rows.append(((score + partners_score) / 2, (box + partner) / 2, class_id))
            else:
                rows.append((score / 2, box, class_id))
        for at in np.flatnonzero((overlaps != -1).all(axis=0)):
            rows.append((theirs.scores[at] / 2, theirs.boxes[at], class_id))
    rows.sort(key=lambda row: -row[0])
    return Detections(
        np.array([box for _, box, _ in rows], np.float32).reshape(-1, 4),
        np.array([class_id for *_, class_id in rows], np.int64),
        np.array([score for score, *_ in rows], np.float32),
    )


def _mirrored(found: Detections) -> Detections:
    ymin, xmin, ymax, xmax = found.boxes.reshape(-1, 4).T
    return found._replace(boxes=np.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=1))


def _of_class(found: Detections, class_id: int) -> Detections:
    own = found.classes == class_id
    return Detections(found.boxes[own], found.classes[own], found.scores[own])


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Two corners as a corner and the two sides, for `iou`."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
