"""Several datasets into one with one label map: classes of one name are one class, an image that several datasets have is one image."""

import contextlib
from collections import Counter
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from todus import paths
from todus.command import Parser, say
from todus.dataset import class_ids
from todus.dataset.annotations import Annotations, Box, Image
from todus.dataset.build import NEXT, many, recorded, report, target, up_to_date
from todus.dataset.class_ids import Classes
from todus.dataset.records import access, reader, shards, writer
from todus.dataset.settings import Settings
from todus.errors import TodusError, UsageError
from todus.paths import Dataset
from todus.text import one_line

SPLITS = ("train", "val", "test")
OLDER = {"testdev": "test"}
SAME = 0.8


class Joined:
    """The images of all datasets, by content."""

    def __init__(self) -> None:
        self.images: Dict[str, List[Image]] = {}  # SHA-256 of the file -> its image; copies inside one dataset stay several
        self.side: Dict[str, str] = {}  # SHA-256 of the file -> split
        self.names: Dict[str, int] = {}  # class name -> provisional id
        self.mended: Counter = Counter()

    def add(self, dataset: Dataset) -> None:
        """Every image of a dataset. Raises TodusError, with shard and offset, for a damaged record."""
        manifest = reader.read_manifest(dataset)
        names = {entry["id"]: self.names.setdefault(entry["name"], len(self.names) + 1) for entry in manifest["categories"]}
        copies: Counter = Counter()
        for split in manifest["splits"]:
            side = OLDER.get(split, split)
            for sha256, image in reader.read_stored(dataset, split) if side in SPLITS else ():
                image.id = "%s/%s" % (dataset.name, image.id)
                image.boxes = [box._replace(category_id=names[box.category_id]) for box in image.boxes]
                self._put(sha256, side, image, copies[sha256])
                copies[sha256] += 1

    def _put(self, key: str, side: str, image: Image, copy: int) -> None:
        """An image that another dataset has too gives it its boxes; what is in val or test anywhere is not trained on."""
        there = self.images.setdefault(key, [])
        if self.side.setdefault(key, side) != side:
            self.mended["image of one dataset's train in another's val or test, kept there"] += 1
            self.side[key] = max(self.side[key], side, key=SPLITS.index)
        if copy < len(there):
            self.mended["image that is in several datasets, boxes joined"] += 1
            there[copy].boxes += [box for box in image.boxes if not any(same_object(box, other) for other in there[copy].boxes)]
        else:
            there.append(image)

    def seen(self) -> Counter:
        """Class name -> boxes."""
        names = {identity: name for name, identity in self.names.items()}
        return Counter(names[box.category_id] for images in self.images.values() for image in images for box in image.boxes)


def same_object(one: Box, other: Box) -> bool:
    """Whether two people drew these boxes around one thing: one class, and an intersection over union of SAME or more."""
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    if one.category_id != other.category_id or height <= 0 or width <= 0:
        return False
    areas = sum((box.ymax - box.ymin) * (box.xmax - box.xmin) for box in (one, other))
    return height * width >= SAME * (areas - height * width)


def join(datasets: List[Dataset], settings: Settings) -> Tuple[Dict[str, Annotations], Classes, Counter]:
    """The splits of all datasets together, their classes, and what was mended. The first dataset's classes come first."""
    joined = Joined()
    for dataset in datasets:
        joined.add(dataset)
    mended = Counter(joined.mended)
    known = class_ids.assign(joined.seen(), list(joined.names), settings, mended)
    new = {identity: known.ids.get(name) for name, identity in joined.names.items()}
    splits: Dict[str, Annotations] = {}
    for split in SPLITS:
        images = [image for key, listed in joined.images.items() if joined.side[key] == split for image in listed]
        for image in images:
            image.boxes = [box._replace(category_id=new[box.category_id]) for box in image.boxes if new[box.category_id]]
        if images:
            splits[split] = Annotations(dict(known.names), images)
    return splits, known, mended


def unshared(datasets: List[Dataset]) -> Iterator[str]:
    """A line for each class that only some of the datasets label: in the others' images it is background to the training."""
    listed = {dataset.name: [entry["name"] for entry in reader.read_manifest(dataset)["categories"]] for dataset in datasets}
    for dataset, names in listed.items():
        alone = [name for name in names if all(name not in others for other, others in listed.items() if other != dataset)]
        if alone:
            yield "note: only %s labels %s; where the other images show these too, they teach that they are background" % (
                dataset,
                ", ".join(one_line(name) for name in alone[:8]) + (" ..." if len(alone) > 8 else ""),
            )


def merge(names: List[str], settings: Settings) -> int:
    datasets = [paths.dataset(name).check() for name in names]
    if len({dataset.folder for dataset in datasets}) < 2:
        raise UsageError("name two datasets or more, such as: NAME=both ./dataset-merge.sh limited voc/raccoon")
    merged = target("merged", "-".join(dataset.folder.name for dataset in datasets))
    if merged.folder in [dataset.folder for dataset in datasets]:
        raise UsageError("NAME=%s is one of the datasets to merge; choose another name" % merged.folder.name)
    with contextlib.ExitStack() as held:
        held.enter_context(access.building(merged))
        for dataset in datasets:
            held.enter_context(access.reading(dataset, "merging into %s" % merged.name))
        inputs = {"datasets": {dataset.name: reader.read_manifest(dataset).get("digest") for dataset in datasets}}
        if up_to_date(merged, {"settings": recorded(settings), "inputs": inputs}):
            print("%s is up to date; nothing to do" % merged.name)
            print(NEXT % merged.name)
            return 0
        splits, known, mended = join(datasets, settings)
        if not splits.get("train") or not splits.get("val"):
            raise TodusError("these datasets have no %s images together" % ("val" if splits.get("train") else "train"))
        manifest = write(merged, splits, known, settings, inputs)
    for what, count in sorted(mended.items()):
        print("%s: %s" % (what, many(count, "time")))
    for line in unshared(datasets):
        say(line)
    report(merged, manifest)
    return 0


def write(merged: Dataset, splits: Mapping[str, Annotations], known: Classes, settings: Settings, inputs: Dict) -> Dict:
    same = {identity: identity for identity in known.names}
    options = shards.Options(seed=settings.seed, jobs=settings.jobs)
    return writer.write_dataset(merged, "merged", splits, known.names, same, recorded(settings), inputs, options, settings.max_dropped)


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("dataset merge", "Joins datasets into one; see ./dataset-merge.sh --help.")
    parser.add_argument("datasets", metavar="DATASET", nargs="+")
    return merge(parser.parse_args(argv).datasets, Settings.from_environment())
