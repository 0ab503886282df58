"""Reads and checks eval.json and benchmark.json for the report."""

import shlex
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

from todus import files
from todus.errors import TodusError
from todus.model import artefacts
from todus.paths import Model
from todus.text import shortened

AP = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop")
MILLISECONDS = ("median_ms", "p90_ms", "preprocess_ms", "network_ms", "decode_ms", "nms_ms")


def entries(model: Model) -> List[Dict[str, Any]]:
    """The entries of eval.json, one for each form; [] without the file.

    Raises TodusError when it is not an eval.json, or is of other classes than the model.
    """
    path, command = model.folder / "eval.json", "python -m eval -m %s --all" % model.name
    found = files.read_json(path) if path.exists() else []
    if not isinstance(found, list) or not all(map(_is_entry, found)):
        raise TodusError("%s is not an eval.json; run: %s" % (path, command))
    if found:
        _check_classes(model, path, found[0].get("classes"), command)
    return found


def benchmark(model: Model) -> Optional[Dict[str, Any]]:
    """The content of benchmark.json, None without the file. Raises TodusError as `entries` does."""
    path = model.folder / "benchmark.json"
    command = "MODEL_DIR=%s ./benchmark.sh" % shlex.quote(str(model.folder))
    found = files.read_json(path) if path.exists() else None
    if found is not None and not _is_benchmark(found):
        raise TodusError("%s is not a benchmark.json; run: %s" % (path, command))
    if found:
        _check_classes(model, path, found.get("classes"), command)
    return found


def _check_classes(model: Model, path: Path, classes: Any, command: str) -> None:
    """Files of earlier versions have no classes; they are accepted."""
    now = artefacts.of_model(model).classes if isinstance(classes, list) else ()
    if now and tuple(classes) != now:
        was, prepared = (
            shortened([str(name) for name in names], artefacts.MOST_NAMED)
            for names in (classes, now)
        )
        text = "%s is of a model for %s, and %s is prepared for %s; run: %s"
        raise TodusError(text % (path, was, model.name, prepared, command))


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    per_class, picked = entry.get("per_class"), entry.get("thresholds") or {}
    return (
        isinstance(per_class, dict)
        and isinstance(picked, dict)
        and _are_texts(entry, ("title", "protocol"))
        and _are_numbers(entry, ("images_per_second", "bytes", "score_threshold"))
        and _are_numbers(entry, AP, or_none=True)
        and _are_numbers(per_class, per_class, or_none=True)
        and all(each is None or _is_threshold(each) for each in picked.values())
        and all(isinstance(entry.get(key) or "", str) for key in ("split", "dataset", "runtime"))
        and (entry.get("false_alarms") is None or _is_alarms(entry["false_alarms"]))
    )


def _is_threshold(value: Any) -> bool:
    names = ("threshold", "precision", "recall", "f1")
    return isinstance(value, dict) and _are_numbers(value, names, or_none=True)


def _is_alarms(value: Any) -> bool:
    numbers = ("per_100_images", "images", "detections")
    return (
        isinstance(value, dict)
        and _are_numbers(value, numbers)
        and _are_texts(value, ("at",))
        and _is_at_recall(value.get("at_recall") or {"per_100_images": 0})
    )


def _is_at_recall(value: Any) -> bool:
    return isinstance(value, dict) and _are_numbers(value, ("per_100_images",))


def _is_benchmark(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("rows"), list)
        and bool(value["rows"])
        and all(map(_is_row, value["rows"]))
        and _are_numbers(value, ("rounds",))
        and (value.get("expected_gain") is None or _are_numbers(value, ("expected_gain",)))
    )


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and _are_texts(row, ("title", "format"))
        and _are_numbers(row, ("classes", "gain", "bytes", "median_ms", "p90_ms"))
        and _are_numbers(row, MILLISECONDS, or_none=True)
    )


def _are_texts(value: Dict[str, Any], names: Iterable[str]) -> bool:
    return all(isinstance(value.get(name), str) for name in names)


def _are_numbers(value: Dict[str, Any], names: Iterable[str], or_none: bool = False) -> bool:
    """Whether the values exist and are finite numbers; with `or_none` they may be null."""
    return all(
        name in value and ((or_none and value[name] is None) or files.is_number(value[name]))
        for name in names
    )
