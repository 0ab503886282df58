"""A dataset's contact sheet, and its boxes counted by class and size at a network's input."""

import re
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from todus import files, paths
from todus.dataset import choose
from todus.dataset.annotations import Image
from todus.dataset.box_sizes import LEAST_PIXELS, ClassCounts, measure
from todus.dataset.records import reader
from todus.errors import TodusError, UsageError
from todus.model import pipeline
from todus.paths import Dataset
from todus.preview import page, sheet
from todus.text import one_line, table


def choose_images(
    splits: Mapping[str, List[Image]], number: int, seed: int = 0
) -> Dict[str, List[Image]]:
    """About `number` images for the contact sheet, two thirds of them from train.

    Classes are chosen in proportion, and at most one image without a box in each split.
    """
    others = len(splits) - ("train" in splits)
    chosen = {}
    for split, images in splits.items():
        share = number - number // 3 if split == "train" else max(1, number // 3 // others)
        if len(splits) == 1:
            share = number
        with_boxes = [image for image in images if image.boxes]
        empty = [image for image in images if not image.boxes][: 1 if share > 1 else 0]
        most = min(share - len(empty), len(with_boxes))
        chosen[split] = (choose.proportional(with_boxes, most, seed) if most else []) + empty
    return chosen


def preview(dataset: Dataset, number: int, size: Tuple[int, int]) -> None:
    """Writes preview.png, with about `number` images, and preview.html; prints the counts.

    `size` is the network's input in pixels, (width, height). Raises TodusError for a damaged
    dataset, or one without images.
    """
    manifest = reader.read_manifest(dataset)
    names = {entry["id"]: one_line(entry["name"]) for entry in manifest["categories"]}
    splits = {}
    for split in manifest["splits"]:
        images = [found.image for found in reader.read_stored(dataset, split)]
        if images:
            splits[split] = images
    if not splits:
        raise TodusError("%s has no image; make the dataset again" % dataset.name)
    repeats = {split: entry.get("repeats", 0) for split, entry in manifest["splits"].items()}
    counts = {split: measure(images, size) for split, images in splits.items()}
    statistics = page.Statistics(dataset.name, names, splits, counts, size, repeats)
    sheet_file, page_file = dataset.folder / "preview.png", dataset.folder / "preview.html"
    with files.replacing(sheet_file) as part:
        sheet.draw(choose_images(splits, number), names).save(str(part), "PNG")
    files.write_text(page_file, page.html(statistics, sheet_file.name))
    for line in _summary(statistics):
        print(line)
    print("%s\n%s" % (sheet_file, page_file))


def _summary(found: page.Statistics) -> Iterator[str]:
    """The counts as lines for the terminal."""
    yield "%s at an input of %dx%d" % ((found.title,) + found.size)
    for split, images in found.splits.items():
        yield "%s: %d images%s" % (split, len(images), found.more(split))
        heads = ("class", "images", "boxes", "median box", "under %d px" % LEAST_PIXELS)
        rows: List[Sequence[object]] = [heads]
        for identity, name in found.names.items():
            boxes = found.counts[split].get(identity, ClassCounts())
            rows.append((name, boxes.images, boxes.boxes, boxes.typical(), boxes.tiny))
        yield from ("  " + line for line in table(rows))


def input_size(text: str, model: str) -> Tuple[int, int]:
    """The network's input in pixels, (width, height), of a model or from `text`.

    Raises UsageError when the model has no fixed size, or `text` is not WIDTHxHEIGHT.
    """
    if model:
        prepared = paths.model(model).check()
        found = pipeline.input_size(pipeline.read(prepared.pipeline))
        if found is None:
            raise UsageError(
                "%s keeps the aspect ratio of its images; use --size WIDTHxHEIGHT" % prepared.name
            )
        return found[1], found[0]
    match = re.fullmatch(r"(\d{2,5})(?:x(\d{2,5}))?", text)
    if not match:
        raise UsageError("--size %s: not WIDTHxHEIGHT, such as 300x300" % one_line(text))
    return int(match.group(1)), int(match.group(2) or match.group(1))
