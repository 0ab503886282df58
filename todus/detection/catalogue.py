"""The forms of a model that exist, and a detector for each."""

from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional

from todus import categories, files, forms
from todus.detection import runtimes
from todus.detection.detector import LEAST_SCORE
from todus.errors import TodusError, UsageError
from todus.model import artefacts, checkpoint_files, checkpoints, held, pipeline
from todus.paths import Model


class Present(NamedTuple):
    """A form of a model that exists.

    Attributes:
      name: of its row in todus.forms.
      path: the file or folder; of a checkpoint its prefix.
      title: for the user: "TFLite float16".
    """

    name: str
    path: Path
    title: str

    @property
    def shown(self) -> Path:
        """The path for the user; a checkpoint is read from links to it."""
        return checkpoint_files.shown(self.path)


Say = Callable[[str], None]


def present(model: Model, checkpoint: str = "", say: Say = lambda line: None) -> List[Present]:
    """The checkpoint, then what `exported` returns.

    Args:
      model: a prepared model.
      checkpoint: as CHECKPOINT_PREFIX.
      say: as in `exported`.
    """
    return [find(model, "checkpoint", checkpoint)] + exported(model, say)


def exported(model: Model, say: Say = lambda line: None) -> List[Present]:
    """Every exported or converted form of the limited model that exists and has a detector.

    Args:
      model: a prepared model.
      say: called with a line for each form that is left out because it has other classes or
        another input size, and for each that was made from another graph than the current one.
    """
    found = []
    for form in forms.runnable():
        path = form.path(model.folder)
        if form.name in ("zoo", "checkpoint") or not path.exists():
            continue
        if form.made_from and not artefacts.read(path).get("format"):
            continue  # not made by Todus
        try:
            found.append(find(model, form.name))
        except TodusError as error:
            say("left out: %s" % error)
            continue
        if artefacts.is_outdated(model, form):
            text = "%s was made from another graph than the current one; run: %s"
            say(text % (path, artefacts.command(model, form)))
    return found


def exported_from(model: Model) -> str:
    """The CHECKPOINT_PREFIX of the exported graph; "", the default, where it is unknown or gone."""
    graphs = artefacts.exported(model.inference_graph)
    graph = graphs.get("inference_graph") or graphs.get("tflite_graph") or {}
    prefix = graph.get("checkpoint", "")
    try:
        checkpoints.choose(model, prefix)
    except UsageError:
        return ""
    return prefix


def find(model: Model, name: str, checkpoint: str = "") -> Present:
    """The form of that name.

    Args:
      model: a prepared model.
      name: of a row in todus.forms.
      checkpoint: as CHECKPOINT_PREFIX, where the form is "checkpoint".

    Raises:
      UsageError: no such form, or no detector for it.
      TodusError: its file is missing, or has other classes than the model is prepared for; the
        message has the command that makes it.
    """
    try:
        form = forms.find(name)
    except UsageError as error:
        raise UsageError("--format: %s" % error)
    if name == "zoo":
        graph = model.zoo_frozen_graph
        return Present(name, graph if graph.exists() else model.zoo_checkpoint, form.title)
    if name == "checkpoint":
        prefix = held.choose(model, checkpoint)
        return Present(name, prefix, "%s %s" % (form.title, checkpoints.name_of(prefix)))
    path = form.path(model.folder)
    if not form.detector:
        text = "--format %s: no runtime here runs %s; choose one of: %s"
        raise UsageError(text % (name, form.title, forms.names()))
    if not path.exists():
        raise TodusError("%s is missing; run: %s" % (path, artefacts.command(model, form)))
    artefacts.check_file(model, form)
    return Present(name, path, _title(form, path))


def _title(form: forms.Form, path: Path) -> str:
    """The row's title; of a TFLite file with its format and its kind of non-max suppression."""
    about = artefacts.read(path) if form.made_from == "tflite_graph" else {}
    title = " ".join(word for word in (form.title, about.get("format")) if word)
    return title + (", fast NMS" if (about.get("exported") or {}).get("nms") == "fast" else "")


def open_form(
    model: Model,
    form: Present,
    threads: Optional[int] = None,
    runtime: Optional[runtimes.Runtime] = None,
) -> Any:
    """The detector of a form. A checkpoint of the limited model detects with LEAST_SCORE.

    Args:
      model: a prepared model.
      form: from `present` or `find`.
      threads: None is the runtime's default; with 1, as many calls as cores can run at once.
      runtime: from runtimes.choose; None is that of .venv.
    """
    row = forms.find(form.name)
    detector = forms.loaded(row.detector)
    if form.name == "checkpoint":
        names = categories.read_label_map(model.limited_label_map)
        config = checkpoints.config_of(model, form.path)
        return detector(form.path, config, names, LEAST_SCORE, threads)
    if form.name == "zoo":
        names = categories.read_label_map(model.zoo_label_map)
        if form.path == model.zoo_frozen_graph:
            return detector(form.path, names, threads)
        detector = forms.loaded(forms.find("checkpoint").detector)
        config, threshold = pipeline.read(model.zoo_pipeline), _threshold_in(model.zoo_pipeline)
        return detector(form.path, config, names, threshold, threads)
    labels = artefacts.labels_of(model, row)
    if runtime:
        return detector(form.path, labels, threads, runtimes.opener(runtime, threads))
    return detector(form.path, labels, threads)


def bytes_of(form: Present) -> int:
    """The size of a form on disk; of a checkpoint the size of its weights."""
    return files.size_of(form.path) if form.path.exists() else checkpoint_files.size(form.path)


def score_threshold(model: Model, form: Present) -> Optional[float]:
    """The score below which the form itself drops detections; None where that is not known."""
    if form.name == "checkpoint":
        return LEAST_SCORE
    if form.name == "zoo":
        return _threshold_in(model.zoo_pipeline)
    exported = artefacts.read(form.path).get("exported") or {}
    if "score_threshold" not in exported and model.exported_pipeline.exists():
        return _threshold_in(model.exported_pipeline)
    return exported.get("score_threshold")


def configured_threshold(model: Model, form: Present) -> float:
    """The score threshold of the form, of a checkpoint that of the model's pipeline.config."""
    if form.name == "checkpoint":
        return _threshold_in(model.pipeline)
    return score_threshold(model, form) or 0.0


def _threshold_in(config: Path) -> float:
    return pipeline.non_max_suppression(pipeline.read(config)).score_threshold
