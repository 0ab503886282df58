"""Whether pycocotools and numpy work together."""

import sys

from todus.errors import TodusError
from todus.machine.environment import pins, version


def coco_toy() -> float:
    """AP of one box that is found exactly, by way of pycocotools: 1.0 where pycocotools and numpy go together.

    Raises TodusError where they do not: the run would end at its first evaluation.
    """
    try:
        import numpy as np

        from todus.evaluation import average_precision

        box = {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [2.0, 2.0, 40.0, 40.0],
            "area": 1600.0,
            "iscrowd": 0,
        }
        truth = average_precision.Groundtruth(
            {1: "box"}, [{"id": 1, "width": 64, "height": 64}], [box]
        )
        return average_precision.score(truth, np.array([[1, 2.0, 2.0, 40.0, 40.0, 0.9, 1]]))[
            "stats"
        ]["ap"]
    except Exception as error:  # an ABI that does not fit shows as an error of any kind
        again = " ".join("%s==%s" % (name, pins()[name]) for name in ("pycocotools", "numpy"))
        raise TodusError(
            "pycocotools %s and numpy %s cannot evaluate together (%s: %s); run: %s -m pip install --force-reinstall %s"
            % (
                version("pycocotools"),
                version("numpy"),
                type(error).__name__,
                str(error)[:120],
                sys.executable,
                again,
            )
        )
