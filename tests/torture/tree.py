"""What lies in a folder, and how two such folders differ."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Pattern, Sequence, Tuple

from todus import files

# A file's name -> what of its bytes counts; None: only that it is there.
Reading = Callable[[bytes], object]
Loose = Sequence[Tuple[str, Reading]]


def copy(source: Path, target: Path) -> None:
    """`target` becomes a copy of `source`, itself excluded: it may be a mount."""
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        shutil.rmtree(str(path)) if path.is_dir() and not path.is_symlink() else path.unlink()
    subprocess.run(["cp", "-a", "%s/." % source, str(target)], check=True)


def contents(
    root: Path, loose: Loose = (), ignored: Pattern = re.compile("(?!)")
) -> Dict[str, object]:
    """Relative path -> SHA-256 of every file, or what `loose` reads of it; folders that are empty are there too.

    Args:
      root: the folder.
      loose: (pattern of a whole relative path, what counts of the file) where the bytes hold times; the first that fits.
      ignored: paths that are left out.
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
    return files.sha256(path) if not path.is_symlink() else os.readlink(str(path))


def differences(expected: Dict[str, object], found: Dict[str, object]) -> List[str]:
    """A few words for each path that is missing, too many, or another."""
    result = ["missing: %s" % path for path in sorted(set(expected) - set(found))]
    result += ["stray: %s" % path for path in sorted(set(found) - set(expected))]
    for path in sorted(set(expected) & set(found)):
        if expected[path] != found[path]:
            how = (
                ""
                if len(str(found[path])) == hashlib.sha256().digest_size * 2
                else " (%s, not %s)" % (found[path], expected[path])
            )
            result.append("another: %s%s" % (path, how[:300]))
    return result


def blocks(root: Path) -> int:
    """Bytes that the files below a folder take in blocks of 4 KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in root.rglob("*") if path.is_file())
