"""One table of the runs under model/: their settings that differ, and their results."""

import time
from typing import Any, Dict, List, Optional

from todus import paths
from todus.errors import TodusError
from todus.paths import Model
from todus.text import one_line
from todus.training import metrics, run_record

HEADER = ["model", "dataset", "classes", "steps", "settings"]
HEADER += ["AP", "AP50", "at", "loss", "time", "ended"]
_SETTINGS = {"batch_size": "batch", "learning_rate": "lr"}
_SETTINGS.update(quantization_delay="delay", eval_sample="sample")


class _Run(Model):
    """A run in a folder that may have another name than training/, such as training-first."""

    def __init__(self, folder, training):
        super().__init__(folder)
        self.training = training


def table() -> List[List[str]]:
    """HEADER and one row for each run.json in a folder training* of a model.

    Settings with the same value in every run are left out.
    """
    rows = []
    for path in sorted(paths.models_folder().glob("*/training*/run.json")):
        run = _Run(path.parent.parent, path.parent)
        try:
            rows.append(_row(run))
        except TodusError as error:
            rows.append(({"model": run.name, "ended": one_line(str(error))[:60]}, {}))
    seen = {key: {str(settings.get(key)) for _, settings in rows} for key in _SETTINGS}
    varied = [
        (key, word) for key, word in _SETTINGS.items() if len(seen[key]) > 1 or len(rows) == 1
    ]
    lines = [HEADER]
    for cells, settings in rows:
        known = [(word, settings[key]) for key, word in varied if settings.get(key) is not None]
        cells["settings"] = ", ".join("%s %s" % (word, _short(value)) for word, value in known)
        lines.append([cells.get(name) or "-" for name in HEADER])
    return lines


def _row(run: Model):
    log = run_record.read(run)
    last = run_record.last_start(log)
    end = log["events"][-1] if log["events"] else {}
    best = metrics.kept(run)
    name = run.name if run.training.name == "training" else "%s/%s" % (run.name, run.training.name)
    loss = run_record.status(run).get("loss")
    cells = {
        "model": one_line(name),
        "dataset": one_line(str(log.get("dataset", ""))),
        "classes": str(len(log.get("classes", []))),
        "steps": "%s/%s" % (end.get("step", last.get("step", 0)), last.get("num_steps", "?")),
        "AP": "%.3f" % best["ap"] if best else "",
        "AP50": "%.3f" % best["ap50"] if best and best["ap50"] is not None else "",
        "at": str(best["step"]) if best else "",
        "loss": "%.3f" % loss if loss is not None else "",
        "time": _time(log["events"]),
        "ended": "" if "started" in end else one_line(str(end.get("reason", "")))[:40],
    }
    return cells, dict(last)


def _short(value: Any) -> str:
    return "%.4g" % value if isinstance(value, float) else str(value)


def _time(events: List[Dict[str, Any]]) -> str:
    """Hours and minutes between each start and its stop; a killed run has no stop to count."""
    seconds, begun = 0.0, None
    for event in events:
        if "started" in event:
            begun = _moment(event["started"])
        elif begun is not None and event.get("stopped"):
            seconds += max(0.0, (_moment(event["stopped"]) or begun) - begun)
            begun = None
    return "%d:%02d" % (seconds // 3600, seconds % 3600 // 60)


def _moment(text: str) -> Optional[float]:
    try:
        return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
