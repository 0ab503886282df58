"""A look at a dataset before training: some of its images with their boxes, and what the network will see of them"""

import re
from typing import Dict, List, Mapping, Tuple

from todus import files, paths
from todus.dataset import choose
from todus.dataset.annotations import Image
from todus.dataset.box_sizes import LEAST_PIXELS, ClassCounts, measure
from todus.dataset.records import reader
from todus.errors import TodusError, UsageError
from todus.model import pipeline
from todus.paths import Dataset
from todus.preview import page as counts_page
from todus.preview import sheet as contact_sheet
from todus.text import one_line


def shown(splits: Mapping[str, List[Image]], number: int, seed: int = 0) -> Dict[str, List[Image]]:
    """The images of the contact sheet, two thirds of them from train; every class in its proportion, and one image without a box."""
    others = len(splits) - ("train" in splits)
    chosen = {}
    for split, images in splits.items():
        share = number if len(splits) == 1 else number - number // 3 if split == "train" else max(1, number // 3 // others)
        with_boxes = [image for image in images if image.boxes]
        empty = [image for image in images if not image.boxes][: 1 if share > 1 else 0]
        most = min(share - len(empty), len(with_boxes))
        chosen[split] = (choose.proportional(with_boxes, most, seed) if most else []) + empty
    return chosen


def preview(dataset: Dataset, number: int, size: Tuple[int, int]) -> None:
    """Writes the sheet and the page and prints the counts. Raises TodusError for a damaged dataset."""
    manifest = reader.read_manifest(dataset)
    names = {entry["id"]: one_line(entry["name"]) for entry in manifest["categories"]}
    splits = {split: [found.image for found in reader.read_stored(dataset, split)] for split in manifest["splits"]}
    splits = {split: images for split, images in splits.items() if images}
    if not splits:
        raise TodusError("%s has no image; build it again" % dataset.name)
    counts = {split: measure(images, size) for split, images in splits.items()}
    sheet = dataset.folder / "preview.png"
    with files.replacing(sheet) as part:
        contact_sheet.draw(shown(splits, number), names).save(str(part), "PNG")
    page = dataset.folder / "preview.html"
    files.write_text(page, counts_page.html(dataset.name, names, splits, counts, size, sheet.name))
    for line in summary(dataset.name, names, splits, counts, size):
        print(line)
    print("%s\n%s" % (sheet, page))


def summary(
    title: str, names: Mapping[int, str], splits: Mapping[str, List[Image]], counts: Mapping[str, Dict[int, ClassCounts]], size
) -> List[str]:
    lines = ["%s at an input of %dx%d" % (title, size[0], size[1])]
    width = max([len("class")] + [len(name) for name in names.values()])
    for split, images in splits.items():
        empty = sum(not image.boxes for image in images)
        lines.append("%s: %d images%s" % (split, len(images), ", %d without a box" % empty if empty else ""))
        lines.append("  %-*s %8s %8s %16s %12s" % (width, "class", "images", "boxes", "median box", "under %d px" % LEAST_PIXELS))
        for identity, name in names.items():
            found = counts[split].get(identity, ClassCounts())
            lines.append("  %-*s %8d %8d %16s %12d" % (width, name, found.images, found.boxes, found.typical(), found.tiny))
    return lines


def input_size(text: str, model: str) -> Tuple[int, int]:
    """Width and height of the network's input."""
    if model:
        prepared = paths.model(model).check()
        found = pipeline.input_size(pipeline.read(prepared.pipeline))
        if found is None:
            raise UsageError("%s keeps the aspect ratio of its images; give --size WIDTHxHEIGHT" % prepared.name)
        return found[1], found[0]
    match = re.fullmatch(r"(\d{2,5})(?:x(\d{2,5}))?", text)
    if not match:
        raise UsageError("--size %s: give WIDTHxHEIGHT, such as 300x300" % one_line(text))
    return int(match.group(1)), int(match.group(2) or match.group(1))
