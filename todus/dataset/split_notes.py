"""Lines about groups in several splits, and classes with an uneven share of val or test."""

from collections import Counter
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set

from todus.dataset.split import Candidate, Shares, is_given
from todus.text import one_line, shortened

FARTHEST = 0.05  # most that a class's share of a split may be off without a line
SEEDS = 20  # seeds that are tried for a more even split
MOST_DRAWS = 300_000  # images times seeds that are tried


class Split(NamedTuple):
    """An image that is used, and its split."""

    candidate: Candidate
    classes: Set[int]  # ids of the classes in it
    split: str


def notes(images: Sequence[Split], shares: Shares, names: Mapping[int, str]) -> Iterator[str]:
    """A line for groups in several of the source's splits, or for uneven classes.

    Args:
      images: the images that are used.
      shares: what was asked for.
      names: id -> name of the classes.
    """
    if is_given([image.candidate for image in images]):
        yield from _torn_groups(images)
        return
    uneven = uneven_classes(images, [image.split for image in images], shares)
    if not uneven:
        return
    shown = ["%.0f%% of %s in %s" % (100 * e.share, one_line(names[e.id]), e.split) for e in uneven]
    asked = "VAL=%g" % shares.val + (", TEST=%g" % shares.test if shares.test else "")
    line = "uneven split for %s: %s" % (asked, shortened(shown, 8))
    seed = more_even_seed(images, shares)
    if seed is None or len(_uneven_with(images, shares._replace(seed=seed))) >= len(uneven):
        yield line + "; no other SEED up to %d is better; label more images" % SEEDS
    else:
        yield line + "; SEED=%d is more even, and draws the split of every image again" % seed


def _torn_groups(images: Sequence[Split]) -> Iterator[str]:
    splits: Dict[str, Set[str]] = {}
    for image in images:
        splits.setdefault(image.candidate.key, set()).add(image.split)
    torn = {key for key, found in splits.items() if len(found) > 1}
    number = sum(image.candidate.key in torn for image in images)
    if torn:
        yield (
            "groups in several of the source's splits: %d, of %d images; AP is too high until each "
            "group's files are in one of its folders or lists" % (len(torn), number)
        )


class Uneven(NamedTuple):
    """A class of which a split has another share than VAL or TEST."""

    id: int
    split: str  # val or test
    share: float  # of the class's images


def uneven_classes(images: Sequence[Split], splits: Sequence[str], shares: Shares) -> List[Uneven]:
    """The classes whose share of val or test is off by more than FARTHEST.

    `splits` has the split of each image.
    """
    total: Counter = Counter()
    inside: Counter = Counter()
    for image, split in zip(images, splits):
        total.update(image.classes)
        inside.update((identity, split) for identity in image.classes)
    found = [
        (Uneven(identity, split, inside[identity, split] / total[identity]), wanted)
        for identity in sorted(total)
        for split, wanted in zip(shares.splits[1:], (shares.val, shares.test))
    ]
    return [each for each, wanted in found if abs(each.share - wanted) > FARTHEST + 1e-9]


def more_even_seed(images: Sequence[Split], shares: Shares) -> Optional[int]:
    """The seed up to SEEDS, other than that of `shares`, with the fewest uneven classes.

    None where there are too many images to try one.
    """
    tried = range(min(SEEDS, MOST_DRAWS // len(images)) + 1)
    seeds = [seed for seed in tried if seed != shares.seed]

    def number(seed: int) -> int:
        return len(_uneven_with(images, shares._replace(seed=seed)))

    return min(seeds, key=number, default=None)


def _uneven_with(images: Sequence[Split], shares: Shares) -> List[Uneven]:
    drawn = [shares.split_of(image.candidate.key) for image in images]
    return uneven_classes(images, drawn, shares)
