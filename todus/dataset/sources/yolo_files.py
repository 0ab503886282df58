"""Reads what describes YOLO labels: data.yaml, lists of classes, and lists of images."""

import os
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from todus.dataset import formats
from todus.dataset.image_folder import ImageFolder, is_image, split_named
from todus.dataset.text_files import BadText, read_text
from todus.errors import TodusError
from todus.text import one_line

SUFFIXES = (".txt", ".yaml", ".yml", ".names", ".labels")
LARGEST_YAML = 1 << 20  # bytes
LARGEST_LIST = 256 << 20  # bytes
MOST_CLASSES = 10000
SPLITS = ("train", "val", "valid", "validation", "test")  # keys; of two the first counts


class Description(NamedTuple):
    """What is known of the labels of a folder."""

    names: List[str]  # by class id; "" for an id without a name
    splits: Dict[Path, str]  # image -> train, val or test
    has_keypoints: bool  # the numbers after a box are points of its object


def describe(
    root: Path, files: List[Path], images: ImageFolder, yaml: Optional[Path] = None
) -> Description:
    """The classes, and the splits that data.yaml or lists such as train.txt give.

    Raises TodusError for a data.yaml that cannot be read, and for lists of other classes.
    """
    about: Dict[str, Any] = {}
    described = [yaml] if yaml else [path for path in files if _is_yaml(path)]
    if described:
        fewest = min(len(path.parts) for path in described)
        yaml, *others = [path for path in described if len(path.parts) == fewest]
        about = _load(yaml)
        for other in others:
            # As lists: with aliases the text of a small file is one of any size.
            if _names(_load(other)["names"], other) != _names(about["names"], yaml):
                command = "./dataset-yolo.sh YAML DIR"
                raise TodusError(
                    "%s has other classes than %s; name one: %s" % (other, yaml, command)
                )
    splits: Dict[Path, str] = {}
    for key in SPLITS:
        for entry in _entries(about.get(key)):
            for image in _images_of(entry, yaml, str(about.get("path") or ""), images):
                splits.setdefault(image, split_named(key))
    for path in files:
        if path.suffix.lower() == ".txt" and split_named(path.stem) and path.name not in about:
            for image in _listed(path, images):
                splits.setdefault(image, split_named(path.stem))
    names = _names(about.get("names"), yaml) if about else _class_list(files)
    return Description(names or _class_list(files), splits, "kpt_shape" in about)


def _is_yaml(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml") and formats.kind_of(path) == "yolo"


def _load(path: Path) -> Dict[str, Any]:
    """The mapping in a file, with every value as text. Raises TodusError."""
    import yaml

    try:
        value = yaml.load(read_text(path, LARGEST_YAML), Loader=yaml.BaseLoader)  # makes no objects
    except (BadText, yaml.YAMLError, ValueError, RecursionError) as error:
        text = one_line(str(error).split("\n", 1)[0])
        raise TodusError("%s is not readable YAML (%s); mend it or remove it" % (path, text))
    if not isinstance(value, dict) or not value.get("names"):
        raise TodusError('%s has no "names", the list of classes; add it' % path)
    return value


def _names(value: Any, path: Optional[Path]) -> List[str]:
    """The classes of data.yaml: a list, a mapping of ids, or one name."""
    pairs = list(enumerate([value] if isinstance(value, str) else value))
    if isinstance(value, dict):
        pairs = [(int(key) if str(key).isdecimal() else -1, name) for key, name in value.items()]
    if any(not 0 <= key < MOST_CLASSES or not isinstance(name, str) for key, name in pairs):
        raise TodusError(
            "%s: names must be a list of class names, or ids from 0 to %d with a name each"
            % (path, MOST_CLASSES - 1)
        )
    names = [""] * (max(key for key, _ in pairs) + 1)
    for key, name in pairs:
        names[key] = one_line(name)
    return names


def _class_list(files: List[Path]) -> List[str]:
    """The classes of classes.txt and the like, one a line. Raises TodusError if two differ."""
    found: Dict[Path, List[str]] = {}
    for path in files:
        if path.name.lower() in formats.CLASS_LISTS or path.suffix.lower() == ".names":
            try:
                lines = read_text(path, LARGEST_YAML).rstrip().splitlines()
            except BadText as error:
                raise TodusError("%s: %s; mend it or remove it" % (path, error))
            found[path] = [one_line(line) for line in lines][:MOST_CLASSES]
    lists = [(path, names) for path, names in found.items() if names]
    for path, names in lists[1:]:
        if names != lists[0][1]:
            raise TodusError("%s has other classes than %s; keep one" % (path, lists[0][0]))
    return lists[0][1] if lists else []


def _entries(value: Any) -> List[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str) and each.strip()]


def _images_of(entry: str, yaml: Path, above: str, images: ImageFolder) -> Iterator[Path]:
    """The images of a folder or list that data.yaml names, wherever it is below the root."""
    place = _resolved(entry, [yaml.parent / above, yaml.parent, images.root / above], images.root)
    if place and place.suffix.lower() == ".txt" and place.is_file():
        yield from _listed(place, images)
    elif place:
        yield from (image for image in images.paths if place in image.parents)


def _resolved(entry: str, bases: List[Path], root: Path) -> Optional[Path]:
    """The path below `root` that an entry names: as it is, else by its last folders.

    A single word such as images, which may be any split's, is not enough.
    """
    words = [part for part in PurePosixPath(entry.replace("\\", "/")).parts if part.strip("./")]
    here = [base.joinpath(*words) for base in bases if ".." not in entry]
    for start in range(len(words)):
        if words[start:] not in (["images"], ["labels"]):
            here.append(root.joinpath(*words[start:]))
    inside = (path for path in map(_normal, here) if root in path.parents)
    return next(filter(_exists, inside), None)


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(str(path)))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _listed(path: Path, images: ImageFolder) -> Iterator[Path]:
    """The images that a list such as train.txt names, one a line; none for another file."""
    try:
        lines = list(filter(None, map(str.strip, read_text(path, LARGEST_LIST).splitlines())))
    except BadText:
        return
    if not all(is_image(Path(line)) for line in lines[:10]):
        return
    for line in lines:
        image = images.find_by_name(line, path)
        if image:
            yield image
