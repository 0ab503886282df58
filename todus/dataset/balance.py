"""BALANCE and WEIGHTS: how often training reads an image.

Repeat-factor sampling is that of A. Gupta, P. Dollar, R. Girshick: LVIS: A Dataset for Large
Vocabulary Instance Segmentation, CVPR 2019 (arXiv 1908.03195): a class c in the share f(c) of the
images has the factor r(c) = max(1, sqrt(t / f(c))), an image the largest factor of its classes.

The OD API's reader has no index of records: it reads every record of its files once an epoch, and
sample_from_datasets_weights weighs files, not images. So an image is repeated by further records in
the train split. They have the key image/repeat, which the OD API ignores; verify, preview, merges
and evaluations leave them out, and counts in dataset.json are those of distinct images.
"""

import math
from collections import Counter
from dataclasses import replace
from typing import Collection, Dict, List, Sequence

from todus.dataset.annotations import Image
from todus.dataset.seeded_order import fraction

LVIS_THRESHOLD = 0.001


def threshold(balance: float, classes: int) -> float:
    """The share of the images below which a class is rare.

    BALANCE=1 stands for an equal share of each class, at least LVIS's value, which is about the
    equal share of its 1,203 classes. A dataset of few classes has no class below that value.
    """
    return max(LVIS_THRESHOLD, 1 / max(1, classes)) if balance == 1 else balance


def factors(images: Sequence[Image], wanted: Collection[int], least: float) -> List[float]:
    """The repeat factor of each image, at least 1.

    Args:
      images: those of the train split.
      wanted: the ids of the classes that count.
      least: t above.
    """
    classes = [{box.category_id for box in image.boxes} & set(wanted) for image in images]
    number = Counter(identity for found in classes for identity in found)
    of_class: Dict[int, float] = {
        identity: max(1.0, math.sqrt(least * len(images) / count))
        for identity, count in number.items()
    }
    return [max((of_class[identity] for identity in found), default=1.0) for found in classes]


def repeats(
    images: Sequence[Image], wanted: Collection[int], balance: float, seed: int
) -> List[Image]:
    """The further records of a train split: copies with `repeat` 1, 2 ...

    An image with the factor 2.3, times its weight, has two records, or three with a probability of
    0.3 that depends on the seed and its id.
    """
    by_class = [1.0] * len(images)
    if balance:
        by_class = factors(images, wanted, threshold(balance, len(wanted)))
    copies = []
    for image, factor in zip(images, by_class):
        number = factor * image.weight + fraction(seed, "repeat", image.id)
        copies += [replace(image, repeat=repeat) for repeat in range(1, int(number))]
    return copies
