"""A finding of the doctor, and how a person reads it."""

import textwrap
from typing import Dict, List, NamedTuple

from todus.text import one_line

LEVELS = ("ok", "info", "warning", "error")
WIDTH = 80
_INDENT = 9


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
      level: one of LEVELS; error: a command will fail; warning: one may, or does less; info: good to know.
      check: what was looked at, in a word.
      text: what was found.
      remedy: what to do about it, "" for nothing.
    """

    level: str
    check: str
    text: str
    remedy: str = ""


def lines(finding: Finding, width: int = WIDTH) -> List[str]:
    """The finding in lines of at most `width` characters where words allow it, the remedy on lines of its own."""
    result = _wrapped("%-*s" % (_INDENT, finding.level), finding.text, width)
    return result + (
        _wrapped(" " * _INDENT + "-> ", finding.remedy, width) if finding.remedy else []
    )


def _wrapped(first: str, text: str, width: int) -> List[str]:
    text = one_line(text)
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def counted(found: List[Finding]) -> Dict[str, int]:
    return {level: sum(finding.level == level for finding in found) for level in LEVELS}


def summary(found: List[Finding]) -> str:
    """The last line."""
    numbers = counted(found)
    errors, warnings = numbers["error"], numbers["warning"]
    if not errors and not warnings:
        return "doctor: all is well"
    parts = [
        "%d %s%s" % (number, word, "" if number == 1 else "s")
        for number, word in ((errors, "error"), (warnings, "warning"))
        if number
    ]
    return "doctor: %s%s" % (
        " and ".join(parts),
        "" if errors else "; everything works, perhaps less well",
    )
