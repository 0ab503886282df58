"""COCO images without the new classes, in which the model must stay silent."""

from typing import Callable, Iterator, List, Sequence, Tuple

import numpy as np

from todus.added.augmentation import BACKGROUND
from todus.added.network import Network
from todus.added.views import BATCH, Cache, Labelled, pixels_of, row_kind
from todus.dataset.annotations import Image
from todus.detection.resizer import Resizer

SHARE = 4  # one row in so many is a negative
HARD = 5  # one in so many of the images is hard: those with the highest scores
RANKINGS = 4  # the images are ranked after each quarter of the steps


class Negatives:
    """Rows of images in which every detection of the new classes is wrong.

    Attributes:
      hardest: the images by their highest score, once ranked; empty before.
    """

    def __init__(
        self,
        network: Network,
        images: Sequence[Image],
        cache: Cache,
        seed: int,
        tick: Callable[[], None],
    ):
        self._seed = seed
        self.hardest = np.zeros(0, np.int32)
        kind = row_kind(network)

        def parts() -> Iterator[np.ndarray]:
            resize = Resizer(network.size)
            for start in range(0, len(images), BATCH):
                pixels = [resize(pixels_of(each)) for each in images[start : start + BATCH]]
                rows = np.zeros(len(pixels), kind)
                rows["values"] = network.of(np.stack(pixels))
                rows["targets"] = BACKGROUND
                yield rows
                tick()

        self._rows = cache.rows("negatives", kind, len(images), parts())

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, step: int, size: int) -> np.ndarray:
        """The rows of a step: once ranked, half of them are hard ones."""
        random = np.random.RandomState([self._seed, step, 1])
        places = random.randint(0, len(self._rows), size)
        if len(self.hardest):
            hard = self.hardest[: max(1, len(self.hardest) // HARD)]
            half = -(-size // 2)
            places[:half] = hard[random.randint(0, len(hard), half)]
        return self._rows[places]

    def rank(self, logits_of: Callable[[np.ndarray], np.ndarray]) -> None:
        """Sorts the images by the highest logit of a new class, [batch, anchors, classes]."""
        highest: List[np.ndarray] = []
        for start in range(0, len(self._rows), BATCH):
            values = self._rows["values"][start : start + BATCH]
            highest.append(logits_of(values).max(axis=(1, 2)))
        self.hardest = np.argsort(-np.concatenate(highest), kind="stable").astype(np.int32)


def divided(images: Sequence[Labelled]) -> Tuple[List[Labelled], List[Image]]:
    """The images with a box of any class, and those without: what NEGATIVES adds to a dataset.

    A dataset without any box is left as it is.
    """
    empty = [each.image for each in images if not each.image.boxes]
    return [each for each in images if each.image.boxes] or list(images), empty


def is_ranking_due(step: int, steps: int) -> bool:
    """Whether the images are ranked before `step`, counted from 0."""
    return any(step == steps * part // RANKINGS for part in range(1, RANKINGS))
