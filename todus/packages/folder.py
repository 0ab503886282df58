"""What the folders for programs and devices share: model/NAME/KIND, written at once."""

import contextlib
import re
from pathlib import Path
from typing import Any, Dict, Iterator, Sequence

from todus import files, locks, paths
from todus.errors import UsageError
from todus.slicing import command as slicing


def named(file: Path, name: str = "") -> Path:
    """The folder model/NAME for what is made from a finished file.

    Args:
      file: whose stem is NAME where `name` is empty.
      name: of the user (AS=).

    Raises UsageError for a name that cannot be a folder's.
    """
    own = re.sub(r"[^\w.+-]+", "-", file.stem).strip("-.+") or "detector"
    return paths.models_folder() / paths.checked_name(name or own, "AS")


def limited(file: Path, categories: str, target: Path) -> Dict[str, Any]:
    """Limits a finished file as python -m slice does; writes `target` and its FILE.json.

    Args:
      file: .tflite, .onnx or .pb.
      categories: "" keeps all classes.
      target: of the same kind as `file`; its labels are written beside it as STEM-labels.txt.

    Returns what python -m slice --json prints.
    """
    if not file.is_file():
        raise UsageError("FILE=%s is not a file; name a .tflite, .onnx or .pb file" % file)
    arguments = [str(file), categories or "all", "--output", str(target)]
    return slicing.limit(file, slicing.parser().parse_args(arguments))


@contextlib.contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, and replaces `target` with it; after an exception, does not.

    Raises TodusError where another process writes `target`.
    """
    try:
        with locks.exclusive(target, str(target)), files.replacing_folder(target) as folder:
            yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            target.parent.rmdir()  # where it is new
        raise


def write_labels(path: Path, labels: Sequence[str]) -> None:
    """Writes labels.txt: a class a line, from class 0."""
    files.write_text(path, "\n".join(labels) + "\n")
