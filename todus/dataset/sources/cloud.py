"""Reads a Cloud Annotations export: a folder of images with one _annotations.json."""

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from todus import sources, variables
from todus.command import Parser
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import FRACTIONS, NamedBox
from todus.dataset.build import build, fingerprint, target
from todus.dataset.image_folder import ImageFolder, files_under, given_path
from todus.dataset.labelled_images import SECOND_ANNOTATION, LabelledImage, LabelledSource
from todus.dataset.settings import Settings
from todus.errors import TodusError, UsageError
from todus.text import one_line

SOURCE = sources.find("cloud")

FILE = "_annotations.json"
CORNERS = ("x", "y", "x2", "y2")


def read(folder: Path) -> LabelledSource:
    """The images of `folder` with the boxes of its _annotations.json; labels in the file's order.

    Raises:
      TodusError: the file is missing, cannot be read, or has classes of whole images and no boxes.
    """
    path = folder / FILE
    value = _load(path)
    annotations = value.get("annotations")
    if not isinstance(annotations, dict):
        raise TodusError(
            '%s has no "annotations" (file name to boxes); export it from Cloud Annotations again'
            % path
        )
    _check_kind(value.get("type"), annotations, path)
    images = ImageFolder(folder, files_under(folder))
    source = LabelledSource(class_order=_class_names(value.get("labels")))
    labelled: Dict[Path, LabelledImage] = {}
    ambiguous: Set[Path] = set()
    for name, entries in annotations.items():
        image = images.find_by_name(name)
        if image is None:
            source.leave_out(name, "annotated image that is not in the folder, or is in it twice")
            ambiguous.update(images.named(name))
        elif image in labelled:
            source.leave_out(name, SECOND_ANNOTATION)
        else:
            labelled[image] = _labelled_image(images.relative(image).as_posix(), image, entries)
    for path in images.paths:
        name = images.relative(path).as_posix()
        if path in labelled or path not in ambiguous:
            source.images.append(labelled.get(path) or LabelledImage(name, path))
        else:
            source.leave_out(name, "image whose annotation may be that of another", fault=False)
    return source


def _load(path: Path) -> Dict[str, Any]:
    if path.exists() and not path.is_file():
        raise TodusError("%s is not a file; name a folder that Cloud Annotations exported" % path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        other = "name a folder that Cloud Annotations exported, or set DATA_DIR"
        raise TodusError("%s is missing; %s" % (path, formats.advice(path.parent, SOURCE, other)))
    except (OSError, ValueError, RecursionError) as error:
        raise TodusError(
            "%s is not readable JSON (%s); export it from Cloud Annotations again" % (path, error)
        )
    if not isinstance(value, dict):
        raise TodusError(
            "%s is not a Cloud Annotations file; export it from Cloud Annotations again" % path
        )
    return value


def _check_kind(kind: Any, annotations: Dict[str, Any], path: Path) -> None:
    entries = [each for one in annotations.values() if isinstance(one, list) for each in one]
    has_boxes = any(isinstance(entry, dict) and "x" in entry for entry in entries)
    if kind == "localization" or (kind is None and has_boxes):
        return
    if kind == "classification" or not has_boxes:
        raise TodusError(
            '%s is of type "classification", which has no boxes; export a "localization" project'
            % path
        )
    raise TodusError(
        '%s is of type "%s"; only "localization" has boxes' % (path, one_line(str(kind))[:40])
    )


def _labelled_image(name: str, image: Path, entries: Any) -> LabelledImage:
    labelled = LabelledImage(name, image, frame=FRACTIONS)
    if not isinstance(entries, list):
        labelled.dropped["boxes that are not a list"] += 1
        return labelled
    for entry in entries:
        label = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(label, str) or not one_line(label):
            labelled.dropped["box without a label"] += 1
            continue
        corners = [_number(entry.get(corner)) for corner in CORNERS]
        if all(math.isfinite(corner) for corner in corners):
            labelled.boxes.append(NamedBox(one_line(label), *corners))
        else:
            labelled.dropped[NOT_A_NUMBER] += 1
    return labelled


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _class_names(labels: Any) -> List[str]:
    """The names in "labels", each once."""
    listed = labels if isinstance(labels, list) else []
    names = dict.fromkeys(one_line(label) for label in listed if isinstance(label, str))
    return [name for name in names if name]


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser(
        "dataset " + SOURCE.name,
        "Makes a dataset of a Cloud Annotations folder; see ./dataset-cloud.sh --help.",
    )
    default = variables.value("DATA_DIR", SOURCE.command)
    parser.add_argument("folder", metavar="DIR", nargs="?", default=default)
    given = parser.parse_args(argv).folder
    if not given:
        raise UsageError("name the folder that holds %s, or set DATA_DIR" % FILE)
    folder = given_path(given)
    settings = Settings.from_environment(SOURCE.command)
    source = read(folder)
    inputs = [folder / FILE] + [labelled.path for labelled in source.images]
    digests = {"files": fingerprint(inputs)}
    return build(target(SOURCE, folder.name), source, settings, digests, folder=folder)
