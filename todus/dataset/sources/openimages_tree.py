"""A tree that OIDv4_ToolKit downloaded: Dataset/{train,validation,test}/CLASS/ID.jpg, with Label/ID.txt beside, and csv_folder/."""

import math
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from todus.categories import canonical
from todus.dataset import build
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, NamedBox
from todus.dataset.image_folder import files_under, is_image
from todus.dataset.labelled_images import Found, Labelled
from todus.dataset.settings import Settings
from todus.dataset.sources import openimages_classes, openimages_rows
from todus.errors import TodusError
from todus.text import one_line

SPLITS = {"train": "train", "validation": "val", "test": "test"}
TABLES = ("%s-annotations-bbox.csv", "oidv6-%s-annotations-bbox.csv")


def read(root: Path, settings: Settings, exclude: Sequence[str] = ()) -> Found:
    """The images of the tree with the boxes of its classes: from the box files where they are in the tree, which know groups, else
    from the label files.

    The classes are those of CATEGORIES, else those that the tree was downloaded for (its folders and label files).

    Raises:
      TodusError: there is no such tree. UsageError: CATEGORIES names an unknown class.
    """
    paths = files_under(root)
    images: Dict[Tuple[str, str], Path] = {}
    labels: Dict[Tuple[str, str], List[Path]] = {}
    names = []
    for path in paths:
        split = next((part.lower() for part in path.relative_to(root).parts if part.lower() in SPLITS), "")
        key = (split, path.stem)
        if split and is_image(path):
            images.setdefault(key, path)
            names.append(path.parent.name)
        elif split and path.suffix == ".txt" and path.parent.name == "Label":
            labels.setdefault(key, []).append(path)
    if not images:
        raise TodusError("%s holds no train/, validation/ or test/ folder with images; name OIDv4_ToolKit's OID folder" % root)
    found = Found()
    texts = {key: _labels(files, found) for key, files in labels.items()}
    chosen = _chosen(settings, names, [box.name for boxes in texts.values() for box in boxes])
    found.order = openimages_classes.ordered(chosen)
    settings.categories = ""
    tables = {split: _table(split, paths) for split, _ in images}
    wanted = {canonical(name): name for name in chosen.values()}
    for split, table in sorted(tables.items()):
        ids = {image: path for (side, image), path in sorted(images.items()) if side == split}
        packed = openimages_rows.read(table, openimages_classes.labels_of(chosen), exclude, set(ids)) if table else None
        for image, path in ids.items():
            if packed:
                boxes, frame = openimages_rows.named(packed.boxes.get(image, b""), chosen), FRACTIONS
            else:
                boxes = [
                    box._replace(name=wanted[canonical(box.name)]) for box in texts.get((split, image), []) if canonical(box.name) in wanted
                ]
                frame = UNKNOWN
            found.images.append(Labelled("%s/%s" % (split, image), path, boxes, frame, SPLITS[split]))
    return found


def _chosen(settings: Settings, folders: Sequence[str], in_labels: Sequence[str]) -> Dict[int, str]:
    """id -> name of the wanted classes, among Open Images' own."""
    if settings.categories:
        return openimages_classes.choose(settings.categories)
    known = {canonical(name): identity for identity, name in openimages_classes.known().items()}
    words = set(in_labels)
    for folder in set(folders):
        words |= {folder} if canonical(folder) in known else set(folder.split("_"))
    found = {known[canonical(word)] for word in words if canonical(word) in known}
    if not found:
        raise TodusError("no class of Open Images is the name of a folder; set CATEGORIES")
    return {identity: openimages_classes.known()[identity] for identity in sorted(found)}


def _table(split: str, paths: Sequence[Path]) -> Path:
    names = [name % split for name in TABLES]
    return next((path for path in paths if path.name in names), None)


def _labels(files: Sequence[Path], found: Found) -> List[NamedBox]:
    """Lines "Polar bear xmin ymin xmax ymax" in pixels. A second run of the toolkit appends the same lines again: they count once."""
    lines: Dict[str, None] = {}
    for path in files:
        try:
            lines.update(dict.fromkeys(path.read_text(encoding="utf-8").splitlines()))
        except (OSError, UnicodeDecodeError):
            found.leave_out(path.name, "label file that cannot be read")
    boxes = []
    for line in lines:
        words = line.rsplit(None, 4)
        sides = [_number(word) for word in words[1:]]
        if len(sides) == 4 and all(math.isfinite(side) for side in sides):
            boxes.append(NamedBox(one_line(words[0]), *sides))
        elif line.strip():
            found.mended["line of a label file ignored: " + NOT_A_NUMBER] += 1
    return boxes


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def fingerprint(root: Path, found: Found) -> str:
    """Of the label files and images; box files count by the boxes they gave."""
    inputs = [labelled.path for labelled in found.images]
    boxes = repr([(labelled.name, labelled.boxes) for labelled in found.images])
    return build.fingerprint(inputs, boxes)
