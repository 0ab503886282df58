"""The environment variables of dataset-complete.sh and dataset-limited.sh."""

import os
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Union

from todus import categories
from todus.dataset import choose
from todus.dataset.records.shards import Options
from todus.dataset.settings import one_of, percent, switch, whole
from todus.dataset.sources import coco_raw_data
from todus.errors import UsageError
from todus.fetching import transport
from todus.text import one_line

DEFAULT_URL = "http://images.cocodataset.org"
COMPLETE, LIMITED = "complete", "limited"


@dataclass
class Settings:
    kind: str  # complete or limited
    name: str
    url: str
    categories: str
    splits: List[str]
    most_images: Dict[str, int]  # split -> images with a wanted class, 0: all
    negatives: Dict[str, Union[int, str]]  # split -> images without one, or "all"
    options: Options
    keep_raw: bool
    stats_only: bool
    most_missing: float  # share of a split's images
    most_dropped: float  # share of a split's images or boxes
    connections: int
    policy: transport.Policy

    @staticmethod
    def from_environment(kind: str) -> "Settings":
        """Raises UsageError for a value that means nothing."""
        splits = named_splits(kind)
        url = (os.environ.get("COCO_URL") or DEFAULT_URL).rstrip("/")
        if not re.match(r"https?://[^/\s]", url):
            raise UsageError("COCO_URL=%s is not a web address; give one such as %s" % (one_line(url), DEFAULT_URL))
        negatives = dict.fromkeys(splits, choose.ALL) if kind == COMPLETE else per_split("NEGATIVES", splits, ["val"], choose.ALL)
        options = Options(
            seed=whole("SEED", 0),
            shards=whole("SHARDS", 0),
            jobs=whole("JOBS", 0),
            decode=one_of("VERIFY", "structure", ("structure", "decode")) == "decode",
            masks=switch("INCLUDE_MASKS"),
        )
        return Settings(
            kind=kind,
            name=os.environ.get("NAME") or kind,
            url=url,
            categories=os.environ.get("CATEGORIES") or categories.DEFAULT_CATEGORIES,
            splits=splits,
            most_images=per_split("MAX_IMAGES", splits, splits),
            negatives=negatives,
            options=options,
            keep_raw=one_of("KEEP_RAW", "1", ("0", "1")) == "1",
            stats_only=switch("STATS_ONLY"),
            most_missing=percent("MAX_MISSING", 0.1),
            most_dropped=percent("MAX_DROPPED", 1.0),
            connections=max(1, min(whole("CONNECTIONS", 16), 128)),
            policy=transport.Policy.from_environment(),
        )

    def recorded(self, wanted: Dict[int, str]) -> Dict[str, Any]:
        """What decides the bytes of the dataset, for dataset.json. `wanted` is source id -> name."""
        return {
            "kind": self.kind,
            "categories": list(wanted),
            "splits": self.splits,
            "max_images": self.most_images,
            "negatives": self.negatives,
            "seed": self.options.seed,
            "shards": self.options.shards,
            "include_masks": self.options.masks,
            "verify": "decode" if self.options.decode else "structure",
        }


def named_splits(kind: str) -> List[str]:
    """SPLITS, in the order train, val, testdev."""
    asked = (os.environ.get("SPLITS") or "train val").replace(",", " ").split()
    for split in asked:
        if split not in coco_raw_data.SPLITS:
            raise UsageError("SPLITS has %s; there is: %s" % (one_line(split), ", ".join(coco_raw_data.SPLITS)))
        if split == "testdev" and kind == LIMITED:
            raise UsageError("SPLITS has testdev, which has no boxes to choose by; it is for ./dataset-complete.sh")
    if not asked:
        raise UsageError('SPLITS is empty; give SPLITS="train val"')
    return [split for split in coco_raw_data.SPLITS if split in asked]


def per_split(name: str, splits: List[str], plain: List[str], word: str = "") -> Dict[str, Union[int, str]]:
    """A value for each split, of a variable such as "500", which is for the splits in `plain`, or "train=500 val=all".

    Args:
      name: the variable.
      splits: those that are made; 0 for each that is not named.
      plain: those that a value without a split is for.
      word: what may stand in place of a number.
    """
    values: Dict[str, Union[int, str]] = dict.fromkeys(splits, 0)
    for part in os.environ.get(name, "").replace(",", " ").split():
        split, equals, value = part.rpartition("=")
        known = value == word if word and not value.isdigit() else re.fullmatch(r"[0-9]{1,9}", value)
        if not known or (equals and split not in coco_raw_data.SPLITS):
            what = "a number%s" % (" or " + word if word else "")
            raise UsageError('%s=%s: give %s, or one a split such as "train=500 val=100"' % (name, one_line(part), what))
        for each in [split] if equals else plain:
            if each in values:
                values[each] = value if value == word else int(value)
    return values
