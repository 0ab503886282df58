"""Latency of the zoo model and of each form of the limited model, measured in turns."""

import functools
import statistics
import time
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from todus import files
from todus.detection import catalogue, runtimes
from todus.errors import TodusError
from todus.paths import Model
from todus.text import one_line, table

# Calls of one form in a row. One more before them fills the caches and is not measured.
BLOCK = 10


def run(
    model: Model,
    images: Sequence[np.ndarray],
    rounds: int,
    threads: Optional[int],
    tick: Callable[[str], None],
    say: catalogue.Say,
    runtime: Optional[str] = None,
) -> Dict:
    """Measures every form of a model.

    Args:
      model: with a zoo model and exported forms.
      images: uint8 [height, width, 3].
      rounds: how many images each form detects in, rounded up to a multiple of BLOCK.
      threads: of each runtime; None is its default. TensorFlow's TFLite interpreter has one.
      tick: called with the title of each form before it is opened.
      say: called with a line for each form that is left out.
      runtime: as --runtime, for the forms that it runs; None is each that is installed.

    Returns:
      {"threads", "rounds", "rows", "expected_gain"}. A row is {"format", "title", "classes",
      "bytes", "median_ms", "p90_ms", "preprocess_ms", "network_ms", "decode_ms", "nms_ms",
      "gain"}, with the times of one image; a part that cannot be measured is None.
    """
    limited = [form for form in catalogue.exported(model, say) if form.name != "saved_model"]
    timers, rows = [], []
    for form, chosen in _in_runtimes([catalogue.find(model, "zoo")] + limited, runtime):
        tick(", ".join([form.title] + ([chosen.title] if chosen else [])))
        try:
            detector = catalogue.open_form(model, form, threads, chosen)
        except TodusError as error:
            if not chosen:
                raise
            say("left out: %s" % error)
            continue
        timers.append(_timers(detector))
        title = ", ".join([form.title] + ([detector.runtime] if chosen else []))
        row = {"format": form.name, "title": title, "classes": len(detector.names)}
        row["bytes"] = catalogue.bytes_of(form)
        if detector.form == "frozen_graph":
            row["multiply_adds"] = multiply_adds(detector, images[0])
        rows.append(row)
    spent: List[Dict[str, List[float]]] = [{name: [] for name in timer} for timer in timers]
    for turn in range(-1, -(-rounds // BLOCK)):
        for timer, times in zip(timers, spent):
            for name, function in timer.items():
                for call in range(-1, BLOCK):
                    image = images[(turn * BLOCK + call) % len(images)]
                    start = time.perf_counter()
                    function(image)
                    if turn >= 0 and call >= 0:
                        times[name].append((time.perf_counter() - start) * 1e3)
    for row, times in zip(rows, spent):
        row.update(_parts(times))
        row["gain"] = rows[0]["median_ms"] / row["median_ms"]
    gain = expected_gain(rows)
    return {"threads": threads, "rounds": rounds, "rows": rows, "expected_gain": gain}


def _in_runtimes(
    forms: Sequence[catalogue.Present], wanted: Optional[str]
) -> Iterator[Tuple[catalogue.Present, Optional[runtimes.Runtime]]]:
    """Each form with each runtime to measure it in; None is that of .venv."""
    for form in forms:
        able = runtimes.of_form(form.name) if wanted is None and runtimes.installed() else []
        for each in able or [runtimes.choose(wanted, form.name, strict=False)]:
            yield form, each


def _timers(detector) -> Dict[str, Callable]:
    """name -> function of an image: "all", and from the start to the end of each known part."""
    timers = {"all": lambda image: detector.detect([image]), "preprocess": detector.prepare}
    if detector.form != "frozen_graph":
        return timers
    there = {operation.name for operation in detector.session.graph.get_operations()}
    ends = {
        "network": ("concat", "concat_1"),
        "decode": ("Postprocessor/convert_scores", "Postprocessor/Decode/transpose"),
    }
    for part, names in ends.items():
        fetched = [name + ":0" for name in names if name in there]
        if fetched:
            timers[part] = functools.partial(detector.fetch, fetched)
    return timers


def _parts(times: Dict[str, List[float]]) -> Dict[str, Optional[float]]:
    """The time of each part: the difference between its end and the end of the part before."""
    median = {name: statistics.median(values) for name, values in times.items()}

    def between(start: str, end: str) -> Optional[float]:
        return max(0.0, median[end] - median[start]) if {start, end} <= set(median) else None

    return {
        "median_ms": median["all"],
        "p90_ms": float(np.percentile(times["all"], 90)),
        "preprocess_ms": median["preprocess"],
        "network_ms": between("preprocess", "network"),
        "decode_ms": between("network", "decode"),
        "nms_ms": between("decode", "all"),
    }


def multiply_adds(detector, image: np.ndarray) -> int:
    """The multiply-adds of a frozen graph's convolutions for a uint8 [height, width, 3] image."""
    axes = {"Conv2D": 3, "DepthwiseConv2dNative": 2}  # of the kernel, for one output value
    chosen = [op for op in detector.session.graph.get_operations() if op.type in axes]
    outputs = detector.fetch([op.outputs[0] for op in chosen], image)
    kernels = [op.inputs[1].shape.as_list()[: axes[op.type]] for op in chosen]
    return int(sum(value[0].size * np.prod(kernel) for value, kernel in zip(outputs, kernels)))


def expected_gain(rows: List[Dict]) -> Optional[float]:
    """The expected speed of the limited frozen graph as a multiple of the zoo model's.

    It scales the zoo model's network by the multiply-adds, and its decoding and NMS by the classes.
    None where a part of the zoo model or the frozen graph is not known.
    """
    zoo, limited = rows[0], _frozen_graph(rows)
    after = (zoo["decode_ms"], zoo["nms_ms"])
    if not limited or None in (zoo["network_ms"], *after) or not zoo.get("multiply_adds"):
        return None
    share = limited["classes"] / float(zoo["classes"])
    network = zoo["network_ms"] * limited["multiply_adds"] / zoo["multiply_adds"]
    return zoo["median_ms"] / (zoo["preprocess_ms"] + network + sum(after) * share)


def _frozen_graph(rows: List[Dict]) -> Optional[Dict]:
    return next((row for row in rows if row["format"] == "frozen_graph"), None)


def print_table(result: Dict) -> None:
    """Prints the result of `run`: a row for each form in ms an image, and the expected gain."""
    columns = ("median", "p90", "preprocess", "network", "decode", "nms")
    rows = [["", "classes", *columns, "gain", "MB"]]
    for row in result["rows"]:
        times = [row[name + "_ms"] for name in columns]
        cells = [row["title"], row["classes"]]
        cells += ["-" if time_ms is None else "%.1f" % time_ms for time_ms in times]
        rows.append(cells + ["%.2fx" % row["gain"], "%.1f" % (row["bytes"] / 1e6)])
    print("%d rounds, %s threads, ms an image" % (result["rounds"], result["threads"] or "all"))
    print("\n".join(table(rows)))
    limited = _frozen_graph(result["rows"])
    if limited and result["expected_gain"]:
        gains = (result["expected_gain"], limited["gain"])
        print("fewer classes in the frozen graph: expected %.2fx, measured %.2fx" % gains)


def draw(path, result: Dict) -> None:
    """Draws a PNG with a bar for each form, its known parts in colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = result["rows"]
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(rows)), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    parts = ("preprocess", "network", "decode", "nms")
    labels = dict(zip(parts, ("resize", "network", "box decoding, scores", "non-max suppression")))
    for place, row in enumerate(rows):
        left = 0.0
        # The sum of the parts' medians may exceed the median of the sums, the length of the bar.
        measured = sum(row[part + "_ms"] or 0 for part in parts)
        scale = min(1.0, row["median_ms"] / measured) if measured else 1.0
        for number, part in enumerate(parts):
            value = scale * (row[part + "_ms"] or 0)
            if value:
                label = labels.pop(part, None)
                axes.barh(place, value, left=left, color="C%d" % number, label=label)
                left += value
        rest = max(0.0, row["median_ms"] - left)
        axes.barh(place, rest, left=left, color="0.7", label=labels.pop("rest", None))
        text = " %.1f ms, %.2fx" % (row["median_ms"], row["gain"])
        axes.text(row["median_ms"], place, text, va="center", fontsize=8)
    count = {1: "1 class"}
    titles = [
        "%s, %s" % (row["title"], count.get(row["classes"], "%d classes" % row["classes"]))
        for row in rows
    ]
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([one_line(title) for title in titles])
    axes.invert_yaxis()
    axes.set_xlabel("ms an image (grey: not divided into parts)")
    axes.set_xlim(0, 1.25 * max(row["median_ms"] for row in rows))
    axes.legend(fontsize=8)
    figure.tight_layout()
    with files.replacing(path) as part:
        figure.savefig(str(part), format="png")
