"""Prepares one labelled image: reads its header, converts it where needed, fits its boxes."""

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Set, Tuple, Union

from todus import files
from todus.dataset import image_conversion
from todus.dataset.annotations import Image
from todus.dataset.box_fitting import FRACTIONS, UNKNOWN, fit, fit_boxes, shrunk
from todus.dataset.image_files import BadImage
from todus.dataset.labelled_images import LabelledImage
from todus.dataset.recorded_splits import Previous
from todus.dataset.settings import Settings

NO_BOX = "image without a box (KEEP_EMPTY=1 keeps such images)"
NO_CHOSEN_BOX = "image without a box of CATEGORIES (KEEP_EMPTY=1 keeps such images)"
NO_BOX_LEFT = "image of which no box can be used"
MOST_BOXES = 5000  # in an image; the objects of two copies of an image are compared in pairs
TOO_MANY = "image with more than %d boxes" % MOST_BOXES
SCALED = "image of another size than its annotation says, boxes scaled"


class PreparedImage(NamedTuple):
    """One image with its boxes, or the reason why it is left out."""

    labelled: LabelledImage
    dropped: Counter  # reason -> boxes
    mended: Counter  # what was corrected -> how often
    image: Optional[Image] = None
    left_out: str = ""
    fault: bool = True
    digest: str = ""  # SHA-256 of the image's file
    pixels: int = 0  # of its file
    recorded: str = ""  # its split in the dataset that is replaced; "" for none

    @property
    def classes(self) -> Set[int]:
        return {box.category_id for box in self.image.boxes}

    def with_digest(self, previous: Previous) -> "PreparedImage":
        """With `digest`, and `recorded` from the dataset that is replaced.

        A dataset without recorded splits has the digest of a converted image, not of its file.
        """
        digest, stored = files.sha256(self.labelled.path), self.image.path
        recorded = previous.find(digest)
        if not recorded and stored != self.labelled.path:
            recorded = previous.find(files.sha256(stored))
        return self._replace(digest=digest, recorded=recorded)


def group_of(pattern: str, path: Path) -> str:
    """GROUP in a file's name: the pattern's first group, else the whole match; "" for no match."""
    match = re.search(pattern, path.name)
    return (match.group(min(1, match.re.groups)) or "") if match else ""


def prepare_image(
    labelled: LabelledImage, ids: Dict[str, int], upright: bool, settings: Settings, work: Path
) -> PreparedImage:
    """`ids` is wanted class -> id; a converted image is written to `work`."""
    boxes = [box for box in labelled.boxes if box.name in ids]
    result = PreparedImage(labelled, labelled.dropped, Counter())
    if not boxes and not labelled.dropped and not settings.keep_empty:
        reason = NO_CHOSEN_BOX if labelled.boxes else NO_BOX
        return result._replace(left_out=reason, fault=False)
    try:
        if not boxes and labelled.dropped:
            raise BadImage(NO_BOX_LEFT)
        if len(boxes) > MOST_BOXES:
            raise BadImage(TOO_MANY)
        info = image_conversion.read_header(labelled.path)
        to = fit(labelled.frame, info, settings.exif, upright)
        if labelled.frame not in (FRACTIONS, UNKNOWN) and labelled.frame != (to.width, to.height):
            result.mended[SCALED] += 1
        result = result._replace(pixels=to.width * to.height)
        to = shrunk(to, settings.max_side)
        fitted = fit_boxes(boxes, ids, to)
        result.mended.update(fitted.mended)
        if boxes and not fitted.boxes:
            raise BadImage(NO_BOX_LEFT)
        path, size = labelled.path, (to.width, to.height)
        conversion = image_conversion.needed_conversion(info, to.upright, size)
        if conversion:
            path = _convert(labelled, to.upright, size, work)
            result.mended["image converted: %s" % conversion] += 1
    except (BadImage, OSError) as error:
        return result._replace(left_out=_reason(error))
    image = Image(labelled.name, labelled.name, to.width, to.height, fitted.boxes, path)
    return result._replace(image=image, dropped=labelled.dropped + fitted.dropped)


def _convert(labelled: LabelledImage, upright: bool, size: Tuple[int, int], work: Path) -> Path:
    """Writes the converted image to `work` and returns its path."""
    data, kind = image_conversion.convert(labelled.path, upright, size)
    digest = hashlib.sha256(labelled.name.encode("utf-8", "surrogateescape")).hexdigest()
    target = work / ("%s.%s" % (digest[:32], kind))
    target.write_bytes(data)
    return target


def _reason(error: Union[BadImage, OSError]) -> str:
    if isinstance(error, BadImage):
        return str(error)
    return "image cannot be read (%s)" % (error.strerror or "damaged")
