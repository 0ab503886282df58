"""Makes a dataset on disk from what a reader found in a source of a person's own images."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping

from todus import files, paths, variables
from todus.command import say
from todus.dataset.box_tables import table_text
from todus.dataset.labelled_images import LabelledSource
from todus.dataset.preparation import Prepared, prepare
from todus.dataset.records import access, reader
from todus.dataset.records.shards import Options
from todus.dataset.records.writer import Content, write_dataset
from todus.dataset.settings import Settings
from todus.dataset.summary import left_out_lines, print_summary, print_up_to_date
from todus.errors import TodusError, UsageError
from todus.paths import Dataset
from todus.sources import Source

TABLES = {"train": "train_labels.csv", "val": "test_labels.csv"}


def target(source: Source, default: str) -> Dataset:
    """dataset/FOLDER/NAME of a source, where NAME is `default`, made fit for a folder's name, unless the variable is set."""
    name = variables.value("NAME", source.command) or re.sub(r"[^\w.+-]+", "-", default).strip(
        "-.+"
    )
    if not name or name == "raw-data":
        raise UsageError("set NAME to what the dataset shall be called")
    return Dataset(paths.home() / "dataset" / source.folder / paths.checked_name(name, "NAME"))


def build(
    dataset: Dataset,
    source: LabelledSource,
    settings: Settings,
    inputs: Dict[str, Any],
    tables: bool = False,
    decode: bool = True,
) -> int:
    """Writes the dataset and prints its counts, what was left out, and the next command. Returns the exit code.

    Args:
      dataset: where; the folder above is called as the source (voc, csv, openimages, cloud).
      source: the reader's result.
      settings: CATEGORIES and the like.
      inputs: digests of what it was made from; the same digests and settings need no second build.
      tables: also write train_labels.csv and test_labels.csv.
      decode: decode every pixel of each image.

    Raises:
      TodusError: see `prepare` and `write_dataset`.
    """
    with _work_folder(dataset) as work:
        if is_up_to_date(dataset, settings, inputs, TABLES.values() if tables else ()):
            print_up_to_date(dataset)
            return 0
        prepared = prepare(source, settings, work)
        _check_share(prepared, settings.max_dropped)
        content = _content(dataset, prepared, settings, inputs)
        manifest = write_dataset(
            dataset,
            content,
            Options(settings.seed, jobs=settings.jobs, decode=decode),
            settings.max_dropped,
        )
        if tables:
            for split, name in TABLES.items():
                files.write_text(dataset.folder / name, table_text(prepared.splits[split]))
    print_summary(dataset, manifest, prepared)
    return 0


def _content(
    dataset: Dataset, prepared: Prepared, settings: Settings, inputs: Dict[str, Any]
) -> Content:
    """What is written. What was left out and corrected stands in dataset.json with the first split."""
    first = next(iter(prepared.splits))
    not_used = [[gone.file, gone.reason] for gone in prepared.left_out]
    return Content(
        source=dataset.folder.parent.name,
        splits=prepared.splits,
        names=prepared.splits[first].categories,
        settings=recorded(settings),
        inputs=inputs,
        extra={first: {"not_used": not_used, "mended": dict(sorted(prepared.mended.items()))}},
    )


@contextlib.contextmanager
def _work_folder(dataset: Dataset) -> Iterator[Path]:
    """An empty folder beside the dataset for converted images, removed when the block ends. The dataset is locked meanwhile."""
    folder = files.beside(dataset.folder, "images")
    with access.building(dataset):
        shutil.rmtree(str(folder), ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(str(folder), ignore_errors=True)


def recorded(settings: Settings) -> Dict[str, Any]:
    """The settings as dataset.json has them: of LABEL_MAP the digest, not the path."""
    asked = {key: value for key, value in vars(settings).items() if key != "jobs"}
    if settings.label_map:
        asked["label_map"] = files.sha256(settings.label_map)
    return asked


def fingerprint(inputs: Iterable[Path], more: str = "") -> str:
    """SHA-256 over `more`, the contents of the files, and their paths below the folder that they have in common."""
    digest = hashlib.sha256(more.encode("utf-8", "surrogateescape"))
    listed = sorted(inputs)
    above = os.path.commonpath([str(path.parent) for path in listed]) if listed else ""
    for path in listed:
        try:
            content = files.sha256(path)
        except OSError:
            content = "unreadable"
        digest.update(
            ("%s %s\n" % (content, os.path.relpath(str(path), above))).encode(
                "utf-8", "surrogateescape"
            )
        )
    return digest.hexdigest()


def is_up_to_date(
    dataset: Dataset, settings: Settings, inputs: Mapping[str, Any], extra_files: Iterable[str] = ()
) -> bool:
    """Whether the dataset on disk was made with these settings from these inputs, and all its files are there."""
    try:
        manifest = reader.read_manifest(dataset)
        shards = [
            dataset.folder / shard["file"]
            for entry in manifest["splits"].values()
            for shard in entry["shards"]
        ]
    except (TodusError, KeyError, TypeError):
        return False
    asked = json.loads(json.dumps({"settings": recorded(settings), "inputs": inputs}))
    wanted = shards + [dataset.folder / name for name in extra_files]
    return all(manifest.get(key) == value for key, value in asked.items()) and all(
        path.exists() for path in wanted
    )


def _check_share(prepared: Prepared, most: float) -> None:
    """Raises TodusError when more than the share `most` of the images could not be used."""
    faults = sum(gone.fault for gone in prepared.left_out)
    total = faults + sum(len(split.images) for split in prepared.splits.values())
    if faults > most * total:
        for line in left_out_lines(prepared.left_out):
            say(line)
        raise TodusError(
            "%d of %d images or annotation files cannot be used, more than MAX_DROPPED=%g%%; mend them or set MAX_DROPPED=%d%%"
            % (faults, total, 100 * most, -(-100 * faults // total))
        )
