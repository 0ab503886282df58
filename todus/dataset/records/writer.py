"""Annotations to a dataset on disk: TFRecord shards, label map and manifest."""

import hashlib
import json
from collections import Counter
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

MOST_LINES = 20


def write_dataset(
    dataset: Dataset,
    source: str,
    splits: Mapping[str, Annotations],
    names: Mapping[int, str],
    id_map: Mapping[int, int],
    settings: Optional[Dict[str, Any]] = None,
    inputs: Optional[Dict[str, Any]] = None,
    options: Optional[Options] = None,
    max_dropped: float = 0.01,
    extra: Optional[Mapping[str, Dict[str, Any]]] = None,
) -> Dict[str, Any]:
    """Makes the dataset in one go: it is there whole, or as it was before.

    Shards are not forced to the disk, which would take longer than to make them; after a power cut their sizes tell.

    The same arguments, whatever the processes, give the same bytes; nothing of the machine, the time or the place goes into a file.

    Args:
      dataset: where; it is locked while this works.
      source: coco, voc, csv, openimages, cloud or merged.
      splits: split name (train, val ...) -> its images; boxes lie inside their images; image ids are unique in the split.
      names: new id -> class name; becomes the label map.
      id_map: source category id -> new id; boxes of other categories are not written.
      settings: what the dataset was asked to be, and inputs: digests of what it was made from; both stand in dataset.json as given.
      options: seed, number of shards, processes, how hard to look at images.
      max_dropped: the share of a split's images or boxes that may be left out, else this fails. Of `Annotations.dropped`, reasons that
        begin with "image" or "box" count.
      extra: split name -> more keys for its entry in dataset.json.

    Returns:
      The manifest, as it stands in dataset.json.

    Raises:
      TodusError: too much had to be left out, an image id comes twice, another process builds or reads this dataset, the disk fails.
    """
    options = options or Options()
    with building(dataset), files.replacing_folder(dataset.folder) as folder:
        plans = []
        for split, annotations in splits.items():
            _check_ids(split, annotations.images)
            plans += shards.plan(folder, split, annotations.images, options)
        written: Dict[str, List[shards.Shard]] = {split: [] for split in splits}
        with Progress("writing records", sum(len(each.images) for each in plans), unit="images") as progress:
            for each, shard in shards.write(plans, dict(names), dict(id_map), options):
                written[each.split].append(shard)
                progress.add(len(each.images))
        entries = {}
        for split, annotations in splits.items():
            entries[split] = _split_entry(annotations, written[split], names)
            _check_dropped(split, annotations, _left_out(written[split]), entries[split], max_dropped)
        for split, more in (extra or {}).items():
            entries[split].update(more)
        manifest = _manifest(dataset, source, entries, names, id_map, settings or {}, inputs or {})
        categories.write_label_map(folder / dataset.label_map.name, names)
        files.write_json(folder / dataset.manifest.name, manifest)
    return manifest


def _check_ids(split: str, listed: List[Image]) -> None:
    twice = [identity for identity, number in Counter(str(image.id) for image in listed).items() if number > 1]
    if twice:
        raise TodusError("%s: image id %s is there twice; mend the annotations" % (split, one_line(twice[0])))


def _split_entry(annotations: Annotations, written: List[shards.Shard], names: Mapping[int, str]) -> Dict[str, Any]:
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
        "shards": [{"file": each.file, "bytes": each.bytes, "sha256": each.sha256, "examples": each.examples} for each in written],
    }


def _left_out(written: List[shards.Shard]) -> List[Tuple[Image, str]]:
    return sorted((pair for shard in written for pair in shard.dropped), key=lambda pair: pair[0].file_name)


def _check_dropped(split: str, annotations: Annotations, left_out: List[Tuple[Image, str]], entry: Dict[str, Any], most: float) -> None:
    """Names the images that were left out. Raises TodusError when they, or the boxes, are more than the share `most`."""
    for image, reason in left_out[:MOST_LINES]:
        say("%s: left out %s: %s" % (split, one_line(image.file_name), reason))
    if len(left_out) > MOST_LINES:
        say("%s: left out %d more images; dataset.json lists them" % (split, len(left_out) - MOST_LINES))
    boxes = sum(number for reason, number in annotations.dropped.items() if reason.startswith("box"))
    images = len(left_out) + sum(number for reason, number in annotations.dropped.items() if reason.startswith("image"))
    if images > most * (entry["images"] + images) or boxes > most * (entry["boxes"] + boxes):
        reasons = "; ".join("%s: %d" % pair for pair in sorted(entry["dropped"].items(), key=lambda pair: -pair[1]))
        raise TodusError(
            "%s: %d of %d images and %d of %d boxes cannot be used, more than MAX_DROPPED=%g%% (%s); mend the source or raise MAX_DROPPED"
            % (split, images, entry["images"] + images, boxes, entry["boxes"] + boxes, 100 * most, reasons)
        )


def _manifest(dataset, source, entries, names, id_map, settings, inputs) -> Dict[str, Any]:
    origin = {new: old for old, new in sorted(id_map.items(), reverse=True)}
    listed = [{"id": identity, "name": name, "source_id": origin.get(identity, identity)} for identity, name in sorted(names.items())]
    manifest = {"todus": __version__, "source": source, "name": dataset.name, "categories": listed, "splits": entries}
    manifest.update({"settings": settings, "inputs": inputs, "digest": digest(listed, entries)})
    return manifest


def digest(listed: List[Dict[str, Any]], entries: Mapping[str, Dict[str, Any]]) -> str:
    """SHA-256 over the classes and the shards: two datasets with one digest are the same to a model."""
    content = {"categories": [[each["id"], each["name"]] for each in listed]}
    content["shards"] = {split: [shard["sha256"] for shard in entry["shards"]] for split, entry in entries.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode("ascii")).hexdigest()
