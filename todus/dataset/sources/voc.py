"""Pascal VOC: a folder of images and XML files, as LabelImg and many other tools write them.

Everything is read by tag, in any case; parts of objects (head, hand, foot) have boxes of their own, which are not the object's.
"""

import math
import os
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from todus.command import Parser
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import UNKNOWN, NamedBox
from todus.dataset.build import build, fingerprint, target
from todus.dataset.image_folder import Images, files_under, is_image, split_of
from todus.dataset.labelled_images import Found, Labelled
from todus.dataset.settings import Settings
from todus.errors import TodusError
from todus.text import one_line

LARGEST_XML = 16 << 20  # bytes; an annotation of one image is a few thousand
SECOND = "second annotation of one image"
NO_ANNOTATION = "image without XML (KEEP_EMPTY=1 keeps such images)"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class BadXml(Exception):
    """The file is no Pascal VOC annotation; the message is the reason."""


def read(root: Path, keep_empty: bool = False) -> Found:
    """Every annotated image below `root`: all in one folder, annotations/ beside images/, Annotations/ with JPEGImages/ and ImageSets/,
    or any of these below train/ and test/ (or val/).

    Args:
      root: the folder.
      keep_empty: whether images without XML are taken, as negatives.

    Raises:
      TodusError: there is no XML file.
    """
    paths = files_under(root)
    images = Images(root, paths)
    annotations = [path for path in paths if path.suffix.lower() == ".xml"]
    if not annotations:
        raise TodusError(
            "no XML file under %s (%d images); name the folder that holds images and Pascal VOC annotations" % (root, len(images.paths))
        )
    sets = image_sets(root, paths)
    found = Found()
    taken: Dict[Path, Path] = {}
    for path, element, image in _in_order(annotations, images, found):
        if image in taken:
            found.leave_out(path.relative_to(root), SECOND)
            continue
        taken[image] = path
        found.images.append(_labelled(element, image, images, path, sets))
    for image in images.paths:
        if image not in taken:
            name = images.relative(image).as_posix()
            if keep_empty:
                found.images.append(Labelled(name, image, split=_split(image, images, image, sets)))
            else:
                found.leave_out(name, NO_ANNOTATION, fault=False)
    found.images.sort(key=lambda labelled: labelled.name)
    return found


def _in_order(annotations: List[Path], images: Images, found: Found) -> Iterator[Tuple[Path, Element, Path]]:
    """Each readable annotation with its image, those whose own name is the image's first: they have the better claim to it."""
    later = []
    for path in annotations:
        try:
            element = parse(path)
            own, other = image_of(path, element, images)
        except BadXml as error:
            found.leave_out(path.relative_to(images.root), str(error))
            continue
        if own:
            yield path, element, own
        elif other:
            later.append((path, element, other))
        else:
            found.leave_out(path.relative_to(images.root), "XML without image")
    for path, element, image in later:
        found.mended["XML that has its image only by <filename>"] += 1
        yield path, element, image


def parse(path: Path) -> Element:
    """The root element. Raises BadXml for what is no XML, is hostile, or has no place in this format."""
    try:
        if path.stat().st_size > LARGEST_XML:
            raise BadXml("XML of more than %d MB" % (LARGEST_XML >> 20))
        root = ElementTree.parse(str(path), forbid_dtd=False).getroot()
    except DefusedXmlException:
        raise BadXml("XML with entities, which no annotation needs")
    except (ParseError, ValueError, LookupError, RecursionError):
        raise BadXml("XML that cannot be parsed")
    except OSError as error:
        raise BadXml("XML that cannot be read (%s)" % (error.strerror or "damaged"))
    if _tag(root) != "annotation":
        raise BadXml("XML that is no Pascal VOC annotation (its root is not <annotation>)")
    return root


def image_of(path: Path, element: Element, images: Images) -> Tuple[Optional[Path], Optional[Path]]:
    """The image with the annotation's own name, and failing that the one that <filename> names.

    The own name counts first: files renamed together keep an old <filename>, which may by now be another image's.
    """
    name = _text(element, "filename")
    if name and Path(name.replace("\\", "/")).stem.casefold() == path.stem.casefold():
        exact = images.named(name, path)
        if exact:
            return exact, None
    own = images.with_stem(path)
    return own, None if own or not name else images.named(name, path)


def _labelled(element: Element, image: Path, images: Images, path: Path, sets: Dict[str, str]) -> Labelled:
    labelled = Labelled(images.relative(image).as_posix(), image, frame=_frame(element), split=_split(image, images, path, sets))
    for entry in element.iter():
        if _tag(entry) == "object":
            _add_boxes(labelled, entry)
    return labelled


def _split(image: Path, images: Images, annotation: Path, sets: Dict[str, str]) -> str:
    if sets:
        return sets.get(image.stem.casefold(), "")
    return split_of(images.relative(image)) or split_of(images.relative(annotation))


def _add_boxes(labelled: Labelled, entry: Element) -> None:
    name = one_line(_text(entry, "name"))
    boxes = [child for child in entry if _tag(child) in ("bndbox", "bbox")]
    if not name or not boxes:
        labelled.dropped["box of an object without a name" if boxes else "box missing in an object"] += 1
        return
    for box in boxes:
        corners = [_number(_text(box, corner)) for corner in CORNERS]
        if not all(math.isfinite(corner) for corner in corners):
            labelled.dropped[NOT_A_NUMBER] += 1
            continue
        labelled.boxes.append(NamedBox(name, *corners, difficult=_flag(entry, "difficult"), truncated=_flag(entry, "truncated")))


def _frame(element: Element) -> Tuple[float, float]:
    for size in element:
        if _tag(size) == "size":
            width, height = _number(_text(size, "width")), _number(_text(size, "height"))
            if 0 < width < math.inf and 0 < height < math.inf:
                return (width, height)
    return UNKNOWN


def _tag(element: Element) -> str:
    """The tag in small letters; comments have none."""
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""


def _text(element: Element, tag: str) -> str:
    """The text of the first child with the tag."""
    for child in element:
        if _tag(child) == tag:
            return (child.text or "").strip()
    return ""


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan


def _flag(element: Element, tag: str) -> bool:
    return _text(element, tag).lower() in ("1", "true", "yes")


def image_sets(root: Path, paths: List[Path]) -> Dict[str, str]:
    """stem in small letters -> split, from ImageSets/Main/{train,val,test}.txt (trainval.txt for want of train.txt); empty for none."""
    lists = {}
    for path in paths:
        folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
        if folders[-1:] == ["imagesets"] or folders[-2:] == ["imagesets", "main"]:
            lists[path.name.lower()] = path
    if "train.txt" not in lists and "trainval.txt" in lists:
        lists["train.txt"] = lists["trainval.txt"]
    sets: Dict[str, str] = {}
    for split in ("train", "val", "test"):
        if split + ".txt" in lists:
            text = lists[split + ".txt"].read_text(encoding="utf-8-sig", errors="replace")
            for line in text.splitlines():
                if line.strip():
                    listed = Path(line.split()[0])
                    sets[(listed.stem if is_image(listed) else listed.name).casefold()] = split
    return sets if len(set(sets.values())) > 1 else {}


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("dataset voc", "Makes a dataset of a folder of images and Pascal VOC XML files; see ./dataset-voc.sh --help.")
    parser.add_argument("folder", metavar="DIR")
    root = Path(os.path.abspath(os.path.expanduser(parser.parse_args(argv).folder)))
    settings = Settings.from_environment()
    found = read(root, settings.keep_empty)
    inputs = [path for path in files_under(root) if path.suffix.lower() in (".xml", ".txt") or is_image(path)]
    return build(target("voc", root.name), "voc", found, settings, {"files": fingerprint(inputs)}, tables=True)
