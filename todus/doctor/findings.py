"""The result of one check, and its lines of text."""

import functools
import textwrap
from typing import Dict, List, NamedTuple

from todus.text import one_line

LEVELS = ("ok", "info", "warning", "error")
WIDTH = 80
_INDENT = 9


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
      level: one of LEVELS; error: a command will fail; warning: one may fail or do less.
      check: the name of the check, one word.
      text: what was found.
      remedy: what to do about it, "" for nothing.
    """

    level: str
    check: str
    text: str
    remedy: str = ""


# Each takes check, text and remedy, as Finding does.
ok, info, warning, error = (functools.partial(Finding, level) for level in LEVELS)


def lines(finding: Finding, width: int = WIDTH) -> List[str]:
    """The finding in lines of at most `width` characters, unless a word is longer.

    The remedy starts on a line of its own.
    """
    result = _wrapped("%-*s" % (_INDENT, finding.level), finding.text, width)
    if finding.remedy:
        result += _wrapped(" " * _INDENT + "-> ", finding.remedy, width)
    return result


def _wrapped(first: str, text: str, width: int) -> List[str]:
    return textwrap.wrap(
        one_line(text),
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def number_of(count: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return "%d %s%s" % (count, noun, "" if count == 1 else "s")


def counted(found: List[Finding]) -> Dict[str, int]:
    """The number of findings of each level."""
    return {level: sum(finding.level == level for finding in found) for level in LEVELS}


def summary(found: List[Finding]) -> str:
    """The last line of the doctor's output."""
    counts = counted(found)
    parts = [number_of(counts[level], level) for level in ("error", "warning") if counts[level]]
    if not parts:
        return "doctor: no errors, no warnings"
    return "doctor: " + " and ".join(parts) + ("" if counts["error"] else "; every command works")
