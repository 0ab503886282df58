"""Merges datasets: classes with one name become one class, an image that several datasets have becomes one image."""

import contextlib
from collections import Counter
from typing import Dict, Iterator, List, Optional, Tuple

from todus import paths, sources
from todus.command import Parser, say
from todus.dataset import class_ids
from todus.dataset.annotations import Annotations, Box, Image
from todus.dataset.build import is_up_to_date, recorded, target
from todus.dataset.class_ids import Classes
from todus.dataset.records import access, reader
from todus.dataset.records.shards import Options
from todus.dataset.records.writer import Content, write_dataset
from todus.dataset.settings import Settings
from todus.dataset.split import SPLITS
from todus.dataset.summary import counted, print_summary, print_up_to_date
from todus.errors import TodusError, UsageError
from todus.paths import Dataset
from todus.text import one_line

SOURCE = sources.find("merge")

SPLIT_NAMES = {"testdev": "test"}  # of COCO -> ours
SAME_OBJECT = 0.8  # least intersection over union of two boxes around one object


class Joined:
    """The images of several datasets, by content."""

    def __init__(self) -> None:
        self.images: Dict[
            str, List[Image]
        ] = {}  # SHA-256 of the file -> its image; copies inside one dataset stay several
        self.side: Dict[str, str] = {}  # SHA-256 of the file -> split
        self.names: Dict[str, int] = {}  # class name -> provisional id
        self.mended: Counter = Counter()

    def add(self, dataset: Dataset) -> None:
        """Adds every image of a dataset. Raises TodusError, with shard and offset, for a damaged record."""
        manifest = reader.read_manifest(dataset)
        names = {
            entry["id"]: self.names.setdefault(entry["name"], len(self.names) + 1)
            for entry in manifest["categories"]
        }
        copies: Counter = Counter()
        for split in manifest["splits"]:
            side = SPLIT_NAMES.get(split, split)
            for sha256, image in reader.read_stored(dataset, split) if side in SPLITS else ():
                image.id = "%s/%s" % (dataset.name, image.id)
                image.boxes = [
                    box._replace(category_id=names[box.category_id]) for box in image.boxes
                ]
                self._add_image(sha256, side, image, copies[sha256])
                copies[sha256] += 1

    def _add_image(self, key: str, side: str, image: Image, copy: int) -> None:
        """Adds an image, or, where another dataset has it too, its boxes. An image that is in val or test anywhere is not in train."""
        there = self.images.setdefault(key, [])
        if self.side.setdefault(key, side) != side:
            self.mended["image of one dataset's train in another's val or test, kept there"] += 1
            self.side[key] = max(self.side[key], side, key=SPLITS.index)
        if copy < len(there):
            self.mended["image that is in several datasets, boxes joined"] += 1
            there[copy].boxes += [
                box
                for box in image.boxes
                if not any(same_object(box, other) for other in there[copy].boxes)
            ]
        else:
            there.append(image)

    def boxes_of(self) -> Counter:
        """Class name -> number of boxes."""
        names = {identity: name for name, identity in self.names.items()}
        return Counter(
            names[box.category_id]
            for images in self.images.values()
            for image in images
            for box in image.boxes
        )


def same_object(one: Box, other: Box) -> bool:
    """Whether two boxes are around one object: of one class, and with an intersection over union of SAME_OBJECT or more."""
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    if one.category_id != other.category_id or height <= 0 or width <= 0:
        return False
    areas = sum((box.ymax - box.ymin) * (box.xmax - box.xmin) for box in (one, other))
    return height * width >= SAME_OBJECT * (areas - height * width)


def join(
    datasets: List[Dataset], settings: Settings
) -> Tuple[Dict[str, Annotations], Classes, Counter]:
    """The splits of all datasets together, their classes, and what was corrected. The first dataset's classes come first."""
    joined = Joined()
    for dataset in datasets:
        joined.add(dataset)
    known = class_ids.assign(joined.boxes_of(), list(joined.names), settings)
    new = {identity: known.ids.get(name) for name, identity in joined.names.items()}
    splits: Dict[str, Annotations] = {}
    for split in SPLITS:
        images = [
            image
            for key, listed in joined.images.items()
            if joined.side[key] == split
            for image in listed
        ]
        for image in images:
            image.boxes = [
                box._replace(category_id=new[box.category_id])
                for box in image.boxes
                if new[box.category_id]
            ]
        if images:
            splits[split] = Annotations(dict(known.names), images)
    return splits, known, joined.mended + known.mended


def partly_labelled(datasets: List[Dataset]) -> Iterator[str]:
    """A line for each dataset with classes that no other labels: in the others' images they are background to the training."""
    listed = {
        dataset.name: [entry["name"] for entry in reader.read_manifest(dataset)["categories"]]
        for dataset in datasets
    }
    for dataset, names in listed.items():
        alone = [
            name
            for name in names
            if all(name not in others for other, others in listed.items() if other != dataset)
        ]
        if alone:
            yield (
                "note: only %s labels %s; where the other images show these too, they teach that they are background"
                % (
                    dataset,
                    ", ".join(one_line(name) for name in alone[:8])
                    + (" ..." if len(alone) > 8 else ""),
                )
            )


def merge(names: List[str], settings: Settings) -> int:
    """Merges the datasets with these names. Returns the exit code."""
    datasets = [paths.dataset(name).check() for name in names]
    if len({dataset.folder for dataset in datasets}) < 2:
        raise UsageError(
            "name two datasets or more, such as: NAME=both ./dataset-merge.sh limited voc/raccoon"
        )
    merged = target(SOURCE, "-".join(dataset.folder.name for dataset in datasets))
    if merged.folder in [dataset.folder for dataset in datasets]:
        raise UsageError(
            "NAME=%s is one of the datasets to merge; choose another name" % merged.folder.name
        )
    with contextlib.ExitStack() as held:
        held.enter_context(access.building(merged))
        for dataset in datasets:
            held.enter_context(access.reading(dataset, "merging into %s" % merged.name))
        inputs = {
            "datasets": {
                dataset.name: reader.read_manifest(dataset).get("digest") for dataset in datasets
            }
        }
        if is_up_to_date(merged, settings, inputs):
            print_up_to_date(merged)
            return 0
        splits, known, mended = join(datasets, settings)
        if not splits.get("train") or not splits.get("val"):
            raise TodusError(
                "these datasets have no %s images together"
                % ("val" if splits.get("train") else "train")
            )
        content = Content("merged", splits, known.names, settings=recorded(settings), inputs=inputs)
        manifest = write_dataset(
            merged, content, Options(settings.seed, jobs=settings.jobs), settings.max_dropped
        )
    for what, count in sorted(mended.items()):
        print("%s: %s" % (what, counted(count, "time")))
    for line in partly_labelled(datasets):
        say(line)
    print_summary(merged, manifest)
    return 0


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser(
        "dataset " + SOURCE.name, "Joins datasets into one; see ./dataset-merge.sh --help."
    )
    parser.add_argument("datasets", metavar="DATASET", nargs="+")
    return merge(parser.parse_args(argv).datasets, Settings.from_environment(SOURCE.command))
