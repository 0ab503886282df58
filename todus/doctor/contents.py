"""Checks of the datasets and models under TODUS_HOME."""

import shlex
from typing import Iterator

from todus import sources
from todus.doctor import findings
from todus.doctor.findings import Finding, number_of
from todus.doctor.unfinished import held, remove
from todus.errors import TodusError
from todus.text import shortened


def check() -> Iterator[Finding]:
    """What is wrong; where nothing is, one finding with the number of datasets and models."""
    from todus import paths

    found = list(datasets()) + list(models())
    yield from found
    if not found:
        checked_datasets = number_of(len(paths.datasets()), "dataset")
        checked_models = number_of(len(paths.models()), "model")
        text = "%s and %s: no fault in names, sizes and CRCs" % (checked_datasets, checked_models)
        yield findings.ok("contents", text)


def datasets() -> Iterator[Finding]:
    """Datasets with damaged or missing files, except those that a command is writing."""
    from todus import paths
    from todus.dataset.records import reader, verify

    for dataset in paths.datasets():
        if held(dataset.folder):
            continue
        try:
            faults = list(verify.shard_faults(dataset, reader.read_manifest(dataset)))
        except TodusError as error:
            yield findings.error("datasets", str(error))
            continue
        if faults:
            more = " and %d more" % (len(faults) - 1) if len(faults) > 1 else ""
            text = "dataset %s: %s%s" % (dataset.name, faults[0], more)
            yield findings.error("datasets", text, sources.maker(dataset.name) + " makes it again")
    for label_map in sorted((paths.home() / "dataset").glob("*/*/label_map.pbtxt")):
        folder = label_map.parent
        if not (folder / "dataset.json").exists() and not folder.name.startswith("."):
            text = "%s has no dataset.json" % folder
            yield findings.error("datasets", text, "build the dataset again")


def models() -> Iterator[Finding]:
    """What is wrong with each model, except those that a command is preparing."""
    from todus import paths

    for folder in sorted(paths.models_folder().glob("*")):
        model = paths.Model(folder)
        if not folder.is_dir() or folder.name.startswith(".") or held(model.pretrained):
            continue
        if not model.pipeline.exists():
            remedy = "python -m model -m %s -d limited" % shlex.quote(folder.name)
            yield findings.warning("models", "%s is not prepared" % folder, remedy)
            continue
        try:
            yield from of_model(model)
        except TodusError as error:
            yield findings.error("models", str(error))


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
            yield findings.error("models", text, remedy)
    if not model.limited_label_map.exists():
        yield findings.error("models", "%s is missing" % model.limited_label_map, again)
        return
    names = categories.read_label_map(model.limited_label_map)
    if source.get("dataset"):
        yield from of_its_dataset(model, source["dataset"], names, again)
    yield from of_training(model)
    yield from of_exports(model)


def of_its_dataset(model, name: str, names, again: str) -> Iterator[Finding]:
    """A dataset that no longer has the classes that the model was prepared for."""
    from todus import categories, paths

    dataset = paths.dataset(name)
    if not dataset.label_map.exists():
        text = "%s was prepared for dataset %s, which does not exist" % (model.name, dataset.name)
        yield findings.warning("models", text, sources.maker(dataset.name))
        return
    now = categories.read_label_map(dataset.label_map)
    if now != names:
        facts = (model.name, shortened(names.values(), 6), dataset.name, shortened(now.values(), 6))
        text = "%s was prepared for %s; its dataset %s now has %s" % facts
        yield findings.error("models", text, again)


def of_training(model) -> Iterator[Finding]:
    """A training that was killed, damaged checkpoints, and checkpoints without an evaluation."""
    from todus.model import checkpoint_files, checkpoints
    from todus.training import background, checkpoint_scoring, run_record

    if not model.training.is_dir() or background.running(model):
        return
    trained = checkpoints.trained(model)
    script = "MODEL_DIR=%s ./train.sh" % shlex.quote(str(model.folder))
    if trained and not (model.training / "run.json").exists():
        text = "%s has checkpoints and no run.json: their dataset is unknown" % model.training
        remedy = "move that folder away, or continue training at your own risk"
        yield findings.warning("models", text, remedy)
        return
    events = run_record.read(model)["events"]
    if events and "started" in events[-1]:
        last = "step %d" % trained[-1][0] if trained else "the slice"
        text = "the training of %s was killed; its last checkpoint is %s" % (model.name, last)
        yield findings.info("models", text, "%s continues from it" % script)
    for _, prefix in trained[-1:]:
        try:
            checkpoint_files.check(prefix, "rm %s.*" % shlex.quote(str(prefix)))
        except TodusError as error:
            text, _, remedy = str(error).rpartition("; ")
            yield findings.error("models", text, remedy + "; the checkpoint before it is then used")
    for index in model.training.glob("model.ckpt-*.index"):
        if not list(index.parent.glob(index.stem + ".data-*")):
            text = "%s has no data file; it does not count as a checkpoint" % index
            yield findings.warning("models", text, remove(index))
            break
    waiting = len(checkpoint_scoring.pending(model))
    if waiting:
        text = "%s of %s not yet evaluated" % (number_of(waiting, "checkpoint"), model.name)
        yield findings.info("models", text, "%s evaluates when it continues" % script)


def of_exports(model) -> Iterator[Finding]:
    """Exported and converted files that do not match the model, or lack their description."""
    from todus import forms
    from todus.model import artefacts
    from todus.paths import beside_json

    described_by = (model.exported_label_map, model.exported_pipeline)
    missing = [path.name for path in described_by if not path.exists()]
    if model.inference_graph.is_dir() and missing:
        text = "%s has no %s" % (model.inference_graph, " and no ".join(missing))
        remedy = artefacts.command(model, forms.find("frozen_graph"))
        yield findings.error("models", text, remedy)
        return
    for form in forms.FORMS:
        path = form.path(model.folder)
        if form.name in ("zoo", "checkpoint") or not path.exists():
            continue
        again = artefacts.command(model, form)
        if form.made_from and not beside_json(path).exists():
            text = "%s has no %s beside it" % (path, beside_json(path).name)
            yield findings.warning("models", text, again)
            continue
        try:
            artefacts.check_file(model, form)
        except TodusError as error:
            text, _, remedy = str(error).partition("; run: ")
            yield findings.warning("models", text, remedy or again)
            continue
        if artefacts.is_outdated(model, form):
            text = "%s was made from another graph than the current one" % path
            yield findings.info("models", text, again)
