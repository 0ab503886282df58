"""Writes Annotations as a dataset: TFRecord shards, label map and manifest."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

from todus import __version__, categories, files
from todus.command import say
from todus.dataset.annotations import Annotations, Image
from todus.dataset.records import shards, verify
from todus.dataset.records.access import building
from todus.dataset.records.shards import Options
from todus.errors import TodusError
from todus.paths import Dataset
from todus.progress import Progress
from todus.text import one_line

MOST_LINES = 20  # of images that are left out, on the terminal


@dataclass
class Content:
    """What a dataset is made of. `settings` and `inputs` stand in dataset.json as given."""

    source: str  # coco, voc, csv, openimages, cloud or merged
    splits: Mapping[
        str, Annotations
    ]  # train, val ... -> images; boxes lie inside their images; image ids are unique in the split
    names: Mapping[int, str]  # id -> class name: the label map
    id_map: Optional[Mapping[int, int]] = (
        None  # source category id -> id; boxes of other categories are not written; None: ids stay
    )
    settings: Mapping[str, Any] = field(default_factory=dict)  # what the dataset was asked to be
    inputs: Mapping[str, Any] = field(default_factory=dict)  # digests of what it was made from
    extra: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # split -> more keys for its entry in dataset.json

    def __post_init__(self) -> None:
        if self.id_map is None:
            self.id_map = {identity: identity for identity in self.names}


def write_dataset(
    dataset: Dataset, content: Content, options: Optional[Options] = None, max_dropped: float = 0.01
) -> Dict[str, Any]:
    """Writes the dataset to a temporary folder, then renames that into place: after an error the old dataset is still there.

    The same arguments give the same bytes, whatever the number of processes; no path, time or name of the machine is written. Shards are
    not synced to the disk, which would take longer than writing them; after a power cut their sizes differ from dataset.json's.

    Args:
      dataset: where; it is locked meanwhile.
      content: what is written.
      options: seed, number of shards, processes, how closely images are checked.
      max_dropped: the share of a split's images or boxes that may be left out, else this fails. Of `Annotations.dropped`, reasons that
        begin with "image" or "box" count.

    Returns:
      The manifest, as it stands in dataset.json.

    Raises:
      TodusError: too much had to be left out, an image id comes twice, another process builds or reads this dataset, the disk fails.
    """
    options = options or Options()
    with building(dataset), files.replacing_folder(dataset.folder) as folder:
        plans = []
        for split, annotations in content.splits.items():
            _check_ids(split, annotations.images)
            plans += shards.plan(folder, split, annotations.images, options)
        written = _write_shards(plans, content, options)
        entries = {}
        for split, annotations in content.splits.items():
            entries[split] = _split_entry(annotations, written[split], content.names)
            _check_dropped(
                split, annotations, _left_out(written[split]), entries[split], max_dropped
            )
        for split, more in content.extra.items():
            entries[split].update(more)
        manifest = _manifest(dataset, content, entries)
        categories.write_label_map(folder / dataset.label_map.name, content.names)
        files.write_json(folder / dataset.manifest.name, manifest)
    return manifest


def _write_shards(
    plans: List[shards.Plan], content: Content, options: Options
) -> Dict[str, List[shards.Shard]]:
    """split -> its shards."""
    written: Dict[str, List[shards.Shard]] = {split: [] for split in content.splits}
    with Progress(
        "writing records", sum(len(plan.images) for plan in plans), unit="images"
    ) as progress:
        for plan, shard in shards.write(plans, dict(content.names), dict(content.id_map), options):
            written[plan.split].append(shard)
            progress.add(len(plan.images))
    return written


def _check_ids(split: str, listed: List[Image]) -> None:
    twice = [
        identity
        for identity, number in Counter(str(image.id) for image in listed).items()
        if number > 1
    ]
    if twice:
        raise TodusError(
            "%s: image id %s is there twice; mend the annotations" % (split, one_line(twice[0]))
        )


def _split_entry(
    annotations: Annotations, written: List[shards.Shard], names: Mapping[int, str]
) -> Dict[str, Any]:
    counts = verify.Counts()
    for shard in written:
        counts.merge(shard.counts)
    left_out = _left_out(written)
    dropped = annotations.dropped + Counter(reason for _, reason in left_out)
    return {
        "images": counts.images,
        "boxes": counts.boxes,
        "negatives": counts.negatives,
        "per_category": counts.per_category(name for _, name in sorted(names.items())),
        "dropped": dict(sorted(dropped.items())),
        "left_out": [{"image": image.file_name, "reason": reason} for image, reason in left_out],
        "shards": [
            {
                "file": each.file,
                "bytes": each.bytes,
                "sha256": each.sha256,
                "examples": each.examples,
            }
            for each in written
        ],
    }


def _left_out(written: List[shards.Shard]) -> List[Tuple[Image, str]]:
    return sorted(
        (pair for shard in written for pair in shard.dropped), key=lambda pair: pair[0].file_name
    )


def _check_dropped(
    split: str,
    annotations: Annotations,
    left_out: List[Tuple[Image, str]],
    entry: Dict[str, Any],
    most: float,
) -> None:
    """Names the images that were left out. Raises TodusError when they, or the boxes, are more than the share `most`."""
    for image, reason in left_out[:MOST_LINES]:
        say("%s: left out %s: %s" % (split, one_line(image.file_name), reason))
    if len(left_out) > MOST_LINES:
        say(
            "%s: left out %d more images; dataset.json lists them"
            % (split, len(left_out) - MOST_LINES)
        )
    boxes = sum(
        number for reason, number in annotations.dropped.items() if reason.startswith("box")
    )
    images = len(left_out) + sum(
        number for reason, number in annotations.dropped.items() if reason.startswith("image")
    )
    if images > most * (entry["images"] + images) or boxes > most * (entry["boxes"] + boxes):
        reasons = "; ".join(
            "%s: %d" % pair for pair in sorted(entry["dropped"].items(), key=lambda pair: -pair[1])
        )
        raise TodusError(
            "%s: %d of %d images and %d of %d boxes cannot be used, more than MAX_DROPPED=%g%% (%s); mend the source or raise MAX_DROPPED"
            % (
                split,
                images,
                entry["images"] + images,
                boxes,
                entry["boxes"] + boxes,
                100 * most,
                reasons,
            )
        )


def _manifest(dataset: Dataset, content: Content, entries: Dict[str, Any]) -> Dict[str, Any]:
    origin = {new: old for old, new in sorted(content.id_map.items(), reverse=True)}
    names = sorted(content.names.items())
    listed = [
        {"id": identity, "name": name, "source_id": origin.get(identity, identity)}
        for identity, name in names
    ]
    manifest = {
        "todus": __version__,
        "source": content.source,
        "name": dataset.name,
        "categories": listed,
        "splits": entries,
    }
    manifest.update(
        {"settings": content.settings, "inputs": content.inputs, "digest": _digest(listed, entries)}
    )
    return manifest


def _digest(listed: List[Dict[str, Any]], entries: Mapping[str, Dict[str, Any]]) -> str:
    """SHA-256 over the classes and the shards: a model trains the same on two datasets with one digest."""
    content = {"categories": [[each["id"], each["name"]] for each in listed]}
    content["shards"] = {
        split: [shard["sha256"] for shard in entry["shards"]] for split, entry in entries.items()
    }
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, ensure_ascii=True).encode("ascii")
    ).hexdigest()
