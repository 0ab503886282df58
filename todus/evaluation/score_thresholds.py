"""Picks a score threshold for each class from the detections in val."""

import math
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np

from todus import files
from todus.evaluation.average_precision import Matches
from todus.model import artefacts
from todus.paths import Model, beside_json


def pick(matches: Matches, precision: Optional[float] = None) -> Optional[Dict]:
    """The threshold of one class at IoU 0.5.

    Args:
      matches: its detections, highest score first.
      precision: the least precision, 0..1, to reach with the highest recall; None: the best F1.

    Returns:
      {"threshold", "precision", "recall", "f1"}: detections that score at least `threshold` count.
      None where there are no boxes, no right detection, or no threshold of that precision.
    """
    if not matches.boxes or not matches.right.any():
        return None
    right = np.cumsum(matches.right)
    precisions = right / np.arange(1, len(right) + 1)
    recalls = right / float(matches.boxes)
    f1 = 2 * precisions * recalls / np.maximum(precisions + recalls, 1e-12)
    merit = f1 if precision is None else np.where(precisions >= precision, recalls, -1.0)
    # Of detections with equal scores only the last can be at a threshold.
    merit = np.where(np.append(np.diff(matches.scores) != 0, True), merit, -1.0)
    best = int(np.argmax(merit))
    if merit[best] <= 0:
        return None
    return {
        "threshold": math.floor(matches.scores[best] * 1e6) / 1e6,
        "precision": round(float(precisions[best]), 4),
        "recall": round(float(recalls[best]), 4),
        "f1": round(float(f1[best]), 4),
    }


def pick_all(
    matches: Mapping[str, Matches], precision: Optional[float] = None
) -> Dict[str, Optional[Dict]]:
    """What `pick` returns, for each class by name."""
    return {name: pick(each, precision) for name, each in matches.items()}


def at(matches: Matches, threshold: float) -> Optional[Dict]:
    """What `pick` returns for a given threshold, also without a right detection.

    The precision is None where no detection scores enough. None where there are no boxes.
    """
    if not matches.boxes:
        return None
    right = matches.right[matches.scores >= threshold]
    recall = right.sum() / float(matches.boxes)
    precision = float(right.mean()) if len(right) else None
    f1 = 2 * (precision or 0) * recall / max((precision or 0) + recall, 1e-12)
    return {
        "threshold": threshold,
        "precision": None if precision is None else round(precision, 4),
        "recall": round(float(recall), 4),
        "f1": round(float(f1), 4),
    }


def stored(path) -> Dict[str, float]:
    """Class name -> the threshold in the FILE.json of a converted model; {} where it has none."""
    about = artefacts.read(path).get("thresholds")
    return _by_class(about.get("classes")) if isinstance(about, dict) else {}


def _by_class(picked: Any) -> Dict[str, float]:
    return {
        name: float(each["threshold"])
        for name, each in (picked.items() if isinstance(picked, dict) else ())
        if isinstance(each, dict) and files.is_number(each.get("threshold"))
    }


def of_form(model: Model, form: str, path: Path) -> Dict[str, float]:
    """What `stored` returns for a form of a model, else its thresholds in eval.json.

    Args:
      model: a prepared model.
      form: its name in todus.forms.
      path: as of catalogue.Present; an eval.json that is older is not read.
    """
    found, written = stored(path), model.folder / "eval.json"
    made = path if path.exists() else path.with_name(path.name + ".index")  # of a checkpoint
    if found or not (written.exists() and made.exists()):
        return found
    entries = files.read_json(written) if written.stat().st_mtime >= made.stat().st_mtime else []
    for entry in entries if isinstance(entries, list) else ():
        named = isinstance(entry, dict) and (entry.get("format"), entry.get("file"))
        if named == (form, path.name):
            return _by_class(entry.get("thresholds"))
    return {}


def at_stored(path, matches: Mapping[str, Matches]) -> Dict[str, Optional[Dict]]:
    """What `at` returns for the stored thresholds of a converted model, for each class by name."""
    found = stored(path)
    return {name: at(matches[name], found[name]) for name in matches if name in found}


def store(
    path, picked: Mapping[str, Optional[Dict]], precision: Optional[float], images: int
) -> None:
    """Writes the thresholds to the FILE.json of a converted model, if it has one.

    Args:
      path: of the converted model.
      picked: what `pick_all` returns.
      precision: as in `pick`.
      images: how many images of val the thresholds are picked from.
    """
    if not beside_json(path).exists():
        return
    about = artefacts.read(path)
    wanted = "best F1" if precision is None else "precision of at least %g" % precision
    rule = "%s at IoU 0.5" % wanted
    about["thresholds"] = {"picked_by": rule, "val_images": images, "classes": dict(picked)}
    files.write_json(beside_json(path), about)
