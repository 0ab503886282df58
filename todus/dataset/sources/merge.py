"""Merges datasets: classes of the same name become one class, copies of an image one image."""

import contextlib
from collections import Counter
from typing import Dict, Iterator, List, Optional, Tuple

from todus import paths, sources
from todus.command import Parser, say
from todus.dataset import class_ids, negatives
from todus.dataset.annotations import Annotations, Image, join_boxes
from todus.dataset.build import is_up_to_date, recorded, target, work_folder
from todus.dataset.class_ids import Classes
from todus.dataset.labelled_images import LeftOut
from todus.dataset.records import access, reader
from todus.dataset.records.shards import Options
from todus.dataset.records.writer import Content, write_dataset
from todus.dataset.settings import Settings
from todus.dataset.split import SPLITS
from todus.dataset.summary import counted, left_out_lines, print_summary, print_up_to_date
from todus.errors import TodusError, UsageError
from todus.paths import Dataset
from todus.text import one_line

SOURCE = sources.find("merge")

SPLIT_NAMES = {"testdev": "test"}  # COCO's name -> ours


class Joined:
    """The images of several datasets, by content.

    Attributes:
      images: SHA-256 of the file -> its image, or its images where one dataset has copies.
      side: SHA-256 of the file -> split.
      names: class name -> provisional id.
      mended: correction -> number of times.
    """

    def __init__(self) -> None:
        self.images: Dict[str, List[Image]] = {}
        self.side: Dict[str, str] = {}
        self.names: Dict[str, int] = {}
        self.mended: Counter = Counter()

    def add(self, dataset: Dataset, weight: float = 1.0) -> None:
        """Adds every image of a dataset. Raises TodusError for a damaged record."""
        manifest = reader.read_manifest(dataset)
        names = {
            entry["id"]: self.names.setdefault(entry["name"], len(self.names) + 1)
            for entry in manifest["categories"]
        }
        copies: Counter = Counter()
        for split in manifest["splits"]:
            side = SPLIT_NAMES.get(split, split)
            for sha256, image in reader.read_stored(dataset, split) if side in SPLITS else ():
                image.id, image.weight = "%s/%s" % (dataset.name, image.id), weight
                image.boxes = [
                    box._replace(category_id=names[box.category_id]) for box in image.boxes
                ]
                self._add_image(sha256, side, image, copies[sha256])
                copies[sha256] += 1

    def _add_image(self, key: str, side: str, image: Image, copy: int) -> None:
        """Adds an image, or, where another dataset has it too, its boxes to that image."""
        known = self.images.setdefault(key, [])
        if self.side.setdefault(key, side) != side:
            self.mended["image in different splits, kept in val or test"] += 1
            self.side[key] = max(self.side[key], side, key=SPLITS.index)
        if copy < len(known):
            self.mended["image in several datasets, boxes joined"] += 1
            join_boxes(known[copy].boxes, image.boxes)
            known[copy].weight = max(known[copy].weight, image.weight)
        else:
            known.append(image)

    def boxes_of(self) -> Counter:
        """Class name -> number of boxes."""
        names = {identity: name for name, identity in self.names.items()}
        return Counter(
            names[box.category_id]
            for images in self.images.values()
            for image in images
            for box in image.boxes
        )


def join(joined: Joined, settings: Settings) -> Tuple[Dict[str, Annotations], Classes, Counter]:
    """The joined splits, their classes (the first dataset's come first), and the corrections."""
    known = class_ids.assign(joined.boxes_of(), list(joined.names), settings)
    new = {identity: known.ids.get(name) for name, identity in joined.names.items()}
    splits: Dict[str, Annotations] = {}
    for split in SPLITS:
        keys = [key for key in joined.images if joined.side[key] == split]
        images = [image for key in keys for image in joined.images[key]]
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
    """A note for each dataset with classes that no other dataset labels.

    Training takes an unlabelled object of these classes in the other images as background.
    """
    listed = {
        dataset.name: [entry["name"] for entry in reader.read_manifest(dataset)["categories"]]
        for dataset in datasets
    }
    sharing = Counter(name for names in listed.values() for name in names)
    for dataset, names in listed.items():
        alone = [one_line(name) for name in names if sharing[name] == 1]
        if alone:
            shown = ", ".join(alone[:8]) + (" ..." if len(alone) > 8 else "")
            yield (
                "note: only %s labels %s; training takes unlabelled objects of these classes "
                "as background" % (dataset, shown)
            )


def _weights(datasets: List[Dataset], given: Dict[str, float]) -> List[float]:
    """The weight of each dataset, the lowest 1. Raises UsageError for a name that is not merged."""
    by_folder = {paths.dataset(name).folder: weight for name, weight in given.items()}
    folders = [dataset.folder for dataset in datasets]
    for name in given:
        if paths.dataset(name).folder not in folders:
            listed = " ".join("%s=1" % dataset.name for dataset in datasets)
            raise UsageError(
                'WEIGHTS has %s, which is not merged; set WEIGHTS="%s" or other numbers'
                % (one_line(name), listed)
            )
    found = [by_folder.get(folder, 1.0) for folder in folders]
    return [weight / min(found) for weight in found]


def merge(names: List[str], settings: Settings) -> int:
    """Merges the datasets with these names. Returns the exit code."""
    datasets = [paths.dataset(name).check() for name in names]
    if len({dataset.folder for dataset in datasets}) < (1 if settings.negatives else 2):
        raise UsageError(
            "name two datasets or more, such as: NAME=both ./dataset-merge.sh limited voc/raccoon"
        )
    merged = target(SOURCE, "-".join(dataset.folder.name for dataset in datasets))
    if merged.folder in [dataset.folder for dataset in datasets]:
        raise UsageError(
            "NAME=%s is one of the datasets to merge; set another NAME" % merged.folder.name
        )
    weights = _weights(datasets, settings.weights)
    with contextlib.ExitStack() as held:
        work = held.enter_context(work_folder(merged))
        for dataset in datasets:
            held.enter_context(access.reading(dataset, "merging into %s" % merged.name))
        digests = {each.name: reader.read_manifest(each).get("digest") for each in datasets}
        inputs = {"datasets": digests}
        if is_up_to_date(merged, settings, inputs):
            print_up_to_date(merged)
            return 0
        joined = Joined()
        for dataset, weight in zip(datasets, weights):
            joined.add(dataset, weight)
        splits, known, mended = join(joined, settings)
        if not splits.get("train") or not splits.get("val"):
            lacking = "val" if splits.get("train") else "train"
            raise TodusError("none of these datasets has %s images" % lacking)
        left_out: List[LeftOut] = []
        if settings.negatives:
            added = negatives.read(settings, work, list(splits), joined.side)
            left_out = added.left_out
            mended += added.mended
            for split, more in added.images.items():
                splits[split].images += more
        content = Content("merged", splits, known.names, settings=recorded(settings), inputs=inputs)
        options = Options(
            settings.seed, jobs=settings.jobs, balance=settings.balance, runner=settings.runner
        )
        manifest = write_dataset(merged, content, options, settings.max_dropped)
    for what, count in sorted(mended.items()):
        print("%s: %s" % (what, counted(count, "time")))
    for line in left_out_lines(left_out):
        print(line)
    for line in partly_labelled(datasets):
        say(line)
    print_summary(merged, manifest)
    return 0


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser(
        "dataset " + SOURCE.name, "Merges datasets into one; see ./dataset-merge.sh --help."
    )
    parser.add_argument("datasets", metavar="DATASET", nargs="+")
    return merge(parser.parse_args(argv).datasets, Settings.from_environment(SOURCE.command))
