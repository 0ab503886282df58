"""Which image is in which split and from which folder: recorded, so that a later build keeps it."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional

from todus import files
from todus.command import say
from todus.dataset.records import reader
from todus.dataset.settings import Settings
from todus.dataset.split import SPLITS
from todus.errors import TodusError, UsageError
from todus.paths import Dataset
from todus.text import one_line

FILE = "splits.json"  # split -> the digests of its images, joined
FOLDER_FILE = "source.json"  # the folder that the dataset is made from
DIGITS = 16  # of an image's SHA-256: 1.6 MB for 100,000 images
DRAWN_BY = ("val", "test", "seed", "group")  # settings; another value draws the splits again


def text_of(split_of: Mapping[str, str]) -> str:
    """The text of FILE; `split_of` is SHA-256 of an image's file -> split."""
    digests = {
        split: "".join(sorted(each[:DIGITS] for each, own in split_of.items() if own == split))
        for split in SPLITS
    }
    return json.dumps(digests, indent=2) + "\n"


def read_file(path: Path) -> Dict[str, str]:
    """Start of an image's SHA-256 -> split, from the text of `text_of`.

    Raises TodusError for a file that is missing or not JSON.
    """
    found: Dict[str, str] = {}
    joined = _mapping(files.read_json(path))
    for split in SPLITS:
        text = str(joined.get(split, ""))
        for start in range(0, len(text), DIGITS):
            found.setdefault(text[start : start + DIGITS], split)
    return found


class Previous(NamedTuple):
    """The splits of the dataset that a build replaces."""

    split_of: Dict[str, str]  # start of an image's SHA-256 -> split; empty where there is none
    other: str = ""  # the settings that now differ, so that the splits are drawn again

    def find(self, digest: str) -> str:
        """The split of the image with this SHA-256; "" where it was in none."""
        return self.split_of.get(digest[:DIGITS], "")


def read(dataset: Dataset, settings: Settings) -> Previous:
    """The splits of the dataset as it is; those of its records where FILE is unreadable."""
    try:
        manifest = reader.read_manifest(dataset)
    except TodusError:
        return Previous({})
    before = {**vars(Settings()), **_mapping(manifest.get("settings"))}
    pairs = [(name, before[name], getattr(settings, name)) for name in DRAWN_BY]
    other = ["%s was %s" % (name.upper(), old) for name, old, new in pairs if old != new]
    return Previous(_splits(dataset), ", ".join(other))


def _splits(dataset: Dataset) -> Dict[str, str]:
    with contextlib.suppress(TodusError):
        return read_file(dataset.folder / FILE)
    found: Dict[str, str] = {}
    try:
        for split in SPLITS:
            for stored in reader.read_stored(dataset, split):
                found.setdefault(stored.sha256[:DIGITS], split)
    except TodusError as error:
        say("the splits of %s cannot be kept: %s" % (dataset.name, error))
        return {}
    return found


def _mapping(value: Any) -> Dict[str, Any]:
    return value if isinstance(value, dict) else {}


def folder_text(folder: Path) -> str:
    """The text of FOLDER_FILE."""
    return json.dumps({"folder": str(folder)}) + "\n"


def record_folder(dataset: Dataset, folder: Optional[Path]) -> None:
    """Records the folder of a dataset that is up to date, whose source may have been moved."""
    if folder and (_is_other(dataset, folder) or not _recorded_folder(dataset)):
        files.write_text(dataset.folder / FOLDER_FILE, folder_text(folder))


def check_folder(
    dataset: Dataset, folder: Optional[Path], inputs: Mapping[str, Any], replace: bool
) -> None:
    """Raises UsageError where the dataset was made from other files in another folder."""
    if replace or not folder or not _is_other(dataset, folder):
        return
    try:
        is_moved = reader.read_manifest(dataset).get("inputs") == inputs
    except TodusError:
        is_moved = True  # there is no dataset to replace
    if not is_moved:
        raise UsageError(
            "dataset %s is made from %s, not from %s; set another NAME, or REPLACE=1 to replace it"
            % (dataset.name, one_line(_recorded_folder(dataset)), one_line(str(folder)))
        )


def _is_other(dataset: Dataset, folder: Path) -> bool:
    recorded = _recorded_folder(dataset)
    return bool(recorded) and os.path.realpath(recorded) != os.path.realpath(str(folder))


def _recorded_folder(dataset: Dataset) -> str:
    try:
        value = _mapping(files.read_json(dataset.folder / FOLDER_FILE)).get("folder")
    except TodusError:
        return ""
    return value if isinstance(value, str) and "\0" not in value else ""
