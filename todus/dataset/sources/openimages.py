"""Makes a dataset of classes of Open Images V4 to V7, with only the images that have them."""

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from todus import sources, variables
from todus.command import Parser, say
from todus.dataset import choose
from todus.dataset.box_fitting import FRACTIONS
from todus.dataset.build import build, fingerprint, is_up_to_date, target
from todus.dataset.image_folder import given_path
from todus.dataset.labelled_images import LabelledImage, LabelledSource
from todus.dataset.records.verify import Counts
from todus.dataset.seeded_order import sort_key
from todus.dataset.settings import Settings
from todus.dataset.sources import openimages_classes, openimages_rows, openimages_tree
from todus.dataset.sources.openimages_rows import BoxTable, class_numbers
from todus.dataset.sources.openimages_site import BOXES, HIERARCHY, SPLITS, Site
from todus.dataset.summary import class_table, counted, print_up_to_date
from todus.errors import TodusError, UsageError
from todus.text import megabytes

SOURCE = sources.find("openimages")

USUAL_BYTES = 330_000  # of an image, for the estimate


@dataclass
class Request:
    """The environment variables that choose classes, boxes and images."""

    chosen: Dict[int, str]  # id -> name of the classes
    splits: List[str]
    expand: str  # 0, 1 or classes
    exclude: List[str]  # names in openimages_rows.FLAGS
    max_images: int  # in each split; 0: all
    version: str
    source: str  # as in Site
    stats_only: bool

    @staticmethod
    def from_environment() -> "Request":
        """Raises UsageError for an unknown class, split or flag."""
        value = functools.partial(variables.value, command=SOURCE.command)
        if not value("CATEGORIES"):
            raise UsageError(
                'set CATEGORIES, such as CATEGORIES="Polar_bear Penguin"; '
                "todus/labels/openimages.csv lists all 601 classes"
            )
        return Request(
            chosen=openimages_classes.choose(value("CATEGORIES")),
            splits=value("SPLITS"),
            expand=value("EXPAND"),
            exclude=value("EXCLUDE") or [],
            max_images=value("MAX_IMAGES"),
            version=value("OPENIMAGES_VERSION"),
            source=(value("OPENIMAGES_URL") or "").rstrip("/"),
            stats_only=value("STATS_ONLY"),
        )


@dataclass
class Selection:
    """The boxes of the chosen classes, and the selected images of those that have one."""

    classes: Dict[int, str]  # id -> name
    tables: Dict[str, BoxTable]  # split -> boxes
    images: Dict[str, List[str]]  # split -> image ids

    def digest(self) -> str:
        """SHA-256 over the images and their boxes."""
        total = hashlib.sha256()
        for split, ids in self.images.items():
            for image in ids:
                total.update(("%s/%s " % (split, image)).encode("ascii"))
                total.update(self.tables[split].boxes[image])
        return total.hexdigest()


def select(request: Request, site: Site, seed: int) -> Selection:
    """Reads the box files and chooses images."""
    classes, labels = _classes_and_labels(request, site)
    files = {split: site.file(BOXES[request.version][split]) for split in request.splits}
    tables = {
        split: openimages_rows.read(path, labels, request.exclude) for split, path in files.items()
    }
    images = {
        split: sample(table.boxes, request.max_images, seed) for split, table in tables.items()
    }
    return Selection(classes, tables, images)


def _classes_and_labels(request: Request, site: Site) -> Tuple[Dict[int, str], Dict[str, int]]:
    """id -> name of the classes, and label -> id of the class that its boxes get."""
    if request.expand == "0":
        return request.chosen, openimages_classes.labels_of(request.chosen)
    hierarchy = openimages_classes.read_hierarchy(site.file(HIERARCHY))
    if request.expand == "classes":
        classes = openimages_classes.with_subclasses(request.chosen, hierarchy)
        return classes, openimages_classes.labels_of(classes)
    return request.chosen, openimages_classes.labels_with_subclasses(request.chosen, hierarchy)


def sample(boxes: Dict[str, bytes], most: int, seed: int) -> List[str]:
    """The ids of at most `most` images (0: all), in which every class keeps about its share.

    The choice depends only on the ids and the seed.
    """
    ids = sorted(boxes)
    if not most or len(ids) <= most:
        return ids
    ids.sort(key=lambda image: sort_key(seed, image))
    picked = choose.pick_in_proportion(ids, lambda image: class_numbers(boxes[image]), most)
    return sorted(picked)


def print_selection(selection: Selection) -> None:
    """Prints images and boxes of each class, the estimated bytes, and the excluded boxes."""
    names = list(selection.classes.values())
    entries = {}
    for split, table in selection.tables.items():
        counts = Counts()
        for image in selection.images[split]:
            counts.add([selection.classes[each] for each in class_numbers(table.boxes[image])])
        entries[split] = {"per_category": counts.per_category(names), "negatives": 0}
    for line in class_table(names, entries):
        print(line)
    total = sum(len(ids) for ids in selection.images.values())
    print("%s, about %s" % (counted(total, "image"), megabytes(total * USUAL_BYTES)))
    for split, table in selection.tables.items():
        if table.excluded:
            print("%s: %s left out for EXCLUDE" % (split, counted(table.excluded, "box", "boxes")))


def labelled_source(
    selection: Selection, site: Site, missing: List[Tuple[str, str]]
) -> LabelledSource:
    """The selected images that are on disk, with their boxes.

    `missing` is (split/id, reason) of images that could not be downloaded.
    """
    order = openimages_classes.ordered(selection.classes)
    source = LabelledSource(class_order=order, upright=False)
    for name, reason in missing:
        source.leave_out(name, "image not downloaded: " + reason, fault=False)
    gone = {name for name, _ in missing}
    several = "train" in selection.images and len(selection.images) > 1
    for split, ids in selection.images.items():
        table = selection.tables[split]
        for image in ids:
            path, name = site.image(split, image), "%s/%s" % (split, image)
            if name in gone:
                continue
            if path.is_file():
                boxes = openimages_rows.named_boxes(table.boxes[image], selection.classes)
                side = SPLITS[split] if several else ""
                source.images.append(LabelledImage(name, path, boxes, FRACTIONS, side))
            else:
                source.leave_out(name, "image is not in the folder")
        # Unreadable boxes are counted by table, not by image: they go to the last image.
        if source.images:
            source.images[-1].dropped.update(table.dropped)
    return source


def build_download(settings: Settings) -> int:
    """Downloads the chosen images and makes a dataset of them. Returns the exit code."""
    request = Request.from_environment()
    site = Site(request.source)
    dataset = target(SOURCE, "-".join(name.lower() for name in list(request.chosen.values())[:3]))
    selection = select(request, site, settings.seed)
    print_selection(selection)
    if request.stats_only:
        return 0
    if not any(selection.images.values()):
        raise TodusError(
            "Open Images has no box of these classes in %s; choose other classes or SPLITS"
            % " and ".join(request.splits)
        )
    settings = dataclasses.replace(settings, categories="")  # the selection has applied it
    inputs = {"boxes": selection.digest(), "exclude": request.exclude}
    if is_up_to_date(dataset, settings, inputs):
        print_up_to_date(dataset)
        return 0
    connections, most_missing, verify = (
        variables.value(name, SOURCE.command) for name in ("CONNECTIONS", "MAX_MISSING", "VERIFY")
    )
    missing = site.fetch_images(selection.images, connections, most_missing)
    source = labelled_source(selection, site, missing)
    return build(dataset, source, settings, inputs, decode=verify == "decode")


def build_tree(root: Path, settings: Settings) -> int:
    """Makes a dataset of a tree that OIDv4_ToolKit downloaded. Returns the exit code."""
    exclude = variables.value("EXCLUDE", SOURCE.command) or []
    source = openimages_tree.read(root, settings.categories, exclude)
    say("%s: %s" % (root.name, counted(len(source.images), "image")))
    boxes = repr([(labelled.name, labelled.boxes) for labelled in source.images])
    files = fingerprint([labelled.path for labelled in source.images], boxes)
    settings = dataclasses.replace(settings, categories="")  # the reader has applied it
    inputs = {"files": files, "exclude": exclude}
    return build(target(SOURCE, root.name), source, settings, inputs, folder=root)


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser(
        "dataset " + SOURCE.name,
        "Makes a dataset of classes of Open Images; see ./dataset-openimages.sh --help.",
    )
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", help="a tree that OIDv4_ToolKit downloaded"
    )
    folder = parser.parse_args(argv).folder
    settings = Settings.from_environment(SOURCE.command)
    return build_tree(given_path(folder), settings) if folder else build_download(settings)
