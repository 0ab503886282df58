"""The AP of Pascal VOC and Open Images at IoU 0.5, by the OD API's evaluators."""

from typing import Dict, Iterable

import numpy as np

from todus.errors import UsageError

# The prefixes of the results of object_detection.utils.object_detection_evaluation.
_PREFIXES = {"pascal": "PascalBoxes", "openimages": "OpenImagesV2"}
_NOTES = {
    "pascal": "Pascal VOC 2010, IoU 0.5, difficult and crowd boxes ignored; ",
    "openimages": "Open Images V2, IoU 0.5, a group-of (crowd) box counts once; ",
}


def score(metrics: str, truth, rows: np.ndarray, stats: Iterable[str]) -> Dict:
    """The stats, per_class, summary and protocol of average_precision.Evaluation.

    Args:
      metrics: "pascal" or "openimages".
      truth: average_precision.Groundtruth.
      rows: float64 [N, 7]: image id, x, y, width, height in pixels, score, category id.
      stats: average_precision.STATS; those other than ap and ap50 are NaN.

    Raises:
      UsageError: unknown metrics.
    """
    if metrics not in _PREFIXES:
        known = ", ".join(_PREFIXES)
        raise UsageError("METRICS=%s is unknown; choose one of: coco, %s" % (metrics, known))
    evaluator = _evaluator(metrics, truth.names)
    for image in truth.images:
        here = [each for each in truth.annotations if each["image_id"] == image["id"]]
        evaluator.add_single_ground_truth_image_info(image["id"], _groundtruth(metrics, here))
        found = rows[rows[:, 0] == image["id"]]
        detected = {
            "detection_boxes": _corners(found[:, 1:5]),
            "detection_scores": found[:, 5],
            "detection_classes": found[:, 6].astype(np.int64),
        }
        evaluator.add_single_detected_image_info(image["id"], detected)
    values = evaluator.evaluate()
    mean = float(values["%s_Precision/mAP@0.5IOU" % _PREFIXES[metrics]])
    by_class = "%s_PerformanceByCategory/AP@0.5IOU/" % _PREFIXES[metrics]
    names = truth.names.values()
    return {
        "stats": dict(dict.fromkeys(stats, float("nan")), ap=mean, ap50=mean),
        "per_class": {name: float(values.get(by_class + name, float("nan"))) for name in names},
        "summary": " Average Precision  (AP) @[ IoU=0.50 ] = %.3f" % mean,
        "protocol": _NOTES[metrics] + truth.described(),
    }


def _evaluator(metrics: str, names: Dict[int, str]):
    from todus.tf import tf  # noqa: F401  quiet, before the OD API imports TensorFlow

    from object_detection.utils import object_detection_evaluation as official

    listed = [{"id": identity, "name": name} for identity, name in names.items()]
    if metrics == "pascal":
        return official.PascalDetectionEvaluator(listed)
    return official.OpenImagesDetectionEvaluator(listed)


def _groundtruth(metrics: str, here) -> Dict:
    boxes = np.array([each["bbox"] for each in here], np.float64).reshape(-1, 4)
    classes = np.array([each["category_id"] for each in here], np.int64)
    result = {"groundtruth_boxes": _corners(boxes), "groundtruth_classes": classes}
    crowd = np.array([each["iscrowd"] for each in here], bool)
    if metrics == "pascal":
        difficult = np.array([each["difficult"] for each in here], bool)
        result["groundtruth_difficult"] = crowd | difficult
    else:
        result["groundtruth_group_of"] = crowd
    return result


def _corners(boxes: np.ndarray) -> np.ndarray:
    """ymin, xmin, ymax, xmax [N, 4] of x, y, width, height [N, 4]."""
    x, y, width, height = boxes.T
    return np.stack([y, x, y + height, x + width], axis=1)
