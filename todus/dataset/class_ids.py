"""The classes of the user's own images: their names and their ids in the label map."""

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import Dict, List

from todus import categories
from todus.categories import canonical
from todus.dataset.settings import Settings
from todus.errors import UsageError
from todus.text import one_line, shortened

HIGHEST_ID = 10_000  # the class predictor has a column for every id up to the highest


@dataclass
class Classes:
    """The classes of a dataset."""

    names: Dict[int, str]  # id -> name: the label map
    ids: Dict[str, int]  # a name as boxes have it -> id, without classes outside CATEGORIES
    unused: List[str]  # classes of LABEL_MAP or of the source's list that no box has
    mended: Counter  # what was corrected -> boxes


def assign(seen: Dict[str, int], order: List[str], settings: Settings) -> Classes:
    """Applies RENAME, LABEL_MAP and CATEGORIES.

    Args:
      seen: a name as boxes have it -> how many boxes.
      order: names in the source's order, if it has one; the others follow alphabetically.
      settings: the variables.

    Raises:
      UsageError: CATEGORIES has an unknown class, or a class is not in LABEL_MAP.
    """
    label_map = settings.label_map
    renamed = {
        name: one_line(settings.rename.get(canonical(name), name)) for name in order + sorted(seen)
    }
    known = _read_own_ids(label_map) if label_map else _in_order(renamed, order, seen, settings)
    chosen = known
    if settings.categories:
        chosen = categories.choose(settings.categories, known, label_map or "the annotations")
    elif label_map:
        _check_all_known(renamed, seen, known, label_map)
    keys = {name: canonical(renamed[name]) for name in seen}
    used = set(keys.values())
    with_boxes = {key: name for key, name in chosen.items() if canonical(name) in used}
    names = chosen if label_map else categories.renumbered(with_boxes)
    if len(names) > HIGHEST_ID:
        text = "the boxes are of %d classes, and a model has at most %d: %s; "
        text += "correct the names, or set CATEGORIES"
        raise UsageError(text % (len(names), HIGHEST_ID, shortened(names.values(), 3)))
    numbers = {canonical(name): identity for identity, name in names.items()}
    ids = {name: numbers[key] for name, key in keys.items() if key in numbers}
    mended: Counter = Counter()
    for name, identity in sorted(ids.items()):
        if name != names[identity]:
            mended["box of class %s taken as %s" % (one_line(name), names[identity])] += seen[name]
    unused = [name for name in chosen.values() if canonical(name) not in used]
    return Classes(names, ids, unused, mended)


def _in_order(
    renamed: Dict[str, str], order: List[str], seen: Dict[str, int], settings: Settings
) -> Dict[int, str]:
    """1..N in the source's order, then alphabetically.

    A name is spelled as in RENAME, else as in the source's order, else as most boxes have it.
    """
    typed = {canonical(new): one_line(new) for new in settings.rename.values()}
    listed = set(order)
    others = (renamed[name] for name in renamed if name not in listed)
    boxes: Counter = Counter()
    for name, new in renamed.items():
        boxes[new] += seen.get(name, 0)
    rest = sorted(others, key=lambda name: (canonical(name), -boxes[name], name))
    spelled: Dict[str, str] = {}
    for name in [renamed[name] for name in order] + rest:
        spelled.setdefault(canonical(name), typed.get(canonical(name), name))
    return dict(enumerate(spelled.values(), start=1))


def _read_own_ids(path: str) -> Dict[int, str]:
    names = categories.read_label_map(path)
    if max(names) > HIGHEST_ID:
        text = "LABEL_MAP=%s has id %d; ids up to %d are usable"
        raise UsageError(text % (path, max(names), HIGHEST_ID))
    if len({canonical(name) for name in names.values()}) < len(names):
        raise UsageError("LABEL_MAP=%s has a name twice; give each class one id" % path)
    return names


def _check_all_known(
    renamed: Dict[str, str], seen: Dict[str, int], known: Dict[int, str], path: str
) -> None:
    names = {canonical(name): name for name in known.values()}
    for name in sorted(seen):
        key = canonical(renamed[name])
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            new = names[near[0]] if near else shortened(known.values(), 1)
            raise UsageError(
                "class %s (%d boxes) is not in LABEL_MAP=%s; add it there, "
                'set RENAME="%s=%s", or leave it out with CATEGORIES'
                % (renamed[name], seen[name], path, one_line(name), new)
            )
