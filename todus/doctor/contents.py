"""The datasets and models under TODUS_HOME: whole, and agreeing with each other."""

import shlex
from typing import Iterator

from todus import sources
from todus.doctor import unfinished
from todus.doctor.findings import Finding
from todus.doctor.unfinished import held
from todus.errors import TodusError
from todus.text import shortened


def check() -> Iterator[Finding]:
    """Findings on what is wrong; one that says how much was looked at where nothing is."""
    from todus import paths

    found = list(datasets()) + list(models())
    yield from found
    if not found:
        counts = len(paths.datasets()), len(paths.models())
        text = "%d dataset%s and %d model%s, whole as far as names, sizes and CRCs tell"
        yield Finding(
            "ok",
            "contents",
            text
            % (counts[0], "" if counts[0] == 1 else "s", counts[1], "" if counts[1] == 1 else "s"),
        )


def datasets() -> Iterator[Finding]:
    from todus import paths
    from todus.dataset.records import reader, verify

    for dataset in paths.datasets():
        if held(dataset.folder):
            continue
        try:
            faults = list(verify.shard_faults(dataset, reader.read_manifest(dataset)))
        except TodusError as error:
            yield Finding("error", "datasets", str(error))
            continue
        if faults:
            more = " and %d more" % (len(faults) - 1) if len(faults) > 1 else ""
            yield Finding(
                "error",
                "datasets",
                "dataset %s: %s%s" % (dataset.name, faults[0], more),
                sources.maker(dataset.name) + " makes it again",
            )
    for manifest in sorted((paths.home() / "dataset").glob("*/*/label_map.pbtxt")):
        if not manifest.with_name("dataset.json").exists() and not manifest.parent.name.startswith(
            "."
        ):
            yield Finding(
                "error",
                "datasets",
                "%s has no dataset.json" % manifest.parent,
                "build the dataset again",
            )


def models() -> Iterator[Finding]:
    from todus import paths

    for folder in sorted(paths.models_folder().glob("*")):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        model = paths.Model(folder)
        if held(model.pretrained):
            continue
        if not model.pipeline.exists():
            yield Finding(
                "warning",
                "models",
                "%s is not prepared" % folder,
                "python -m model -m %s -d limited" % shlex.quote(folder.name),
            )
            continue
        try:
            yield from of_model(model)
        except TodusError as error:
            yield Finding("error", "models", str(error))


def of_model(model) -> Iterator[Finding]:
    """What is wrong with one prepared model: its slice, its dataset, its training, its exports."""
    from todus import categories
    from todus.model import checkpoint_files, prepared

    source = prepared.prepared_from(model) or {}
    again = prepared.preparation(model)
    if source.get("start", "slice") != "classification":
        try:
            checkpoint_files.check(model.limited_checkpoint, again)
        except TodusError as error:
            text, _, remedy = str(error).rpartition("; ")
            yield Finding("error", "models", text, remedy)
    if not model.limited_label_map.exists():
        yield Finding("error", "models", "%s is missing" % model.limited_label_map, again)
        return
    names = categories.read_label_map(model.limited_label_map)
    yield from of_its_dataset(model, source, names, again)
    yield from of_training(model, names)
    yield from of_exports(model)


def of_its_dataset(model, source, names, again: str) -> Iterator[Finding]:
    from todus import categories, paths

    if not source.get("dataset"):
        return
    dataset = paths.dataset(source["dataset"])
    if not dataset.label_map.exists():
        yield Finding(
            "warning",
            "models",
            "the dataset of %s, %s, is gone" % (model.name, dataset.name),
            sources.maker(dataset.name),
        )
        return
    now = categories.read_label_map(dataset.label_map)
    if now != names:
        text = "%s was prepared for %s; its dataset %s now has %s"
        text %= (model.name, shortened(names.values(), 6), dataset.name, shortened(now.values(), 6))
        yield Finding("error", "models", text, again)


def of_training(model, names) -> Iterator[Finding]:
    from todus.model import checkpoint_files, checkpoints
    from todus.training import background, checkpoint_scoring, run_record

    if not model.training.is_dir() or background.running(model):
        return
    trained = checkpoints.trained(model)
    script = "MODEL_DIR=%s ./train.sh" % shlex.quote(str(model.folder))
    if trained and not (model.training / "run.json").exists():
        text = (
            "%s has checkpoints and no run.json: it is not known what they were trained on"
            % model.training
        )
        yield Finding(
            "warning", "models", text, "move that folder away, or train on at your own risk"
        )
        return
    events = run_record.read(model)["events"]
    if events and "started" in events[-1]:
        at = "step %d" % trained[-1][0] if trained else "the slice"
        yield Finding(
            "info",
            "models",
            "the training of %s was killed; saved is %s" % (model.name, at),
            "%s goes on from there" % script,
        )
    for _, prefix in trained[-1:]:
        try:
            checkpoint_files.check(prefix, "rm %s.*" % shlex.quote(str(prefix)))
        except TodusError as error:
            text, _, remedy = str(error).rpartition("; ")
            yield Finding("error", "models", text, remedy + " and the one before it is taken")
    lone = [
        index
        for index in model.training.glob("model.ckpt-*.index")
        if not list(index.parent.glob(index.stem + ".data-*"))
    ]
    for index in lone[:1]:
        yield Finding(
            "warning",
            "models",
            "%s has no data file; it does not count as a checkpoint" % index,
            unfinished.remove(index),
        )
    waiting = checkpoint_scoring.pending(model)
    if waiting:
        text = "%d checkpoint%s of %s wait%s to be evaluated" % (
            len(waiting),
            *(("", model.name, "s") if len(waiting) == 1 else ("s", model.name, "")),
        )
        yield Finding("info", "models", text, "%s makes up for it when it goes on" % script)


def of_exports(model) -> Iterator[Finding]:
    """Exported and converted files of other classes, made from another graph, or without their description."""
    from todus import forms
    from todus.model import artefacts
    from todus.paths import beside_json

    missing = [
        path.name
        for path in (model.exported_label_map, model.exported_pipeline)
        if not path.exists()
    ]
    if model.inference_graph.is_dir() and missing:
        again = artefacts.command(model, forms.find("frozen_graph"))
        yield Finding(
            "error",
            "models",
            "%s has no %s" % (model.inference_graph, " and no ".join(missing)),
            again,
        )
        return
    for form in forms.FORMS:
        path = form.path(model.folder)
        if form.name in ("zoo", "checkpoint") or not path.exists():
            continue
        again = artefacts.command(model, form)
        if form.made_from and not beside_json(path).exists():
            yield Finding(
                "warning",
                "models",
                "%s has no %s beside it" % (path, beside_json(path).name),
                again,
            )
            continue
        try:
            artefacts.check_file(model, form)
        except TodusError as error:
            text, _, remedy = str(error).partition("; run: ")
            yield Finding("warning", "models", text, remedy or again)
            continue
        if artefacts.is_outdated(model, form):
            yield Finding(
                "info",
                "models",
                "%s was made from another graph than the one that is there" % path,
                again,
            )
