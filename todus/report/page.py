"""One HTML page about a model, with its pictures inside it.

page.html.j2 holds the words and the CSS; the functions here collect the values that it shows: names, table cells as text, data URIs.
"""

import os
import platform
import shlex
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from todus import __version__, categories, files, paths
from todus.errors import TodusError
from todus.machine import environment
from todus.model import artefacts, pipeline, prepared
from todus.paths import Model
from todus.report import measurements, pictures
from todus.text import one_line

TEMPLATE = "page.html.j2"
PACKAGES = (
    "numpy",
    "onnxruntime",
    "pycocotools",
    "tensorflow",
    "tf2onnx",
    "tf-models-research-object-detection",
    "tflite-support",
)

_AP = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop")
_MILLISECONDS = ("median_ms", "p90_ms", "preprocess_ms", "network_ms", "decode_ms", "nms_ms")
_PICKED = (("threshold", 3), ("precision", 2), ("recall", 2), ("f1", 2))


def write(model: Model) -> Path:
    """Writes model/MODEL/report.html and returns its path. Raises TodusError when the model is not prepared."""
    values = {
        "model": _about(model),
        "facts": _facts(model),
        "accuracy": _accuracy(model),
        "training": pictures.of_file(model.training / "curves.png"),
        "samples": _samples(model),
        "speed": _speed(model),
        "thresholds": _thresholds(model),
        "versions": _versions(model),
    }
    path = model.folder / "report.html"
    files.write_text(path, template().render(values))
    return path


def template() -> Template:
    """The template; a value that is missing is an error, and every value is escaped and without control characters."""
    loader = FileSystemLoader(str(Path(__file__).parent))
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else one_line(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template(TEMPLATE)


def _number(value: Optional[float], places: int = 3) -> str:
    return "–" if value is None else "%.*f" % (places, round(value, places) + 0.0)


def _gain(value: float, places: int = 2) -> str:
    return "%.*f×" % (places, value)


def _about(model: Model) -> Dict[str, Any]:
    """What the model is: its names, input size as text (None for any), classes by id, and its folder as a shell's word."""
    config, names = (
        pipeline.read(model.pipeline),
        categories.read_label_map(model.limited_label_map),
    )
    size, source = pipeline.input_size(config), prepared.prepared_from(model) or {}
    return {
        "name": model.name,
        "folder": shlex.quote(os.path.relpath(str(model.folder), str(paths.home()))),
        "extractor": pipeline.extractor(config),
        "source": Path(str(source.get("archive", source.get("zoo", "the zoo")))).name,
        "input_size": "%d×%d" % size if size else None,
        "quantized": pipeline.is_quantized(config),
        "dataset": source.get("dataset"),
        "classes": [names[identity] for identity in sorted(names)],
    }


def _facts(model: Model) -> List[Tuple[str, str]]:
    """The (value, label) pairs at the top of the page; what is not measured is left out."""
    classes = [
        len(categories.read_label_map(path))
        for path in (model.zoo_label_map, model.limited_label_map)
    ]
    entries, benchmark = measurements.entries(model), measurements.benchmark(model)
    facts = [("%d → %d" % tuple(classes), "classes")]
    if entries and entries[0]["ap"] is not None:
        facts.append((_number(entries[0]["ap"]), "AP, %s" % entries[0]["title"]))
    graphs = (model.zoo_frozen_graph, model.frozen_graph)
    if all(path.exists() for path in graphs):
        facts.append(
            (
                "%.1f → %.1f MB" % tuple(path.stat().st_size / 1e6 for path in graphs),
                "frozen graph, zoo to limited",
            )
        )
    best = (
        max(benchmark["rows"][1:], key=lambda row: row["gain"], default=None) if benchmark else None
    )
    if best:
        facts.append((_gain(best["gain"], 1), "faster than the zoo model as %s" % best["title"]))
    return facts


def _accuracy(model: Model) -> Optional[Dict[str, Any]]:
    """eval.json as a row for each format and a row for each class, and eval.png; None before an evaluation."""
    entries = measurements.entries(model)
    if not entries:
        return None
    return {
        "protocol": entries[0]["protocol"],
        "score_threshold": "%g" % entries[0]["score_threshold"],
        "formats": [entry["title"] for entry in entries],
        "rows": [_accuracy_row(entry) for entry in entries],
        "by_class": [
            [name] + [_number(entry["per_class"].get(name)) for entry in entries]
            for name in entries[0]["per_class"]
        ],
        "curves": pictures.of_file(model.folder / "eval.png"),
    }


def _accuracy_row(entry: Dict[str, Any]) -> List[str]:
    speed_and_size = [_number(entry["images_per_second"], 1), _number(entry["bytes"] / 1e6, 1)]
    return [entry["title"]] + [_number(entry[name]) for name in _AP] + speed_and_size


def _samples(model: Model) -> Dict[str, Any]:
    """Rows of drawn detections; where they cannot be made, "problem" says why."""
    try:
        return {
            "problem": None,
            "threshold": "%g" % pictures.THRESHOLD,
            "rows": pictures.detections(model),
        }
    except TodusError as error:
        return {"problem": str(error)}


def _speed(model: Model) -> Optional[Dict[str, Any]]:
    """benchmark.json as a row for each form, and benchmark.png; None before ./benchmark.sh."""
    result = measurements.benchmark(model)
    if not result:
        return None
    limited = next((row for row in result["rows"] if row["format"] == "frozen_graph"), None)
    expected = result.get("expected_gain") if limited else None
    return {
        "rounds": "%d" % result["rounds"],
        "cores": result.get("cores", "?"),
        "expected": _gain(expected) if expected else None,
        "measured": _gain(limited["gain"]) if limited else None,
        "rows": [_speed_row(row) for row in result["rows"]],
        "bars": pictures.of_file(model.folder / "benchmark.png"),
    }


def _speed_row(row: Dict[str, Any]) -> List[str]:
    times = [_number(row[name], 1) for name in _MILLISECONDS]
    return (
        [row["title"], str(row["classes"])]
        + times
        + [_gain(row["gain"]), _number(row["bytes"] / 1e6, 1)]
    )


def _thresholds(model: Model) -> Optional[Dict[str, Any]]:
    """The score thresholds of the last format that has some, a row for each class; None where no format has."""
    entry = next(
        (each for each in reversed(measurements.entries(model)) if each.get("thresholds")), None
    )
    if entry is None:
        return None
    rows = [
        [name] + [_number((picked or {}).get(key), places) for key, places in _PICKED]
        for name, picked in entry["thresholds"].items()
    ]
    return {"format": entry["title"], "rows": rows}


def _versions(model: Model) -> List[Tuple[str, str]]:
    """Todus, Python, the packages that are installed, and the checkpoint of each exported graph."""
    rows = [("Todus", __version__), ("Python", platform.python_version())]
    found = [(name, environment.version(name)) for name in PACKAGES]
    rows += [(name, version) for name, version in found if version]
    for graph, origin in artefacts.exported(model.inference_graph).items():
        about = "checkpoint %s, score threshold %g" % (
            origin["checkpoint"],
            origin["score_threshold"],
        )
        rows.append((graph.replace("_", " "), about))
    return rows
