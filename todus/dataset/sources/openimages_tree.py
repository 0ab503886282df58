"""Reads a tree that OIDv4_ToolKit downloaded.

It holds Dataset/{train,validation,test}/CLASS/ID.jpg, each with Label/ID.txt beside it, and often
the box files in csv_folder/.
"""

import math
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from todus import sources
from todus.categories import canonical
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, NamedBox, number
from todus.dataset.image_folder import files_under, is_image
from todus.dataset.labelled_images import LabelledImage, LabelledSource
from todus.dataset.sources import openimages_classes, openimages_rows
from todus.dataset.sources.openimages_site import SPLITS
from todus.errors import TodusError
from todus.text import one_line

SOURCE = sources.find("openimages")

BOX_FILES = {
    name % split: split
    for split in SPLITS
    for name in ("%s-annotations-bbox.csv", "oidv6-%s-annotations-bbox.csv")
}

Key = Tuple[str, str]  # split, image id


class _Files(NamedTuple):
    images: Dict[Key, Path]
    labels: Dict[Key, List[Path]]
    tables: Dict[str, Path]  # split -> box file
    folders: List[str]  # names of the folders that hold images


def read(root: Path, categories: str, exclude: Sequence[str] = ()) -> LabelledSource:
    """The images of the tree with the boxes of its classes.

    Boxes come from the tree's box files, which flag groups, else from its label files.

    Args:
      root: the tree.
      categories: CATEGORIES; "" for the classes that the tree's folders and label files name.
      exclude: names in openimages_rows.FLAGS; boxes with such a flag are left out.

    Raises:
      TodusError: the tree has no images, or names no class.
      UsageError: CATEGORIES names an unknown class.
    """
    tree = _find_files(root)
    if not tree.images:
        other = formats.advice(root, SOURCE, "name OIDv4_ToolKit's OID folder")
        raise TodusError("%s has no images in train/, validation/ or test/; %s" % (root, other))
    source = LabelledSource(upright=False)
    labels = {key: _read_labels(files, source) for key, files in tree.labels.items()}
    in_labels = [box.name for boxes in labels.values() for box in boxes]
    chosen = _chosen_classes(root, categories, tree.folders, in_labels)
    source.class_order = openimages_classes.ordered(chosen)
    names = {canonical(name): name for name in chosen.values()}
    for split in sorted({split for split, _ in tree.images}):
        ids = {image: path for (side, image), path in sorted(tree.images.items()) if side == split}
        table = tree.tables.get(split)
        if table:
            mids = openimages_classes.labels_of(chosen)
            rows = openimages_rows.read(table, mids, exclude, set(ids)).boxes
        for image, path in ids.items():
            if table:
                boxes = openimages_rows.named_boxes(rows.get(image, b""), chosen)
            else:
                boxes = [
                    box._replace(name=names[canonical(box.name)])
                    for box in labels.get((split, image), [])
                    if canonical(box.name) in names
                ]
            name, frame = "%s/%s" % (split, image), FRACTIONS if table else UNKNOWN
            source.images.append(LabelledImage(name, path, boxes, frame, SPLITS[split]))
    return source


def _find_files(root: Path) -> _Files:
    tree = _Files({}, {}, {}, [])
    for path in files_under(root):
        folders = [part.lower() for part in path.relative_to(root).parts]
        split = next((folder for folder in folders if folder in SPLITS), "")
        if split and is_image(path):
            tree.images.setdefault((split, path.stem), path)
            tree.folders.append(path.parent.name)
        elif split and path.suffix == ".txt" and path.parent.name == "Label":
            tree.labels.setdefault((split, path.stem), []).append(path)
        elif path.name in BOX_FILES:
            tree.tables.setdefault(BOX_FILES[path.name], path)
    return tree


def _chosen_classes(
    root: Path, categories: str, folders: Sequence[str], in_labels: Sequence[str]
) -> Dict[int, str]:
    """id -> name of the classes that CATEGORIES, else the folders and label files, name."""
    if categories:
        return openimages_classes.choose(categories)
    classes = openimages_classes.known()
    known = {canonical(name): identity for identity, name in classes.items()}
    words = set(in_labels)
    for folder in set(folders):  # "Polar bear", or "Car_Bus" for the images of two classes
        words |= {folder} if canonical(folder) in known else set(folder.split("_"))
    found = {known[canonical(word)] for word in words if canonical(word) in known}
    if not found:
        other = formats.advice(root, SOURCE, "set CATEGORIES")
        raise TodusError("no folder has the name of an Open Images class; %s" % other)
    return {identity: classes[identity] for identity in sorted(found)}


def _read_labels(files: Sequence[Path], source: LabelledSource) -> List[NamedBox]:
    """The boxes of one image's label files; counts in `source` what cannot be read.

    A line is "Polar bear xmin ymin xmax ymax" in pixels. Each line counts once, because a second
    run of the toolkit appends the same lines again.
    """
    lines: Dict[str, None] = {}
    for path in files:
        try:
            lines.update(dict.fromkeys(path.read_text(encoding="utf-8").splitlines()))
        except (OSError, UnicodeDecodeError):
            source.leave_out(path.name, "label file that cannot be read")
    boxes = []
    for line in lines:
        words = line.rsplit(None, 4)
        sides = [number(word) for word in words[1:]]
        if len(sides) == 4 and all(math.isfinite(side) for side in sides):
            boxes.append(NamedBox(one_line(words[0]), *sides))
        elif line.strip():
            source.mended["line of a label file ignored: " + NOT_A_NUMBER] += 1
    return boxes
