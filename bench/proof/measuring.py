"""AP, milliseconds and megabytes of each pair of models, and whether the kept classes are equal."""

import platform
import re
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from bench.forms import Entry, ratio
from bench.forms import measure as measure_speed
from bench.proof.models import Compared
from todus import __version__, categories, command
from todus.dataset.image_files import decode
from todus.detection import catalogue, runtimes
from todus.errors import TodusError
from todus.evaluation import average_precision
from todus.machine import cores, environment
from todus.model import pipeline

ROUNDS = 100  # timed calls of each form
IMAGES = 20  # of the measurement of speed
SAME = 1e-5  # scores, and boxes in parts of the image, that differ by less are the same


def say(line: str) -> None:
    command.say("proof: %s" % line)


def measure(compared: Compared) -> Dict[str, Any]:
    """The content of results.json."""
    opened = [pair for whole, limited in compared.pairs for pair in _entries(whole, limited)]
    every = [entry for pair in opened for entry in pair]
    examples = average_precision.examples_of(compared.dataset, "val", IMAGES)
    images = [decode(each.encoded) for each in examples]
    for entry in every:
        entry.inputs = [entry.detector.prepare(image) for image in images]
    say("measuring %d forms in turns, one thread each" % len(every))
    measure_speed(every, ROUNDS)
    threshold = max(entry.threshold for entry in every)
    rows = [_row(pair, compared, threshold) for pair in opened]
    shown = rows[0].pop("shown")
    for row in rows[1:]:
        row.pop("shown")
    return {
        "model": compared.name,
        "quantized": compared.quantized,
        "dataset": shown,
        "training_steps": 0,
        "score_threshold": float("%.3g" % threshold),
        "calls": ROUNDS,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
    }


def check(found: Dict[str, Any]) -> None:
    """Raises TodusError where a limited model differs from the one with all classes."""
    for row in found["rows"]:
        equal = row["equal"]
        if equal["missing"] or not equal["detections"]:
            text = "%s in %s: of %d detections of the kept classes, the limited model lacks %d"
            facts = (row["form"], row["runtime"], equal["detections"], equal["missing"])
            raise TodusError(text % facts)


def _entries(whole, limited) -> List[Tuple[Entry, Entry]]:
    """The forms of both models, with one thread in their newest runtimes."""
    found = []
    for form in catalogue.exported(limited, say):
        runtime = runtimes.choose(None, form.name)
        if form.name == "saved_model":
            continue
        if form.name == "tflite" and runtime is None:
            say("%s is left out: run make runtimes" % form.title)
            continue
        other = catalogue.find(whole, form.name)
        found.append((Entry(whole, other, runtime, 1), Entry(limited, form, runtime, 1)))
    return found


def _row(pair: Tuple[Entry, Entry], compared: Compared, threshold: float) -> Dict[str, Any]:
    evaluations = []
    for entry, words in zip(pair, ("all classes", "limited")):
        say("AP of %s, %s, %s" % (entry.form.title, entry.runtime, words))
        evaluations.append(
            average_precision.evaluate(
                entry.detector, compared.dataset, "val", score_threshold=threshold
            )
        )
    row = {"form": pair[0].form.title, "runtime": pair[0].runtime, "threads": 1}
    for side, entry, evaluation in zip(("whole", "limited"), pair, evaluations):
        wall, processor = entry.milliseconds()
        row[side] = {
            "classes": pipeline.meta(pipeline.read(entry.model.pipeline)).num_classes,
            "ap": round(evaluation.ap, 4),
            "ms": round(wall, 2),
            "ms_processor": round(processor, 2),
            "mb": round(entry.size / 1e6, 2),
        }
    wall, processor = ratio(*pair)
    row["times"] = {"wall": round(wall, 2), "processor": round(processor, 2)}
    row["equal"] = compared_detections(*evaluations)
    row["shown"] = {
        "images": evaluations[0].images,
        "boxes": len(evaluations[0].truth.annotations),
        "classes": list(categories.read_label_map(compared.dataset.label_map).values()),
    }
    return row


def compared_detections(whole, limited) -> Dict[str, Any]:
    """Looks for each detection of the kept classes among those of the limited model.

    Args:
      whole, limited: Evaluations; the list of the limited model has room for more detections.

    Returns:
      detections: how many there are; missing: how many of them have no equal detection; and the
      largest difference of a score and of a box, in parts of the image, of those that have one.
    """
    sizes = {each["id"]: (each["width"], each["height"]) for each in whole.truth.images}
    groups: Dict[Tuple, List[np.ndarray]] = {}
    for row in limited.rows:
        groups.setdefault((row[0], row[6]), []).append(row)
    missing, most = 0, np.zeros(2)
    for row in whole.rows:
        others = np.array(groups.get((row[0], row[6]), []))
        if len(others):
            scale = np.tile(np.array(sizes[row[0]], float), 2)
            boxes = np.abs((others[:, 1:5] - row[1:5]) / scale).max(axis=1)
            differences = np.stack([np.abs(others[:, 5] - row[5]), boxes], axis=1)
            found = differences[differences.max(axis=1).argmin()]
        if not len(others) or found.max() > SAME:
            missing += 1
            continue
        most = np.maximum(most, found)
    return {
        "detections": len(whole.rows),
        "missing": missing,
        "score_difference": float("%.2g" % most[0]),
        "box_difference": float("%.2g" % most[1]),
    }


def machine() -> Dict[str, Any]:
    """The processor, its cores and the system."""
    text = ""
    path = Path("/proc/cpuinfo")
    if path.exists():
        text = path.read_text(encoding="utf-8", errors="replace")
    name = re.search(r"(?m)^model name\s*: (.+)$", text)
    return {
        "processor": name.group(1).strip() if name else platform.machine(),
        "cores": cores.cores(),
        "system": "%s %s" % (platform.system(), platform.machine()),
    }


def versions() -> Dict[str, str]:
    """Of Todus, Python and TensorFlow; those of the newest runtimes are in the rows."""
    return {
        "todus": __version__,
        "python": platform.python_version(),
        "tensorflow": environment.version("tensorflow") or "",
    }
