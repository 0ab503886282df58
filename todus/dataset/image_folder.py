"""The user's folder of images: its files, and the image that an annotation names."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Container, Dict, Iterable, List, Optional, Tuple

from todus import files
from todus.dataset.image_conversion import SUFFIXES, UNREADABLE
from todus.errors import TodusError

# Folders that sort files by kind; they are ignored when an image is matched with its annotation.
_KINDS = {"images", "image", "img", "imgs", "jpegimages", "annotations", "annotation", "annots"}
_KINDS |= {"xml", "xmls", "json", "jsons", "labels", "label", "data"}
_SPLIT_NAMES = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation"},
    "test": {"test", "testing"},
}


def files_under(root: Path) -> List[Path]:
    """Every file below `root`, ordered by name, without hidden files and folders.

    A FIFO or a device is among them: its reader names it, so that its image is no negative. Linked
    folders are followed once. Raises TodusError where `root` is not a folder.
    """
    if not root.is_dir():
        raise TodusError("%s is not a folder; name the folder that holds the images" % root)
    seen, found = set(), []
    for folder, folders, names in os.walk(str(root), followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder) / name for name in sorted(names) if not name.startswith(".")]
    return found


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES + UNREADABLE


def _without_originals(images: List[Path]) -> List[Path]:
    """The images without a.heic beside a.jpg: phones and converters keep both."""
    readable = {path.with_suffix("") for path in images if path.suffix.lower() in SUFFIXES}
    return [
        path
        for path in images
        if path.suffix.lower() in SUFFIXES or path.with_suffix("") not in readable
    ]


def given_path(text: str) -> Path:
    """The absolute path of a file or folder that the user typed. Raises TodusError for a FIFO."""
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if files.is_special(path):
        raise TodusError("%s is a device or a FIFO; give a file or a folder" % path)
    return path


def split_named(word: str) -> str:
    """train, val or test for a word with that meaning, in any case; "" for any other."""
    return next((split for split, names in _SPLIT_NAMES.items() if word.lower() in names), "")


def split_named_file(path: Path) -> str:
    """train, val or test by a word of the file's name, else by its folder's; "" for neither."""
    words = re.findall("[a-z]+", path.name.lower())
    return next(filter(None, map(split_named, words)), "") or split_named(path.parent.name)


def split_of(relative: PurePosixPath) -> str:
    """train, val or test where a folder of the path has such a name; "" otherwise."""
    return next(filter(None, map(split_named, relative.parts[:-1])), "")


class ImageFolder:
    """The images below a folder, found by path, name or stem, in any case."""

    def __init__(self, root: Path, paths: Iterable[Path]):
        self.root = root
        self.paths = _without_originals([path for path in paths if is_image(path)])
        self._by_name: Dict[str, List[Path]] = {}
        self._by_stem: Dict[str, List[Path]] = {}
        for path in self.paths:
            self._by_name.setdefault(path.name.casefold(), []).append(path)
            self._by_stem.setdefault(path.stem.casefold(), []).append(path)

    def others(self, listed: Container[Path]) -> List[PurePosixPath]:
        """The images that are not among `listed`, relative to the folder."""
        return [self.relative(path) for path in self.paths if path not in listed]

    def relative(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self.root).as_posix())

    def find_by_name(self, name: str, near: Optional[Path] = None) -> Optional[Path]:
        """The image that an annotation names by a file name or a path; None where there is none.

        Of several images it is the one whose folders agree best with those in `name`, then the one
        beside `near`, the annotation's file; None where that leaves several.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        return self._choose(self.named(name), wanted, near)

    def find_by_stem(self, annotation: Path) -> Optional[Path]:
        """The image with the file name of the annotation, except for the suffix."""
        candidates = self._by_stem.get(annotation.stem.casefold(), [])
        return self._choose(candidates, PurePosixPath(annotation.name), annotation)

    def named(self, name: str) -> List[Path]:
        """The images with the file name of a path that an annotation gives, in any case."""
        return self._by_name.get(PurePosixPath(name.replace("\\", "/")).name.casefold(), [])

    def near(self, path: Path) -> List[Path]:
        """The images with the stem of a file, in any case: those beside it, else all."""
        alike = self._by_stem.get(path.stem.casefold(), [])
        return [each for each in alike if self._place(each) == self._place(path)] or alike

    def are_together(self, one: Path, other: Path) -> bool:
        """Whether two files are in one folder, or in folders for their kinds beside each other."""
        return self._place(one) == self._place(other)

    def _choose(
        self, candidates: List[Path], wanted: PurePosixPath, near: Optional[Path]
    ) -> Optional[Path]:
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        ranks: List[Tuple[int, Path]] = []
        for path in candidates:
            rank = 4 * _common_end(self.relative(path).parent.parts, wanted.parent.parts)
            rank += 2 * (near is not None and self._place(path) == self._place(near))
            rank += path.name == wanted.name
            ranks.append((rank, path))
        best = max(rank for rank, _ in ranks)
        chosen = [path for rank, path in ranks if rank == best]
        return chosen[0] if len(chosen) == 1 else None

    def _place(self, path: Path) -> Tuple[str, ...]:
        try:
            parts = path.relative_to(self.root).parent.parts
        except ValueError:
            return ()
        return tuple(part.lower() for part in parts if part.lower() not in _KINDS)


def _common_end(one: Tuple[str, ...], other: Tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(reversed(one), reversed(other)):
        if left.casefold() != right.casefold():
            break
        count += 1
    return count
