"""Precision-recall curves, and those of false alarms, as a picture."""

from pathlib import Path
from typing import Mapping

import numpy as np

from todus import files
from todus.evaluation import false_alarms
from todus.text import one_line

RECALL = np.linspace(0, 1, 101)  # COCOeval's recall thresholds
MOST_CLASSES = 12


def mean_curve(precision: np.ndarray) -> np.ndarray:
    """The mean of [101, classes] over the classes with groundtruth, a float [101]."""
    there = precision[:, (precision > -1).all(axis=0)]
    return there.mean(axis=1) if there.size else np.zeros(101)


def draw(path: Path, results: Mapping[str, "Evaluation"]) -> Path:  # noqa: F821
    """Draws the mean curve of each form, and each class's curve for the first form.

    Where images have no box, a third picture has the false alarms in them against recall.

    Args:
      path: of the PNG file.
      results: title of a form -> todus.evaluation.average_precision.Evaluation.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    alarms = {title: false_alarms.curve(result) for title, result in results.items()}
    number = 3 if any(alarms.values()) else 2
    figure = Figure(figsize=(6 * number, 5), dpi=100)
    FigureCanvasAgg(figure)
    left, right, *third = figure.subplots(1, number)
    for place, (title, result) in enumerate(results.items()):
        color = "C%d" % (place % 10)
        label = "%s, AP50 %.3f" % (_safe(title), result.stats["ap50"])
        left.plot(RECALL, mean_curve(result.precision[0]), color=color, label=label)
        left.plot(RECALL, mean_curve(result.precision[5]), color=color, linestyle=":")
    left.set_title("all classes, IoU 0.5 (lines) and 0.75 (dots)")
    title, first = next(iter(results.items()))
    ordered = sorted(first.per_class.items(), key=lambda pair: -np.nan_to_num(pair[1], nan=-1))
    curves = dict(zip(first.per_class, first.precision[0].T))
    for name, value in ordered[:MOST_CLASSES]:
        curve = curves[name]
        if (curve > -1).all():
            right.plot(RECALL, curve, label="%s, AP %.3f" % (_safe(name), value))
    right.set_title("%s, each class, IoU 0.5" % _safe(title))
    for axes in (left, right):
        axes.set(ylabel="precision", ylim=(0, 1.02))
    for axes in third:
        for place, (title, points) in enumerate(alarms.items()):
            recall, found = zip(*points) if points else ((), ())
            axes.plot(recall, found, color="C%d" % (place % 10), marker=".", label=_safe(title))
        axes.set_title("false alarms, each class at the same recall")
        axes.set(ylabel="in 100 images without a box", ylim=(0, None))
    for axes in [left, right] + third:
        axes.set(xlabel="recall", xlim=(0, 1))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="upper left" if axes in third else "lower left")
    figure.tight_layout()
    with files.replacing(path) as part:
        figure.savefig(str(part), format="png")
    return path


def _safe(text: str) -> str:
    """The text with each $ escaped: it starts a formula in matplotlib."""
    return one_line(text).replace("$", r"\$")
