"""From what a reader found to a dataset on disk, with a report for the person who drew the boxes."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional

from todus import files, paths
from todus.command import say
from todus.dataset.box_tables import table_text
from todus.dataset.labelled_images import Found, LeftOut, Prepared, prepare
from todus.dataset.records import access, reader, shards, writer
from todus.dataset.settings import Settings
from todus.errors import TodusError, UsageError
from todus.paths import Dataset
from todus.text import one_line

TABLES = {"train": "train_labels.csv", "val": "test_labels.csv"}
EXAMPLES = 3  # file names shown for a reason; dataset.json has them all
NEXT = "next: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d %s"


def target(kind: str, default: str) -> Dataset:
    """dataset/KIND/NAME, where NAME is `default`, made fit for a folder's name, unless the variable is set."""
    name = os.environ.get("NAME") or re.sub(r"[^\w.+-]+", "-", default).strip("-.+")
    if not name or name == "raw-data":
        raise UsageError("set NAME to what the dataset shall be called")
    return Dataset(paths.home() / "dataset" / kind / paths.checked_name(name, "NAME"))


@contextlib.contextmanager
def work_folder(dataset: Dataset) -> Iterator[Path]:
    """An empty folder beside the dataset, for the images that must be converted; gone when the block ends. The dataset's lock is held."""
    folder = files.beside(dataset.folder, "images")
    with access.building(dataset):
        shutil.rmtree(str(folder), ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(str(folder), ignore_errors=True)


def build(
    dataset: Dataset,
    kind: str,
    found: Found,
    settings: Settings,
    inputs: Dict[str, Any],
    upright: bool = True,
    tables: bool = False,
    decode: bool = True,
) -> int:
    """Writes the dataset and prints its counts, what was left out, and the next command.

    Args:
      dataset: where.
      kind: voc, csv, openimages or cloud.
      found: the reader's result.
      settings: CATEGORIES and the like.
      inputs: digests of what it was made from; the same digests and settings need no second build.
      upright: whether boxes are on the image as EXIF turns it, where nothing tells.
      tables: whether train_labels.csv and test_labels.csv are wanted too.
      decode: whether every pixel of each image is looked at.

    Raises:
      TodusError: see `prepare` and `records.write_dataset`.
    """
    with work_folder(dataset) as work:
        if up_to_date(dataset, {"settings": recorded(settings), "inputs": inputs}, TABLES.values() if tables else ()):
            print("%s is up to date; nothing to do" % dataset.name)
            print(NEXT % dataset.name)
            return 0
        prepared = prepare(found, settings, work, upright)
        check_share(prepared, settings.max_dropped)
        manifest = write(dataset, kind, prepared, settings, inputs, decode)
        if tables:
            for split, name in TABLES.items():
                files.write_text(dataset.folder / name, table_text(prepared.splits[split]))
    report(dataset, manifest, prepared)
    return 0


def recorded(settings: Settings) -> Dict[str, Any]:
    """The settings as dataset.json has them: of LABEL_MAP its content, not its place."""
    asked = {key: value for key, value in vars(settings).items() if key != "jobs"}
    if settings.label_map:
        asked["label_map"] = files.sha256(settings.label_map)
    return asked


def fingerprint(inputs: Iterable[Path], more: str = "") -> str:
    """SHA-256 over `more`, the contents of the files, and their names below the folder that holds them all."""
    digest = hashlib.sha256(more.encode("utf-8", "surrogateescape"))
    listed = sorted(inputs)
    above = os.path.commonpath([str(path.parent) for path in listed]) if listed else ""
    for path in listed:
        try:
            content = files.sha256(path)
        except OSError:
            content = "unreadable"
        digest.update(("%s %s\n" % (content, os.path.relpath(str(path), above))).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def up_to_date(dataset: Dataset, asked: Mapping[str, Any], extra_files: Iterable[str] = ()) -> bool:
    """Whether the dataset on disk was made with these settings from these inputs, and all its files are there."""
    try:
        manifest = reader.read_manifest(dataset)
        shards = [dataset.folder / shard["file"] for entry in manifest["splits"].values() for shard in entry["shards"]]
    except (TodusError, KeyError, TypeError):
        return False
    same = all(json.loads(json.dumps(value)) == manifest.get(key) for key, value in asked.items())
    return same and all(path.exists() for path in shards + [dataset.folder / name for name in extra_files])


def check_share(prepared: Prepared, most: float) -> None:
    """Raises TodusError when more than the share `most` of the images could not be used."""
    faults = [gone for gone in prepared.left_out if gone.fault]
    images = sum(len(split.images) for split in prepared.splits.values())
    if len(faults) > most * (images + len(faults)):
        for line in reasons(prepared.left_out):
            say(line)
        raise TodusError(
            "%d of %d images or annotation files cannot be used, more than MAX_DROPPED=%g%%; mend them or set MAX_DROPPED=%d%%"
            % (len(faults), images + len(faults), 100 * most, -(-100 * len(faults) // (images + len(faults))))
        )


def write(dataset: Dataset, kind: str, prepared: Prepared, settings: Settings, inputs: Dict[str, Any], decode: bool) -> Dict[str, Any]:
    """Writes the records; returns the manifest."""
    names = next(iter(prepared.splits.values())).categories
    first = next(iter(prepared.splits))
    extra: Dict[str, Dict[str, Any]] = {first: {"not_used": [[gone.file, gone.reason] for gone in prepared.left_out]}}
    extra[first]["mended"] = dict(sorted(prepared.mended.items()))
    options = shards.Options(seed=settings.seed, jobs=settings.jobs, decode=decode)
    same = {identity: identity for identity in names}
    return writer.write_dataset(
        dataset, kind, prepared.splits, names, same, recorded(settings), inputs, options, max_dropped=settings.max_dropped, extra=extra
    )


def report(dataset: Dataset, manifest: Mapping[str, Any], prepared: Optional[Prepared] = None) -> None:
    """Counts a class and split, what was mended and left out, and the next command, on stdout."""
    splits = manifest["splits"]
    images, boxes = (sum(entry[what] for entry in splits.values()) for what in ("images", "boxes"))
    listed = [one_line(each["name"]) for each in manifest["categories"]]
    print("%s: %s, %s, %s" % (dataset.name, many(images, "image"), many(boxes, "box", "boxes"), many(len(listed), "class", "classes")))
    for line in table(listed, splits):
        print(line)
    for line in warnings(listed, splits):
        say(line)
    if prepared:
        for what, count in sorted(prepared.mended.items()):
            print("mended %d times: %s" % (count, what))
        for line in reasons(prepared.left_out):
            print(line)
        for reason, count in sorted(sum((split.dropped for split in prepared.splits.values()), Counter()).items()):
            if reason.startswith("box"):
                print("left out %d times: %s" % (count, reason))
        if prepared.unused:
            print("classes without a box: %s" % ", ".join(one_line(name) for name in prepared.unused))
    print(NEXT % dataset.name)


def many(count: int, one: str, more: str = "") -> str:
    return "%d %s" % (count, one if count == 1 else more or one + "s")


def table(names: List[str], splits: Mapping[str, Any]) -> Iterator[str]:
    width = max([len("class")] + [min(len(name), 32) for name in names])
    yield "  %-*s" % (width, "class") + "".join("  %6s images %6s boxes" % (split, "") for split in splits)
    for name in names:
        counts = [entry["per_category"].get(name, {"images": 0, "boxes": 0}) for entry in splits.values()]
        yield "  %-*s" % (width, name[:32]) + "".join("  %13d %12d" % (each["images"], each["boxes"]) for each in counts)
    if any(entry["negatives"] for entry in splits.values()):
        yield "  %-*s" % (width, "(no box)") + "".join("  %13d %12s" % (entry["negatives"], "") for entry in splits.values())


def warnings(names: List[str], splits: Mapping[str, Any]) -> Iterator[str]:
    """A line for each class that cannot be learnt or measured."""
    for split, entry in splits.items():
        lacking = [name for name in names if not entry["per_category"].get(name, {"boxes": 0})["boxes"]]
        if lacking and split in ("train", "val"):
            say_what = "cannot be learnt" if split == "train" else "is not measured by eval"
            yield "warning: no box in %s of %s: %s" % (split, ", ".join(lacking[:12]), say_what)


def reasons(left_out: List[LeftOut]) -> Iterator[str]:
    """A line a reason, with the first files that it holds for."""
    by_reason: Dict[str, List[str]] = {}
    for gone in left_out:
        by_reason.setdefault(gone.reason, []).append(gone.file)
    for reason, names in sorted(by_reason.items()):
        more = ", ..." if len(names) > EXAMPLES else ""
        yield "left out %d times: %s: %s%s" % (len(names), reason, ", ".join(names[:EXAMPLES]), more)
