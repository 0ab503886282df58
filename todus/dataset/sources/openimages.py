"""Open Images V4 to V7: the boxes of chosen classes, and only the images that have them."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from todus import paths
from todus.command import Parser, say
from todus.dataset import choose, image_files
from todus.dataset.box_fitting import FRACTIONS
from todus.dataset.build import NEXT, build, many, recorded, target, up_to_date
from todus.dataset.labelled_images import Found, Labelled
from todus.dataset.settings import Settings, one_of, percent, switch, whole
from todus.dataset.sources import openimages_classes, openimages_rows, openimages_tree
from todus.errors import TodusError, UsageError
from todus.fetching import download
from todus.fetching.many import Wanted, download_many
from todus.progress import Progress
from todus.text import megabytes, one_line

METADATA = "https://storage.googleapis.com/openimages"
IMAGES = "https://open-images-dataset.s3.amazonaws.com"
HIERARCHY = "2018_04/bbox_labels_600_hierarchy.json"
BOXES = {
    "4": {split: "2018_04/%s/%s-annotations-bbox.csv" % (split, split) for split in ("train", "validation", "test")},
    "6": {
        "train": "v6/oidv6-train-annotations-bbox.csv",
        "validation": "v5/validation-annotations-bbox.csv",
        "test": "v5/test-annotations-bbox.csv",
    },
}
BOXES["5"] = dict(BOXES["6"], train=BOXES["4"]["train"])
BOXES["7"] = BOXES["6"]
SPLITS = {"train": "train", "validation": "val", "test": "test"}
USUAL_BYTES = 330_000  # of an image, for the estimate
CONNECTIONS = 16


@dataclass
class Wish:
    """What is asked of Open Images."""

    chosen: Dict[int, str]
    splits: List[str]
    expand: str = "0"
    exclude: List[str] = field(default_factory=list)
    max_images: int = 0
    version: str = "7"
    source: str = ""
    stats_only: bool = False

    @staticmethod
    def from_environment() -> "Wish":
        """Raises UsageError for a class, split or flag that there is not."""
        text = os.environ.get("CATEGORIES", "")
        if not text.strip():
            raise UsageError('set CATEGORIES, such as CATEGORIES="Polar_bear Penguin"; todus/labels/openimages.csv has all 601')
        return Wish(
            chosen=openimages_classes.choose(text),
            splits=_listed("SPLITS", "train,validation", list(SPLITS)),
            expand=one_of("EXPAND", "0", ("0", "1", "classes")),
            exclude=_listed("EXCLUDE", "", list(openimages_rows.FLAGS)),
            max_images=whole("MAX_IMAGES", 0),
            version=one_of("OPENIMAGES_VERSION", "7", sorted(BOXES)),
            source=os.environ.get("OPENIMAGES_URL", "").rstrip("/"),
            stats_only=switch("STATS_ONLY"),
        )


def _listed(name: str, default: str, known: List[str]) -> List[str]:
    """The words of a variable, in the order of `known`."""
    given = (os.environ.get(name) or default).replace(",", " ").split()
    given = ["validation" if word == "val" else word for word in given]
    wrong = [word for word in given if word not in known]
    if wrong:
        raise UsageError("%s has %s; give some of %s" % (name, one_line(wrong[0]), ", ".join(known)))
    return [word for word in known if word in given]


class Place:
    """Where box files and images are: the public servers, a mirror laid out like them in one, or a folder."""

    def __init__(self, source: str):
        self.source = source[len("file://") :] if source.startswith("file://") else source
        self.is_folder = bool(self.source) and not self.source.startswith(("http://", "https://"))
        self.folder = (
            Path(os.path.abspath(os.path.expanduser(self.source))) if self.is_folder else paths.home() / "dataset/openimages/raw-data"
        )

    def file(self, path: str) -> Path:
        """A file of METADATA, fetched when it is not there. A folder may have it there, or under its name alone, or under V4's."""
        name = path.rsplit("/", 1)[-1]
        if not self.is_folder:
            return download.download("%s/%s" % (self.source or METADATA, path), self.folder / path.replace("/", "-"), check=_whole_csv)
        for candidate in (path, name, name.replace("oidv6-", ""), "csv_folder/" + name):
            if (self.folder / candidate).is_file():
                return self.folder / candidate
        raise TodusError("%s has no %s; put it there, or unset OPENIMAGES_URL" % (self.folder, name))

    def image(self, split: str, image: str) -> Path:
        return self.folder / split / (image + ".jpg")

    def url(self, split: str, image: str) -> str:
        return "%s/%s/%s.jpg" % (self.source or IMAGES, split, image)

    def fetch_images(self, wanted: Dict[str, List[str]]) -> List[Tuple[str, str]]:
        """Fetches what is not there yet; (split/id, reason) of what cannot be had."""
        if self.is_folder:
            return []
        todo = [Wanted(self.url(split, image), self.image(split, image)) for split, ids in wanted.items() for image in ids]
        todo = [each for each in todo if not each.path.exists()]
        for split in wanted:
            (self.folder / split).mkdir(parents=True, exist_ok=True)
        most = int(percent("MAX_MISSING", 1.0) * sum(len(ids) for ids in wanted.values()))
        connections = max(1, min(whole("CONNECTIONS", CONNECTIONS), 128))
        with Progress("images", len(todo), unit="images") as progress:
            missing = download_many(todo, _image_fault, connections, _PerImage(progress), most) if todo else []
        return [("%s/%s" % (each.path.parent.name, each.path.stem), each.reason) for each in missing]


class _PerImage:
    """Counts images where the downloads report bytes."""

    def __init__(self, progress: Progress):
        self.progress = progress
        self.note = progress.note

    def add(self, _bytes: int) -> None:
        self.progress.add(1)


def _whole_csv(path: Path) -> None:
    with open(str(path), "rb") as file:
        if b"," not in file.read(4096):
            raise TodusError("%s is not what it should be" % path.name)


def _image_fault(data: bytes) -> str:
    try:
        image_files.inspect(data)
    except image_files.BadImage as error:
        return str(error)
    return ""


def labels(wish: Wish, place: Place) -> Dict[str, int]:
    """Label -> id of the class that its boxes become."""
    if wish.expand == "0":
        return openimages_classes.labels_of(wish.chosen)
    hierarchy = openimages_classes.read_hierarchy(place.file(HIERARCHY))
    if wish.expand == "classes":
        wish.chosen = openimages_classes.below(wish.chosen, hierarchy)
        return openimages_classes.labels_of(wish.chosen)
    return openimages_classes.expanded(wish.chosen, hierarchy)


def read_rows(wish: Wish, place: Place) -> Dict[str, openimages_rows.Rows]:
    """split -> the boxes of the wanted classes."""
    wanted = labels(wish, place)
    return {split: openimages_rows.read(place.file(BOXES[wish.version][split]), wanted, wish.exclude) for split in wish.splits}


def sample(boxes: Dict[str, bytes], most: int, seed: int) -> List[str]:
    """The ids of at most `most` images (0: all); each image counts for its rarest class, and the classes keep their shares.

    The choice depends on the ids and the seed alone.
    """
    ids = sorted(boxes)
    if not most or len(ids) <= most:
        return ids
    images_of: Counter = Counter(number for image in ids for number in set(openimages_rows.classes(boxes[image])))
    groups: Dict[int, List[str]] = {}
    for image in sorted(ids, key=lambda image: hashlib.sha256(("%d/%s" % (seed, image)).encode("utf-8")).digest()):
        groups.setdefault(min(openimages_rows.classes(boxes[image]), key=lambda number: (images_of[number], number)), []).append(image)
    places = choose.shares({number: len(group) for number, group in groups.items()}, most)
    return sorted(image for number, group in groups.items() for image in group[: places[number]])


def show(wish: Wish, found: Dict[str, openimages_rows.Rows], kept: Dict[str, List[str]]) -> None:
    """Images and boxes a class, and what the images will take."""
    width = max(len("class"), max(len(name) for name in wish.chosen.values()))
    print("  %-*s" % (width, "class") + "".join("  %10s images %6s boxes" % (split, "") for split in found))
    counts = {}
    for split in found:
        boxes_of: Counter = Counter()
        images_of: Counter = Counter()
        for image in kept[split]:
            numbers = openimages_rows.classes(found[split].boxes[image])
            boxes_of.update(numbers)
            images_of.update(set(numbers))
        counts[split] = (images_of, boxes_of)
    for identity, name in wish.chosen.items():
        print(
            "  %-*s" % (width, name) + "".join("  %17d %12d" % (counts[split][0][identity], counts[split][1][identity]) for split in found)
        )
    total = sum(len(ids) for ids in kept.values())
    print("%s, about %s" % (many(total, "image"), megabytes(total * USUAL_BYTES)))


def digest(found: Dict[str, openimages_rows.Rows], kept: Dict[str, List[str]]) -> str:
    """SHA-256 over the chosen images and their boxes."""
    total = hashlib.sha256()
    for split, ids in kept.items():
        for image in ids:
            total.update(("%s/%s " % (split, image)).encode("ascii") + found[split].boxes[image])
    return total.hexdigest()


def labelled(
    wish: Wish, found: Dict[str, openimages_rows.Rows], kept: Dict[str, List[str]], place: Place, missing: List[Tuple[str, str]]
) -> Found:
    result = Found(order=openimages_classes.ordered(wish.chosen))
    gone = {name for name, _ in missing}
    for name, reason in missing:
        result.leave_out(name, "not to be had: " + reason, fault=False)
    for split, ids in kept.items():
        side = SPLITS[split] if "train" in kept and len(kept) > 1 else ""
        for image in ids:
            path = place.image(split, image)
            name = "%s/%s" % (split, image)
            if name in gone:
                continue
            if not path.is_file():
                result.leave_out(name, "image is not in the folder")
                continue
            result.images.append(Labelled(name, path, openimages_rows.named(found[split].boxes[image], wish.chosen), FRACTIONS, side))
        if result.images:
            result.images[-1].dropped.update(found[split].dropped)
    return result


def build_download(settings: Settings) -> int:
    """From Open Images itself. CATEGORIES are resolved here, so that what follows takes every class it gets."""
    wish = Wish.from_environment()
    place = Place(wish.source)
    dataset = target("openimages", "-".join(name.lower() for name in list(wish.chosen.values())[:3]))
    found = read_rows(wish, place)
    kept = {split: sample(each.boxes, wish.max_images, settings.seed) for split, each in found.items()}
    show(wish, found, kept)
    for split, each in found.items():
        if each.excluded:
            print("%s: %s left out for EXCLUDE" % (split, many(each.excluded, "box", "boxes")))
    if wish.stats_only:
        return 0
    if not any(kept.values()):
        raise TodusError("Open Images has no box of these classes in %s; take other classes or SPLITS" % " and ".join(wish.splits))
    settings.categories = ""
    inputs = {"boxes": digest(found, kept), "exclude": wish.exclude}
    if up_to_date(dataset, {"settings": recorded(settings), "inputs": inputs}):
        print("%s is up to date; nothing to do" % dataset.name)
        print(NEXT % dataset.name)
        return 0
    missing = place.fetch_images(kept)
    decode = one_of("VERIFY", "structure", ("structure", "decode")) == "decode"
    return build(dataset, "openimages", labelled(wish, found, kept, place, missing), settings, inputs, upright=False, decode=decode)


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("dataset openimages", "Makes a dataset of classes of Open Images; see ./dataset-openimages.sh --help.")
    parser.add_argument("folder", metavar="DIR", nargs="?", help="a tree that OIDv4_ToolKit downloaded, in place of a download")
    arguments = parser.parse_args(argv)
    settings = Settings.from_environment()
    if not arguments.folder:
        return build_download(settings)
    root = Path(os.path.abspath(os.path.expanduser(arguments.folder)))
    exclude = _listed("EXCLUDE", "", list(openimages_rows.FLAGS))
    found = openimages_tree.read(root, settings, exclude)
    say("%s: %s" % (root.name, many(len(found.images), "image")))
    inputs: Dict[str, Any] = {"files": openimages_tree.fingerprint(root, found), "exclude": exclude}
    return build(target("openimages", root.name), "openimages", found, settings, inputs, upright=False)
