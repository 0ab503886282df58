"""The classes of a finished file: their names, and the choice of some of them."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from todus import categories
from todus.errors import TodusError, UsageError
from todus.text import one_line

_BACKGROUND = ("background", "???", "", "n/a")


class Choice(NamedTuple):
    """A class of the cut file: its name, and its index among the classes of the uncut one."""

    name: str
    index: int


def read(path: Path) -> List[str]:
    """The names in a file of labels, by index from 0.

    It has a name a line, or an index and a name ("0 person"), or is a label map (.pbtxt), whose
    ids count from 1.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = "the labels %s cannot be read (%s); give a text file with one class per line"
        raise TodusError(what % (path, error))
    if re.search(r"(?m)^\s*item\s*\{", text):
        return _label_map(text, path)
    lines = [one_line(line) for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [re.match(r"(\d+)\s*[:,]?\s+(\S.*)$", line) for line in lines if line]
    if numbered and all(numbered):
        names = {int(match.group(1)): match.group(2) for match in numbered}
        if len(names) == len(numbered) and max(names) < 10000:
            return [names.get(index, categories.UNUSED) for index in range(max(names) + 1)]
    if not lines:
        raise TodusError("the labels %s are empty; give a text file with one class per line" % path)
    return lines


def _label_map(text: str, path: Path) -> List[str]:
    names: Dict[int, str] = {}
    for item in re.findall(r"(?s)item\s*\{(.*?)\}", text):
        fields = dict(re.findall(r"(\w+)\s*:\s*(\"[^\"]*\"|'[^']*'|-?\d+)", item))
        name = fields.get("display_name", fields.get("name", ""))[1:-1]
        identity = fields.get("id", "")
        if not identity.isdigit() or int(identity) in names or int(identity) > 10000:
            raise TodusError("the label map %s has an item without an id of its own" % path)
        names[int(identity)] = one_line(name) or categories.UNUSED
    names.pop(0, None)
    if not names:
        raise TodusError("the label map %s has no item" % path)
    return categories.labels(names)


def coco(count: int) -> Optional[List[str]]:
    """COCO's names for a detector of 80, 90 or 91 classes; None for another number."""
    names = categories.bundled("coco")
    lists = {80: list(names.values()), 90: categories.labels(names)}
    lists[91] = [categories.UNUSED] + lists[90]
    return lists.get(count)


def fitted(labels: Sequence[str], count: int, where: str) -> List[str]:
    """The names of `count` classes, without a background's.

    Raises TodusError where there are more or fewer names.
    """
    labels = list(labels)
    if len(labels) == count + 1 and categories.canonical(labels[0]) in _BACKGROUND:
        return labels[1:]
    if len(labels) < count and coco(count) and labels == coco(count)[: len(labels)]:
        return coco(count)
    if len(labels) != count:
        what = "%s has %d labels and the file detects %d classes; give its own: --labels FILE"
        raise TodusError(what % (where, len(labels), count))
    return labels


def chosen(text: str, labels: Sequence[str], where: str) -> List[Choice]:
    """The classes that an argument lists, in its order.

    Args:
      text: as CATEGORIES. `NAME=CLASS+CLASS` gives classes one name; "all" keeps every class.
      labels: by index; a name that occurs several times stands for all its classes.
      where: where the names are looked up, for the message.

    Raises:
      UsageError: an unknown class, with the nearest names, or one that is listed twice.
    """
    used = [(index, name) for index, name in enumerate(labels) if name != categories.UNUSED]
    by_name: Dict[str, List[int]] = {}
    for index, name in used:
        by_name.setdefault(categories.canonical(name), []).append(index)
    if text.strip() == "all":
        return [Choice(name, index) for index, name in used]
    result: List[Choice] = []
    for entry in categories.split_names(text, by_name):
        name, equals, parts = entry.partition("=")
        for part in parts.split("+") if equals else [entry]:
            indices = by_name.get(categories.canonical(part))
            if indices is None:  # raises, with the nearest names
                categories.choose(part + ",", dict(used), where)
                indices = []
            result += [Choice(one_line(name) if equals else labels[at], at) for at in indices]
    if not result or not all(choice.name for choice in result):
        example = " ".join(name.replace(" ", "_") for _, name in used[:2])
        raise UsageError('no class is named; list some of %s, such as "%s"' % (where, example))
    indices = [choice.index for choice in result]
    for index in indices:
        if indices.count(index) > 1:
            raise UsageError('the class "%s" is listed twice' % labels[index])
    return result


def thresholds(text: str, choices: Sequence[Choice]) -> Dict[str, float]:
    """Name -> score threshold, of "person=0.62 car=0.35". Raises UsageError."""
    by_name = {categories.canonical(choice.name): choice.name for choice in choices}
    result: Dict[str, float] = {}
    for entry in categories.split_names(text):
        name, _, number = entry.rpartition("=")
        known = by_name.get(categories.canonical(name))
        if known is None:
            what = '--threshold names "%s", which is not kept; kept: %s'
            raise UsageError(what % (name or entry, ", ".join(sorted(set(by_name.values())))))
        result[known] = score(number, "--threshold %s=" % known)
    return result


def score(text: str, what: str) -> float:
    """A score between 0 and 1, both excluded. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise UsageError("%s%s: give a score between 0 and 1, such as 0.5" % (what, text))
    return value
