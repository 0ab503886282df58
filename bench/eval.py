"""How many images a second an evaluation detects in, against feeding them one at a time; runs take turns.

  python -m bench.eval [--images 100] [--repeats 3] [--formats frozen_graph onnx]

MODEL_DIR names the model; without it the miniature is measured. One at a time: an image is decoded, goes as it is into the whole graph, and
its detections are awaited before the next one. The evaluation is evaluation.detect_all, as ./eval.sh runs it. Scoring is not counted.
"""

import statistics
import sys
import time
from typing import Callable, Dict, List, Optional

import numpy as np

from bench import _miniature
from todus.command import Parser, run
from todus.detection import catalogue
from todus.model import prepared

FORMATS = ("checkpoint", "frozen_graph", "saved_model", "tflite", "onnx")


def one_at_a_time(model, form) -> Callable[[List[bytes]], None]:
    """A loop as most write it: for TensorFlow's graphs with the image into image_tensor, else with the detector of the format."""
    from todus.dataset import image_files

    detector = catalogue.open_form(model, form, None)
    session = getattr(detector, "_session", None)
    if form.name not in ("checkpoint", "frozen_graph", "saved_model"):
        return lambda encoded: (
            [detector.detect([image_files.decode(each)]) for each in encoded] and None
        )
    placeholder = session.graph.get_tensor_by_name("image_tensor:0")
    return lambda encoded: (
        [
            session.run(detector._outputs, {placeholder: image_files.decode(each)[np.newaxis]})
            for each in encoded
        ]
        and None
    )


def as_evaluation_does(model, form) -> Callable[[List[bytes]], None]:
    from todus.evaluation import average_precision

    detector = catalogue.open_form(model, form, 1)
    return lambda encoded: list(average_precision.detect_all(detector, encoded)) and None


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("bench.eval", __doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    arguments = parser.parse_args(argv)
    with _miniature.model("export.sh export-tflite.sh convert-tflite.sh convert-onnx.sh") as model:
        from todus.evaluation import average_precision

        encoded = [
            each.encoded
            for each in average_precision.examples_of(
                prepared.dataset_of(model), "val", arguments.images
            )
        ]
        print(
            "eval: images a second of %s, median of %d runs over %d images"
            % (model.name, arguments.repeats, len(encoded))
        )
        for form in catalogue.present(model):
            if form.name in arguments.formats:
                measure(model, form, encoded, arguments.repeats)
    return 0


def measure(model, form, encoded: List[bytes], repeats: int) -> None:
    ways = {
        "one at a time": one_at_a_time(model, form),
        "evaluation": as_evaluation_does(model, form),
    }
    for way in ways.values():
        way(encoded[:8])
    rates: Dict[str, List[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way(encoded)
            rates[name].append(len(encoded) / (time.perf_counter() - start))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(
        "  %-13s %7.1f one at a time, %7.1f in an evaluation: %.2f times"
        % (
            (form.name,)
            + tuple(medians.values())
            + (medians["evaluation"] / medians["one at a time"],)
        )
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run("bench", main))
