"""Reads a tree that OIDv4_ToolKit downloaded: Dataset/{train,validation,test}/CLASS/ID.jpg, with Label/ID.txt beside, and csv_folder/."""

import math
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from todus.categories import canonical
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, NamedBox, number
from todus.dataset.image_folder import files_under, is_image
from todus.dataset.labelled_images import LabelledImage, LabelledSource
from todus.dataset.sources import openimages_classes, openimages_rows
from todus.dataset.sources.openimages_site import SPLITS
from todus.errors import TodusError
from todus.text import one_line

TABLES = ("%s-annotations-bbox.csv", "oidv6-%s-annotations-bbox.csv")

Key = Tuple[str, str]  # split, image id


class _Files(NamedTuple):
    """The tree's files."""

    images: Dict[Key, Path]
    labels: Dict[Key, List[Path]]
    tables: Dict[str, Path]  # split -> box file
    folders: List[str]  # names of the folders that hold images


class _Labels(NamedTuple):
    """What the label files of one image say."""

    boxes: List[NamedBox]
    unreadable: List[str]  # files
    ignored: int  # lines


def read(root: Path, categories: str, exclude: Sequence[str] = ()) -> LabelledSource:
    """The images of the tree with the boxes of its classes.

    The boxes are those of the box files where these are in the tree, because they tell groups, else those of the label files.

    Args:
      root: the tree.
      categories: CATEGORIES; "" for the classes that the tree was downloaded for (its folders and label files).
      exclude: names in openimages_rows.FLAGS; boxes with such a flag are left out.

    Raises:
      TodusError: there is no such tree. UsageError: CATEGORIES names an unknown class.
    """
    tree = _find_files(root)
    if not tree.images:
        raise TodusError(
            "%s holds no train/, validation/ or test/ folder with images; name OIDv4_ToolKit's OID folder"
            % root
        )
    labels = {key: _read_labels(files) for key, files in tree.labels.items()}
    chosen = _chosen_classes(
        categories, tree.folders, [box.name for each in labels.values() for box in each.boxes]
    )
    source = LabelledSource(class_order=openimages_classes.ordered(chosen), upright=False)
    for each in labels.values():
        for name in each.unreadable:
            source.leave_out(name, "label file that cannot be read")
    ignored = sum(each.ignored for each in labels.values())
    if ignored:
        source.mended["line of a label file ignored: " + NOT_A_NUMBER] += ignored
    wanted = {canonical(name): name for name in chosen.values()}
    for split in sorted({split for split, _ in tree.images}):
        ids = {image: path for (side, image), path in sorted(tree.images.items()) if side == split}
        table = tree.tables.get(split)
        packed = (
            openimages_rows.read(table, openimages_classes.labels_of(chosen), exclude, set(ids))
            if table
            else None
        )
        for image, path in ids.items():
            if packed:
                boxes, frame = (
                    openimages_rows.named_boxes(packed.boxes.get(image, b""), chosen),
                    FRACTIONS,
                )
            else:
                listed = labels[split, image].boxes if (split, image) in labels else []
                boxes, frame = (
                    [
                        box._replace(name=wanted[canonical(box.name)])
                        for box in listed
                        if canonical(box.name) in wanted
                    ],
                    UNKNOWN,
                )
            source.images.append(
                LabelledImage("%s/%s" % (split, image), path, boxes, frame, SPLITS[split])
            )
    return source


def _find_files(root: Path) -> _Files:
    tree = _Files({}, {}, {}, [])
    paths = files_under(root)
    for path in paths:
        split = next(
            (part.lower() for part in path.relative_to(root).parts if part.lower() in SPLITS), ""
        )
        if split and is_image(path):
            tree.images.setdefault((split, path.stem), path)
            tree.folders.append(path.parent.name)
        elif split and path.suffix == ".txt" and path.parent.name == "Label":
            tree.labels.setdefault((split, path.stem), []).append(path)
    for split in SPLITS:
        table = _find_table(split, paths)
        if table:
            tree.tables[split] = table
    return tree


def _find_table(split: str, paths: Sequence[Path]) -> Optional[Path]:
    names = [name % split for name in TABLES]
    return next((path for path in paths if path.name in names), None)


def _chosen_classes(
    categories: str, folders: Sequence[str], in_labels: Sequence[str]
) -> Dict[int, str]:
    """id -> name of the wanted classes, among Open Images' own."""
    if categories:
        return openimages_classes.choose(categories)
    known = {canonical(name): identity for identity, name in openimages_classes.known().items()}
    words = set(in_labels)
    for folder in set(folders):
        words |= {folder} if canonical(folder) in known else set(folder.split("_"))
    found = {known[canonical(word)] for word in words if canonical(word) in known}
    if not found:
        raise TodusError("no class of Open Images is the name of a folder; set CATEGORIES")
    return {identity: openimages_classes.known()[identity] for identity in sorted(found)}


def _read_labels(files: Sequence[Path]) -> _Labels:
    """Lines "Polar bear xmin ymin xmax ymax" in pixels. A second run of the toolkit appends the same lines again: they count once."""
    lines: Dict[str, None] = {}
    unreadable = []
    for path in files:
        try:
            lines.update(dict.fromkeys(path.read_text(encoding="utf-8").splitlines()))
        except (OSError, UnicodeDecodeError):
            unreadable.append(path.name)
    boxes, ignored = [], 0
    for line in lines:
        words = line.rsplit(None, 4)
        sides = [number(word) for word in words[1:]]
        if len(sides) == 4 and all(math.isfinite(side) for side in sides):
            boxes.append(NamedBox(one_line(words[0]), *sides))
        elif line.strip():
            ignored += 1
    return _Labels(boxes, unreadable, ignored)
