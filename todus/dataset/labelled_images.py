"""What a reader of a person's own images (voc, csv, openimages, cloud) finds: images with boxes, their classes by name."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, NamedTuple, Tuple

from todus.dataset.box_fitting import UNKNOWN, NamedBox
from todus.text import one_line

SECOND_ANNOTATION = "second annotation of one image"


@dataclass
class LabelledImage:
    """One image as its annotation describes it; the image file has not been read yet."""

    name: str  # unique in its source; becomes image/source_id
    path: Path
    boxes: List[NamedBox] = field(default_factory=list)
    frame: Tuple[float, float] = UNKNOWN  # width and height that the boxes are in
    split: str = ""  # train, val or test; "" where the source does not say
    dropped: Counter = field(default_factory=Counter)  # reason -> boxes that could not be read


class LeftOut(NamedTuple):
    """An image or annotation file that is not in the dataset."""

    file: str
    reason: str
    split: str = ""
    fault: bool = True  # False: nothing is wrong with it, it was not asked for


@dataclass
class LabelledSource:
    """All that a reader found in a source."""

    images: List[LabelledImage] = field(default_factory=list)
    class_order: List[str] = field(
        default_factory=list
    )  # class names in the source's own order, where it has one
    left_out: List[LeftOut] = field(default_factory=list)
    mended: Counter = field(default_factory=Counter)  # what was corrected -> how often
    upright: bool = (
        True  # boxes are on the image as EXIF turns it, where the annotation does not tell
    )

    def leave_out(self, file: object, reason: str, fault: bool = True) -> None:
        self.left_out.append(LeftOut(one_line(str(file)), reason, "", fault))
