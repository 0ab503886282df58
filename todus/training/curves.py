"""training/curves.png: loss, learning rate and AP by step. It is drawn without TensorFlow."""

import re
from pathlib import Path
from typing import Dict, List, Tuple

from todus import files
from todus.dataset.records import tfrecord
from todus.errors import TodusError
from todus.paths import Model
from todus.training import metrics

Curve = List[Tuple[int, float]]  # (step, value), by step

# The tags of the OD API and of the Estimator; slim appends _1, _2 to a tag that occurs twice.
_TAGS = {
    "loss": re.compile(r"loss(_\d+)?$"),
    "learning_rate": re.compile(r"(.*/)?learning_rate(_\d+)?$"),
}


def curves(model: Model) -> Dict[str, Curve]:
    """ "loss" and "learning_rate" in the event files; of a repeated step, the later value."""
    found: Dict[str, Dict[int, float]] = {name: {} for name in _TAGS}
    events = model.training.glob("events.out.tfevents.*")
    for path in sorted(events, key=lambda path: path.stat().st_mtime):
        for step, tag, value in _scalars(path):
            for name, pattern in _TAGS.items():
                if pattern.match(tag):
                    found[name][step] = value
    return {name: sorted(values.items()) for name, values in found.items()}


def _scalars(path: Path):
    from tensorboard.compat.proto import event_pb2

    for record in tfrecord.scan(path):
        if record.fault:
            return  # a killed run leaves an incomplete record at the end
        event = event_pb2.Event.FromString(record.data)
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield event.step, value.tag, value.simple_value


def smoothed(curve: Curve, window: int) -> Curve:
    """The mean of each value and the values before it, `window` values in all."""
    result, total = [], 0.0
    for place, (step, value) in enumerate(curve):
        total += value - (curve[place - window][1] if place >= window else 0.0)
        result.append((step, total / min(place + 1, window)))
    return result


def plot(model: Model) -> Path:
    """Writes curves.png and returns its path. Raises TodusError before a training."""
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
    best = metrics.kept(model)
    ap = "AP, best %.3f at step %d" % (best["ap"], best["step"]) if best else "AP"
    lines = {"ap": (ap, "#1f4e8c"), "ap50": ("AP50", "#7a9cc6")}
    lines["train_ap"] = ("AP on train images", "#c25b12")
    for key, (label, color) in lines.items():
        points = [(row["step"], row[key]) for row in rows if row[key] is not None]
        if points:
            _draw(bottom, points, color, label, "o-")
    if best:
        bottom.legend(frameon=False)
        bottom.margins(y=0.2)
    titles = ("total loss", "learning rate", "AP on val (COCO)")
    for axes, title in zip((top, middle, bottom), titles):
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
    steps, values = zip(*curve) if curve else ((), ())
    axes.plot(steps, values, style, color=color, label=label, markersize=4)
