"""Which forms of a model are there, and a detector for each."""

from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional

from todus import categories, files, forms
from todus.errors import TodusError, UsageError
from todus.model import artefacts, checkpoint_files, checkpoints, pipeline, prepared
from todus.paths import Model


class Present(NamedTuple):
    """A form of a model that is there."""

    name: str  # of its row in todus.forms
    path: Path
    title: str  # as a person reads it: "TFLite float16"


Say = Callable[[str], None]


def present(model: Model, checkpoint: str = "", say: Say = lambda line: None) -> List[Present]:
    """Every form of the limited model that is there and that a detector here runs, the checkpoint first.

    Args:
      model: a prepared model.
      checkpoint: as CHECKPOINT_PREFIX.
      say: as in `exported`.
    """
    return [find(model, "checkpoint", checkpoint)] + exported(model, say)


def exported(model: Model, say: Say = lambda line: None) -> List[Present]:
    """The same without the checkpoint: what was exported and converted.

    Args:
      model: a prepared model.
      say: is told of each form that is left out because it has other classes or another input size, and of files made from another graph.
    """
    found = []
    for form in forms.runnable():
        if form.name in ("zoo", "checkpoint") or not form.path(model.folder).exists():
            continue
        if form.made_from and not artefacts.read(form.path(model.folder)).get("format"):
            continue  # a file of the person's own
        try:
            found.append(find(model, form.name))
        except TodusError as error:
            say("left out: %s" % error)
            continue
        if artefacts.is_outdated(model, form):
            text = "%s was made from another graph than the one that is there; %s makes it anew"
            say(text % (form.path(model.folder), artefacts.command(model, form)))
    return found


def exported_from(model: Model) -> str:
    """The CHECKPOINT_PREFIX that the exported graph was made from; the default where there is none, or it is gone."""
    graphs = artefacts.exported(model.inference_graph)
    prefix = (graphs.get("inference_graph") or graphs.get("tflite_graph") or {}).get(
        "checkpoint", ""
    )
    try:
        checkpoints.choose(model, prefix)
    except UsageError:
        return ""
    return prefix


def find(model: Model, name: str, checkpoint: str = "") -> Present:
    """The form of that name.

    Raises:
      UsageError: there is no such form.
      TodusError: its file is missing, or of other classes than the model is prepared for; the message has the command that makes it.
    """
    try:
        form = forms.find(name)
    except UsageError as error:
        raise UsageError("--format: %s" % error)
    if name == "zoo":
        return Present(
            name,
            model.zoo_frozen_graph if model.zoo_frozen_graph.exists() else model.zoo_checkpoint,
            form.title,
        )
    if name == "checkpoint":
        prefix = checkpoints.choose(model, checkpoint)
        return Present(name, prefix, "%s %s" % (form.title, checkpoints.name_of(prefix)))
    path = form.path(model.folder)
    if not form.detector:
        raise UsageError(
            "--format %s: no runtime here runs %s; there is: %s" % (name, form.title, forms.names())
        )
    if not path.exists():
        raise TodusError("%s is missing; run: %s" % (path, artefacts.command(model, form)))
    artefacts.check_file(model, form)
    return Present(name, path, _title(form, path))


def _title(form: forms.Form, path: Path) -> str:
    """The row's title; of a TFLite file with its format and its kind of non-max suppression."""
    about = artefacts.read(path) if form.made_from == "tflite_graph" else {}
    words = [form.title, about.get("format", "")] if about else [form.title]
    fast = (about.get("exported") or {}).get("nms") == "fast"
    return "%s%s" % (" ".join(word for word in words if word), ", fast NMS" if fast else "")


def open_form(
    model: Model,
    form: Present,
    threads: Optional[int] = None,
    score_threshold: Optional[float] = None,
) -> Any:
    """The detector of a form.

    Args:
      model: a prepared model.
      form: from `present` or `find`.
      threads: None leaves them to the runtime, 1 lets one call run on each core.
      score_threshold: of a checkpoint; None is 1e-8, where each detection counts.
    """
    row = forms.find(form.name)
    if form.name == "checkpoint":
        names = categories.read_label_map(model.limited_label_map)
        threshold = 1e-8 if score_threshold is None else score_threshold
        return forms.loaded(row.detector)(
            form.path, prepared.resolved(model), names, threshold, threads
        )
    if form.name == "zoo":
        names = categories.read_label_map(model.zoo_label_map)
        if form.path == model.zoo_frozen_graph:
            return forms.loaded(row.detector)(form.path, names, threads)
        config = pipeline.read(model.zoo_pipeline)
        threshold = pipeline.non_max_suppression(config).score_threshold
        return forms.loaded(forms.find("checkpoint").detector)(
            form.path, config, names, threshold, threads
        )
    return forms.loaded(row.detector)(form.path, artefacts.labels_of(model, row), threads)


def bytes_of(form: Present) -> int:
    """The size of a form on disk; a checkpoint's is that of its weights."""
    return files.size_of(form.path) if form.path.exists() else checkpoint_files.size(form.path)


def score_threshold(model: Model, form: Present) -> Optional[float]:
    """The score below which the form itself leaves detections out; None where that is not known."""
    if form.name == "checkpoint":
        return 1e-8
    if form.name == "zoo":
        return pipeline.non_max_suppression(pipeline.read(model.zoo_pipeline)).score_threshold
    exported = artefacts.read(form.path).get("exported") or {}
    if "score_threshold" not in exported and model.exported_pipeline.exists():
        return pipeline.non_max_suppression(pipeline.read(model.exported_pipeline)).score_threshold
    return exported.get("score_threshold")
