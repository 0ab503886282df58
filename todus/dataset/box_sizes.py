"""The sizes of a dataset's boxes after their images are resized to a network's input."""

from dataclasses import dataclass, field
from statistics import median
from typing import Dict, List, Tuple

from todus.dataset.annotations import Image

# Pixels at the network's input; a smaller box cannot be learnt and can make the loss NaN.
LEAST_PIXELS = 2
SIZES = (
    (0, "under 2"),
    (LEAST_PIXELS, "2 to 8"),
    (8, "8 to 16"),
    (16, "16 to 32"),
    (32, "32 to 96"),
    (96, "96 and more"),
)


@dataclass
class ClassCounts:
    """One class's boxes in one split, at the network's input."""

    images: int = 0
    widths: List[float] = field(default_factory=list)
    heights: List[float] = field(default_factory=list)
    crowds: int = 0

    @property
    def boxes(self) -> int:
        return len(self.widths)

    @property
    def shorter_sides(self) -> List[float]:
        return [min(pair) for pair in zip(self.widths, self.heights)]

    @property
    def tiny(self) -> int:
        return sum(side < LEAST_PIXELS for side in self.shorter_sides)

    def typical(self) -> str:
        """The median width and height in pixels."""
        return "%.0f x %.0f" % (median(self.widths), median(self.heights)) if self.widths else ""

    def histogram(self) -> List[int]:
        """Boxes in each of SIZES, by their shorter side."""
        counts = [0] * len(SIZES)
        for side in self.shorter_sides:
            counts[max(index for index, (least, _) in enumerate(SIZES) if side >= least)] += 1
        return counts


def measure(images: List[Image], size: Tuple[int, int]) -> Dict[int, ClassCounts]:
    """category id -> its boxes; `size` is width and height of the network's input."""
    counts: Dict[int, ClassCounts] = {}
    for image in images:
        for box in image.boxes:
            found = counts.setdefault(box.category_id, ClassCounts())
            found.widths.append((box.xmax - box.xmin) * size[0] / image.width)
            found.heights.append((box.ymax - box.ymin) * size[1] / image.height)
            found.crowds += box.is_crowd
        for identity in {box.category_id for box in image.boxes}:
            counts[identity].images += 1
    return counts
