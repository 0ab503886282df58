"""A look at a dataset before training: some of its images with their boxes, and what the network will see of them.

    python -m todus.dataset.preview DATASET [--images 24] [--size WIDTHxHEIGHT | -m MODEL]

DATASET is a name as -d takes it. Writes preview.png and preview.html into the dataset's folder and prints the counts. --size is the
network's input, 300x300 unless given; -m takes it from a prepared model's pipeline.config.
"""

import re
import sys
from typing import Dict, List, Mapping, Optional, Tuple

from todus import files, paths, pipeline
from todus.command import Parser, one_line, run
from todus.dataset import choose, preview_page, preview_sheet, records, stored
from todus.dataset.annotations import Image
from todus.dataset.sizes import LEAST_PIXELS, ClassCounts, measure
from todus.errors import TodusError, UsageError
from todus.paths import Dataset


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
    manifest = records.read_manifest(dataset)
    names = {entry["id"]: one_line(entry["name"]) for entry in manifest["categories"]}
    splits = {split: [found.image for found in stored.read(dataset, split)] for split in manifest["splits"]}
    splits = {split: images for split, images in splits.items() if images}
    if not splits:
        raise TodusError("%s has no image; build it again" % dataset.name)
    counts = {split: measure(images, size) for split, images in splits.items()}
    sheet = dataset.folder / "preview.png"
    with files.replacing(sheet) as part:
        preview_sheet.draw(shown(splits, number), names).save(str(part), "PNG")
    page = dataset.folder / "preview.html"
    files.write_text(page, preview_page.html(dataset.name, names, splits, counts, size, sheet.name))
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


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("todus.dataset.preview", __doc__)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--images", metavar="N", type=int, default=24)
    parser.add_argument("--size", metavar="WxH", default="300x300")
    parser.add_argument("-m", "--model", metavar="MODEL", default="")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.images <= 400:
        raise UsageError("--images %d: give a number from 1 to 400" % arguments.images)
    preview(paths.dataset(arguments.dataset), arguments.images, input_size(arguments.size, arguments.model))
    return 0


if __name__ == "__main__":
    sys.exit(run("preview", main))
