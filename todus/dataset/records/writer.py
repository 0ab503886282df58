"""Writes Annotations as a dataset: TFRecord shards, label map and manifest."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional

from todus import __version__, categories, files
from todus.command import say
from todus.dataset.annotations import Annotations, Image
from todus.dataset.balance import repeats
from todus.dataset.records import beam, shards, verify
from todus.dataset.records.access import building
from todus.dataset.records.shards import Options
from todus.errors import TodusError
from todus.paths import Dataset
from todus.progress import Progress
from todus.text import one_line

MOST_LINES = 20  # printed lines about images that are left out


@dataclass
class Content:
    """What a dataset is made of. Boxes of categories that `id_map` lacks are not written.

    Boxes lie inside their images, and image ids are unique in a split.
    """

    source: str  # coco, voc, csv, openimages, cloud or merged
    splits: Mapping[str, Annotations]  # train, val ... -> images
    names: Mapping[int, str]  # id -> class name: the label map
    id_map: Optional[Mapping[int, int]] = None  # source category id -> id; None keeps the ids
    settings: Mapping[str, Any] = field(default_factory=dict)  # for dataset.json
    inputs: Mapping[str, Any] = field(default_factory=dict)  # digests, for dataset.json
    # split -> more keys for its entry in dataset.json
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # name -> text of more files

    def __post_init__(self) -> None:
        if self.id_map is None:
            self.id_map = {identity: identity for identity in self.names}


def write_dataset(
    dataset: Dataset, content: Content, options: Optional[Options] = None, max_dropped: float = 0.01
) -> Dict[str, Any]:
    """Writes the dataset to a temporary folder, then renames it; on an error the old one stays.

    The same arguments give the same bytes for any number of processes; no time or host name is
    written, and a path only in `Content.files`. Shards are not synced to the disk, which would take
    longer than writing them; after a power cut their sizes differ from those in dataset.json.

    Args:
      dataset: where to write; it is locked for the build.
      content: what is written.
      options: seed, number of shards, processes, how closely images are checked.
      max_dropped: the largest share of a split's images or boxes that may be left out. Of
        `Annotations.dropped`, reasons that begin with "image" or "box" count.

    Returns:
      The manifest, as in dataset.json.

    Raises:
      TodusError: too much is left out, an image id occurs twice, another process builds or reads
        this dataset, or the disk fails.
    """
    options = options or Options()
    with building(dataset), files.replacing_folder(dataset.folder) as folder:
        plans = []
        for split, annotations in content.splits.items():
            _check_ids(split, annotations.images)
            listed = annotations.images
            if split == "train":
                listed = listed + repeats(listed, content.id_map, options.balance, options.seed)
            plans += shards.plan(folder, split, listed, options)
        written = _write_shards(dataset, plans, content, options)
        entries = {}
        for split, annotations in content.splits.items():
            entries[split] = _split_entry(annotations, written[split], content.names)
            _check_dropped(split, entries[split], annotations.dropped, max_dropped)
        for split, more in content.extra.items():
            entries[split].update(more)
        manifest = _manifest(dataset, content, entries)
        for name, text in content.files.items():
            files.write_text(folder / name, text)
        categories.write_label_map(folder / dataset.label_map.name, content.names)
        files.write_json(folder / dataset.manifest.name, manifest)
    return manifest


def _write_shards(
    dataset: Dataset, plans: List[shards.Plan], content: Content, options: Options
) -> Dict[str, List[shards.Shard]]:
    """split -> its shards."""
    written: Dict[str, List[shards.Shard]] = {split: [] for split in content.splits}
    total = sum(len(plan.images) for plan in plans)
    work = (plans, dict(content.names), dict(content.id_map), options)
    place = beam.folder_of(dataset.folder)
    found = beam.write(*work, place) if options.runner else shards.write(*work)
    with Progress("writing records", total, unit="images") as progress:
        for plan, shard in found:
            written[plan.split].append(shard)
            progress.add(len(plan.images))
    shutil.rmtree(str(place), ignore_errors=True)
    return written


def _check_ids(split: str, listed: List[Image]) -> None:
    numbers = Counter(str(image.id) for image in listed)
    twice = [identity for identity, number in numbers.items() if number > 1]
    if twice:
        raise TodusError(
            "%s: image id %s occurs twice; correct the annotations" % (split, one_line(twice[0]))
        )


def _split_entry(
    annotations: Annotations, written: List[shards.Shard], names: Mapping[int, str]
) -> Dict[str, Any]:
    counts = verify.Counts()
    for shard in written:
        counts.merge(shard.counts)
    left_out = sorted(
        (pair for shard in written for pair in shard.dropped), key=lambda pair: pair[0].file_name
    )
    dropped = annotations.dropped + Counter(reason for _, reason in left_out)
    more = {"repeats": counts.repeats, "repeats_of": dict(sorted(counts.repeats_of.items()))}
    return {
        **(more if counts.repeats else {}),
        "images": counts.images,
        "boxes": counts.boxes,
        "negatives": counts.negatives,
        "per_category": counts.per_category(name for _, name in sorted(names.items())),
        "dropped": dict(sorted(dropped.items())),
        "left_out": [{"image": image.file_name, "reason": reason} for image, reason in left_out],
        "shards": [
            {key: getattr(each, key) for key in ("file", "bytes", "sha256", "examples")}
            for each in written
        ],
    }


def _check_dropped(split: str, entry: Dict[str, Any], dropped: Counter, most: float) -> None:
    """Prints the images left out. Raises TodusError where images or boxes exceed `most`."""
    left_out = entry["left_out"]
    for each in left_out[:MOST_LINES]:
        say("%s: left out %s: %s" % (split, one_line(each["image"]), each["reason"]))
    more = len(left_out) - MOST_LINES
    if more > 0:
        say("%s: left out %d more images; dataset.json lists them" % (split, more))
    images, boxes = (
        sum(number for reason, number in dropped.items() if reason.startswith(kind))
        for kind in ("image", "box")
    )
    images += len(left_out)
    all_images, all_boxes = entry["images"] + images, entry["boxes"] + boxes
    if images > most * all_images or boxes > most * all_boxes:
        by_number = sorted(entry["dropped"].items(), key=lambda pair: -pair[1])
        reasons = "; ".join("%s: %d" % pair for pair in by_number)
        raise TodusError(
            "%s: %d of %d images and %d of %d boxes cannot be used, more than MAX_DROPPED=%g%% "
            "(%s); mend the source or raise MAX_DROPPED"
            % (split, images, all_images, boxes, all_boxes, 100 * most, reasons)
        )


def _manifest(dataset: Dataset, content: Content, entries: Dict[str, Any]) -> Dict[str, Any]:
    origin = {new: old for old, new in sorted(content.id_map.items(), reverse=True)}
    listed = [
        {"id": identity, "name": name, "source_id": origin.get(identity, identity)}
        for identity, name in sorted(content.names.items())
    ]
    return {
        "todus": __version__,
        "source": content.source,
        "name": dataset.name,
        "categories": listed,
        "splits": entries,
        "settings": content.settings,
        "inputs": content.inputs,
        "digest": _digest(listed, entries),
    }


def _digest(listed: List[Dict[str, Any]], entries: Mapping[str, Dict[str, Any]]) -> str:
    """SHA-256 of the classes and shards; datasets with equal digests train a model the same."""
    classes = [[each["id"], each["name"]] for each in listed]
    digests = {
        split: [shard["sha256"] for shard in entry["shards"]] for split, entry in entries.items()
    }
    text = json.dumps({"categories": classes, "shards": digests}, sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
