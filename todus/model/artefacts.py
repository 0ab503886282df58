"""FILE.json beside a converted model: what a program on a device has to know of the file, and which file it speaks of."""

from pathlib import Path
from typing import Any, Dict

from todus import files
from todus.errors import TodusError
from todus.paths import Model, beside_json


def read(path: Path) -> Dict[str, Any]:
    """What FILE.json says of the converted model `path`, {} where there is none.

    Raises TodusError for a file whose "input", "exported" or "format" is not what a conversion writes.
    """
    beside = beside_json(path)
    described = files.read_json(beside) if beside.exists() else {}
    if not _is_description(described):
        raise TodusError("%s is not what a conversion writes; convert %s again" % (beside, path.name))
    return described


def _is_description(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("format", ""), str):
        return False
    given, exported = value.get("input", {}), value.get("exported") or {}
    if not isinstance(given, dict) or not isinstance(exported, dict) or not files.is_number(exported.get("score_threshold") or 0):
        return False
    channels = [given.get(key, 127.5) for key in ("mean", "std")]
    return all(
        files.is_number(each) or (isinstance(each, list) and len(each) == 3 and all(map(files.is_number, each))) for each in channels
    )


def check_whole(path: Path, described: Dict[str, Any]) -> None:
    """Raises TodusError when `path` is not the file that its FILE.json was written for: runtimes crash on damaged files."""
    digest = described.get("sha256")
    if digest and files.sha256(path) != digest:
        raise TodusError("%s is damaged, or not the file that %s describes; convert it again" % (path, beside_json(path).name))


def exported(folder: Path) -> Dict[str, Dict[str, Any]]:
    """What export.json in an inference-graph/ says of "inference_graph" and "tflite_graph", {} where nothing is exported.

    Raises TodusError for a file that no export wrote.
    """
    path = folder / "export.json"
    book = files.read_json(path) if path.exists() else {}
    if not isinstance(book, dict) or not all(map(_is_origin, book.values())):
        raise TodusError("%s is not what an export writes; remove %s and run ./export.sh again" % (path, folder))
    return book


def tflite_graph(model: Model) -> Dict[str, Any]:
    """What export.json says of the TFLite graph, with nms and max_detections. Raises TodusError where it says nothing."""
    origin = exported(model.inference_graph).get("tflite_graph", {})
    if origin.get("nms") not in ("regular", "fast") or not isinstance(origin.get("max_detections"), int):
        raise TodusError("%s says nothing of tflite_graph.pb; run ./export-tflite.sh again" % (model.inference_graph / "export.json"))
    return origin


def _is_origin(value: Any) -> bool:
    words = isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("checkpoint", "checkpoint_sha256"))
    return words and files.is_number(value.get("score_threshold")) and isinstance(value.get("quantized"), bool)
