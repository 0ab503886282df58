"""False alarms: detections in images without a groundtruth box, at the deployed thresholds."""

from typing import Dict, NamedTuple, Optional

from todus.evaluation.average_precision import Evaluation


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
      {"per_100_images", "images", "detections", "at"}: `images` have no box of the evaluated
      classes, `detections` are those in them that score at least their class's threshold, and `at`
      names the thresholds.
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
    }


def described(measured: Dict) -> str:
    """What `measure` returned, as one line."""
    text = "%.4g false alarms per 100 images without a box (%d in %d), at %s"
    return text % tuple(measured[key] for key in ("per_100_images", "detections", "images", "at"))
