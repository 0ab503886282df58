"""What the environment asks of a source of a person's own images."""

from dataclasses import dataclass, field
from typing import Dict

from todus import categories, variables


@dataclass
class Settings:
    categories: str = ""  # empty: every class of the source
    rename: Dict[str, str] = field(default_factory=dict)  # canonical old name -> new name
    label_map: str = ""  # a file with a person's own ids
    keep_empty: bool = False  # images without a box stay, as negatives
    val: float = 0.2  # share of the images that go to validation where the source brings no split
    seed: int = 0
    max_dropped: float = 0.05  # share of images or boxes that may be unusable
    jobs: int = 0  # processes; 0: the cores
    exif: str = "auto"  # what the boxes were drawn on: upright, stored, or as the annotation's width and height tell

    @staticmethod
    def from_environment(command: str) -> "Settings":
        """The settings that a script obeys; the others keep their defaults. Raises UsageError for a value out of its range."""
        obeyed = variables.defaults(command)
        given = {
            name: variables.value(name.upper(), command)
            for name in vars(Settings())
            if name.upper() in obeyed
        }
        pairs = given.pop("rename", None) or []
        given["rename"] = {categories.canonical(old): new for old, new in pairs}
        return Settings(**{name: value for name, value in given.items() if value is not None})
