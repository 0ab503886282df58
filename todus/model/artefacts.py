"""What each file of a model was made from, and which classes it detects: run.json, export.json, and FILE.json beside a converted file.

The classes and the input size of a file are its identity. A model that was prepared again for other classes leaves older exports,
checkpoints and converted files in its folder; who reads one of them compares it with the model first (`check`).
"""

import shlex
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from todus import categories, files, forms
from todus.errors import TodusError
from todus.model import pipeline, prepared
from todus.paths import Model, beside_json
from todus.text import shortened

IDENTITY = "identity"  # its key in run.json, export.json and FILE.json
MOST_NAMED = 6  # classes in a message


class Identity(NamedTuple):
    """What a file detects.

    Attributes:
      labels: class names by index from 0, ??? where an id of the label map is not used.
      size: (height, width) of its input in pixels; None where it follows the image, or is not known.
    """

    labels: Tuple[str, ...]
    size: Optional[Tuple[int, int]] = None

    @property
    def classes(self) -> Tuple[str, ...]:
        """The names without the gaps between ids."""
        return tuple(label for label in self.labels if label != categories.UNUSED)


def of_model(model: Model) -> Identity:
    """What the model is prepared for now."""
    return identity(
        categories.read_label_map(model.limited_label_map), pipeline.read(model.pipeline)
    )


def of_run(training: Path) -> Optional[Identity]:
    """What the checkpoints in a training folder detect, by its run.json; None where that says nothing."""
    path = training / "run.json"
    run = files.read_json(path) if path.exists() else None
    if not isinstance(run, dict):
        return None
    return _read_identity(run if IDENTITY in run else {IDENTITY: {"labels": run.get("classes")}})


def of_graph(model: Model, graph: str) -> Optional[Identity]:
    """What "inference_graph" or "tflite_graph" in inference-graph/ detects; None where it is not there.

    Exports of earlier versions are described by the label map and the pipeline.config beside them.
    """
    about = exported(model.inference_graph).get(graph, {})
    if IDENTITY in about:
        return _read_identity(about)
    if not model.exported_label_map.exists() or not model.exported_pipeline.exists():
        return None
    return identity(
        categories.read_label_map(model.exported_label_map), pipeline.read(model.exported_pipeline)
    )


def of_file(path: Path) -> Optional[Identity]:
    """What a converted file detects, by its FILE.json; None where that says nothing."""
    about = read(path)
    if IDENTITY in about:
        return _read_identity(about)
    labels, shape = about.get("labels"), about.get("input", {}).get("shape")
    if about.get("format") == "uff" and isinstance(labels, list):
        labels = [categories.UNUSED if label is None else label for label in labels[1:]]
        shape = shape[1:] if isinstance(shape, list) else None
    return _read_identity(
        {IDENTITY: {"labels": labels, "size": shape[1:3] if isinstance(shape, list) else None}}
    )


def identity(names: Mapping[int, str], config: pipeline.Config) -> Identity:
    """What a model with this label map and this config detects."""
    return Identity(tuple(categories.labels(names)), pipeline.input_size(config))


def recorded(found: Identity) -> Dict[str, Any]:
    """An identity as run.json, export.json and FILE.json have it."""
    return {
        IDENTITY: {"labels": list(found.labels), "size": list(found.size) if found.size else None}
    }


def _read_identity(about: Mapping[str, Any]) -> Optional[Identity]:
    found = about.get(IDENTITY)
    labels, size = (
        (found.get("labels"), found.get("size")) if isinstance(found, dict) else (None, None)
    )
    if (
        not isinstance(labels, list)
        or not labels
        or not all(isinstance(label, str) for label in labels)
    ):
        return None
    sides = (
        size
        if isinstance(size, list)
        and len(size) == 2
        and all(isinstance(side, int) and side > 0 for side in size)
        else None
    )
    return Identity(tuple(labels), (sides[0], sides[1]) if sides else None)


def check(model: Model, what: str, found: Optional[Identity], again: str) -> None:
    """Raises TodusError where a file is not of the classes or the input size that the model is prepared for.

    Args:
      model: a prepared model.
      what: the file.
      found: its identity; None, where it is not known, passes.
      again: the command that makes the file of the model's present classes.
    """
    wanted = of_model(model)
    if found is None or (
        found.classes == wanted.classes
        and (None in (found.size, wanted.size) or found.size == wanted.size)
    ):
        return
    if found.classes != wanted.classes:
        theirs, ours = (shortened(each.classes, MOST_NAMED) for each in (found, wanted))
        text = "%s detects %s, and %s is prepared for %s" % (what, theirs, model.name, ours)
        back = prepared.preparation_for(model, found.classes)
        hint = "; for %s again: %s" % (theirs, back) if back else ""
    else:
        text = "%s takes %dx%d pixels, and %s is prepared for %dx%d" % (
            (what,) + found.size + (model.name,) + wanted.size
        )
        hint = "; for the former size: %s" % prepared.preparation(
            model, "--image-size", "%dx%d" % found.size
        )
    raise TodusError("%s; run: %s%s" % (text, again, hint))


def check_run(model: Model, prefix: Path) -> None:
    """`check` of a trained checkpoint."""
    folder = prefix.parent.parent if prefix.parent.name in ("best", "pending") else prefix.parent
    again = "export CHECKPOINT_PREFIX=pretrained; the same command then takes the slice (python -m eval, detect: --checkpoint pretrained)"
    check(model, str(prefix), of_run(folder), again)


def check_file(model: Model, form: forms.Form) -> None:
    """`check` of the file of a form, and that it is the one that its FILE.json describes."""
    path = form.path(model.folder)
    if path.parent == model.inference_graph:
        check(
            model,
            str(path),
            of_graph(model, "tflite_graph" if form.name == "tflite_graph" else "inference_graph"),
            command(model, form),
        )
    elif form.made_from:
        about = read(path)
        check_whole(path, about)
        if str((about.get("made_from") or {}).get("graph", "")).startswith("pretrained"):
            return  # of the zoo's own graph, with the zoo's classes
        check(model, str(path), of_file(path), command(model, form))


def command(model: Model, form: forms.Form) -> str:
    """What to type to make a form of the model anew; from the slice where the checkpoints in training/ are of other classes."""
    run = of_run(model.training)
    pretrained = (
        " CHECKPOINT_PREFIX=pretrained" if run and run.classes != of_model(model).classes else ""
    )
    return "export MODEL_DIR=%s%s && %s" % (
        shlex.quote(str(model.folder)),
        pretrained,
        form.command.format(model=shlex.quote(model.name)),
    )


def labels_of(model: Model, form: forms.Form) -> Dict[int, str]:
    """id -> name of the classes that the file of a form detects: from the file's own description, never another file's."""
    found = (
        of_file(form.path(model.folder)) if form.made_from else of_graph(model, "inference_graph")
    )
    if found is None:
        raise TodusError(
            "%s has no description of its classes; run: %s"
            % (form.path(model.folder), command(model, form))
        )
    return categories.names_of(found.labels)


def is_outdated(model: Model, form: forms.Form) -> bool:
    """Whether a converted file was made from another graph than the one that is there, by the digest in its FILE.json."""
    path = form.path(model.folder)
    origin = read(path).get("made_from") if form.made_from and path.exists() else None
    if not isinstance(origin, dict) or not isinstance(origin.get("graph"), str):
        return False
    graph = model.folder / origin["graph"]
    return graph.is_file() and files.sha256(graph) != origin.get("sha256")


def graph_of(model: Model, graph: str) -> Identity:
    """What "inference_graph" or "tflite_graph" detects, for a conversion of it.

    Raises TodusError where it is not there, or is of other classes than the model is prepared for.
    """
    form = _row_of(graph)
    found = of_graph(model, graph)
    if not form.path(model.folder).exists() or found is None:
        raise TodusError("%s is missing; run: %s" % (form.path(model.folder), command(model, form)))
    check(model, str(form.path(model.folder)), found, command(model, form))
    return found


def _row_of(graph: str) -> forms.Form:
    return forms.find("frozen_graph" if graph == "inference_graph" else graph)


def write(
    model: Model, path: Path, graph: Path, found: Identity, about: Mapping[str, Any]
) -> Dict[str, Any]:
    """Writes FILE.json beside a converted file.

    Args:
      model: a prepared model.
      path: the converted file.
      graph: what it was made from, below the model's folder.
      found: the graph's identity.
      about: what else a program on the device has to know.

    Returns:
      What FILE.json holds: `about`, the identity, the graph and its digest, the file's bytes and digest.
    """
    whole = dict(about, **recorded(found), bytes=path.stat().st_size, sha256=files.sha256(path))
    whole["made_from"] = {
        "graph": str(graph.relative_to(model.folder)),
        "sha256": files.sha256(graph),
    }
    files.write_json(beside_json(path), whole)
    return whole


def read(path: Path) -> Dict[str, Any]:
    """What FILE.json says of the converted model `path`, {} where there is none.

    Raises TodusError for a file whose "input", "exported" or "format" is not what a conversion writes.
    """
    beside = beside_json(path)
    about = files.read_json(beside) if beside.exists() else {}
    if not _is_description(about):
        raise TodusError(
            "%s is not what a conversion writes; convert %s again" % (beside, path.name)
        )
    return about


def _is_description(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("format", ""), str):
        return False
    given, exported_as = value.get("input", {}), value.get("exported") or {}
    if (
        not isinstance(given, dict)
        or not isinstance(exported_as, dict)
        or not files.is_number(exported_as.get("score_threshold") or 0)
    ):
        return False
    channels = [given.get(key, 127.5) for key in ("mean", "std")]
    return all(
        files.is_number(each)
        or (isinstance(each, list) and len(each) == 3 and all(map(files.is_number, each)))
        for each in channels
    )


def check_whole(path: Path, about: Dict[str, Any]) -> None:
    """Raises TodusError when `path` is not the file that its FILE.json was written for: runtimes crash on damaged files."""
    digest = about.get("sha256")
    if digest and files.sha256(path) != digest:
        raise TodusError(
            "%s is damaged, or not the file that %s describes; convert it again"
            % (path, beside_json(path).name)
        )


def exported(folder: Path) -> Dict[str, Dict[str, Any]]:
    """What export.json in an inference-graph/ says of "inference_graph" and "tflite_graph", {} where nothing is exported.

    Raises TodusError for a file that no export wrote.
    """
    path = folder / "export.json"
    record = files.read_json(path) if path.exists() else {}
    if not isinstance(record, dict) or not all(map(_is_origin, record.values())):
        raise TodusError(
            "%s is not what an export writes; remove %s and run ./export.sh again" % (path, folder)
        )
    return record


def tflite_graph(model: Model) -> Dict[str, Any]:
    """What export.json says of the TFLite graph, with nms and max_detections. Raises TodusError where it says nothing."""
    origin = exported(model.inference_graph).get("tflite_graph", {})
    if origin.get("nms") not in ("regular", "fast") or not isinstance(
        origin.get("max_detections"), int
    ):
        raise TodusError(
            "%s says nothing of tflite_graph.pb; run ./export-tflite.sh again"
            % (model.inference_graph / "export.json")
        )
    return origin


def _is_origin(value: Any) -> bool:
    words = isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("checkpoint", "checkpoint_sha256")
    )
    return (
        words
        and files.is_number(value.get("score_threshold"))
        and isinstance(value.get("quantized"), bool)
    )
