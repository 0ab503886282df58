"""The environment variables that every source of a person's own images obeys."""

import math
import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable

from todus import categories
from todus.errors import UsageError
from todus.text import one_line


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
    def from_environment() -> "Settings":
        """Raises UsageError for a value that means nothing."""
        return Settings(
            categories=os.environ.get("CATEGORIES", ""),
            rename=renames(os.environ.get("RENAME", "")),
            label_map=existing_file("LABEL_MAP"),
            keep_empty=switch("KEEP_EMPTY"),
            val=fraction("VAL", 0.2),
            seed=whole("SEED", 0),
            max_dropped=percent("MAX_DROPPED", 5.0),
            jobs=whole("JOBS", 0),
            exif=one_of("EXIF", "auto", ("auto", "upright", "stored")),
        )


def renames(text: str) -> Dict[str, str]:
    """canonical old name -> new name of a RENAME value such as `license plate=plate, Auto=car`."""
    pairs = {}
    for part in text.replace("\n", ",").split(","):
        if part.strip():
            old, _, new = part.partition("=")
            if not old.strip() or not new.strip():
                raise UsageError(
                    'RENAME has "%s"; write old=new, several with commas: RENAME="license plate=plate, auto=car"' % one_line(part)
                )
            pairs[categories.canonical(old)] = new.strip()
    return pairs


def existing_file(name: str) -> str:
    """The path of a file, empty where the variable is."""
    path = os.environ.get(name, "")
    if path and not os.path.isfile(path):
        raise UsageError("%s=%s is not a file; give a path, or unset it" % (name, one_line(path)))
    return path


def switch(name: str) -> bool:
    return one_of(name, "0", ("0", "1")) == "1"


def fraction(name: str, default: float) -> float:
    """A number between 0 and 1, both excluded."""
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise UsageError("%s=%s: give a number between 0 and 1, such as %g" % (name, one_line(text), default))
    return value


def percent(name: str, default: float) -> float:
    """The share that a percentage says: 0.05 for "5%" or "5"."""
    text = os.environ.get(name) or str(default)
    match = re.fullmatch(r"\s*([0-9]{1,3}(\.[0-9]{1,6})?)\s*%?\s*", text)
    if not match or float(match.group(1)) > 100:
        raise UsageError("%s=%s: give a percentage from 0 to 100, such as %g%%" % (name, one_line(text), default))
    return float(match.group(1)) / 100


def whole(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError("%s=%s: give a whole number from 0" % (name, one_line(text)))
    return int(text)


def one_of(name: str, default: str, known: Iterable[str]) -> str:
    value = os.environ.get(name) or default
    if value not in known:
        raise UsageError("%s=%s: give %s" % (name, one_line(value), " or ".join(known)))
    return value
