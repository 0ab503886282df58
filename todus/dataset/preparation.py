"""Turns the labelled images of a source into Annotations that can be written as records.

Classes get ids, images are converted where needed, boxes are fitted to them, images are split.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from todus import files, variables
from todus.dataset import class_ids, image_conversion, split_notes
from todus.dataset.annotations import Annotations, Image, join_boxes
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, fit, fit_boxes
from todus.dataset.image_files import BadImage
from todus.dataset.labelled_images import LabelledImage, LabelledSource, LeftOut
from todus.dataset.recorded_splits import Previous
from todus.dataset.settings import Settings
from todus.dataset.split import SECOND_COPY, SPLITS, Assignment, Candidate, Shares, assign_splits
from todus.errors import TodusError
from todus.text import one_line

NO_BOX = "image without a box (KEEP_EMPTY=1 keeps such images)"
NO_CHOSEN_BOX = "image without a box of CATEGORIES (KEEP_EMPTY=1 keeps such images)"
NO_BOX_LEFT = "image of which no box can be used"
SCALED = "image of another size than its annotation says, boxes scaled"
LABELLED_TWICE = 0.5  # least intersection over union of two boxes that one person drew of an object
LEFT_OUT_ORDER = ("",) + SPLITS[::-1]  # order of left-out images in dataset.json


@dataclass
class Prepared:
    """A source, ready to be written as records."""

    splits: Dict[str, Annotations]
    left_out: List[LeftOut]
    mended: Counter  # what was corrected -> how often
    unused: List[str]  # classes of LABEL_MAP or of the source's list that no box has
    split_of: Dict[str, str] = field(default_factory=dict)  # SHA-256 of an image's file -> split
    changed: int = 0  # images that were in another split of the dataset that is replaced
    notes: List[str] = field(default_factory=list)  # lines about the splits


class _Result(NamedTuple):
    """One image with its boxes, or the reason why it is left out."""

    labelled: LabelledImage
    dropped: Counter  # reason -> boxes
    mended: Counter  # what was corrected -> how often
    image: Optional[Image] = None
    left_out: str = ""
    fault: bool = True
    digest: str = ""  # SHA-256 of the image's file
    recorded: str = ""  # its split in the dataset that is replaced; "" for none

    @property
    def classes(self) -> Set[int]:
        return {box.category_id for box in self.image.boxes}


def prepare(source: LabelledSource, settings: Settings, work: Path, previous: Previous) -> Prepared:
    """Gives the classes ids, converts images where needed, fits the boxes to them, and splits.

    Args:
      source: the result of a reader.
      settings: CATEGORIES and the like.
      work: an existing empty folder for converted images.
      previous: the splits of the dataset that is replaced.

    Raises:
      UsageError: CATEGORIES or LABEL_MAP do not fit the source. TodusError: no image is left.
    """
    boxes_of = Counter(box.name for labelled in source.images for box in labelled.boxes)
    classes = class_ids.assign(boxes_of, source.class_order, settings)
    basenames = Counter(labelled.path.name for labelled in source.images)
    ready: List[_Result] = []
    left_out, mended = list(source.left_out), source.mended + classes.mended
    for labelled in source.images:
        result = _prepare_image(labelled, classes.ids, source.upright, settings, work)
        mended.update(result.mended)
        if result.image:
            is_unique = basenames[labelled.path.name] == 1
            result.image.file_name = labelled.path.name if is_unique else labelled.name
            ready.append(_with_digest(result, previous))
        else:
            name = one_line(labelled.name)
            left_out.append(LeftOut(name, result.left_out, labelled.split, result.fault))
    if not any(result.image.boxes for result in ready):
        raise TodusError("no image with a box is left%s" % _most_frequent(left_out))
    candidates = _candidates(ready, settings, keeps=not previous.other)
    shares = Shares(settings.val, settings.test, settings.seed)
    assigned = list(zip(ready, assign_splits(candidates, shares)))
    _join_copies(assigned)
    for result, to in sorted(assigned, key=lambda pair: LEFT_OUT_ORDER.index(pair[1].split)):
        if to.left_out:
            name = one_line(result.labelled.name)
            left_out.append(LeftOut(name, to.left_out, to.split, fault=False))
    used = [(result, to.split) for result, to in assigned if not to.left_out]
    images = [
        split_notes.Split(each, result.classes, to.split)
        for each, (result, to) in zip(candidates, assigned)
        if not to.left_out
    ]
    return Prepared(
        _annotations(used, left_out, classes.names),
        left_out,
        mended,
        classes.unused,
        split_of={result.digest: split for result, split in used},
        changed=sum(result.recorded not in ("", split) for result, split in used),
        notes=list(split_notes.notes(images, shares, classes.names)),
    )


def _annotations(
    used: Sequence[Tuple[_Result, str]], left_out: Sequence[LeftOut], names: Mapping[int, str]
) -> Dict[str, Annotations]:
    """split -> its images. Raises TodusError where train or val has none."""
    splits = {}
    for split in SPLITS:
        members = [result for result, own in used if own == split]
        dropped = sum((result.dropped for result in members), Counter())
        faults = [gone for gone in left_out if gone.fault and (gone.split or "train") == split]
        dropped.update(gone.reason for gone in faults)
        if members:
            images = [result.image for result in members]
            splits[split] = Annotations(dict(names), images, dropped)
        elif split != "test":
            raise TodusError("no image is left for %s%s" % (split, _most_frequent(left_out)))
    return splits


def _with_digest(result: _Result, previous: Previous) -> _Result:
    """A dataset without recorded splits has the digest of a converted image, not of its file."""
    digest, stored = files.sha256(result.labelled.path), result.image.path
    recorded = previous.find(digest)
    if not recorded and stored != result.labelled.path:
        recorded = previous.find(files.sha256(stored))
    return result._replace(digest=digest, recorded=recorded)


def _candidates(ready: List[_Result], settings: Settings, keeps: bool) -> List[Candidate]:
    """What decides the splits; `keeps`: recorded splits are kept."""
    return [
        Candidate(
            result.labelled.split,
            result.digest,
            _group(settings.group, result.labelled.path.name),
            _group(variables.AUGMENTED, result.labelled.path.name),
            result.recorded if keeps else "",
        )
        for result in ready
    ]


def _group(pattern: str, file_name: str) -> str:
    """The pattern's first group, else the whole match; "" for no match."""
    match = re.search(pattern, file_name)
    return (match.group(min(1, match.re.groups)) or "") if match else ""


def _join_copies(assigned: Sequence[Tuple[_Result, Assignment]]) -> None:
    """Adds to the image that counts the boxes of its copies."""
    counting = {result.digest: result.image for result, to in assigned if not to.left_out}
    for result, to in assigned:
        image = counting.get(result.digest)
        is_copy = to.left_out == SECOND_COPY
        if is_copy and (image.width, image.height) == (result.image.width, result.image.height):
            join_boxes(image.boxes, result.image.boxes, LABELLED_TWICE)


def _prepare_image(
    labelled: LabelledImage, ids: Dict[str, int], upright: bool, settings: Settings, work: Path
) -> _Result:
    """`ids` is wanted class -> id; a converted image is written to `work`."""
    boxes = [box for box in labelled.boxes if box.name in ids]
    result = _Result(labelled, labelled.dropped, Counter())
    if not boxes and not labelled.dropped and not settings.keep_empty:
        reason = NO_CHOSEN_BOX if labelled.boxes else NO_BOX
        return result._replace(left_out=reason, fault=False)
    try:
        if not boxes and labelled.dropped:
            raise BadImage(NO_BOX_LEFT)
        info = image_conversion.read_header(labelled.path)
        to = fit(labelled.frame, info, settings.exif, upright)
        if labelled.frame not in (FRACTIONS, UNKNOWN) and labelled.frame != (to.width, to.height):
            result.mended[SCALED] += 1
        fitted = fit_boxes(boxes, ids, to)
        result.mended.update(fitted.mended)
        if boxes and not fitted.boxes:
            raise BadImage(NO_BOX_LEFT)
        path, conversion = labelled.path, image_conversion.needed_conversion(info, to.upright)
        if conversion:
            path = _convert(labelled, to.upright, work)
            result.mended["image converted: %s" % conversion] += 1
    except (BadImage, OSError) as error:
        return result._replace(left_out=_reason(error))
    image = Image(labelled.name, labelled.name, to.width, to.height, fitted.boxes, path)
    return result._replace(image=image, dropped=labelled.dropped + fitted.dropped)


def _convert(labelled: LabelledImage, upright: bool, work: Path) -> Path:
    """Writes the converted image to `work` and returns its path."""
    data, kind = image_conversion.convert(labelled.path, upright)
    digest = hashlib.sha256(labelled.name.encode("utf-8", "surrogateescape")).hexdigest()
    target = work / ("%s.%s" % (digest[:32], kind))
    target.write_bytes(data)
    return target


def _reason(error: Union[BadImage, OSError]) -> str:
    if isinstance(error, BadImage):
        return str(error)
    return "image cannot be read (%s)" % (error.strerror or "damaged")


def _most_frequent(left_out: List[LeftOut]) -> str:
    """The most frequent reason, with one file left out for it."""
    if not left_out:
        return "; is this the right folder?"
    reason, count = Counter(gone.reason for gone in left_out).most_common(1)[0]
    first = next(gone.file for gone in left_out if gone.reason == reason)
    return ": %d times %s, such as %s" % (count, reason, first)
