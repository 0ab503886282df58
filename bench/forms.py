"""Measures every form of a model in every runtime: AP, and ms of wall and processor for an image.

  python -m bench.forms [--whole MODEL_DIR ...] [--rounds 60] [--images 0] [--no-ap]

MODEL_DIR is the limited model, --whole models with all classes to compare it with (default: the
miniature, and the same with all its shapes). The zoo's and the frozen graph run in TensorFlow 1.15,
.tflite files in its interpreter and in LiteRT with 1, 2 and 4 threads, .onnx files in the ONNX
Runtime of .venv, in the newest, and in OpenVINO with its defaults; the others have one thread.
LiteRT, the newest ONNX Runtime and OpenVINO need make runtimes.

All run in turn, on images that are resized before. AP is at one score threshold, on the val records
of the limited model's dataset or on the first --images of them. Prints a table and the ratios of
all classes to the limited ones, of the zoo's graph to the fastest form with an AP of at most 0.01
less, and of uint8 files with fast NMS, the kind that Coral publishes, to that form.
"""

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from bench import _miniature
from todus import paths
from todus.command import Parser, run, say
from todus.detection import catalogue, runtimes, worker_process
from todus.errors import TodusError
from todus.model import prepared
from todus.paths import Model
from todus.text import table

BLOCK = 5  # calls in a row, after one that is not measured
SLOW = 0.5  # seconds of processor of a call: from here on no AP, and one call is a block
LEAST_DROP = 0.01  # of AP that counts as equal
SCRIPTS = "export.sh export-tflite.sh convert-tflite.sh convert-onnx.sh"
VENV = {"tflite": "TensorFlow 1.15's interpreter", "onnx": "ONNX Runtime 1.10"}


class Entry:
    """A form in a runtime.

    Attributes:
      key: (form, runtime, threads), equal for the same form of two models.
      size: bytes.
      seconds: (wall, processor) of each measured call.
      ap: None where it is not measured.
    """

    def __init__(self, model: Model, form, chosen, threads: Optional[int]):
        self.detector = catalogue.open_form(model, form, threads, chosen)
        self.form, self.model = form, model
        own = VENV.get(self.detector.form, "TensorFlow 1.15")
        self.runtime = self.detector.runtime or own
        self.key = (form.title, self.runtime, threads)
        self.classes, self.size = len(self.detector.names), catalogue.bytes_of(form)
        self.threshold = catalogue.score_threshold(model, form) or 0.0
        self.seconds: List[Tuple[float, float]] = []
        self.inputs: List[Any] = []
        self.ap: Optional[float] = None

    def call(self, number: int) -> Tuple[float, float]:
        """Detects in one image; returns the seconds of wall and of processor."""
        image = self.inputs[number % len(self.inputs)]
        start, before = time.perf_counter(), time.process_time() + worker_process.processor()
        self.detector.detect_prepared([image])
        used = time.process_time() + worker_process.processor() - before
        return time.perf_counter() - start, used

    def milliseconds(self) -> Tuple[float, float]:
        """The medians of wall and of processor."""
        wall, processor = (1e3 * statistics.median(each) for each in zip(*self.seconds))
        return wall, processor


def opened(model: Model, with_zoo: bool) -> Iterator[Entry]:
    forms = [catalogue.find(model, "zoo")] if with_zoo else []
    for form in forms + catalogue.exported(model, say):
        if form.name == "saved_model":
            continue
        yield Entry(model, form, None, 1)
        for each in runtimes.of_form(form.name) if runtimes.installed() else []:
            for threads in {"litert": (1, 2, 4), "openvino": (None,)}.get(each.name, (1,)):
                try:
                    yield Entry(model, form, each, threads)
                except TodusError as error:
                    say("left out: %s" % error)


def measure(entries: List[Entry], rounds: int) -> None:
    """Fills `seconds`, in turns."""
    for entry in entries:
        entry.call(0)
    slow = {entry for entry in entries if entry.call(1)[1] > SLOW}
    for turn in range(-(-rounds // BLOCK)):
        for entry in entries:
            if entry in slow:
                if turn < 3:
                    entry.seconds.append(entry.call(turn))
                continue
            for call in range(-1, BLOCK):
                cost = entry.call(turn * BLOCK + call)
                if call >= 0:
                    entry.seconds.append(cost)


def evaluate(entries: List[Entry], dataset, images: Optional[int]) -> None:
    """Fills `ap`, at the highest score threshold of the forms."""
    from todus.evaluation import average_precision

    threshold = max(entry.threshold for entry in entries)
    for entry in entries:
        if entry.milliseconds()[1] < SLOW * 1e3:
            say("evaluating %s" % described(entry))
            entry.ap = average_precision.evaluate(
                entry.detector, dataset, "val", None, images, threshold
            ).ap


def described(entry: Entry) -> str:
    threads = ", %d threads" % entry.key[2] if (entry.key[2] or 1) > 1 else ""
    return "%d classes, %s, %s%s" % (entry.classes, entry.form.title, entry.runtime, threads)


def show(entries: List[Entry]) -> None:
    rows = [["form", "runtime", "threads", "classes", "AP", "ms wall", "ms processor", "MB"]]
    for entry in entries:
        wall, processor = entry.milliseconds()
        ap = "-" if entry.ap is None else "%.4f" % entry.ap
        cells = [entry.form.title, entry.runtime, entry.key[2] or "its own", entry.classes, ap]
        rows.append(cells + ["%.1f" % wall, "%.1f" % processor, "%.1f" % (entry.size / 1e6)])
    print("\n".join(table(rows, left=2)))


def ratio(slower: Entry, faster: Entry) -> List[float]:
    """How many times as long the slower takes, of wall and of processor."""
    return [a / b for a, b in zip(slower.milliseconds(), faster.milliseconds())]


def show_ratios(limited: List[Entry], wholes: List[Entry]) -> None:
    by_key: Dict[Tuple, Entry] = {entry.key: entry for entry in limited[1:]}
    pairs = [(entry, by_key[entry.key]) for entry in wholes if entry.key in by_key]
    zoo = limited[0]
    equal = [
        entry
        for entry in limited[1:]
        if zoo.ap is None or entry.ap is not None and entry.ap >= zoo.ap - LEAST_DROP
    ]
    if equal:
        best = min(equal, key=lambda entry: entry.milliseconds()[1])
        corals = [entry for entry in wholes if entry.form.title == "TFLite uint8, fast NMS"]
        pairs += [(entry, best) for entry in [zoo] + corals]
    rows = [["this", "takes as long as", "times wall", "times processor"]]
    for slower, faster in pairs:
        cost = ["%.2f" % each for each in ratio(slower, faster)]
        rows.append([described(slower), described(faster)] + cost)
    print("\n".join(table(rows, left=2)))


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("bench.forms", __doc__)
    parser.add_argument("--whole", nargs="+", metavar="MODEL_DIR", default=[])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--no-ap", action="store_true")
    arguments = parser.parse_args(argv)
    if not runtimes.installed():
        say("only the runtimes of .venv: the newest ones are not installed; run: make runtimes")
    with _miniature.model(SCRIPTS, with_whole=True) as model:
        wholes = [Model(Path(folder).absolute()).check() for folder in arguments.whole]
        if not os.environ.get("MODEL_DIR"):
            wholes = [paths.model(_miniature.WHOLE)]
            for each in [model] + wholes:
                variables = {"FORMAT": "int8", "MODEL_DIR": str(each.folder)}
                _miniature.run_command(["./convert-tflite.sh"], **variables)
        entries = list(opened(model, True))
        others = [entry for each in wholes for entry in opened(each, False)]
        compare(model, entries, others, arguments)
    return 0


def compare(model: Model, limited: List[Entry], wholes: List[Entry], arguments) -> None:
    from todus.dataset.image_files import decode
    from todus.evaluation.average_precision import examples_of

    dataset = prepared.dataset_of(model)
    images = [decode(each.encoded) for each in examples_of(dataset, "val", 20)]
    for entry in limited + wholes:
        entry.inputs = [entry.detector.prepare(image) for image in images]
    measure(limited + wholes, arguments.rounds)
    if not arguments.no_ap:
        evaluate(limited + wholes, dataset, arguments.images or None)
    facts = (model.name, arguments.rounds)
    print("forms of %s: AP, and the medians of %d calls with one image, in turns" % facts)
    show(limited + wholes)
    show_ratios(limited, wholes)


if __name__ == "__main__":
    sys.exit(run("bench", main))
