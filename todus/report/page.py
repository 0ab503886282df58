"""report.html: one HTML page about a model, with its pictures in it.

page.html.j2 has the text and the CSS; the functions here compute its values: names, table cells as
text, pictures as data URIs.
"""

import os
import platform
import shlex
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from todus import __version__, categories, files, paths, sources
from todus.errors import TodusError
from todus.machine import environment
from todus.model import artefacts, checkpoints, pipeline, prepared
from todus.paths import Model
from todus.report import measurements, pictures
from todus.text import one_line
from todus.training import metrics

TEMPLATE = "page.html.j2"
PACKAGES = ("numpy", "onnxruntime", "pycocotools", "tensorflow", "tf2onnx")
PACKAGES += ("tf-models-research-object-detection", "tflite-support")
# What a script takes beside its variables, by the group of the source.
_INPUTS = {"folder": ["DIR"], "records": ["TRAIN", "VAL", "LABEL_MAP"], "merge": ["A", "B"]}
_PICKED = (("threshold", 3), ("precision", 2), ("recall", 2), ("f1", 2))


def write(model: Model) -> Path:
    """Writes model/MODEL/report.html and returns its path. The model must be prepared."""
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
    """The template: values are escaped, without control characters; a missing one is an error."""
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
    """Names, input size as text (None for any), classes by id, the folder quoted for a shell."""
    config = pipeline.read(model.pipeline)
    names = categories.read_label_map(model.limited_label_map)
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
        "making": _making(source.get("dataset") or ""),
        "preparation": prepared.preparation(model),
        "is_trained": bool(checkpoints.latest(model)),
    }


def _making(name: str) -> str:
    """The command that makes a dataset; "" for one outside TODUS_HOME or without a label map."""
    label_map = paths.dataset(name).label_map if name else None
    if not label_map or not label_map.exists() or name.startswith((".", "/", "~")):
        return ""
    folder, _, own = name.partition("/")
    source = sources.of_folder(folder if own else "mscoco")
    words = [sources.maker(name)]
    if own:
        words = ["NAME=%s" % shlex.quote(own)] + words + _INPUTS.get(source and source.group, [])
    if name != "complete" and source and source.group in ("coco", "openimages"):
        classes = ",".join(categories.read_label_map(label_map).values())
        words.insert(0, "CATEGORIES=%s" % shlex.quote(classes))
    return " ".join(words)


def _facts(model: Model) -> List[Tuple[str, str]]:
    """The measured (value, label) pairs at the top of the page."""
    entries, benchmark = measurements.entries(model), measurements.benchmark(model)
    facts = [_class_counts(model)]
    trained = metrics.kept(model)
    if trained and trained["ap"] is not None:
        facts.append((_number(trained["ap"]), "AP in training, at step %d" % trained["step"]))
    if entries and entries[0]["ap"] is not None:
        facts.append((_number(entries[0]["ap"]), "AP, %s" % entries[0]["title"]))
    graphs = (model.zoo_frozen_graph, model.frozen_graph)
    if all(path.exists() for path in graphs):
        megabytes = tuple(path.stat().st_size / 1e6 for path in graphs)
        facts.append(("%.1f → %.1f MB" % megabytes, "frozen graph, zoo to limited"))
    rows = benchmark["rows"][1:] if benchmark else []
    if rows:
        best = max(rows, key=lambda row: row["gain"])
        facts.append((_gain(best["gain"], 1), "faster than the zoo model as %s" % best["title"]))
    return facts


def _class_counts(model: Model) -> Tuple[str, str]:
    """The zoo model's number of classes and the kept ones of them; new classes beside them."""
    zoo, names = (
        len(categories.read_label_map(path))
        for path in (model.zoo_label_map, model.limited_label_map)
    )
    new = len((prepared.prepared_from(model) or {}).get("fresh") or [])
    if new == names:
        label = "class, not one of the zoo model's" if new == 1 else "classes, none the zoo model's"
        return "%d" % new, label
    if new:
        return "%d → %d + %d" % (zoo, names - new, new), "classes, kept and new"
    return "%d → %d" % (zoo, names), "classes"


def _accuracy(model: Model) -> Optional[Dict[str, Any]]:
    """eval.json as a row for each form and for each class, and eval.png; None without eval.json."""
    entries = measurements.entries(model)
    if not entries:
        return None
    return {
        "split": entries[0].get("split") or "val",
        "dataset": entries[0].get("dataset"),
        "protocol": entries[0]["protocol"],
        "score_threshold": "%g" % entries[0]["score_threshold"],
        "rows": [_accuracy_row(entry) for entry in entries],
        "by_class": _by_class(entries),
        "alarms": [
            _alarms_row(_title(entry), entry["false_alarms"])
            for entry in entries
            if entry.get("false_alarms")
        ],
        "curves": pictures.of_file(model.folder / "eval.png"),
    }


def _by_class(entries: List[Dict[str, Any]]) -> List[List[str]]:
    """A table of the AP of each class in each form, whose rows are what there is more of."""
    names = list(entries[0]["per_class"])
    found = [[_number(entry["per_class"].get(name)) for name in names] for entry in entries]
    rows = [["AP of"] + names] + [[_title(entry)] + row for entry, row in zip(entries, found)]
    return [list(row) for row in zip(*rows)] if len(names) > len(entries) else rows


def _title(entry: Dict[str, Any]) -> str:
    """The form of an entry, with its runtime where that is not the one of .venv."""
    return ", ".join(filter(None, (entry["title"], entry.get("runtime"))))


def _alarms_row(title: str, alarms: Dict[str, Any]) -> List[str]:
    found = "%d in %d images" % (alarms["detections"], alarms["images"])
    at_recall = (alarms.get("at_recall") or {}).get("per_100_images")
    return [title, _number(alarms["per_100_images"], 1), found, alarms["at"], _number(at_recall, 1)]


def _accuracy_row(entry: Dict[str, Any]) -> List[str]:
    speed_and_size = [_number(entry["images_per_second"], 1), _number(entry["bytes"] / 1e6, 1)]
    return [_title(entry)] + [_number(entry[name]) for name in measurements.AP] + speed_and_size


def _samples(model: Model) -> Dict[str, Any]:
    """Rows of drawn detections; "problem" is the error message where they cannot be made."""
    try:
        rows = pictures.detections(model)
        return {"problem": None, "threshold": "%g" % pictures.THRESHOLD, "rows": rows}
    except TodusError as error:
        return {"problem": str(error)}


def _speed(model: Model) -> Optional[Dict[str, Any]]:
    """benchmark.json as a row for each form, and benchmark.png; None without benchmark.json."""
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
    times = [_number(row[name], 1) for name in measurements.MILLISECONDS]
    gain_and_size = [_gain(row["gain"]), _number(row["bytes"] / 1e6, 1)]
    return [row["title"], str(row["classes"])] + times + gain_and_size


def _thresholds(model: Model) -> Optional[Dict[str, Any]]:
    """The score thresholds of the last form that has them, a row for each class; else None.

    They were picked on val; precision and recall are those of the evaluated split.
    """
    entries = [each for each in measurements.entries(model) if each.get("thresholds")]
    if not entries:
        return None
    entry = entries[-1]
    rows = [
        [name] + [_number((picked or {}).get(key), places) for key, places in _PICKED]
        for name, picked in entry["thresholds"].items()
    ]
    return {"form": entry["title"], "rows": rows, "split": entry.get("split") or "val"}


def _versions(model: Model) -> List[Tuple[str, str]]:
    """The versions of Todus, Python and packages, and the checkpoint of each exported graph."""
    rows = [("Todus", __version__), ("Python", platform.python_version())]
    found = [(name, environment.version(name)) for name in PACKAGES]
    rows += [(name, version) for name, version in found if version]
    for graph, origin in artefacts.exported(model.inference_graph).items():
        values = (origin["checkpoint"], origin["score_threshold"])
        rows.append((graph.replace("_", " "), "checkpoint %s, score threshold %g" % values))
    return rows
