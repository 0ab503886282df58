"""False alarms: detections in images without a groundtruth box, at the deployed thresholds."""

from typing import Dict, List, NamedTuple, Optional

import numpy as np

from todus.evaluation.average_precision import Evaluation

RECALL = 0.9
RECALLS = tuple(percent / 100 for percent in range(5, 101, 5))  # of the curve


class Thresholds(NamedTuple):
    """The score thresholds at which detections count.

    Attributes:
      by_class: name -> threshold.
      otherwise: of the other classes.
      source: where they come from, for the user.
    """

    by_class: Dict[str, float]
    otherwise: float
    source: str


def measure(result: Evaluation, thresholds: Thresholds) -> Optional[Dict]:
    """The false alarms of an evaluation; None where every image has a box.

    Returns:
      {"per_100_images", "images", "detections", "at", "at_recall", "curve"}: `images` have no box
      of the evaluated classes, `detections` are those in them that score at least their class's
      threshold, and `at` names the thresholds. "at_recall" has "recall", "per_100_images" and
      "thresholds", at which each class reaches that recall; it is None where a class does not.
      "curve" is that of `curve`.
    """
    if not result.negatives:
        return None
    count = sum(
        int((scores >= thresholds.by_class.get(name, thresholds.otherwise)).sum())
        for name, scores in result.alarms.items()
    )
    return {
        "per_100_images": round(100.0 * count / result.negatives, 2),
        "images": result.negatives,
        "detections": count,
        "at": thresholds.source,
        "at_recall": _at_recall(result, RECALL),
        "curve": curve(result),
    }


def curve(result: Evaluation) -> List[List[float]]:
    """[recall, false alarms per 100 images] for each of RECALLS that every class reaches.

    Empty where every image has a box.
    """
    if not result.negatives:
        return []
    found = [_at_recall(result, recall) for recall in RECALLS]
    return [[each["recall"], each["per_100_images"]] for each in found if each]


def _at_recall(result: Evaluation, recall: float) -> Optional[Dict]:
    """The false alarms at the thresholds with which each class with boxes has this recall."""
    thresholds = {}
    for name, matches in result.matches.items():
        if matches.boxes:
            reached = np.cumsum(matches.right) / matches.boxes >= recall
            if not reached.any():
                return None
            thresholds[name] = float(matches.scores[int(np.argmax(reached))])
    scores = [result.alarms[name] >= threshold for name, threshold in thresholds.items()]
    count = sum(int(each.sum()) for each in scores)
    return {
        "recall": recall,
        "per_100_images": round(100.0 * count / result.negatives, 2),
        "thresholds": {name: round(each, 6) for name, each in thresholds.items()},
    }


def described(measured: Dict) -> str:
    """What `measure` returned, as one line."""
    text = "%.4g false alarms per 100 images without a box (%d in %d), at %s"
    line = text % tuple(measured[key] for key in ("per_100_images", "detections", "images", "at"))
    at_recall = measured.get("at_recall")
    if at_recall:
        line += "; at %.0f %% recall of each class: %.4g"
        line %= (100 * at_recall["recall"], at_recall["per_100_images"])
    return line
