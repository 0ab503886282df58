"""A prepared model: its source, its pipeline config with present paths, its dataset."""

import shlex
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from todus import categories, files, paths
from todus.dataset.records import reader
from todus.errors import TodusError
from todus.model import pipeline
from todus.paths import Dataset, Model


def prepared_from(model: Model) -> Optional[Dict]:
    """The content of source.json; None where the model is not prepared.

    Raises TodusError where it is not what a preparation writes.
    """
    path = model.pretrained / "source.json"
    if not path.exists():
        return None
    source = files.read_json(path)
    keys = ("zoo", "archive", "archive_sha256", "half", "start", "dataset", "pipeline_sha256")
    is_source = isinstance(source, dict)
    added = source.get("added") or [] if is_source else []
    is_source = is_source and isinstance(added, list) and all(isinstance(x, str) for x in added)
    if not is_source or not all(isinstance(source.get(key) or "", str) for key in keys):
        text = "%s is not what a preparation writes; remove it and run python -m model again"
        raise TodusError(text % path)
    return source


def resolved(model: Model) -> pipeline.Config:
    """The model's pipeline config with the paths of this tree, which may have been moved.

    Only paths that python -m model writes are replaced, not those that the user has set.
    """
    config = pipeline.read(model.check().pipeline)
    name = (prepared_from(model) or {}).get("dataset")
    dataset = paths.dataset(name) if name else None
    label_map = config.train_input_reader.label_map_path
    is_there = dataset and dataset.manifest.exists()
    if is_there and _same_tail(label_map, dataset.label_map, paths.home()):
        set_dataset(config, dataset)
    start = config.train_config.fine_tune_checkpoint
    for prefix in (model.limited_checkpoint, model.features_checkpoint):
        if _same_tail(start, prefix, model.folder):
            pipeline.set_fine_tuning(config, prefix)
    if _same_tail(start, model.zoo_checkpoint, model.folder):
        pipeline.set_fine_tuning(config, model.zoo_checkpoint, "classification")
    return config


def _same_tail(path: str, here: Path, root: Path) -> bool:
    """Whether `path` is `here` in another place of the tree."""
    try:
        tail = here.relative_to(root).parts
    except ValueError:
        tail = here.parts
    return Path(path).parts[-len(tail) :] == tail


def dataset_of(model: Model) -> Dataset:
    """The dataset that the model is prepared for. Raises TodusError where there is none."""
    source = prepared_from(model.check()) or {}
    if not source.get("dataset"):
        raise TodusError(
            "model %s was prepared without a dataset; "
            "make one (./dataset-limited.sh) and run: python -m model -m %s -d limited"
            % (model.name, source.get("zoo", model.name))
        )
    return paths.dataset(source["dataset"]).check()


def added_classes(model: Model) -> List[str]:
    """The classes that are trained beside kept ones (--keep); [] where all classes are trained."""
    return list((prepared_from(model) or {}).get("added") or [])


def has_own_head(model: Model) -> bool:
    """Whether the added classes have boxes of their own (--own-head)."""
    return bool((prepared_from(model) or {}).get("own_head"))


def set_dataset(config: pipeline.Config, dataset: Dataset) -> None:
    """Sets both input readers from the dataset's files, and num_examples from its manifest."""
    images = reader.read_manifest(dataset)["splits"].get("val", {}).get("images", 0)
    splits = [split for split in ("train", "val") if dataset.shards(split)]
    shards = {split: dataset.shard_pattern(split) for split in splits}
    pipeline.set_inputs(config, dataset.label_map, shards, images)


def is_given(model: Model, option: str) -> bool:
    """Whether the model was prepared with an option of python -m model."""
    return option in _typed(model)


def preparation(model: Model, *more: str) -> str:
    """The command that prepared a model, with the options and values `more` instead of its own."""
    words = _typed(model)
    for option, value in zip(more[::2], more[1::2]):
        words = _without(words, option) + [option, value]
    return _command(words)


def preparation_for(model: Model, classes: Sequence[str]) -> str:
    """The command that prepares a model for other classes.

    "" where no dataset has exactly these classes and the zoo model lacks one of them.
    """
    words = _without(_without(_typed(model), "-d"), "--categories")
    for dataset in paths.datasets():
        label_map = dataset.label_map
        names = categories.read_label_map(label_map).values() if label_map.exists() else []
        if list(names) == list(classes):
            return _command(words + ["-d", dataset.name])
    zoo_names = categories.read_label_map(model.zoo_label_map).values()
    known = set(map(categories.canonical, zoo_names))
    if not known.issuperset(map(categories.canonical, classes)):
        return ""
    return _command(words + ["--categories", ",".join(classes)])


def _command(words: Sequence[str]) -> str:
    return " ".join(shlex.quote(word) for word in ["python", "-m", "model", *words])


def _typed(model: Model) -> List[str]:
    """The arguments that prepared this model, with --as for the name of its folder."""
    source = prepared_from(model) or {}
    words = source.get("command")
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        zoo_name, dataset = source.get("zoo") or model.name, source.get("dataset") or "limited"
        words = ["-m", str(zoo_name), "-d", str(dataset)]
    words = _without(_without(words, "--as"), "--eval-images")  # an option of earlier versions
    is_folder_name = words[words.index("-m") + 1 :][:1] == [model.name]
    return words if is_folder_name else words + ["--as", model.name]


def _without(words: Sequence[str], option: str) -> List[str]:
    """Arguments without an option and its value."""
    if option not in words:
        return list(words)
    place = list(words).index(option)
    return list(words[:place]) + list(words[place + 2 :])
