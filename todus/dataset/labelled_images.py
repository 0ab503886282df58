"""The result of a reader of the user's own images: images with boxes, classes by name."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, List, Mapping, NamedTuple, Tuple

from todus.dataset.box_fitting import UNKNOWN, NamedBox
from todus.text import one_line

COPIED = "copy of an annotation in another folder"
SECOND_ANNOTATION = "second annotation of one image"


@dataclass
class LabelledImage:
    """One image as its annotation describes it; the image file is not read yet."""

    name: str  # unique in its source; becomes image/source_id
    path: Path
    boxes: List[NamedBox] = field(default_factory=list)
    frame: Tuple[float, float] = UNKNOWN  # width and height that the boxes are in
    split: str = ""  # train, val or test; "" where the source does not give it
    dropped: Counter = field(default_factory=Counter)  # reason -> boxes that could not be read


class LeftOut(NamedTuple):
    """An image or annotation file that is not in the dataset."""

    file: str
    reason: str
    split: str = ""
    fault: bool = True  # False: it is not damaged, but not wanted


@dataclass
class LabelledSource:
    """The images of a source, and what was left out and corrected."""

    images: List[LabelledImage] = field(default_factory=list)
    class_order: List[str] = field(default_factory=list)  # names in the source's order, if any
    left_out: List[LeftOut] = field(default_factory=list)
    mended: Counter = field(default_factory=Counter)  # what was corrected -> how often
    upright: bool = True  # the boxes are on the rotated image where the annotation does not decide

    def leave_out(self, file: object, reason: str, fault: bool = True) -> None:
        self.left_out.append(LeftOut(one_line(str(file)), reason, "", fault))

    def take_listed(
        self, listed: Mapping[Path, LabelledImage], others: Iterable[object], not_listed: str
    ) -> None:
        """Takes the images that an annotation file lists; leaves out the others of the folder."""
        for name in others:
            self.leave_out(name, not_listed, fault=False)
        self.images = sorted(listed.values(), key=lambda labelled: labelled.name)
