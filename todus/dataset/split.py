"""Divides images into splits: the source's own splits, else by a hash of each image or group."""

from collections import Counter
from typing import Dict, List, Mapping, NamedTuple, Sequence, Set

from todus.dataset.seeded_order import fraction
from todus.errors import TodusError

SPLITS = ("train", "val", "test")
COPY = "copy of an image of another split"
AUGMENTED = "augmented copy of an image of another split"
SECOND_COPY = "copy of another image, counted once"
NO_SPLIT = "image in none of the source's splits"


class Candidate(NamedTuple):
    """What decides the split of an image."""

    given: str  # the source's split, one of SPLITS; "" for none
    content: str  # a digest of the file: equal for files with the same bytes
    group: str = ""  # name of its group, whose images go to one split; "" for the image alone
    original: str = ""  # name of the image that it is an augmented copy of; "" for none
    recorded: str = ""  # its split in the dataset that is rebuilt; "" for none

    @property
    def key(self) -> str:
        """What the split is drawn by."""
        return "group " + self.group if self.group else self.content


class Assignment(NamedTuple):
    """The split of an image."""

    split: str  # one of SPLITS; "" for none
    left_out: str = ""  # why the image is not used: a constant of this module


class Shares(NamedTuple):
    """The shares of the images for val and test, and the seed that draws them."""

    val: float
    test: float = 0.0
    seed: int = 0

    @property
    def splits(self) -> Sequence[str]:
        return SPLITS if self.test else SPLITS[:2]

    def position(self, key: str) -> float:
        """A number from 0 to 1 that depends on the seed and the key alone."""
        return fraction(self.seed, "split", key)

    def split_of(self, key: str) -> str:
        """val for the lowest positions, test for the highest: another share of one keeps others."""
        position = self.position(key)
        return "val" if position < self.val else "test" if position >= 1 - self.test else "train"


def is_given(candidates: Sequence[Candidate]) -> bool:
    """Whether the source has splits of its own: train and another."""
    given = {each.given for each in candidates}
    return "train" in given and len(given - {""}) > 1


def assign_splits(candidates: Sequence[Candidate], shares: Shares) -> List[Assignment]:
    """A split for each image: the source's own, where it has train and another, else drawn.

    A drawn split is that of the group's key, and does not depend on the other images, unless a
    split would be empty. A recorded split is kept; a group recorded in several splits goes to the
    first of SPLITS, so that no image of train is evaluated later. Of the copies of one image the
    first counts. In the source's own splits a copy or augmented copy of a test or val image is left
    out of train, and of a test image out of val.

    Raises:
      TodusError: there is only val or test, or there are fewer groups than splits.
    """
    if is_given(candidates):
        assigned = _as_given(candidates)
    else:
        given = {each.given for each in candidates} - {""}
        if {"val", "test"} & given:
            raise TodusError(
                "there are images for %s but none for train; name the folder above both"
                % " and ".join(sorted(given))
            )
        assigned = _drawn(candidates, shares)
    return _without_copies(candidates, assigned)


def _as_given(candidates: Sequence[Candidate]) -> List[Assignment]:
    renamed = {"test": "test" if any(each.given == "val" for each in candidates) else "val"}
    splits = [renamed.get(each.given, each.given) for each in candidates]
    owner: Dict[str, str] = {}  # content or original -> the split that keeps it: the last of SPLITS
    for own in reversed(SPLITS):
        for each, split in zip(candidates, splits):
            if split == own:
                owner.setdefault(each.content, split)
                owner.setdefault("original " + each.original, split)
    assigned = []
    for each, split in zip(candidates, splits):
        reason = "" if split else NO_SPLIT
        if split and owner[each.content] != split:
            reason = COPY
        elif split and each.original and owner["original " + each.original] != split:
            reason = AUGMENTED
        assigned.append(Assignment(split, reason))
    return assigned


def _drawn(candidates: Sequence[Candidate], shares: Shares) -> List[Assignment]:
    keys: Dict[str, str] = {}  # content -> key of its first copy
    recorded: Dict[str, Set[str]] = {}  # key -> splits
    for each in candidates:
        key = keys.setdefault(each.content, each.key)
        recorded.setdefault(key, set()).update(filter(None, [each.recorded]))
    split_of = {
        key: min(known, key=SPLITS.index) if known else shares.split_of(key)
        for key, known in recorded.items()
    }
    _fill(split_of, recorded, shares)
    return [Assignment(split_of[keys[each.content]]) for each in candidates]


def _fill(split_of: Dict[str, str], recorded: Mapping[str, Set[str]], shares: Shares) -> None:
    """Moves a group to each empty split: one that was not recorded, with the nearest position.

    Raises TodusError where there are fewer groups than splits.
    """
    if len(split_of) < len(shares.splits):
        number = "one image" if len(split_of) == 1 else "%d images" % len(split_of)
        raise TodusError(
            "%s cannot be split into %s (a group and its copies count as one); "
            "give more images, or a train/ and a val/ folder"
            % (number, " and ".join(shares.splits))
        )
    middle = {"val": 0.0, "test": 1.0, "train": (1 + shares.val - shares.test) / 2}
    for split in shares.splits:
        sizes = Counter(split_of.values())
        if not sizes[split]:
            moved = min(
                (bool(recorded[key]), abs(shares.position(key) - middle[split]), key)
                for key in split_of
                if sizes[split_of[key]] > 1
            )
            split_of[moved[-1]] = split


def _without_copies(
    candidates: Sequence[Candidate], assigned: Sequence[Assignment]
) -> List[Assignment]:
    seen: Set[str] = set()
    result = []
    for each, to in zip(candidates, assigned):
        is_copy = not to.left_out and each.content in seen
        result.append(to._replace(left_out=SECOND_COPY) if is_copy else to)
        if not to.left_out:
            seen.add(each.content)
    return result
