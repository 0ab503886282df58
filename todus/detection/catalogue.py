"""The forms in which a model lies under model/NAME, and a detector for each."""

from pathlib import Path
from typing import List, NamedTuple, Optional

from todus import categories, files
from todus.errors import TodusError, UsageError
from todus.model import artefacts, checkpoints, pipeline, prepared
from todus.paths import Model

# What --format takes, beside tflite-FORMAT for a further TFLite file.
NAMES = ("zoo", "checkpoint", "frozen_graph", "saved_model", "tflite", "onnx")


class Form(NamedTuple):
    """One of them."""

    name: str  # zoo, checkpoint, frozen_graph, saved_model, tflite, tflite-FORMAT or onnx
    path: Path
    title: str  # as a person reads it: "TFLite float16"


def present(model: Model, checkpoint: str = "") -> List[Form]:
    """Every form of the limited model that is there, the checkpoint first; dummy-range files are left out, for they detect nothing."""
    forms = [_checkpoint(model, checkpoint)]
    if model.frozen_graph.exists():
        forms.append(Form("frozen_graph", model.frozen_graph, "frozen graph"))
    saved = model.inference_graph / "saved_model"
    if (saved / "saved_model.pb").exists():
        forms.append(Form("saved_model", saved, "SavedModel"))
    for path in [model.converted("tflite")] + sorted(model.folder.glob("%s-*.tflite" % model.name)):
        kind = artefacts.read(path).get("format") if path.exists() else None
        if kind and kind != "dummy":
            name = "tflite" + path.stem[len(model.name) :]
            forms.append(Form(name, path, _tflite_title(path)))
    if model.converted("onnx").exists():
        forms.append(Form("onnx", model.converted("onnx"), "ONNX"))
    return forms


def _checkpoint(model: Model, checkpoint: str) -> Form:
    prefix = checkpoints.choose(model, checkpoint)
    return Form("checkpoint", prefix, "checkpoint %s" % ("pretrained" if prefix.parent.name == "limited" else prefix.name))


def exported_from(model: Model) -> str:
    """The CHECKPOINT_PREFIX that the exported graph was made from; the default where there is none, or it is gone."""
    graphs = artefacts.exported(model.inference_graph)
    prefix = (graphs.get("inference_graph") or graphs.get("tflite_graph") or {}).get("checkpoint", "")
    try:
        checkpoints.choose(model, prefix)
    except UsageError:
        return ""
    return prefix


def find(model: Model, name: str, checkpoint: str = "") -> Form:
    """The form of that name. Raises UsageError for an unknown one, TodusError, with the command that makes it, for one that is missing."""
    if name == "zoo":
        path = model.zoo_frozen_graph if model.zoo_frozen_graph.exists() else model.zoo_checkpoint
        return Form("zoo", path, "zoo model")
    if name == "checkpoint":
        return _checkpoint(model, checkpoint)
    base, _, kind = name.partition("-")
    places = {
        "frozen_graph": (model.frozen_graph, "frozen graph", "./export.sh"),
        "saved_model": (model.inference_graph / "saved_model", "SavedModel", "./export.sh"),
        "tflite": (model.converted("tflite", kind), "TFLite", "./export-tflite.sh and ./convert-tflite.sh"),
        "onnx": (model.converted("onnx"), "ONNX", "./convert-onnx.sh"),
    }
    if base not in places or (kind and base != "tflite"):
        raise UsageError("--format %s is unknown; there is: %s, tflite-float16 and the like" % (name, ", ".join(NAMES)))
    path, title, command = places[base]
    if not path.exists():
        raise TodusError(
            "%s is missing; run %s" % (path, command.replace("./convert-tflite", "FORMAT=%s ./convert-tflite" % kind) if kind else command)
        )
    return Form(name, path, _tflite_title(path) if base == "tflite" else title)


def _tflite_title(path: Path) -> str:
    about = artefacts.read(path)
    fast = (about.get("exported") or {}).get("nms") == "fast"
    return "TFLite %s%s" % (about.get("format", ""), ", fast NMS" if fast else "")


def open_form(model: Model, form: Form, threads: Optional[int] = None, score_threshold: Optional[float] = None):
    """The detector of a form.

    Args:
      model: a prepared model.
      form: from `present` or `find`.
      threads: as in todus.detection.detectors: None leaves it to the runtime, 1 lets one call run on each core.
      score_threshold: of a checkpoint; None is 1e-8, where each detection counts.
    """
    from todus.detection import checkpoint, frozen_graph, onnx, saved_model, tflite

    if form.name == "zoo":
        names = categories.read_label_map(model.zoo_label_map)
        if form.path == model.zoo_frozen_graph:
            return frozen_graph.FrozenGraph(form.path, names, threads)
        config = pipeline.read(model.zoo_pipeline)
        return checkpoint.Checkpoint(form.path, config, names, pipeline.non_max_suppression(config).score_threshold, threads)
    if form.name == "checkpoint":
        names = categories.read_label_map(model.limited_label_map)
        threshold = 1e-8 if score_threshold is None else score_threshold
        return checkpoint.Checkpoint(form.path, prepared.resolved(model), names, threshold, threads)
    kinds = {"frozen_graph": frozen_graph.FrozenGraph, "saved_model": saved_model.SavedModel, "onnx": onnx.Onnx}
    kind = kinds.get(form.name, tflite.TFLite)
    return kind(form.path, categories.read_label_map(model.exported_label_map), threads)


def bytes_of(form: Form) -> int:
    """The size of a form on disk; a checkpoint's is that of its weights."""
    if form.path.exists():
        return files.size_of(form.path)
    return sum(path.stat().st_size for path in form.path.parent.glob(form.path.name + ".*") if not path.name.endswith(".meta"))


def score_threshold(model: Model, form: Form) -> Optional[float]:
    """The score below which the form itself leaves detections out; None where that is not known."""
    if form.name == "checkpoint":
        return 1e-8
    if form.name == "zoo":
        return pipeline.non_max_suppression(pipeline.read(model.zoo_pipeline)).score_threshold
    exported = artefacts.read(form.path).get("exported") or {}
    if "score_threshold" not in exported and model.exported_pipeline.exists():
        return pipeline.non_max_suppression(pipeline.read(model.exported_pipeline)).score_threshold
    return exported.get("score_threshold")
