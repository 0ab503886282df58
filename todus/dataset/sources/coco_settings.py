"""The environment variables of dataset-complete.sh and dataset-limited.sh."""

import functools
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple, Union

from todus import variables
from todus.dataset import choose
from todus.dataset.records.shards import Options
from todus.dataset.settings import checked_runner
from todus.errors import UsageError
from todus.fetching import transport

COMPLETE, LIMITED = "complete", "limited"


@dataclass
class Settings:
    kind: str  # complete or limited
    name: str
    url: str
    categories: str
    splits: List[str]  # in the order train, val, testdev
    most_images: Dict[str, int]  # split -> images with a wanted class, 0: all
    negatives: Dict[str, Union[int, str]]  # split -> images without one, or "all"
    negatives_folder: str  # pictures of the user's own; "" for none
    options: Options
    keep_raw: bool
    stats_only: bool
    most_missing: float  # share of a split's images
    most_dropped: float  # share of a split's images or boxes
    connections: int
    policy: transport.Policy

    @staticmethod
    def from_environment(kind: str) -> "Settings":
        """The settings of dataset-`kind`.sh. Raises UsageError for an invalid value."""
        value = functools.partial(variables.value, command="dataset-" + kind)
        limited, splits = kind == LIMITED, value("SPLITS")
        if limited and "testdev" in splits:
            raise UsageError(
                "SPLITS has testdev, which has no boxes to choose by; use ./dataset-complete.sh"
            )
        given = value("NEGATIVES") or []
        folder = given if isinstance(given, str) else ""
        negatives = dict.fromkeys(splits, choose.ALL)
        if limited:
            negatives = per_split([] if folder else given, splits, ["val"])
        options = Options(
            seed=value("SEED"),
            shards=value("SHARDS"),
            jobs=value("JOBS"),
            decode=value("VERIFY") == "decode",
            masks=value("INCLUDE_MASKS"),
            balance=value("BALANCE"),
            runner=checked_runner(value("RUNNER")),
        )
        return Settings(
            kind=kind,
            name=value("NAME"),
            url=value("COCO_URL").rstrip("/"),
            categories=value("CATEGORIES") if limited else "all",
            splits=splits,
            most_images=per_split(value("MAX_IMAGES"), splits, splits),
            negatives=negatives,
            negatives_folder=folder,
            options=options,
            keep_raw=value("KEEP_RAW"),
            stats_only=value("STATS_ONLY"),
            most_missing=value("MAX_MISSING"),
            most_dropped=value("MAX_DROPPED"),
            connections=value("CONNECTIONS"),
            policy=transport.Policy.from_environment(),
        )

    def recorded(self, wanted: Dict[int, str]) -> Dict[str, Any]:
        """The settings that decide the dataset's bytes; `wanted` is source id -> name."""
        balance = {"balance": self.options.balance} if self.options.balance else {}
        return {
            **balance,
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


def per_split(
    given: List[Tuple[str, Union[int, str]]], splits: List[str], plain: List[str]
) -> Dict[str, Union[int, str]]:
    """A number for each split.

    Args:
      given: (split, number) pairs, as variables.PerSplit reads them; split "" means all of `plain`.
      splits: the splits to return; a split that is not given gets 0.
      plain: the splits that a number without a split applies to.
    """
    values: Dict[str, Union[int, str]] = dict.fromkeys(splits, 0)
    for split, number in given:
        values.update({each: number for each in ([split] if split else plain) if each in splits})
    return values
