"""Which detections are wrong: a confusion matrix, and the pictures with the worst errors."""

from collections import defaultdict
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from todus.evaluation.average_precision import Groundtruth

MATCH = 0.5  # IoU of a detection with its groundtruth box
NEAR = 0.1  # IoU from which an unmatched detection of a box's class is badly placed
BACKGROUND = "background"
MISSED, FALSE, WRONG_CLASS, MISPLACED = "missed", "false", "wrong class", "badly placed"
# How much an error adds to its picture's total. A false detection adds its score.
WEIGHTS = {MISSED: 1.0, WRONG_CLASS: 1.0, MISPLACED: 0.5}


class Found(NamedTuple):
    """A detection, or a groundtruth box with the score 1.

    Attributes:
      box: x, y, width, height in pixels.
      category: id in the groundtruth's names.
    """

    box: Tuple[float, ...]
    category: int
    score: float = 1.0
    is_crowd: bool = False


class Error(NamedTuple):
    """What is wrong: a kind, the classes of the box and of the detection (or ""), its score."""

    kind: str
    truth: str
    detected: str
    score: float

    @property
    def text(self) -> str:
        if self.kind == MISSED:
            return "missed %s" % self.truth
        if self.kind == WRONG_CLASS:
            return "%s as %s %.2f" % (self.truth, self.detected, self.score)
        return "%s %s %.2f" % (self.kind, self.detected, self.score)

    @property
    def weight(self) -> float:
        return WEIGHTS.get(self.kind, self.score)


class Picture(NamedTuple):
    """An image of the split with its boxes, its detections and the errors in them."""

    number: int  # of the image, from 1
    truth: List[Found]
    found: List[Found]
    errors: List[Error]

    @property
    def weight(self) -> float:
        return sum(error.weight for error in self.errors)


class Analysis(NamedTuple):
    """All errors.

    Attributes:
      names: the classes, then BACKGROUND.
      confusion: int [len(names), len(names)]: groundtruth class, detected class. The last row
        counts false detections, the last column missed boxes.
      pictures: those with errors, the worst first.
    """

    names: List[str]
    confusion: np.ndarray
    pictures: List[Picture]


def analyse(truth: Groundtruth, rows: np.ndarray, threshold_of: Callable[[str], float]) -> Analysis:
    """Matches detections with groundtruth boxes at IoU 0.5, highest score first.

    A box is matched with a detection of its class where there is one, then with one of another
    class. Detections on crowd boxes count as nothing.

    Args:
      truth: the groundtruth.
      rows: float64 [N, 7]: image id, x, y, width, height in pixels, score, category id.
      threshold_of: the score from which detections of a class count.
    """
    ids = sorted(truth.names)
    place = {identity: number for number, identity in enumerate(ids)}
    names = [truth.names[identity] for identity in ids]
    confusion = np.zeros((len(ids) + 1, len(ids) + 1), int)
    boxes: Dict[int, List[Found]] = defaultdict(list)
    for each in truth.annotations:
        category, is_crowd = each["category_id"], bool(each["iscrowd"])
        boxes[each["image_id"]].append(Found(tuple(each["bbox"]), category, 1.0, is_crowd))
    detections: Dict[int, List[Found]] = defaultdict(list)
    for row in rows[np.argsort(-rows[:, 5], kind="stable")] if len(rows) else ():
        if row[5] >= threshold_of(truth.names[int(row[6])]):
            found = Found(tuple(row[1:5]), int(row[6]), float(row[5]))
            detections[int(row[0])].append(found)
    pictures = []
    for image in truth.images:
        number = image["id"]
        errors = []
        for box, found in _matched(boxes[number], detections[number]):
            row = place[box.category] if box else len(ids)
            column = place[found.category] if found else len(ids)
            confusion[row, column] += 1
            if row != column:
                near = not box and found and _is_near(found, boxes[number])
                errors.append(_error(truth.names, box, found, near))
        if errors:
            pictures.append(Picture(number, boxes[number], detections[number], errors))
    pictures.sort(key=lambda picture: (-picture.weight, picture.number))
    return Analysis(names + [BACKGROUND], confusion, pictures)


def _matched(boxes: Sequence[Found], found: Sequence[Found]) -> Iterator[Tuple]:
    """(box or None, detection or None) of each box and detection that counts."""
    overlaps = iou([each.box for each in found], [each.box for each in boxes])
    free = [not box.is_crowd for box in boxes]
    box_of: Dict[int, int] = {}
    for same_class in (True, False):
        for number, each in enumerate(found):
            allowed = [
                (overlaps[number, at], at)
                for at, box in enumerate(boxes)
                if free[at] and (box.category == each.category) == same_class
            ]
            best = max(allowed, default=(0.0, -1))
            if number not in box_of and best[0] >= MATCH:
                box_of[number], free[best[1]] = best[1], False
    crowds = [at for at, box in enumerate(boxes) if box.is_crowd]
    for number, each in enumerate(found):
        if number in box_of:
            yield boxes[box_of[number]], each
        elif not any(overlaps[number, at] >= MATCH for at in crowds):
            yield None, each
    for at, box in enumerate(boxes):
        if free[at]:
            yield box, None


def _is_near(found: Found, boxes: Sequence[Found]) -> bool:
    same = [box.box for box in boxes if box.category == found.category and not box.is_crowd]
    return bool(same) and bool(iou([found.box], same).max() >= NEAR)


def _error(names: Dict[int, str], box, found, near: bool) -> Error:
    if not found:
        return Error(MISSED, names[box.category], "", 1.0)
    if box:
        return Error(WRONG_CLASS, names[box.category], names[found.category], found.score)
    return Error(MISPLACED if near else FALSE, "", names[found.category], found.score)


def iou(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> np.ndarray:
    """Intersection over union of boxes x, y, width, height: float64 [len(first), len(second)]."""
    a = np.asarray(first, np.float64).reshape(-1, 1, 4)
    b = np.asarray(second, np.float64).reshape(1, -1, 4)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - inside
    return inside / np.maximum(areas, 1e-12)
