"""Formats text for the user: single lines, sizes, durations, lists, tables."""

import re
from typing import Iterable, List, Sequence

_CREDENTIALS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,20}://)[^/\s@]*@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def one_line(text: str) -> str:
    """`text` without newlines, control characters or terminal escapes.

    Bytes of file names that are not UTF-8 are shown as \\udcff.
    """
    return _CONTROL.sub(" ", text).strip().encode("utf-8", "backslashreplace").decode()


def without_credentials(text: str) -> str:
    """`text` without the names and passwords in its URLs."""
    return _CREDENTIALS.sub(r"\1", text)


def has_control_characters(text: str) -> bool:
    return bool(_CONTROL.search(text))


def first_line(error: object, most: int = 200) -> str:
    """The first line of an error's text, at most `most` characters."""
    return (str(error).strip().split("\n") or [""])[0][:most]


def megabytes(number: float) -> str:
    """A number of bytes as 412 MB or 18.1 GB (powers of ten)."""
    for size, unit, digits in ((1e12, "TB", 1), (1e9, "GB", 1), (1e6, "MB", 0), (1e3, "kB", 0)):
        if number >= size:
            return "%.*f %s" % (digits, number / size, unit)
    return "%d bytes" % number


def duration(seconds: float) -> str:
    """A number of seconds as 40 s, 12 min or 3 h 05 min."""
    if seconds < 100:
        return "%d s" % seconds
    if seconds < 6000:
        return "%d min" % round(seconds / 60)
    return "%d h %02d min" % (seconds // 3600, seconds % 3600 // 60)


def shortened(names: Iterable[str], most: int = 12) -> str:
    """The first `most` names, separated by commas, and the number of the others."""
    names = list(names)
    rest = len(names) - most
    return ", ".join(names[:most]) + (" and %d more" % rest if rest > 0 else "")


def table(rows: Sequence[Sequence[object]], left: int = 1) -> List[str]:
    """Rows of cells as lines with aligned columns.

    Args:
      rows: the first row holds the headings; all have the same number of cells.
      left: number of leading columns that are aligned to the left; the others to the right.
    """
    from tabulate import tabulate

    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    sides = ["left"] * left + ["right"] * (len(cells[0]) - left)
    return tabulate(
        cells, tablefmt="plain", disable_numparse=True, colalign=sides[: len(cells[0])]
    ).splitlines()
