"""training/metrics.csv: one row an evaluated step; and what follows from the rows: the best step, when to stop."""

import csv
import io
import math
from pathlib import Path
from typing import Any, Dict, List, Optional

from todus import files
from todus.errors import TodusError
from todus.paths import Model

COLUMNS = (
    "step",
    "time",
    "seconds",
    "images",
    "sample",
    "ap",
    "ap50",
    "ap75",
    "ar100",
    "train_images",
    "train_ap",
    "train_ap50",
)
_WHOLE = {"step", "images", "sample", "train_images"}

Row = Dict[str, Any]


def path_of(model: Model) -> Path:
    return model.training / "metrics.csv"


def read(model: Model) -> List[Row]:
    """The rows by step; numbers are numbers, None where there is none. Raises TodusError for a file that is not a metrics.csv."""
    path = path_of(model)
    if not path.exists():
        return []
    try:
        rows = [
            _numbers(row) for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        ]
    except (ValueError, KeyError, TypeError, csv.Error, UnicodeDecodeError) as error:
        raise TodusError("%s is damaged (%s); move it away" % (path, error))
    return sorted(rows, key=lambda row: row["step"])


def _numbers(row: Dict[str, str]) -> Row:
    result: Row = {}
    for name in COLUMNS:
        text = row.get(name) or ""
        if name == "time":
            result[name] = text
        else:
            result[name] = None if not text else int(text) if name in _WHOLE else float(text)
    if result["step"] is None:
        raise ValueError("a row without a step")
    return result


def steps(model: Model) -> List[int]:
    return [row["step"] for row in read(model)]


def add(model: Model, row: Row) -> None:
    """Adds a row; the file has each step once, however often a killed run comes by it."""
    rows = [each for each in read(model) if each["step"] != row["step"]] + [row]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in sorted(rows, key=lambda each: each["step"]):
        writer.writerow({name: _text(each.get(name)) for name in COLUMNS})
    files.write_text(path_of(model), text.getvalue())


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return "%.6f" % value if isinstance(value, float) else str(value)


def best(rows: List[Row]) -> Optional[Row]:
    """The row of the highest AP, the earliest of equals."""
    scored = [row for row in rows if row["ap"] is not None]
    return max(scored, key=lambda row: (row["ap"], -row["step"])) if scored else None


def enough(rows: List[Row], target: Optional[float], patience: int) -> str:
    """Why the run may stop, "" when it may not.

    Args:
      rows: by step.
      target: an AP that is enough; a step after 0 must reach it.
      patience: evaluations in a row without a better AP; 0 is for ever.
    """
    trained = [row for row in rows if row["step"] > 0 and row["ap"] is not None]
    if target is not None and trained and trained[-1]["ap"] >= target:
        return "AP %.3f at step %d reached TARGET_AP %.3f" % (
            trained[-1]["ap"],
            trained[-1]["step"],
            target,
        )
    top = best(rows)
    if patience and top and sum(1 for row in trained if row["step"] > top["step"]) >= patience:
        return "no better AP than %.3f at step %d in %d evaluations (PATIENCE)" % (
            top["ap"],
            top["step"],
            patience,
        )
    return ""


def overfitting(rows: List[Row]) -> str:
    """A word on train and val AP going apart, "" where they do not or train images were not scored."""
    both = [row for row in rows if row["train_ap"] is not None and row["ap"] is not None]
    if len(both) < 2:
        return ""
    first, last = both[0], both[-1]
    top = best(both)
    if last["train_ap"] > first["train_ap"] and top is not None and last["ap"] < top["ap"] - 0.01:
        return (
            "overfitting: AP on train images rose to %.3f, on val it fell from %.3f (step %d) to %.3f"
            % (
                last["train_ap"],
                top["ap"],
                top["step"],
                last["ap"],
            )
        )
    return ""
