"""Splitting a source that brings no split: by class, by SEED, and never an image on both sides."""

import random
from collections import Counter
from typing import Hashable, List, Sequence, Set


def stratified(groups: Sequence[Set[Hashable]], fraction: float, seed: int) -> List[bool]:
    """Which groups go to the validation side, so that each class has about `fraction` of its groups there.

    The rarest class is dealt out first, each group to the side that is further from its share (iterative stratification:
    Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011). A group without a class counts as
    of a class of its own kind.

    Args:
      groups: the classes in each group of images (copies of one image are one group).
      fraction: of the groups, 0 to 1.
      seed: the same groups and seed give the same split.

    Returns:
      A bool a group, True for validation; of two groups or more, at least one is on each side.
    """
    labels = [sorted(group, key=str) or [None] for group in groups]
    missing = Counter(label for group in labels for label in group)  # groups of a class that are not dealt yet
    wanted = {label: (count * fraction, count * (1 - fraction)) for label, count in missing.items()}
    room = [len(groups) * fraction, len(groups) * (1 - fraction)]
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    members = {}
    for index in order:
        for label in labels[index]:
            members.setdefault(label, []).append(index)
    dealt: List[bool] = [False] * len(groups)
    done = [False] * len(groups)
    while missing:
        rarest = min(missing, key=lambda label: (missing[label], str(label)))
        for index in members[rarest]:
            if done[index]:
                continue
            validation, training = wanted[rarest]
            to_validation = (validation, room[0]) > (training, room[1])
            dealt[index], done[index] = to_validation, True
            room[0 if to_validation else 1] -= 1
            for label in labels[index]:
                validation, training = wanted[label]
                wanted[label] = (validation - 1, training) if to_validation else (validation, training - 1)
                missing[label] -= 1
        del missing[rarest]
    _fill(dealt, labels, order, max(1, round(len(groups) * fraction)))
    if len(groups) > 1 and len(set(dealt)) == 1:
        dealt[order[0]] = not dealt[order[0]]
    return dealt


def _fill(dealt: List[bool], labels: Sequence[Sequence[Hashable]], order: Sequence[int], target: int) -> None:
    """Moves groups to validation until it has `target`, for classes of two or three groups round to none there.

    First those of classes that validation lacks; never the last group of a class in training.
    """
    training = Counter(label for index, group in enumerate(labels) if not dealt[index] for label in group)
    validation = Counter(label for index, group in enumerate(labels) if dealt[index] for label in group)
    lacking = target - sum(dealt)
    for only_lacking in (True, False):
        for index in order:
            if lacking <= 0:
                return
            group = labels[index]
            spare = not dealt[index] and all(training[label] > 1 for label in group)
            if spare and (not only_lacking or any(not validation[label] for label in group)):
                dealt[index] = True
                lacking -= 1
                training.subtract(group)
                validation.update(group)
