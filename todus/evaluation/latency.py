"""Latency of the zoo model, the limited one and each format, taking turns in one run, with its parts apart."""

import statistics
import time
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np

from todus import files, text
from todus.detection import catalogue
from todus.paths import Model
from todus.text import one_line

BLOCK = 10  # calls of one form in a row, after one that is not counted: a form is not measured in the caches of another


def run(
    model: Model,
    images: Sequence[np.ndarray],
    rounds: int,
    threads: Optional[int],
    tick: Callable[[str], None],
    say: catalogue.Say,
) -> Dict:
    """Measures every form of a model.

    Args:
      model: with a zoo model and exported formats.
      images: uint8 [height, width, 3].
      rounds: measured turns; in each, every form detects in one image.
      threads: of TensorFlow and ONNX Runtime; None leaves it to them. TFLite's interpreter of TensorFlow 1.15 has one.
      tick: called with the title of the form that is being opened.
      say: is told of the forms that are left out.

    Returns:
      {"threads", "rounds", "rows": [{"format", "title", "classes", "median_ms", "p90_ms", "preprocess_ms", "network_ms", "decode_ms",
      "nms_ms", "bytes", "gain"}], "expected_gain"}; a part that cannot be told apart is None. All times are of one image.
    """
    chosen = [catalogue.find(model, "zoo")] + [
        form for form in catalogue.exported(model, say) if form.name != "saved_model"
    ]
    timers, rows = [], []
    for form in chosen:
        tick(form.title)
        detector = catalogue.open_form(model, form, threads)
        timers.append(_timers(detector))
        rows.append(
            {
                "format": form.name,
                "title": form.title,
                "classes": len(detector.names),
                "bytes": catalogue.bytes_of(form),
            }
        )
        if detector.form == "frozen_graph":
            rows[-1]["multiply_adds"] = multiply_adds(detector, images[0])
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
    return {
        "threads": threads,
        "rounds": rounds,
        "rows": rows,
        "expected_gain": expected_gain(rows),
    }


def _timers(detector) -> Dict[str, Callable]:
    """name -> what to time: "all", and the ways up to the end of each part."""
    timers = {"all": lambda image: detector.detect([image]), "preprocess": detector.prepare}
    session = getattr(detector, "_session", None)
    if detector.form != "frozen_graph":
        return timers
    there = {operation.name for operation in session.graph.get_operations()}
    ends = {
        "network": ("concat", "concat_1"),
        "decode": ("Postprocessor/convert_scores", "Postprocessor/Decode/transpose"),
    }
    for part, names in ends.items():
        fetched = [name + ":0" for name in names if name in there]
        if fetched:
            timers[part] = _until(detector, session, fetched)
    return timers


def _until(detector, session, fetched: List[str]) -> Callable:
    return lambda image: session.run(
        fetched, {detector._input: detector.prepare(image)[np.newaxis]}
    )


def _parts(times: Dict[str, List[float]]) -> Dict[str, Optional[float]]:
    """The medians of the parts, from those of the ways up to their ends."""
    median = {name: statistics.median(values) for name, values in times.items()}
    parts: Dict[str, Optional[float]] = {
        "median_ms": median["all"],
        "p90_ms": float(np.percentile(times["all"], 90)),
    }
    parts["preprocess_ms"] = median["preprocess"]
    before = {"network": "preprocess", "decode": "network"}
    for name, earlier in before.items():
        parts[name + "_ms"] = (
            max(0.0, median[name] - median[earlier])
            if name in median and earlier in median
            else None
        )
    parts["nms_ms"] = max(0.0, median["all"] - median["decode"]) if "decode" in median else None
    return parts


def multiply_adds(detector, image: np.ndarray) -> int:
    """Of the convolutions of a frozen graph in one image, from the shapes that they really have there."""
    graph = detector._session.graph
    kinds = ("Conv2D", "DepthwiseConv2dNative")
    chosen = [operation for operation in graph.get_operations() if operation.type in kinds]
    feed = {detector._input: detector.prepare(image)[np.newaxis]}
    outputs = detector._session.run([operation.outputs[0] for operation in chosen], feed)
    total = 0
    for operation, output in zip(chosen, outputs):
        kernel = operation.inputs[1].shape.as_list()
        total += (
            output[0].size
            * kernel[0]
            * kernel[1]
            * (kernel[2] if operation.type == "Conv2D" else 1)
        )
    return int(total)


def expected_gain(rows: List[Dict]) -> Optional[float]:
    """How much faster the limited frozen graph should be: the zoo's parts, the network by its multiply-adds, the rest by its classes."""
    zoo, limited = rows[0], next((row for row in rows if row["format"] == "frozen_graph"), None)
    if (
        not limited
        or None in (zoo["network_ms"], zoo["decode_ms"], zoo["nms_ms"])
        or not zoo.get("multiply_adds")
    ):
        return None
    share = limited["classes"] / float(zoo["classes"])
    network = zoo["network_ms"] * limited["multiply_adds"] / zoo["multiply_adds"]
    return zoo["median_ms"] / (
        zoo["preprocess_ms"] + network + (zoo["decode_ms"] + zoo["nms_ms"]) * share
    )


def print_table(result: Dict) -> None:
    """Prints what `run` returns: a row for each form, in ms an image, and the expected gain."""
    columns = ("median", "p90", "preprocess", "network", "decode", "nms")
    rows = [["", "classes", *columns, "gain", "MB"]]
    for row in result["rows"]:
        times = [
            "-" if row[name + "_ms"] is None else "%.1f" % row[name + "_ms"] for name in columns
        ]
        rows.append(
            [
                row["title"],
                "%d" % row["classes"],
                *times,
                "%.2fx" % row["gain"],
                "%.1f" % (row["bytes"] / 1e6),
            ]
        )
    print("%d rounds, %s threads, ms an image" % (result["rounds"], result["threads"] or "all"))
    print("\n".join(text.table(rows)))
    limited = next((row for row in result["rows"] if row["format"] == "frozen_graph"), None)
    if limited and result["expected_gain"]:
        print(
            "fewer classes in the frozen graph: expected %.2fx, measured %.2fx"
            % (result["expected_gain"], limited["gain"])
        )


def draw(path, result: Dict) -> None:
    """A bar for each form, its parts in colours where they are known."""
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
        for number, part in enumerate(parts):
            value = row[part + "_ms"]
            if value:
                axes.barh(
                    place, value, left=left, color="C%d" % number, label=labels.pop(part, None)
                )
                left += value
        rest = max(0.0, row["median_ms"] - left)
        axes.barh(place, rest, left=left, color="0.7", label=labels.pop("rest", None))
        axes.text(
            row["median_ms"],
            place,
            " %.1f ms, %.2fx" % (row["median_ms"], row["gain"]),
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels(
        [one_line("%s, %d classes" % (row["title"], row["classes"])) for row in rows]
    )
    axes.invert_yaxis()
    axes.set_xlabel("ms an image (grey: not told apart)")
    axes.set_xlim(0, 1.25 * max(row["median_ms"] for row in rows))
    axes.legend(fontsize=8)
    figure.tight_layout()
    with files.replacing(path) as part:
        figure.savefig(str(part), format="png")
