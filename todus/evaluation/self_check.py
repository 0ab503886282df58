"""A check that pycocotools works with the installed numpy."""

import sys

from todus.errors import TodusError
from todus.machine.environment import pins, version


def coco_toy() -> float:
    """The AP that pycocotools computes for one exact detection: 1.0 where it works.

    Raises TodusError where pycocotools fails: a training would end at its first evaluation.
    """
    try:
        import numpy as np

        from todus.evaluation import average_precision

        bbox = [2.0, 2.0, 40.0, 40.0]
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox, "area": 1600.0, "iscrowd": 0}
        image = {"id": 1, "width": 64, "height": 64}
        truth = average_precision.Groundtruth({1: "box"}, [image], [box])
        rows = np.array([[1, *bbox, 0.9, 1]])
        return average_precision.score(truth, rows)["stats"]["ap"]
    except Exception as error:  # an incompatible ABI raises errors of any class
        again = " ".join("%s==%s" % (name, pins()[name]) for name in ("pycocotools", "numpy"))
        raise TodusError(
            "pycocotools %s and numpy %s do not work together (%s: %s); "
            "run: %s -m pip install --force-reinstall %s"
            % (
                version("pycocotools"),
                version("numpy"),
                type(error).__name__,
                str(error)[:120],
                sys.executable,
                again,
            )
        )
