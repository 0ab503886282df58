"""Reads Pascal VOC: a folder of images and XML files, as LabelImg and many other tools write them.

Elements are found by tag, in any case. The boxes of an object's parts (head, hand, foot) are not
read.
"""

import math
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from todus import sources
from todus.dataset import formats
from todus.dataset.annotations import NOT_A_NUMBER
from todus.dataset.box_fitting import UNKNOWN, NamedBox, frame_of, number
from todus.dataset.image_folder import ImageFolder, files_under, is_image, split_of
from todus.dataset.labelled_images import COPIED, SECOND_ANNOTATION, LabelledImage, LabelledSource
from todus.dataset.source_commands import build_folder
from todus.errors import TodusError
from todus.text import one_line

SOURCE = sources.find("voc")

LARGEST_XML = 16 << 20  # bytes; an annotation of one image is a few thousand
NO_ANNOTATION = "image without XML (KEEP_EMPTY=1 keeps such images)"
NO_NEGATIVE = "image whose XML is unusable, or of another image of the same name"
NOT_LOOKED_AT = "doubtful box in a file that nobody has saved since, taken for no object"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class BadXml(Exception):
    """The file is not a Pascal VOC annotation; the message is the reason."""


class _Match(NamedTuple):
    """An annotation file with its root element and image, or the reason why it is left out."""

    annotation: Path
    element: Optional[Element] = None
    image: Optional[Path] = None
    by_filename: bool = False  # the image has another name than the annotation
    fault: str = ""
    named: str = ""  # in <filename>, where no image could be found


def read(root: Path, keep_empty: bool = False) -> LabelledSource:
    """Every annotated image below `root`, with its boxes.

    Args:
      root: a folder with images and XML files together, with annotations/ and images/, with
        Annotations/, JPEGImages/ and ImageSets/, or with any of these below train/ and test/.
      keep_empty: whether images without XML are included, as negatives.

    Raises:
      TodusError: there is no XML file.
    """
    paths = files_under(root)
    images = ImageFolder(root, paths)
    annotations = [path for path in paths if path.suffix.lower() == ".xml"]
    if not annotations:
        other = "name the folder that holds images and Pascal VOC annotations"
        raise TodusError(
            "no XML file under %s (%d images); %s"
            % (root, len(images.paths), formats.advice(root, SOURCE, other))
        )
    sets = read_image_sets(root, paths)
    source = LabelledSource()
    taken: Set[Path] = set()
    withheld: Set[Path] = set()  # images that an annotation may describe
    for match in _matches(annotations, images):
        withheld.update(
            images.near(match.annotation) + images.near(match.image or match.annotation)
        )
        withheld.update(images.named(match.named))
        if match.by_filename:
            source.mended["XML whose image was found only by its <filename>"] += 1
        fault = match.fault or (SECOND_ANNOTATION if match.image in taken else "")
        if fault:
            is_copy = not match.fault and not images.are_together(match.annotation, match.image)
            name = match.annotation.relative_to(root)
            source.leave_out(name, COPIED if is_copy else fault, fault=not is_copy)
        else:
            taken.add(match.image)
            labelled = _labelled_image(match, images, sets)
            source.images.append(labelled)
            doubtful = sum(box.is_crowd for box in labelled.boxes)
            source.mended.update({NOT_LOOKED_AT: doubtful} if doubtful else {})
    for image in images.paths:
        name = images.relative(image).as_posix()
        if image not in taken and image in withheld:
            source.leave_out(name, NO_NEGATIVE, fault=False)
        elif image not in taken and keep_empty:
            split = _split(image, images, image, sets)
            source.images.append(LabelledImage(name, image, split=split))
        elif image not in taken:
            source.leave_out(name, NO_ANNOTATION, fault=False)
    source.images.sort(key=lambda labelled: labelled.name)
    return source


def _matches(annotations: List[Path], images: ImageFolder) -> Iterator[_Match]:
    """Each annotation with its image.

    Of two annotations of one image the first is used. Those in the image's folder, or in
    Annotations/ beside it, come first, and matches by <filename> alone last.
    """
    elsewhere, later = [], []
    for path in annotations:
        try:
            element = parse(path)
            own, other = image_of(path, element, images)
        except BadXml as error:
            yield _Match(path, fault=str(error))
            continue
        if own and images.are_together(path, own):
            yield _Match(path, element, own)
        elif own:
            elsewhere.append(_Match(path, element, own))
        elif other:
            later.append(_Match(path, element, other, by_filename=True))
        else:
            yield _Match(path, fault="XML without image", named=_text(element, "filename"))
    yield from elsewhere + later


def parse(path: Path) -> Element:
    """The root element. Raises BadXml for a file that is not XML or not a VOC annotation."""
    try:
        if not path.is_file():
            raise BadXml("XML that is a pipe, a device or missing, not a file")
        if path.stat().st_size > LARGEST_XML:
            raise BadXml("XML of more than %d MB" % (LARGEST_XML >> 20))
        root = ElementTree.parse(str(path), forbid_dtd=False).getroot()
    except DefusedXmlException:
        raise BadXml("XML with entities, which are not allowed")
    except (ParseError, ValueError, LookupError, RecursionError):
        raise BadXml("XML that cannot be parsed")
    except OSError as error:
        raise BadXml("XML that cannot be read (%s)" % (error.strerror or "damaged"))
    if _tag(root) != "annotation":
        raise BadXml("XML that is not a Pascal VOC annotation (its root is not <annotation>)")
    return root


def image_of(
    path: Path, element: Element, images: ImageFolder
) -> Tuple[Optional[Path], Optional[Path]]:
    """(image, None) for the image with the annotation's own name, else (None, image) by <filename>.

    The file's own name comes first: when files are renamed together, <filename> keeps the old name,
    which may now be another image's. Either may be None.
    """
    name = _text(element, "filename")
    if name and Path(name.replace("\\", "/")).stem.casefold() == path.stem.casefold():
        exact = images.find_by_name(name, path)
        if exact:
            return exact, None
    own = images.find_by_stem(path)
    return own, images.find_by_name(name, path) if name and not own else None


def _labelled_image(match: _Match, images: ImageFolder, sets: Dict[str, str]) -> LabelledImage:
    name = images.relative(match.image).as_posix()
    split = _split(match.image, images, match.annotation, sets)
    labelled = LabelledImage(name, match.image, frame=_frame(match.element), split=split)
    for entry in match.element.iter():
        if _tag(entry) == "object":
            _add_boxes(labelled, entry)
    return labelled


def _split(image: Path, images: ImageFolder, annotation: Path, sets: Dict[str, str]) -> str:
    if sets:
        return sets.get(image.stem.casefold(), "")
    return split_of(images.relative(image)) or split_of(images.relative(annotation))


def _add_boxes(labelled: LabelledImage, entry: Element) -> None:
    name = one_line(_text(entry, "name"))
    boxes = [child for child in entry if _tag(child) in ("bndbox", "bbox")]
    if not boxes:
        labelled.dropped["box missing in an object"] += 1
    elif not name:
        labelled.dropped["box of an object without a name"] += 1
    flags = {flag: _flag(entry, flag) for flag in ("difficult", "truncated")}
    for box in boxes if name else ():
        corners = [_number(_text(box, corner)) for corner in CORNERS]
        if all(math.isfinite(corner) for corner in corners):
            # ./dataset-label.sh writes it; LabelImg drops it when a person saves the file.
            is_crowd = _flag(entry, "doubtful")
            labelled.boxes.append(NamedBox(name, *corners, is_crowd=is_crowd, **flags))
        else:
            labelled.dropped[NOT_A_NUMBER] += 1


def _frame(element: Element) -> Tuple[float, float]:
    for size in element:
        if _tag(size) == "size":
            frame = frame_of(_number(_text(size, "width")), _number(_text(size, "height")))
            if frame != UNKNOWN:
                return frame
    return UNKNOWN


def _tag(element: Element) -> str:
    """The tag in lower case; "" for a comment."""
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""


def _text(element: Element, tag: str) -> str:
    """The text of the first child with the tag, "" where there is none."""
    return next(((child.text or "").strip() for child in element if _tag(child) == tag), "")


def _number(text: str) -> float:
    """As `number`, for text that may have a decimal comma."""
    return number(text.replace(",", "."))


def _flag(element: Element, tag: str) -> bool:
    return _text(element, tag).lower() in ("1", "true", "yes")


def read_image_sets(root: Path, paths: List[Path]) -> Dict[str, str]:
    """stem in lower case -> split, from ImageSets/Main/{train,val,test}.txt.

    trainval.txt takes the place of a missing train.txt. Empty for fewer than two splits.
    """
    lists = {}
    for path in paths:
        folders = [part.lower() for part in path.relative_to(root).parts[:-1] if path.is_file()]
        if folders[-1:] == ["imagesets"] or folders[-2:] == ["imagesets", "main"]:
            lists[path.name.lower()] = path
    if "train.txt" not in lists and "trainval.txt" in lists:
        lists["train.txt"] = lists["trainval.txt"]
    sets: Dict[str, str] = {}
    for split in ("train", "val", "test"):
        if split + ".txt" in lists:
            text = lists[split + ".txt"].read_text(encoding="utf-8-sig", errors="replace")
            for words in filter(None, map(str.split, text.splitlines())):
                listed = Path(words[0])
                sets[(listed.stem if is_image(listed) else listed.name).casefold()] = split
    return sets if len(set(sets.values())) > 1 else {}


def main(argv: Optional[List[str]] = None) -> int:
    made_of = "images and Pascal VOC XML files"
    return build_folder(SOURCE, made_of, [".xml", ".txt"], read, argv)
