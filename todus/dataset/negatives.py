"""NEGATIVES=DIR: pictures that hold none of the classes, such as a camera's false alarms."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Collection, Dict, List, Optional

from todus.dataset.annotations import Image
from todus.dataset.image_folder import files_under, given_path, is_image
from todus.dataset.labelled_images import LabelledImage, LeftOut
from todus.dataset.prepared_image import PreparedImage, group_of, prepare_image
from todus.dataset.recorded_splits import Previous
from todus.dataset.settings import Settings
from todus.dataset.split import SECOND_COPY, Candidate, Shares
from todus.errors import TodusError

IN_DATASET = "image of NEGATIVES that is in the dataset already"
_PREFIX = "negatives:"  # of the name in records, which is then no name of the source


@dataclass
class Negatives:
    """The usable pictures, and what was left out and corrected."""

    images: Dict[str, List[Image]] = field(default_factory=dict)  # split -> images
    left_out: List[LeftOut] = field(default_factory=list)
    mended: Counter = field(default_factory=Counter)  # what was corrected -> how often
    split_of: Dict[str, str] = field(default_factory=dict)  # SHA-256 of a file -> split


def files_of(folder: str) -> List[Path]:
    """The images below a folder; none for "". Raises TodusError where it has none."""
    if not folder:
        return []
    found = [path for path in files_under(given_path(folder)) if is_image(path)]
    if not found:
        raise TodusError("no image under NEGATIVES=%s; name a folder of pictures" % folder)
    return found


def read(
    settings: Settings,
    work: Path,
    splits: Collection[str],
    present: Collection[str] = (),
    previous: Optional[Previous] = None,
) -> Negatives:
    """The pictures below settings.negatives, each in a split drawn by its content or group.

    Args:
      settings: with the shares of the splits.
      work: an existing folder for converted images.
      splits: those of the dataset; what is drawn for another one goes to train, else to the first.
      present: SHA-256 of the files in the dataset: copies of them are left out.
      previous: the splits of the dataset that is replaced.
    """
    result, root = Negatives(), given_path(settings.negatives)
    previous = previous or Previous({})
    shares = Shares(settings.val, settings.test, settings.seed)
    kept = replace(settings, keep_empty=True)
    for path in files_of(settings.negatives):
        name = _PREFIX + path.relative_to(root).as_posix()
        ready = prepare_image(LabelledImage(name, path), {}, True, kept, work)
        if not ready.image:
            result.left_out.append(LeftOut(name, ready.left_out))
            continue
        ready = ready.with_digest(previous)
        if ready.digest in present or ready.digest in result.split_of:
            reason = IN_DATASET if ready.digest in present else SECOND_COPY
            result.left_out.append(LeftOut(name, reason, fault=False))
            continue
        split = _split(ready, settings, shares, previous)
        if split not in splits:
            split = "train" if "train" in splits else next(iter(splits))
        result.mended.update(ready.mended)
        result.split_of[ready.digest] = split
        result.images.setdefault(split, []).append(ready.image)
    return result


def _split(ready: PreparedImage, settings: Settings, shares: Shares, previous: Previous) -> str:
    if ready.recorded and not previous.other:
        return ready.recorded
    group = group_of(settings.group, ready.labelled.path)
    return shares.split_of(Candidate("", ready.digest, group).key)
