"""Measures images per second in an evaluation, against a loop over single images.

  python -m bench.eval [--images 100] [--repeats 3] [--formats frozen_graph onnx]

MODEL_DIR is the model (default: the miniature). The loop decodes an image, runs the whole graph on
it and waits for its detections. The evaluation is average_precision.detect_all, as in ./eval.sh;
scoring is not measured. Both run in turn.
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

TENSORFLOW = ("checkpoint", "frozen_graph", "saved_model")
FORMATS = TENSORFLOW + ("tflite", "onnx")


def one_at_a_time(model, form) -> Callable[[List[bytes]], object]:
    """A loop that detects in single encoded images.

    A TensorFlow graph gets the image at image_tensor; other forms use their detector.
    """
    from todus.dataset.image_files import decode

    detector = catalogue.open_form(model, form, None)
    if form.name not in TENSORFLOW:
        return lambda encoded: [detector.detect([decode(each)]) for each in encoded]
    session, outputs = detector.session, detector.outputs
    placeholder = session.graph.get_tensor_by_name("image_tensor:0")
    return lambda encoded: [
        session.run(outputs, {placeholder: decode(each)[np.newaxis]}) for each in encoded
    ]


def as_evaluation_does(model, form) -> Callable[[List[bytes]], object]:
    from todus.evaluation import average_precision

    detector = catalogue.open_form(model, form, 1)
    return lambda encoded: list(average_precision.detect_all(detector, encoded))


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("bench.eval", __doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    arguments = parser.parse_args(argv)
    with _miniature.model("export.sh export-tflite.sh convert-tflite.sh convert-onnx.sh") as model:
        from todus.evaluation.average_precision import examples_of

        examples = examples_of(prepared.dataset_of(model), "val", arguments.images)
        encoded = [each.encoded for each in examples]
        facts = (model.name, arguments.repeats, len(encoded))
        print("eval: images per second of %s, median of %d runs over %d images" % facts)
        for form in catalogue.present(model):
            if form.name in arguments.formats:
                measure(model, form, encoded, arguments.repeats)
    return 0


def measure(model, form, encoded: List[bytes], repeats: int) -> None:
    """Prints the images per second of both loops, and their ratio."""
    loops = {"single": one_at_a_time(model, form), "all": as_evaluation_does(model, form)}
    for loop in loops.values():
        loop(encoded[:8])
    rates: Dict[str, List[float]] = {name: [] for name in loops}
    for _ in range(repeats):
        for name, loop in loops.items():
            start = time.perf_counter()
            loop(encoded)
            rates[name].append(len(encoded) / (time.perf_counter() - start))
    single, together = (statistics.median(rates[name]) for name in ("single", "all"))
    facts = (form.name, single, together, together / single)
    print("  %-13s %7.1f one at a time, %7.1f in an evaluation: %.2f times" % facts, flush=True)


if __name__ == "__main__":
    sys.exit(run("bench", main))
