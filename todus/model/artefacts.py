"""The identity of each file of a model: its classes and input size, and what it was made from.

run.json, export.json and the FILE.json beside a converted file record it. A model that is prepared
again for other classes keeps older exports, checkpoints and converted files in its folder; `check`
compares one of them with the model before it is used.
"""

import shlex
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from todus import categories, files, forms
from todus.errors import TodusError
from todus.model import pipeline, prepared
from todus.paths import Model, beside_json
from todus.text import shortened

IDENTITY = "identity"  # the key in run.json, export.json and FILE.json
# The files and folders in inference-graph/ of each graph.
_EXPORTED = {
    "inference_graph": ("frozen_inference_graph.pb", "saved_model"),
    "tflite_graph": ("tflite_graph.pb",),
}
MOST_NAMED = 6  # classes listed in a message


class Identity(NamedTuple):
    """What a file detects.

    Attributes:
      labels: class names by index from 0, ??? where the label map does not use an id.
      size: (height, width) of the input in pixels; None where it follows the image or is unknown.
    """

    labels: Tuple[str, ...]
    size: Optional[Tuple[int, int]] = None

    @property
    def classes(self) -> Tuple[str, ...]:
        """The names without those of unused ids."""
        return tuple(label for label in self.labels if label != categories.UNUSED)


def of_model(model: Model) -> Identity:
    """What the model is prepared for now."""
    names = categories.read_label_map(model.limited_label_map)
    return identity(names, pipeline.read(model.pipeline))


def of_run(training: Path) -> Optional[Identity]:
    """What the checkpoints in a training folder detect, by its run.json; None where unknown."""
    path = training / "run.json"
    run = files.read_json(path) if path.exists() else None
    if not isinstance(run, dict):
        return None
    return _read_identity(run if IDENTITY in run else {IDENTITY: {"labels": run.get("classes")}})


def of_graph(model: Model, graph: str) -> Optional[Identity]:
    """What "inference_graph" or "tflite_graph" in inference-graph/ detects; None where missing.

    For exports of earlier versions the label map and the pipeline.config beside them are read.
    """
    about = exported(model.inference_graph).get(graph, {})
    if IDENTITY in about:
        return _read_identity(about)
    if not model.exported_label_map.exists() or not model.exported_pipeline.exists():
        return None
    names = categories.read_label_map(model.exported_label_map)
    return identity(names, pipeline.read(model.exported_pipeline))


def of_file(path: Path) -> Optional[Identity]:
    """What a converted file detects, by its FILE.json; None where unknown."""
    about = read(path)
    if IDENTITY in about:
        return _read_identity(about)
    labels, shape = about.get("labels"), about.get("input", {}).get("shape")
    shape = shape if isinstance(shape, list) else []
    if about.get("format") == "uff" and isinstance(labels, list):
        labels = [categories.UNUSED if label is None else label for label in labels[1:]]
        shape = shape[1:]
    return _read_identity({IDENTITY: {"labels": labels, "size": shape[1:3]}})


def identity(names: Mapping[int, str], config: pipeline.Config) -> Identity:
    """What a model with this label map and this config detects."""
    return Identity(tuple(categories.labels(names)), pipeline.input_size(config))


def recorded(found: Identity) -> Dict[str, Any]:
    """An identity as in run.json, export.json and FILE.json."""
    size = list(found.size) if found.size else None
    return {IDENTITY: {"labels": list(found.labels), "size": size}}


def _read_identity(about: Mapping[str, Any]) -> Optional[Identity]:
    found = about.get(IDENTITY)
    if not isinstance(found, dict):
        return None
    labels, size = found.get("labels"), found.get("size")
    if not _is_list_of(str, labels) or not labels:
        return None
    if not _is_list_of(int, size) or len(size) != 2 or min(size) < 1:
        return Identity(tuple(labels))
    return Identity(tuple(labels), (size[0], size[1]))


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def check(model: Model, what: str, found: Optional[Identity], again: str) -> None:
    """Raises TodusError where a file's classes or input size are not those of the prepared model.

    Args:
      model: a prepared model.
      what: the file.
      found: its identity; None, where it is unknown, passes.
      again: the command that makes the file for the model's present classes.
    """
    wanted = of_model(model)
    if found and found.classes != wanted.classes:
        theirs, ours = (shortened(each.classes, MOST_NAMED) for each in (found, wanted))
        text = "%s detects %s, and %s is prepared for %s" % (what, theirs, model.name, ours)
        back = prepared.preparation_for(model, found.classes)
        hint = "; for %s again: %s" % (theirs, back) if back else ""
    elif found and found.size and wanted.size and found.size != wanted.size:
        sizes = tuple("%dx%d" % each.size for each in (found, wanted))
        text = "%s takes %s pixels, and %s is prepared for %s"
        text %= (what, sizes[0], model.name, sizes[1])
        back = prepared.preparation(model, "--image-size", sizes[0])
        hint = "; for the former size: %s" % back
    else:
        return
    raise TodusError("%s; run: %s%s" % (text, again, hint))


def run_folder(prefix: Path) -> Path:
    """The training folder of a trained checkpoint, which may be in its best/ or pending/."""
    return prefix.parent.parent if prefix.parent.name in ("best", "pending") else prefix.parent


def check_run(model: Model, prefix: Path) -> None:
    """Runs `check` on a trained checkpoint."""
    again = (
        "export CHECKPOINT_PREFIX=pretrained; the same command then takes the slice "
        "(python -m eval, detect: --checkpoint pretrained)"
    )
    check(model, str(prefix), of_run(run_folder(prefix)), again)


def check_file(model: Model, form: forms.Form) -> None:
    """Runs `check` on the file of a form, and `check_digest` where it was converted."""
    path = form.path(model.folder)
    if path.parent == model.inference_graph:
        graph = "tflite_graph" if form.name == "tflite_graph" else "inference_graph"
        _check_export(model, graph, form)
        check(model, str(path), of_graph(model, graph), command(model, form))
    elif form.made_from:
        about = read(path)
        check_digest(path, about, command(model, form))
        if str((about.get("made_from") or {}).get("graph", "")).startswith("pretrained"):
            return  # converted from the zoo's own graph, which has the zoo's classes
        check(model, str(path), of_file(path), command(model, form))


def digests(folder: Path, graph: str) -> Dict[str, str]:
    """Path in an export -> SHA-256, of the files of "inference_graph" or "tflite_graph"."""
    found = [folder / name for name in _EXPORTED[graph]]
    found += [path for each in found for path in each.rglob("*")]
    return {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for path in sorted(found)
        if path.is_file()
    }


def _check_export(model: Model, graph: str, form: forms.Form) -> None:
    """Raises TodusError where a file of a form is not the one that was exported."""
    folder, at = model.inference_graph, form.path(model.folder)
    known = exported(folder).get(graph, {}).get("sha256")
    for name, digest in sorted(known.items()) if isinstance(known, dict) else ():
        path = folder / name
        is_of_form = path == at or at in path.parents
        if is_of_form and path.is_file() and files.sha256(path) != digest:
            what = "%s is damaged, or not the file that export.json describes; run: %s"
            raise TodusError(what % (path, command(model, form)))


def command(model: Model, form: forms.Form) -> str:
    """The command that makes a form of the model again.

    It takes the slice where the checkpoints in training/ are of other classes.
    """
    run = of_run(model.training)
    other = run and run.classes != of_model(model).classes
    return "export MODEL_DIR=%s%s && %s" % (
        shlex.quote(str(model.folder)),
        " CHECKPOINT_PREFIX=pretrained" if other else "",
        form.command.format(model=shlex.quote(model.name)),
    )


def labels_of(model: Model, form: forms.Form) -> Dict[int, str]:
    """id -> name of the classes that the file of a form detects, by its own FILE.json."""
    path = form.path(model.folder)
    found = of_file(path) if form.made_from else of_graph(model, "inference_graph")
    if found is None:
        text = "%s has no description of its classes; run: %s"
        raise TodusError(text % (path, command(model, form)))
    return categories.names_of(found.labels)


def is_outdated(model: Model, form: forms.Form) -> bool:
    """Whether the graph's digest differs from the one in a converted file's FILE.json."""
    path = form.path(model.folder)
    origin = read(path).get("made_from") if form.made_from and path.exists() else None
    if not isinstance(origin, dict) or not isinstance(origin.get("graph"), str):
        return False
    graph = model.folder / origin["graph"]
    return graph.is_file() and files.sha256(graph) != origin.get("sha256")


def graph_of(model: Model, graph: str) -> Identity:
    """What "inference_graph" or "tflite_graph" detects, before it is converted.

    Raises TodusError where it is missing, or is of other classes than the model is prepared for.
    """
    form = forms.find("frozen_graph" if graph == "inference_graph" else graph)
    path, found = form.path(model.folder), of_graph(model, graph)
    if not path.exists() or found is None:
        raise TodusError("%s is missing; run: %s" % (path, command(model, form)))
    _check_export(model, graph, form)
    check(model, str(path), found, command(model, form))
    return found


def write(
    model: Model, path: Path, graph: Path, found: Identity, about: Mapping[str, Any]
) -> Dict[str, Any]:
    """Writes FILE.json beside a converted file.

    Args:
      model: a prepared model.
      path: the converted file.
      graph: what it was made from, in the model's folder.
      found: the graph's identity.
      about: what else a program on the device needs.

    Returns:
      The content of FILE.json: `about`, the identity, the graph and its digest, the file's size
      and digest.
    """
    whole = dict(about, **recorded(found), bytes=path.stat().st_size, sha256=files.sha256(path))
    origin = str(graph.relative_to(model.folder))
    whole["made_from"] = {"graph": origin, "sha256": files.sha256(graph)}
    files.write_json(beside_json(path), whole)
    return whole


def read(path: Path) -> Dict[str, Any]:
    """The content of FILE.json of the converted model `path`, {} where there is none.

    Raises TodusError where "input", "exported" or "format" is not what a conversion writes.
    """
    beside = beside_json(path)
    about = files.read_json(beside) if beside.exists() else {}
    if not _is_description(about):
        text = "%s is not what a conversion writes; convert %s again"
        raise TodusError(text % (beside, path.name))
    return about


def _is_description(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("format", ""), str):
        return False
    given, exported_as = value.get("input", {}), value.get("exported") or {}
    if not isinstance(given, dict) or not isinstance(exported_as, dict):
        return False
    if not files.is_number(exported_as.get("score_threshold") or 0):
        return False
    channels = [given.get(key, 127.5) for key in ("mean", "std")]
    return all(
        files.is_number(each)
        or (isinstance(each, list) and len(each) == 3 and all(map(files.is_number, each)))
        for each in channels
    )


def check_digest(path: Path, about: Dict[str, Any], again: str = "") -> None:
    """Raises TodusError where `path` is not the file that FILE.json describes.

    Runtimes crash on damaged files. `again` is the command that makes the file.
    """
    digest = about.get("sha256")
    if digest and files.sha256(path) != digest:
        text = "%s is damaged, or not the file that %s describes; %s"
        remedy = "run: %s" % again if again else "convert it again"
        raise TodusError(text % (path, beside_json(path).name, remedy))


def exported(folder: Path) -> Dict[str, Dict[str, Any]]:
    """export.json: "inference_graph" and "tflite_graph" -> their entries; {} where it is missing.

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
    """The entry of the TFLite graph in export.json, with nms and max_detections.

    Raises TodusError where there is none.
    """
    origin = exported(model.inference_graph).get("tflite_graph", {})
    most = origin.get("max_detections")
    if origin.get("nms") not in ("regular", "fast") or not isinstance(most, int):
        text = "%s says nothing of tflite_graph.pb; run ./export-tflite.sh again"
        raise TodusError(text % (model.inference_graph / "export.json"))
    return origin


def _is_origin(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("checkpoint", "checkpoint_sha256"))
        and files.is_number(value.get("score_threshold"))
        and isinstance(value.get("quantized"), bool)
    )
