"""The settings of a source of the user's own images."""

from dataclasses import dataclass, field
from typing import Dict

from todus import categories, variables


@dataclass
class Settings:
    categories: str = ""  # empty: every class of the source
    rename: Dict[str, str] = field(default_factory=dict)  # canonical old name -> new name
    label_map: str = ""  # path of a label map with the user's ids
    keep_empty: bool = False  # images without a box are kept as negatives
    val: float = 0.2  # share of the images for validation where the source has no split
    seed: int = 0
    max_dropped: float = 0.05  # share of images or boxes that may be unusable
    jobs: int = 0  # processes; 0: the cores
    exif: str = "auto"  # upright, stored or auto: see box_fitting.fit

    @staticmethod
    def from_environment(command: str) -> "Settings":
        """The settings that a script takes from the environment; the others are the defaults.

        Raises UsageError for a value out of its range.
        """
        given = {
            name: variables.value(name.upper(), command)
            for name in vars(Settings())
            if name.upper() in variables.defaults(command)
        }
        pairs = given.pop("rename", None) or []
        given["rename"] = {categories.canonical(old): new for old, new in pairs}
        return Settings(**{name: value for name, value in given.items() if value is not None})
