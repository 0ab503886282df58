"""AP as Pascal VOC and Open Images count it, by the OD API's own evaluators: one IoU threshold, 0.5."""

from typing import Dict, Iterable

import numpy as np

from todus.errors import UsageError

# What object_detection.utils.object_detection_evaluation calls its results.
_PREFIXES = {"pascal": "PascalBoxes", "openimages": "OpenImagesV2"}
_NOTES = {
    "pascal": "Pascal VOC 2010, IoU 0.5, difficult and crowd boxes ignored; ",
    "openimages": "Open Images V2, IoU 0.5, a group-of (crowd) box counts once; ",
}


def score(metrics: str, truth, rows: np.ndarray, stats: Iterable[str]) -> Dict:
    """The stats, per_class, summary and protocol of todus.evaluation.average_precision.Evaluation.

    Args:
      metrics: "pascal" or "openimages".
      truth: todus.evaluation.average_precision.Groundtruth.
      rows: float64 [N, 7]: image id, x, y, width, height in pixels, score, category id.
      stats: the names of COCO's figures; those that this protocol has not are NaN.
    """
    if metrics not in _PREFIXES:
        raise UsageError(
            "METRICS=%s is unknown; there is: coco, %s" % (metrics, ", ".join(_PREFIXES))
        )
    evaluator = _evaluator(metrics, truth.names)
    for image in truth.images:
        here = [each for each in truth.annotations if each["image_id"] == image["id"]]
        evaluator.add_single_ground_truth_image_info(image["id"], _groundtruth(metrics, here))
        found = rows[rows[:, 0] == image["id"]]
        evaluator.add_single_detected_image_info(
            image["id"],
            {
                "detection_boxes": _corners(found[:, 1:5]),
                "detection_scores": found[:, 5],
                "detection_classes": found[:, 6].astype(np.int64),
            },
        )
    values = evaluator.evaluate()
    prefix = _PREFIXES[metrics]
    mean = float(values["%s_Precision/mAP@0.5IOU" % prefix])
    by_class = "%s_PerformanceByCategory/AP@0.5IOU/" % prefix
    per_class = {
        name: float(values.get(by_class + name, float("nan"))) for name in truth.names.values()
    }
    stats = dict({name: float("nan") for name in stats}, ap=mean, ap50=mean)
    summary = " Average Precision  (AP) @[ IoU=0.50 ] = %.3f" % mean
    return {
        "stats": stats,
        "per_class": per_class,
        "summary": summary,
        "protocol": _NOTES[metrics] + truth.described(),
    }


def _evaluator(metrics: str, names: Dict[int, str]):
    from todus.tf import tf  # noqa: F401  the OD API's utilities import TensorFlow; this makes it quiet

    from object_detection.utils import object_detection_evaluation as official

    listed = [{"id": identity, "name": name} for identity, name in names.items()]
    if metrics == "pascal":
        return official.PascalDetectionEvaluator(listed)
    return official.OpenImagesDetectionEvaluator(listed)


def _groundtruth(metrics: str, here) -> Dict:
    crowd = np.array([bool(each["iscrowd"]) for each in here], bool)
    result = {
        "groundtruth_boxes": _corners(
            np.array([each["bbox"] for each in here], np.float64).reshape(-1, 4)
        ),
        "groundtruth_classes": np.array([each["category_id"] for each in here], np.int64),
    }
    if metrics == "pascal":
        result["groundtruth_difficult"] = crowd | np.array(
            [each["difficult"] for each in here], bool
        )
    else:
        result["groundtruth_group_of"] = crowd
    return result


def _corners(boxes: np.ndarray) -> np.ndarray:
    """[N, 4] of x, y, width, height to ymin, xmin, ymax, xmax."""
    x, y, width, height = boxes.T
    return np.stack([y, x, y + height, x + width], axis=1)
