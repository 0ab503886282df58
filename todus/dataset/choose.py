"""Which images of a split become the dataset: those with a wanted class, at most so many, and some without."""

import hashlib
from collections import Counter
from typing import Dict, List, Sequence, Union

from todus.dataset.annotations import Annotations, Image, order, tally

ALL = "all"


def choose(annotations: Annotations, most: int, negatives: Union[int, str], seed: int) -> Annotations:
    """The images that have a box, at most `most` of them (0: all), and `negatives` (a number or "all") of those that have none.

    The choice depends on the image ids and the seed alone; a smaller number chooses a part of what a larger one does, but for rounding.
    """
    positive = [image for image in annotations.images if image.boxes]
    empty = [image for image in annotations.images if not image.boxes]
    if most and len(positive) > most:
        positive = proportional(positive, most, seed)
    if negatives != ALL:
        empty = _drawn(empty, seed)[: int(negatives)]
    chosen = sorted(positive + empty, key=lambda image: order(image.id))
    return Annotations(annotations.categories, chosen, annotations.dropped)


def proportional(images: Sequence[Image], most: int, seed: int) -> List[Image]:
    """`most` of the images, so that every class keeps about its share.

    Each image counts for its rarest class; classes get places in proportion (largest remainder), each at least one while there are enough.
    """
    rarity = {category: number for category, (number, _) in tally(list(images)).items()}
    groups: Dict[int, List[Image]] = {}
    for image in _drawn(images, seed):
        rarest = min((box.category_id for box in image.boxes), key=lambda category: (rarity[category], category))
        groups.setdefault(rarest, []).append(image)
    places = shares({category: len(group) for category, group in groups.items()}, most)
    return [image for category, group in groups.items() for image in group[: places[category]]]


def shares(sizes: Dict[int, int], most: int) -> Counter:
    """At most sum(sizes) places, one for each key and the rest in proportion to `sizes`, none with more than its size.

    Where there are fewer places than keys, the largest get one each.
    """
    largest = sorted(sizes, key=lambda key: (-sizes[key], key))
    places = Counter(largest[:most])
    left, rest = most - len(places), sum(sizes.values()) - len(sizes)
    if left > 0 and rest > 0:
        parts = {key: (sizes[key] - 1) * left for key in sizes}
        places.update({key: part // rest for key, part in parts.items()})
        for key in sorted(sizes, key=lambda key: (-(parts[key] % rest), key))[: most - sum(places.values())]:
            places[key] += 1
    return places


def _drawn(images: Sequence[Image], seed: int) -> List[Image]:
    """The images in an order drawn by the seed."""

    def key(image: Image) -> bytes:
        return hashlib.sha256(("%d/choose/%s" % (seed, image.id)).encode("utf-8")).digest()

    return sorted(images, key=key)
