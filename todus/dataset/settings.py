"""The settings of a source of the user's own images."""

import importlib.util
from dataclasses import dataclass, field
from typing import Dict, Optional

from todus import categories, variables
from todus.errors import TodusError, UsageError
from todus.paths import REPO


@dataclass
class Settings:
    categories: str = ""  # empty: every class of the source
    rename: Dict[str, str] = field(default_factory=dict)  # canonical old name -> new name
    label_map: str = ""  # path of a label map with the user's ids
    keep_empty: bool = False  # images without a box are kept as negatives
    negatives: str = ""  # a folder of pictures without any of the classes
    val: float = 0.2  # share of the images for validation where the source has no split
    test: float = 0.0  # share of the images for test there
    seed: int = 0
    max_side: int = 0  # pixels of an image's longer side; 0: any
    group: str = variables.AUGMENTED  # of a file name; the images of a group go to one split
    include_masks: bool = False  # write the segmentations of COCO JSON
    balance: float = 0.0  # train images of rare classes are repeated: see todus.dataset.balance
    weights: Dict[str, float] = field(default_factory=dict)  # of datasets that are merged
    max_dropped: float = 0.05  # share of images or boxes that may be unusable
    jobs: int = 0  # processes; 0: the cores
    runner: str = ""  # RUNNER: see todus.dataset.records.beam
    exif: str = "auto"  # upright, stored or auto: see box_fitting.fit
    replace: bool = False  # a dataset made from another folder may be replaced

    @staticmethod
    def from_environment(command: str) -> "Settings":
        """The settings that a script takes from the environment; the others are the defaults.

        Raises UsageError for a value out of its range, and for VAL and TEST that leave no train.
        """
        given = {
            name: variables.value(name.upper(), command)
            for name in vars(Settings())
            if name.upper() in variables.defaults(command)
        }
        pairs = given.pop("rename", None) or []
        given["rename"] = {categories.canonical(old): new for old, new in pairs}
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
        if settings.val + settings.test >= 1:
            text = "VAL=%g and TEST=%g leave no image for train; give smaller shares"
            raise UsageError(text % (settings.val, settings.test))
        checked_runner(settings.runner)
        return settings


def checked_runner(runner: Optional[str]) -> str:
    """RUNNER, "" for none. Raises TodusError where one is given, and Beam is not installed."""
    if runner and not importlib.util.find_spec("apache_beam"):
        text = "RUNNER needs Apache Beam; run: make -C %s beam, or unset RUNNER"
        raise TodusError(text % REPO)
    return runner or ""
