"""A prepared model: what it was made from, its pipeline config in this tree, its dataset."""

import shlex
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from todus import categories, files, paths
from todus.dataset.records import reader
from todus.errors import TodusError
from todus.model import pipeline
from todus.paths import Dataset, Model


def prepared_from(model: Model) -> Optional[Dict]:
    """What pretrained/ was unpacked from (source.json), None where it was not. Raises TodusError for a file that no preparation wrote."""
    path = model.pretrained / "source.json"
    if not path.exists():
        return None
    source = files.read_json(path)
    words = ("zoo", "archive", "archive_sha256", "half", "start", "dataset", "pipeline_sha256")
    if not isinstance(source, dict) or not all(
        isinstance(source.get(word) or "", str) for word in words
    ):
        raise TodusError(
            "%s is not what a preparation writes; remove it and run python -m model again" % path
        )
    return source


def resolved(model: Model) -> pipeline.Config:
    """The model's pipeline config with paths of this tree, which may have been moved or copied since the config was written.

    Paths that a person put in by hand stay: only those that model.py writes are replaced.
    """
    config = pipeline.read(model.check().pipeline)
    name = (prepared_from(model) or {}).get("dataset")
    dataset = paths.dataset(name) if name else None
    if (
        dataset
        and dataset.manifest.exists()
        and _same_tail(config.train_input_reader.label_map_path, dataset.label_map, paths.home())
    ):
        set_dataset(config, dataset)
    start = config.train_config.fine_tune_checkpoint
    for prefix in (model.limited_checkpoint, model.features_checkpoint):
        if _same_tail(start, prefix, model.folder):
            pipeline.set_fine_tuning(config, prefix)
    if _same_tail(start, model.zoo_checkpoint, model.folder):
        pipeline.set_classification_start(config, model.zoo_checkpoint)
    return config


def _same_tail(path: str, here: Path, root: Path) -> bool:
    """Whether `path` is `here` but for the folder that the tree lay in."""
    try:
        tail = here.relative_to(root).parts
    except ValueError:
        tail = here.parts
    return Path(path).parts[-len(tail) :] == tail


def dataset_of(model: Model) -> Dataset:
    """The dataset that the model was prepared for. Raises TodusError when it was prepared without one, or when it is gone."""
    source = prepared_from(model.check()) or {}
    if not source.get("dataset"):
        raise TodusError(
            "model %s was prepared without a dataset; make one (./dataset-limited.sh) and run: python -m model -m %s -d limited"
            % (model.name, source.get("zoo", model.name))
        )
    return paths.dataset(source["dataset"]).check()


def set_dataset(config: pipeline.Config, dataset: Dataset) -> None:
    """Both input readers from the files that exist, and num_examples from what was counted."""
    manifest = reader.read_manifest(dataset)
    shards = {
        split: dataset.shard_pattern(split) for split in ("train", "val") if dataset.shards(split)
    }
    pipeline.set_inputs(
        config, dataset.label_map, shards, manifest["splits"].get("val", {}).get("images", 0)
    )


def preparation(model: Model, *more: str) -> str:
    """The command that prepares a model again, as it was typed; with `more` options in the place of those that it had."""
    words = _typed(model)
    for option, value in zip(more[::2], more[1::2]):
        words = _without(words, option) + [option, value]
    return _command(words)


def preparation_for(model: Model, classes: Sequence[str]) -> str:
    """The command that prepares a model for other classes; "" where no dataset has them and the zoo model does not know them all."""
    words = _without(_without(_typed(model), "-d"), "--categories")
    for dataset in paths.datasets():
        if dataset.label_map.exists() and list(
            categories.read_label_map(dataset.label_map).values()
        ) == list(classes):
            return _command(words + ["-d", dataset.name])
    known = {
        categories.canonical(name)
        for name in categories.read_label_map(model.zoo_label_map).values()
    }
    if not all(categories.canonical(name) in known for name in classes):
        return ""
    return _command(words + ["--categories", ",".join(classes)])


def _command(words: Sequence[str]) -> str:
    return " ".join(shlex.quote(word) for word in ["python", "-m", "model", *words])


def _typed(model: Model) -> List[str]:
    """The arguments of python -m model that prepared this model; with --as its folder's present name."""
    source = prepared_from(model) or {}
    words = source.get("command")
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        words = [
            "-m",
            str(source.get("zoo") or model.name),
            "-d",
            str(source.get("dataset") or "limited"),
        ]
    words = _without(words, "--as")
    return (
        words
        if words[words.index("-m") + 1 :][:1] == [model.name]
        else words + ["--as", model.name]
    )


def _without(words: Sequence[str], option: str) -> List[str]:
    """Arguments without an option and its value."""
    if option not in words:
        return list(words)
    place = list(words).index(option)
    return list(words[:place]) + list(words[place + 2 :])
