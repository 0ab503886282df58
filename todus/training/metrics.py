"""training/metrics.csv, one row for each evaluated step; the best row, and when to stop.

"val" is the digest of the val records that a row was scored on, "sample" one in how many images.
Rows that differ in these are not compared. Rows of earlier versions have no digest.
"""

import csv
import io
import math
from pathlib import Path
from typing import Any, Dict, List, Optional

from todus import files
from todus.errors import TodusError
from todus.model import checkpoints
from todus.paths import Model

COLUMNS = ["step", "time", "seconds", "images", "sample", "ap", "ap50", "ap75", "ar100"]
COLUMNS += ["train_images", "train_ap", "train_ap50", "val"]
_TEXTS = {"time", "val"}
DIGITS = 6  # of the numbers after the point
_INTEGERS = {"step", "images", "sample", "train_images"}

Row = Dict[str, Any]


def path_of(model: Model) -> Path:
    return model.training / "metrics.csv"


def read(model: Model) -> List[Row]:
    """The rows by step; an empty cell is None. Raises TodusError for a damaged file."""
    path = path_of(model)
    if not path.exists():
        return []
    try:
        text = io.StringIO(path.read_text(encoding="utf-8"))
        rows = [_numbers(row) for row in csv.DictReader(text)]
    except (ValueError, KeyError, TypeError, csv.Error, UnicodeDecodeError) as error:
        raise TodusError("%s is damaged (%s); move it away" % (path, error))
    return sorted(rows, key=lambda row: row["step"])


def _numbers(row: Dict[str, str]) -> Row:
    result: Row = {}
    for name in COLUMNS:
        text = row.get(name) or ""
        if name in _TEXTS:
            result[name] = text
        else:
            result[name] = None if not text else int(text) if name in _INTEGERS else float(text)
    if result["step"] is None:
        raise ValueError("a row without a step")
    return result


def steps(model: Model) -> List[int]:
    return [row["step"] for row in read(model)]


def add(model: Model, row: Row) -> None:
    """Adds a row; it replaces a row of the same step, as a killed run may evaluate a step twice."""
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
    return "%.*f" % (DIGITS, value) if isinstance(value, float) else str(value)


def comparable(rows: List[Row], like: Row) -> List[Row]:
    """The rows with the sample and the val records of `like`."""
    return [
        row
        for row in rows
        if row.get("sample") == like.get("sample")
        and (not row.get("val") or not like.get("val") or row["val"] == like["val"])
    ]


def kept(model: Model) -> Optional[Row]:
    """The row of the checkpoint in best/; without one, the best that compares with the last row.

    None without an AP of a trained checkpoint.
    """
    rows, prefix = [row for row in read(model) if row["step"] > 0], checkpoints.best(model)
    if prefix:
        step = checkpoints.step_of(prefix)
        return next((row for row in rows if row["step"] == step and row["ap"] is not None), None)
    return best(comparable(rows, rows[-1])) if rows else None


def best(rows: List[Row]) -> Optional[Row]:
    """The row with the highest AP, the earliest where several have it; None without an AP."""
    scored = [row for row in rows if row["ap"] is not None]
    return max(scored, key=lambda row: (row["ap"], -row["step"])) if scored else None


def enough(rows: List[Row], target: Optional[float], patience: int) -> str:
    """Why the run can stop, "" where it cannot.

    Args:
      target: the AP to reach at a step after 0; None for no target.
      patience: evaluations without a better AP after which to stop; 0 for no limit.
    """
    trained = [row for row in rows if row["step"] > 0 and row["ap"] is not None]
    if target is not None and trained and trained[-1]["ap"] >= target:
        reached = (trained[-1]["ap"], trained[-1]["step"], target)
        return "AP %.3f at step %d reached TARGET_AP %.3f" % reached
    top = best(rows)
    if patience and top and sum(1 for row in trained if row["step"] > top["step"]) >= patience:
        values = (top["ap"], top["step"], patience)
        return "no better AP than %.3f at step %d in %d evaluations (PATIENCE)" % values
    return ""


def overfitting(rows: List[Row]) -> str:
    """A warning where AP rises on train images and falls on val, else ""."""
    both = [row for row in rows if row["train_ap"] is not None and row["ap"] is not None]
    both = comparable(both, both[-1]) if both else []
    if len(both) < 2:
        return ""
    first, last, top = both[0], both[-1], best(both)
    rises_and_falls = last["train_ap"] > first["train_ap"] and last["ap"] < top["ap"] - 0.01
    values = (last["train_ap"], top["ap"], top["step"], last["ap"])
    text = "AP on train images rose to %.3f, on val it fell from %.3f (step %d) to %.3f" % values
    return "overfitting: " + text if rises_and_falls else ""
