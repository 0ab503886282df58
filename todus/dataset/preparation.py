"""Turns the labelled images of a source into Annotations that can be written as records.

Classes get ids, images are converted where needed, boxes are fitted to them, images are split.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from todus import variables
from todus.dataset import class_ids, negatives, parallel, split_notes
from todus.dataset.annotations import Annotations, join_boxes
from todus.dataset.labelled_images import LabelledImage, LabelledSource, LeftOut
from todus.dataset.prepared_image import PreparedImage, group_of, prepare_image
from todus.dataset.recorded_splits import Previous
from todus.dataset.settings import Settings
from todus.dataset.split import SECOND_COPY, SPLITS, Assignment, Candidate, Shares, assign_splits
from todus.errors import TodusError
from todus.progress import Progress
from todus.text import one_line

LABELLED_TWICE = 0.5  # least intersection over union of two boxes that one person drew of an object
CHUNK = 16  # images that a process prepares at once
LARGE = 1_600_000  # pixels
USUAL_SIDE = 1280  # pixels; the zoo's models take up to 1024
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
    ready: List[PreparedImage] = []
    left_out, mended = list(source.left_out), source.mended + classes.mended

    def prepared(labelled: LabelledImage) -> PreparedImage:
        result = prepare_image(labelled, classes.ids, source.upright, settings, work)
        return result.with_digest(previous) if result.image else result

    for result in _in_parallel(prepared, source.images, settings.jobs):
        labelled = result.labelled
        mended.update(result.mended)
        if result.image:
            is_unique = basenames[labelled.path.name] == 1
            result.image.file_name = labelled.path.name if is_unique else labelled.name
            ready.append(result)
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
    splits = _annotations(used, left_out, classes.names)
    split_of = {result.digest: split for result, split in used}
    if settings.negatives:
        added = negatives.read(settings, work, list(splits), split_of, previous)
        for split, more in added.images.items():
            splits[split].images += more
        left_out += added.left_out
        mended += added.mended
        split_of.update(added.split_of)
    return Prepared(
        splits,
        left_out,
        mended,
        classes.unused,
        split_of,
        changed=sum(result.recorded not in ("", split) for result, split in used),
        notes=list(split_notes.notes(images, shares, classes.names)) + _size_note(ready, settings),
    )


def _in_parallel(
    prepared: Callable[[LabelledImage], PreparedImage], images: List[LabelledImage], jobs: int
) -> Iterator[PreparedImage]:
    """Calls `prepared` for each image, for CHUNK images at once."""
    starts = range(0, len(images), CHUNK)

    def chunk(index: int) -> List[PreparedImage]:
        return [prepared(each) for each in images[starts[index] : starts[index] + CHUNK]]

    with Progress("reading images", len(images), unit="images") as progress:
        for results in parallel.in_order(chunk, len(starts), jobs):
            yield from results
            progress.add(len(results))


def _annotations(
    used: Sequence[Tuple[PreparedImage, str]], left_out: Sequence[LeftOut], names: Mapping[int, str]
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


def _candidates(ready: List[PreparedImage], settings: Settings, keeps: bool) -> List[Candidate]:
    """What decides the splits; `keeps`: recorded splits are kept."""
    return [
        Candidate(
            result.labelled.split,
            result.digest,
            group_of(settings.group, result.labelled.path),
            group_of(variables.AUGMENTED, result.labelled.path),
            result.recorded if keeps else "",
        )
        for result in ready
    ]


def _join_copies(assigned: Sequence[Tuple[PreparedImage, Assignment]]) -> None:
    """Adds to the image that counts the boxes of its copies."""
    counting = {result.digest: result.image for result, to in assigned if not to.left_out}
    for result, to in assigned:
        image = counting.get(result.digest)
        is_copy = to.left_out == SECOND_COPY
        if is_copy and (image.width, image.height) == (result.image.width, result.image.height):
            join_boxes(image.boxes, result.image.boxes, LABELLED_TWICE)


def _size_note(ready: List[PreparedImage], settings: Settings) -> List[str]:
    """A line where most images are so large that training mainly decodes them."""
    number = sum(result.pixels > LARGE for result in ready)
    if settings.max_side or 2 * number <= len(ready):
        return []
    return [
        "%d of %d images have more than %.1f megapixels, which slows training down; to shrink "
        "them, run this again with MAX_SIDE=%d" % (number, len(ready), LARGE / 1e6, USUAL_SIDE)
    ]


def _most_frequent(left_out: List[LeftOut]) -> str:
    """The most frequent reason, with one file left out for it."""
    if not left_out:
        return "; is this the right folder?"
    reason, count = Counter(gone.reason for gone in left_out).most_common(1)[0]
    first = next(gone.file for gone in left_out if gone.reason == reason)
    return ": %d times %s, such as %s" % (count, reason, first)
