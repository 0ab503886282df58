"""The environment variables of dataset-complete.sh and dataset-limited.sh."""

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple, Union

from todus import variables
from todus.dataset import choose
from todus.dataset.records.shards import Options
from todus.errors import UsageError
from todus.fetching import transport

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
        command = "dataset-" + kind

        def value(name: str) -> Any:
            return variables.value(name, command)

        splits = named_splits(kind)
        limited = kind == LIMITED
        options = Options(
            seed=value("SEED"),
            shards=value("SHARDS"),
            jobs=value("JOBS"),
            decode=value("VERIFY") == "decode",
            masks=value("INCLUDE_MASKS"),
        )
        return Settings(
            kind=kind,
            name=value("NAME"),
            url=value("COCO_URL").rstrip("/"),
            categories=value("CATEGORIES") if limited else "all",
            splits=splits,
            most_images=per_split(value("MAX_IMAGES"), splits, splits),
            negatives=per_split(value("NEGATIVES"), splits, ["val"])
            if limited
            else dict.fromkeys(splits, choose.ALL),
            options=options,
            keep_raw=value("KEEP_RAW"),
            stats_only=value("STATS_ONLY"),
            most_missing=value("MAX_MISSING"),
            most_dropped=value("MAX_DROPPED"),
            connections=value("CONNECTIONS"),
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
    splits = variables.value("SPLITS", "dataset-" + kind)
    if "testdev" in splits and kind == LIMITED:
        raise UsageError(
            "SPLITS has testdev, which has no boxes to choose by; it is for ./dataset-complete.sh"
        )
    return splits


def per_split(
    given: List[Tuple[str, Union[int, str]]], splits: List[str], plain: List[str]
) -> Dict[str, Union[int, str]]:
    """A number for each split.

    Args:
      given: (split, number) pairs, as variables.PerSplit reads them; "" is for every split in `plain`.
      splits: those that are made; 0 for each that is not named.
      plain: those that a number without a split is for.
    """
    values: Dict[str, Union[int, str]] = dict.fromkeys(splits, 0)
    for split, number in given:
        values.update({each: number for each in ([split] if split else plain) if each in splits})
    return values
