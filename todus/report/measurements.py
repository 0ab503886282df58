"""eval.json and benchmark.json, which the report shows: read and checked."""

import shlex
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from todus import files
from todus.errors import TodusError
from todus.model import artefacts
from todus.paths import Model
from todus.text import shortened

_AP = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop")
_MILLISECONDS = ("median_ms", "p90_ms", "preprocess_ms", "network_ms", "decode_ms", "nms_ms")


def entries(model: Model) -> List[Dict[str, Any]]:
    """eval.json's entries, one a format; none where there is none. Raises TodusError for what no evaluation wrote."""
    found = _read(model.folder / "eval.json", [])
    if not isinstance(found, list) or not all(map(_is_entry, found)):
        raise TodusError(
            "%s is not what an evaluation writes; run: python -m eval -m %s --all"
            % (model.folder / "eval.json", model.name)
        )
    for entry in found[:1]:
        _check_classes(
            model, "eval.json", entry.get("classes"), "python -m eval -m %s --all" % model.name
        )
    return found


def benchmark(model: Model) -> Optional[Dict[str, Any]]:
    """What benchmark.json holds, None where there is no such file. Raises TodusError for what benchmark.sh does not write."""
    found = _read(model.folder / "benchmark.json", None)
    if found is not None and not _is_benchmark(found):
        raise TodusError(
            "%s is not what ./benchmark.sh writes; run it again" % (model.folder / "benchmark.json")
        )
    if found:
        _check_classes(
            model,
            "benchmark.json",
            found.get("classes"),
            "MODEL_DIR=%s ./benchmark.sh" % shlex.quote(str(model.folder)),
        )
    return found


def _check_classes(model: Model, file: str, classes: Any, again: str) -> None:
    """Raises TodusError where figures are of other classes than the model is prepared for; those of earlier versions do not tell."""
    wanted = artefacts.of_model(model).classes if isinstance(classes, list) else ()
    if wanted and tuple(classes) != wanted:
        theirs, ours = (
            shortened([str(name) for name in each], artefacts.MOST_NAMED)
            for each in (classes, wanted)
        )
        text = "%s is of a model for %s, and %s is prepared for %s; run: %s"
        raise TodusError(text % (model.folder / file, theirs, model.name, ours, again))


def _read(path: Path, default: Any) -> Any:
    return files.read_json(path) if path.exists() else default


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not _are(entry, ("title", "protocol"), str):
        return False
    if not _numbers(entry, ("images_per_second", "bytes", "score_threshold")) or not _numbers(
        entry, _AP, or_none=True
    ):
        return False
    per_class, picked = entry.get("per_class"), entry.get("thresholds") or {}
    if (
        not isinstance(per_class, dict)
        or not isinstance(picked, dict)
        or not _numbers(per_class, tuple(per_class), or_none=True)
    ):
        return False
    names = ("threshold", "precision", "recall", "f1")
    return all(
        each is None or (isinstance(each, dict) and _numbers(each, names))
        for each in picked.values()
    )


def _is_benchmark(value: Any) -> bool:
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("rows"), list)
        or not _numbers(value, ("rounds",))
    ):
        return False
    if value.get("expected_gain") is not None and not _numbers(value, ("expected_gain",)):
        return False
    return bool(value["rows"]) and all(
        isinstance(row, dict)
        and _are(row, ("title", "format"), str)
        and _numbers(row, ("classes", "gain", "bytes", "median_ms", "p90_ms"))
        and _numbers(row, _MILLISECONDS, or_none=True)
        for row in value["rows"]
    )


def _are(value: Dict[str, Any], names: Sequence[str], kind: type) -> bool:
    return all(isinstance(value.get(name), kind) for name in names)


def _numbers(value: Dict[str, Any], names: Sequence[str], or_none: bool = False) -> bool:
    """Whether these are there and finite; with `or_none` they may be null."""
    return all(
        name in value and ((or_none and value[name] is None) or files.is_number(value[name]))
        for name in names
    )
