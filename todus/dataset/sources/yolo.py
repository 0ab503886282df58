"""Reads YOLO labels: a text file for each image, a line for each box, in fractions of the image.

A line is a class id with centre and size of a box, the corners of a rotated one, or a polygon.
"""

import math
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from todus import sources
from todus.command import Parser
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import FRACTIONS, NamedBox, number
from todus.dataset.build import build, fingerprint, target
from todus.dataset.image_folder import ImageFolder, files_under, given_path, split_of
from todus.dataset.labelled_images import COPIED, SECOND_ANNOTATION, LabelledImage, LabelledSource
from todus.dataset.settings import Settings
from todus.dataset.shapes import POLYGON, box_around
from todus.dataset.sources import yolo_files
from todus.dataset.text_files import BadText, read_text
from todus.errors import TodusError

SOURCE = sources.find("yolo")

NO_IMAGE = "label file without image"
BY_NAME = "label file whose image is in another folder, found by its name"
NOT_A_LINE = "box of a line that is not YOLO's (class x y width height)"
NO_CLASS = "box of a class id that the list of classes does not have"
IN_PIXELS = "box in pixels, where YOLO has fractions of the image"
MOST_FRACTION = 2.0  # a coordinate beyond it is no fraction
_BACKUP = re.compile(r"labels?[^a-z]", re.IGNORECASE)  # labels_old/, beside labels/
_KINDS = {"images", "image", "img", "imgs", "jpegimages", "labels", "label", "annotations"}


class _Labels(NamedTuple):
    """Image -> its label file."""

    of: Dict[Path, Path]
    doubtful: Set[Path]  # images that a label file may describe that could not be used


def read(root: Path, description: Optional[Path] = None) -> LabelledSource:
    """Every image below `root` with the boxes of its label file; none where it has no such file.

    Args:
      root: a folder with images/ and labels/ beside each other at any depth, or with images and
        label files together.
      description: a data.yaml elsewhere; None for the one below `root`.

    Raises:
      TodusError: there is no label file or no list of classes.
    """
    files = files_under(root)
    images = ImageFolder(root, files)
    about = yolo_files.describe(root, files, images, description)
    source = LabelledSource(class_order=list(dict.fromkeys(filter(None, about.names))))
    labels = _match(files, images, source)
    if not labels.of:
        other = "name the folder that holds images/ and labels/"
        raise TodusError(
            "no YOLO label file of an image under %s (%d images); %s"
            % (root, len(images.paths), formats.advice(root, SOURCE, other))
        )
    if not about.names:
        raise TodusError(
            "no data.yaml, classes.txt or obj.names under %s; write the classes to %s, one a line "
            "in the order of their ids" % (root, root / "classes.txt")
        )
    for path in images.paths:
        name = images.relative(path)
        split = about.splits.get(path) or split_of(name)
        labelled = LabelledImage(name.as_posix(), path, frame=FRACTIONS, split=split)
        try:
            if path in labels.of:
                text = read_text(labels.of[path])
                source.mended.update(_add_boxes(labelled, text, about))
        except BadText as error:
            source.leave_out(labels.of[path].relative_to(root), str(error))
            continue
        if path in labels.doubtful:
            source.leave_out(name, "image whose labels may be those of another", fault=False)
        else:
            source.images.append(labelled)
    return source


def _match(files: List[Path], images: ImageFolder, source: LabelledSource) -> _Labels:
    """The label file of each image: the one at the same place, else the only one of its name."""
    found = _Labels({}, set())
    at_place: Dict[Tuple[str, ...], List[Path]] = {}
    for path in images.paths:
        at_place.setdefault(_place(images.relative(path)), []).append(path)
    stems = Counter(path.stem.casefold() for path in images.paths)
    texts = [path for path in files if path.suffix.lower() == ".txt"]
    texts.sort(key=lambda path: "labels" not in path.parts)  # before others of the same image
    later = []
    for path in texts:
        relative = path.relative_to(images.root)
        candidates = at_place.get(_place(PurePosixPath(relative.as_posix())), [])
        if not candidates:
            later.append(path)
        elif len(candidates) > 1 or candidates[0] in found.of:
            source.leave_out(relative, SECOND_ANNOTATION if len(candidates) == 1 else NO_IMAGE)
            found.doubtful.update(candidates if len(candidates) > 1 else ())
        else:
            found.of[candidates[0]] = path
    names = Counter(path.stem.casefold() for path in later)
    for path in filter(_is_label, later):
        image, stem = images.find_by_stem(path), path.stem.casefold()
        if image and image not in found.of and stems[stem] == names[stem] == 1:
            source.mended[BY_NAME] += 1
            found.of[image] = path
        elif image in found.of and any(map(_BACKUP.match, path.relative_to(images.root).parts)):
            source.leave_out(path.relative_to(images.root), COPIED, fault=False)
        else:
            source.leave_out(path.relative_to(images.root), NO_IMAGE)
    return found


def _place(relative: PurePosixPath) -> Tuple[str, ...]:
    """The folders of a file without images/ and labels/, and its name without the suffix."""
    parts = [part.casefold() for part in relative.parts[:-1]]
    return tuple(part for part in parts if part not in _KINDS) + (relative.stem.casefold(),)


def _is_label(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(formats.LABEL.match(file.read(formats.HEAD)))


def _add_boxes(labelled: LabelledImage, text: str, about: yolo_files.Description) -> List[str]:
    """Adds the boxes of a label file; returns what was corrected."""
    mended = []
    for line in filter(None, map(str.strip, text.splitlines())):
        words = line.split() if len(line.split()) > 1 else line.replace(";", ",").split(",")
        identity, *values = [number(word.strip(",;").replace(",", ".")) for word in words]
        if about.has_keypoints:
            values = values[:4]
        elif len(values) > 4 and len(values) % 2:
            values = values[:-1]  # without the confidence
        if len(values) < 4 or len(values) % 2:
            labelled.dropped[NOT_A_LINE] += 1
        elif not all(map(math.isfinite, [identity, *values])):
            labelled.dropped[NOT_A_NUMBER] += 1
        elif identity != int(identity) or not _name(about.names, identity):
            labelled.dropped[NO_CLASS] += 1
        elif any(abs(value) > MOST_FRACTION for value in values):
            labelled.dropped[IN_PIXELS] += 1
        else:
            name = _name(about.names, identity)
            if len(values) == 4:
                x, y, width, height = values
                half = width / 2, height / 2
                labelled.boxes.append(
                    NamedBox(name, x - half[0], y - half[1], x + half[0], y + half[1])
                )
            else:
                mended.append(POLYGON)
                labelled.boxes.append(box_around(name, values[::2], values[1::2]))
    return mended


def _name(names: List[str], identity: float) -> str:
    return names[int(identity)] if 0 <= identity < len(names) else ""


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser(
        "dataset " + SOURCE.name,
        "Makes a dataset of images and YOLO labels; see ./dataset-yolo.sh --help.",
    )
    parser.add_argument("yaml", metavar="YAML", nargs="?")
    parser.add_argument("folder", metavar="DIR")
    given = parser.parse_args(argv)
    root, yaml = given_path(given.folder), given.yaml and given_path(given.yaml)
    if not yaml and root.suffix.lower() in (".yaml", ".yml") and root.is_file():
        root, yaml = root.parent, root
    settings = Settings.from_environment(SOURCE.command)
    source = read(root, yaml)
    used = [path for path in files_under(root) if path.suffix.lower() in yolo_files.SUFFIXES]
    inputs = used + [labelled.path for labelled in source.images] + ([yaml] if yaml else [])
    digests = {"files": fingerprint(sorted(set(inputs)))}
    return build(target(SOURCE, root.name), source, settings, digests, tables=True, folder=root)
