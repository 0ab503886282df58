"""Divides images into splits: the source's own splits, else stratified by class."""

import random
from collections import Counter
from typing import Dict, Hashable, List, NamedTuple, Sequence, Set

from todus.errors import TodusError

SPLITS = ("train", "val", "test")
COPY = "copy of an image of another split"
NO_SPLIT = "image in none of the source's splits"


class Candidate(NamedTuple):
    """What decides the split of an image."""

    given: str  # the source's split, one of SPLITS; "" for none
    content: str  # equal for files with the same bytes
    classes: Set[int]


class Assignment(NamedTuple):
    """The split of an image."""

    split: str  # one of SPLITS; "" for none
    left_out: str = ""  # why the image is not used: COPY or NO_SPLIT


def assign_splits(candidates: Sequence[Candidate], fraction: float, seed: int) -> List[Assignment]:
    """A split for each image: the source's own, where it has train and another, else train or val.

    `fraction` of the images go to val; copies of one image go to the same split. In the source's
    own splits a copy of a test or val image is left out of train, and of a test image out of val.

    Raises:
      TodusError: there is only val or test, or only one image.
    """
    given = {each.given for each in candidates}
    if "train" in given and len(given - {""}) > 1:
        return _as_given(candidates, given)
    if {"val", "test"} & given:
        raise TodusError(
            "there are images for %s but none for train; name the folder above both"
            % " and ".join(sorted(given - {""}))
        )
    return _by_class(candidates, fraction, seed)


def _as_given(candidates: Sequence[Candidate], given: Set[str]) -> List[Assignment]:
    renamed = {"test": "test" if "val" in given else "val"}
    splits = [renamed.get(each.given, each.given) for each in candidates]
    owner: Dict[str, str] = {}  # content -> the split that keeps it: test, then val, then train
    for own in reversed(SPLITS):
        for each, split in zip(candidates, splits):
            if split == own:
                owner.setdefault(each.content, split)
    return [
        Assignment(split, ("" if owner[each.content] == split else COPY) if split else NO_SPLIT)
        for each, split in zip(candidates, splits)
    ]


def _by_class(candidates: Sequence[Candidate], fraction: float, seed: int) -> List[Assignment]:
    classes: Dict[str, Set[int]] = {}  # content -> the classes of all its copies
    for each in candidates:
        classes.setdefault(each.content, set()).update(each.classes)
    to_val = dict(zip(classes, stratified(list(classes.values()), fraction, seed)))
    if not any(to_val.values()):
        raise TodusError(
            "one image cannot be split into train and val; "
            "give more images, or a train/ and a val/ folder"
        )
    return [Assignment("val" if to_val[each.content] else "train") for each in candidates]


def stratified(groups: Sequence[Set[Hashable]], fraction: float, seed: int) -> List[bool]:
    """Which groups go to validation, so that each class has about `fraction` of its groups there.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of
    Multi-Label Data", ECML PKDD 2011): the groups of the rarest class are assigned first, each to
    the side that lacks most of its share. Groups without a class count as one more class.

    Args:
      groups: the classes in each group of images (copies of one image are one group).
      fraction: of the groups, 0 to 1.
      seed: the same groups and seed give the same split.

    Returns:
      One bool per group, True for validation; each side has a group where there are two or more.
    """
    labels = [sorted(group, key=str) or [None] for group in groups]
    missing = Counter(label for group in labels for label in group)  # class -> groups to assign
    wanted = {label: (count * fraction, count * (1 - fraction)) for label, count in missing.items()}
    room = [len(groups) * fraction, len(groups) * (1 - fraction)]
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    members: Dict[Hashable, List[int]] = {}
    for index in order:
        for label in labels[index]:
            members.setdefault(label, []).append(index)
    in_val: List[bool] = [False] * len(groups)
    done = [False] * len(groups)
    while missing:
        rarest = min(missing, key=lambda label: (missing[label], str(label)))
        for index in members[rarest]:
            if done[index]:
                continue
            validation, training = wanted[rarest]
            to_validation = (validation, room[0]) > (training, room[1])
            in_val[index], done[index] = to_validation, True
            room[0 if to_validation else 1] -= 1
            for label in labels[index]:
                validation, training = wanted[label]
                wanted[label] = (validation - to_validation, training - (not to_validation))
                missing[label] -= 1
        del missing[rarest]
    _fill(in_val, labels, order, max(1, round(len(groups) * fraction)))
    if len(groups) > 1 and len(set(in_val)) == 1:
        in_val[order[0]] = not in_val[order[0]]
    return in_val


def _fill(
    in_val: List[bool], labels: Sequence[Sequence[Hashable]], order: Sequence[int], target: int
) -> None:
    """Moves groups to validation until it has `target`; shares of rare classes round to none there.

    Groups of classes that validation lacks go first; each class keeps a group in training.
    """
    training, validation = Counter(), Counter()
    for group, is_validation in zip(labels, in_val):
        (validation if is_validation else training).update(group)
    lacking = target - sum(in_val)
    for only_lacking in (True, False):
        for index in order:
            if lacking <= 0:
                return
            group = labels[index]
            spare = not in_val[index] and all(training[label] > 1 for label in group)
            if spare and (not only_lacking or any(not validation[label] for label in group)):
                in_val[index] = True
                lacking -= 1
                training.subtract(group)
                validation.update(group)
