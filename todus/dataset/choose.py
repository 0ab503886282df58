"""Chooses the images of a split: those with a wanted class, and some without a box."""

from collections import Counter
from typing import Callable, Collection, Dict, Iterable, List, Sequence, TypeVar, Union

from todus.dataset.annotations import Annotations, Image, id_order
from todus.dataset.seeded_order import sort_key

ALL = "all"

Item = TypeVar("Item")


def choose(
    annotations: Annotations, most: int, negatives: Union[int, str], seed: int
) -> Annotations:
    """At most `most` of the images that have a box (0: all), and `negatives` of the others.

    `negatives` is a number or "all". The choice depends on the image ids and the seed alone; a
    smaller number chooses a part of what a larger one does, except for rounding.
    """
    positive = [image for image in annotations.images if image.boxes]
    empty = [image for image in annotations.images if not image.boxes]
    if most and len(positive) > most:
        positive = proportional(positive, most, seed)
    if negatives != ALL:
        empty = _shuffled(empty, seed)[: int(negatives)]
    chosen = sorted(positive + empty, key=lambda image: id_order(image.id))
    return Annotations(annotations.categories, chosen, annotations.dropped)


def proportional(images: Sequence[Image], most: int, seed: int) -> List[Image]:
    """`most` of the images, in which each class keeps about its share. Each image has a box."""
    shuffled = _shuffled(images, seed)
    return pick_in_proportion(
        shuffled, lambda image: [box.category_id for box in image.boxes], most
    )


def pick_in_proportion(
    items: Iterable[Item], classes_of: Callable[[Item], Collection[int]], most: int
) -> List[Item]:
    """The first `most` items of each class, in proportion to the classes' shares.

    Each item counts for its rarest class; places are divided by largest remainder, at least one
    per class while there are enough.
    """
    classes = [(item, set(classes_of(item))) for item in items]
    frequency = Counter(category for _, found in classes for category in found)
    groups: Dict[int, List[Item]] = {}
    for item, found in classes:
        rarest = min(found, key=lambda category: (frequency[category], category))
        groups.setdefault(rarest, []).append(item)
    places = shares({category: len(group) for category, group in groups.items()}, most)
    return [item for category, group in groups.items() for item in group[: places[category]]]


def shares(sizes: Dict[int, int], most: int) -> Counter:
    """`most` places or sum(sizes): one for each key, the rest in proportion to `sizes`.

    Where there are fewer places than keys, the largest keys get one each.
    """
    largest = sorted(sizes, key=lambda key: (-sizes[key], key))
    places = Counter(largest[:most])
    left, rest = most - len(places), sum(sizes.values()) - len(sizes)
    if left > 0 and rest > 0:
        parts = {key: (sizes[key] - 1) * left for key in sizes}
        places.update({key: part // rest for key, part in parts.items()})
        by_remainder = sorted(sizes, key=lambda key: (-(parts[key] % rest), key))
        places.update(by_remainder[: most - sum(places.values())])
    return places


def _shuffled(images: Sequence[Image], seed: int) -> List[Image]:
    return sorted(images, key=lambda image: sort_key(seed, "choose", image.id))
