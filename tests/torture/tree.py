"""The contents of a folder, and the differences between two folders."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Pattern, Sequence, Tuple

from todus import files

# Pairs: a pattern of a whole relative path, and the value to compare instead of the file's SHA-256.
Loose = Sequence[Tuple[str, Callable[[bytes], object]]]
NOTHING = re.compile("(?!)")


def copy(source: Path, target: Path) -> None:
    """Makes the contents of `target` a copy of those of `source`; `target` may be a mount."""
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        shutil.rmtree(str(path)) if path.is_dir() and not path.is_symlink() else path.unlink()
    subprocess.run(["cp", "-a", "%s/." % source, str(target)], check=True)


def contents(root: Path, loose: Loose = (), ignored: Pattern = NOTHING) -> Dict[str, object]:
    """Relative path -> SHA-256 of every file, with an entry for each empty folder.

    Args:
      root: the folder.
      loose: for files that hold times; the first matching pattern applies.
      ignored: matches the whole relative paths to leave out.
    """
    found: Dict[str, object] = {}
    for folder, names, listed in os.walk(str(root)):
        inside = os.path.relpath(folder, str(root))
        if not names and not listed and inside != "." and not ignored.fullmatch(inside):
            found[inside + "/"] = "an empty folder"
        for name in listed:
            path = os.path.normpath(os.path.join(inside, name))
            if not ignored.fullmatch(path):
                found[path] = _read(root / path, path, loose)
    return found


def _read(path: Path, name: str, loose: Loose) -> object:
    for pattern, reading in loose:
        if re.fullmatch(pattern, name):
            try:
                return reading(path.read_bytes())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return "cannot be read: %s" % error
    return os.readlink(str(path)) if path.is_symlink() else files.sha256(path)


def differences(expected: Dict[str, object], found: Dict[str, object]) -> List[str]:
    """A line for each path that is missing, stray or changed."""
    result = ["missing: %s" % path for path in sorted(set(expected) - set(found))]
    result += ["stray: %s" % path for path in sorted(set(found) - set(expected))]
    for path in sorted(set(expected) & set(found)):
        if expected[path] != found[path]:
            is_digest = re.fullmatch("[0-9a-f]{64}", str(found[path]))
            values = "" if is_digest else " (%s, not %s)" % (found[path], expected[path])
            result.append("changed: %s%s" % (path, values[:300]))
    return result


def blocks(root: Path) -> int:
    """Bytes of the files below a folder, rounded up to blocks of 4 KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in root.rglob("*") if path.is_file())
