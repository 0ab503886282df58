"""The score threshold for each class that a deployed detector should use, picked on val."""

import math
from typing import Dict, Mapping, Optional

import numpy as np

from todus import files
from todus.evaluation.average_precision import Matches
from todus.model import artefacts
from todus.paths import beside_json


def pick(matches: Matches, precision: Optional[float] = None) -> Optional[Dict]:
    """The threshold of one class at IoU 0.5.

    Args:
      matches: its detections, best first.
      precision: the least share of right detections that is wanted, 0..1, with as many boxes found as it allows; None: the best F1.

    Returns:
      {"threshold", "precision", "recall", "f1"}: keep the detections that score at least `threshold`. None where there are no boxes, no
      right detection, or none of that precision.
    """
    if not matches.boxes or not matches.right.any():
        return None
    right = np.cumsum(matches.right)
    share = right / np.arange(1, len(right) + 1)
    found = right / float(matches.boxes)
    f1 = 2 * share * found / np.maximum(share + found, 1e-12)
    last = np.append(
        np.diff(matches.scores) != 0, True
    )  # equal scores are kept or left out together
    merit = np.where(
        last, f1 if precision is None else np.where(share >= precision, found, -1.0), -1.0
    )
    best = int(np.argmax(merit))
    if merit[best] <= 0:
        return None
    return {
        "threshold": math.floor(matches.scores[best] * 1e6) / 1e6,
        "precision": round(float(share[best]), 4),
        "recall": round(float(found[best]), 4),
        "f1": round(float(f1[best]), 4),
    }


def pick_all(
    matches: Mapping[str, Matches], precision: Optional[float] = None
) -> Dict[str, Optional[Dict]]:
    """`pick` for each class by name."""
    return {name: pick(each, precision) for name, each in matches.items()}


def store(
    path, picked: Mapping[str, Optional[Dict]], precision: Optional[float], images: int
) -> None:
    """Puts the thresholds into FILE.json beside a converted model; a file without one is left alone."""
    if not beside_json(path).exists():
        return
    about = artefacts.read(path)
    rule = (
        "best F1 at IoU 0.5"
        if precision is None
        else "precision of at least %g at IoU 0.5" % precision
    )
    about["thresholds"] = {"picked_by": rule, "val_images": images, "classes": dict(picked)}
    files.write_json(beside_json(path), about)
