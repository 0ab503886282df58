"""Builds a dataset on disk from what a reader found in a source of the user's own images."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional

from todus import files, paths, variables
from todus.command import say
from todus.dataset import negatives, recorded_splits
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

# The names that other tools expect; with a test split of its own, val is in val_labels.csv.
TABLES = {"train": "train_labels.csv", "val": "test_labels.csv"}
TABLES_WITH_TEST = {**TABLES, "val": "val_labels.csv", "test": "test_labels.csv"}
NOT_RECORDED = ("jobs", "replace", "runner")


def target(source: Source, default: str) -> Dataset:
    """dataset/FOLDER/NAME of a source; NAME is the variable, else `default` as a folder's name."""
    default = re.sub(r"[^\w.+-]+", "-", default).strip("-.+")
    name = variables.value("NAME", source.command) or default
    if not name or name == "raw-data":
        raise UsageError("set NAME to the name of the dataset")
    return Dataset(paths.home() / "dataset" / source.folder / paths.checked_name(name, "NAME"))


def build(
    dataset: Dataset,
    source: LabelledSource,
    settings: Settings,
    inputs: Dict[str, Any],
    tables: bool = False,
    decode: bool = True,
    folder: Optional[Path] = None,
) -> int:
    """Writes the dataset and prints its counts and what was left out. Returns the exit code.

    Args:
      dataset: where; the folder above is named after the source (voc, csv, openimages, cloud).
      source: the reader's result.
      settings: CATEGORIES and the like.
      inputs: digests of what it is made from; equal digests and settings need no second build.
      tables: also write train_labels.csv and test_labels.csv.
      decode: decode every pixel of each image.
      folder: the folder that the user named.

    Raises:
      UsageError: the dataset exists and was made from another folder.
      TodusError: see `prepare` and `write_dataset`.
    """
    with work_folder(dataset) as work:
        if is_up_to_date(dataset, settings, inputs, TABLES.values() if tables else ()):
            recorded_splits.record_folder(dataset, folder)
            print_up_to_date(dataset)
            return 0
        recorded_splits.check_folder(dataset, folder, inputs, settings.replace)
        previous = recorded_splits.read(dataset, settings)
        prepared = prepare(source, settings, work, previous)
        _check_share(prepared, settings.max_dropped)
        first = next(iter(prepared.splits))  # its entry also gets what was left out and corrected
        not_used = [[gone.file, gone.reason] for gone in prepared.left_out]
        mended = dict(sorted(prepared.mended.items()))
        content = Content(
            source=dataset.folder.parent.name,
            splits=prepared.splits,
            names=prepared.splits[first].categories,
            settings=recorded(settings),
            inputs=inputs,
            extra={first: {"not_used": not_used, "mended": mended}},
            files=_more_files(prepared, tables, folder),
        )
        options = Options(
            settings.seed,
            jobs=settings.jobs,
            decode=decode,
            masks=settings.include_masks,
            balance=settings.balance,
            runner=settings.runner,
        )
        manifest = write_dataset(dataset, content, options, settings.max_dropped)
    if previous.split_of:
        reason = " (%s)" % previous.other if previous.other else ""
        prepared.notes.append("images that changed splits: %d%s" % (prepared.changed, reason))
    print_summary(dataset, manifest, prepared)
    return 0


def _more_files(prepared: Prepared, tables: bool, folder: Optional[Path]) -> Dict[str, str]:
    """Name -> text of the files beside the records."""
    found = {recorded_splits.FILE: recorded_splits.text_of(prepared.split_of)}
    if folder:
        found[recorded_splits.FOLDER_FILE] = recorded_splits.folder_text(folder)
    names = TABLES_WITH_TEST if "test" in prepared.splits else TABLES
    for split, name in names.items() if tables else ():
        found[name] = table_text(prepared.splits[split])
    return found


@contextlib.contextmanager
def work_folder(dataset: Dataset, kind: str = "images") -> Iterator[Path]:
    """Yields an empty folder for converted images and removes it; locks the dataset meanwhile."""
    folder = files.beside(dataset.folder, kind)
    with access.building(dataset):
        shutil.rmtree(str(folder), ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(str(folder), ignore_errors=True)


def recorded(settings: Settings) -> Dict[str, Any]:
    """The settings as in dataset.json: digests of LABEL_MAP and NEGATIVES instead of paths."""
    asked = {key: value for key, value in vars(settings).items() if key not in NOT_RECORDED}
    if settings.negatives:
        asked["negatives"] = fingerprint(negatives.files_of(settings.negatives))
    if settings.label_map:
        asked["label_map"] = files.sha256(settings.label_map)
    return asked


def fingerprint(inputs: Iterable[Path], more: str = "") -> str:
    """SHA-256 of `more`, the files' contents, and their paths below their common folder."""
    digest = hashlib.sha256(more.encode("utf-8", "surrogateescape"))
    listed = sorted(inputs)
    above = os.path.commonpath([str(path.parent) for path in listed]) if listed else ""
    for path in listed:
        try:
            content = files.sha256(path) if path.is_file() else "unreadable"
        except OSError:
            content = "unreadable"
        line = "%s %s\n" % (content, os.path.relpath(str(path), above))
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def is_up_to_date(
    dataset: Dataset, settings: Settings, inputs: Mapping[str, Any], extra_files: Iterable[str] = ()
) -> bool:
    """Whether the dataset was made with these settings from these inputs and has all its files."""
    try:
        manifest = reader.read_manifest(dataset)
        entries = manifest["splits"].values()
        names = [shard["file"] for entry in entries for shard in entry["shards"]]
    except (TodusError, KeyError, TypeError):
        return False
    asked = json.loads(json.dumps({"settings": recorded(settings), "inputs": inputs}))
    before = manifest.get("settings")
    if isinstance(before, dict):  # it lacks the settings that came later
        before = {**recorded(Settings()), **before}
    is_same = (before, manifest.get("inputs")) == (asked["settings"], asked["inputs"])
    return is_same and all((dataset.folder / name).exists() for name in [*names, *extra_files])


def _check_share(prepared: Prepared, most: float) -> None:
    """Raises TodusError where more than the share `most` of the images cannot be used."""
    faults = sum(gone.fault for gone in prepared.left_out)
    total = faults + sum(len(split.images) for split in prepared.splits.values())
    if faults > most * total:
        for line in left_out_lines(prepared.left_out):
            say(line)
        raise TodusError(
            "%d of %d images or annotation files cannot be used, more than MAX_DROPPED=%g%%; "
            "mend them or set MAX_DROPPED=%d%%"
            % (faults, total, 100 * most, -(-100 * faults // total))
        )
