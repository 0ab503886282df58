"""training/curves.png: loss, learning rate and AP by step, for machines without a browser. No TensorFlow."""

import re
from pathlib import Path
from typing import Dict, List, Tuple

from todus import files
from todus.dataset.records import tfrecord
from todus.errors import TodusError
from todus.paths import Model
from todus.training import metrics

Curve = List[Tuple[int, float]]  # (step, value), by step

# The OD API's and the Estimator's names of one thing; slim adds _1, _2 to those that come twice.
_TAGS = {
    "loss": re.compile(r"loss(_\d+)?$"),
    "learning_rate": re.compile(r"(.*/)?learning_rate(_\d+)?$"),
}


def curves(model: Model) -> Dict[str, Curve]:
    """ "loss" and "learning_rate" from the event files of training/. A step that a killed run did twice counts as the last time."""
    found: Dict[str, Dict[int, float]] = {name: {} for name in _TAGS}
    for path in sorted(
        model.training.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime
    ):
        for step, tag, value in _scalars(path):
            for name, pattern in _TAGS.items():
                if pattern.match(tag):
                    found[name][step] = value
    return {name: sorted(values.items()) for name, values in found.items()}


def _scalars(path: Path):
    from tensorboard.compat.proto import event_pb2

    for record in tfrecord.scan(path):
        if record.fault:
            return  # a run that was killed leaves half a record at the end
        event = event_pb2.Event.FromString(record.data)
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield event.step, value.tag, value.simple_value


def smoothed(curve: Curve, window: int) -> Curve:
    """The mean of each value and those before it, `window` in all."""
    result, total = [], 0.0
    for place, (step, value) in enumerate(curve):
        total += value - (curve[place - window][1] if place >= window else 0.0)
        result.append((step, total / min(place + 1, window)))
    return result


def plot(model: Model) -> Path:
    """Writes curves.png and returns its path. Raises TodusError when nothing was trained yet."""
    drawn = curves(model)
    rows = metrics.read(model)
    if not drawn["loss"] and not rows:
        raise TodusError("%s has no losses and no metrics.csv yet; run ./train.sh" % model.training)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, (top, middle, bottom) = pyplot.subplots(
        3, 1, sharex=True, figsize=(9, 9), gridspec_kw={"height_ratios": [3, 1, 3]}
    )
    _draw(top, drawn["loss"], "#9db8d9", "each logged step")
    window = max(1, len(drawn["loss"]) // 20)
    if window > 1:
        _draw(top, smoothed(drawn["loss"], window), "#1f4e8c", "mean of %d" % window)
        top.legend(frameon=False)
    _draw(middle, drawn["learning_rate"], "#1f4e8c", "")
    best = metrics.best(rows)
    ap = "AP, best %.3f at step %d" % (best["ap"], best["step"]) if best else "AP"
    for key, label, color in (
        ("ap", ap, "#1f4e8c"),
        ("ap50", "AP50", "#7a9cc6"),
        ("train_ap", "AP on train images", "#c25b12"),
    ):
        points = [(row["step"], row[key]) for row in rows if row[key] is not None]
        if points:
            _draw(bottom, points, color, label, "o-")
    if best:
        bottom.legend(frameon=False)
        bottom.margins(y=0.2)
    for axes, title in (
        (top, "total loss"),
        (middle, "learning rate"),
        (bottom, "AP on val (COCO)"),
    ):
        axes.set_ylabel(title)
        axes.grid(alpha=0.25)
    top.set_title(model.name)
    bottom.set_xlabel("step")
    bottom.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    figure.tight_layout()
    path = model.training / "curves.png"
    with files.replacing(path) as part:
        figure.savefig(str(part), dpi=100, format="png")
    pyplot.close(figure)
    return path


def _draw(axes, curve: Curve, color: str, label: str, style: str = "-") -> None:
    axes.plot(
        [step for step, _ in curve],
        [value for _, value in curve],
        style,
        color=color,
        label=label,
        markersize=4,
    )
