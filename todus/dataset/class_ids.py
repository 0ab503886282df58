"""The classes of a person's own images: their names and their ids in the label map."""

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
    ids: Dict[
        str, int
    ]  # a name as boxes have it -> id; classes that CATEGORIES leaves out are absent
    unused: List[str]  # classes of LABEL_MAP or the source's own list that no box has
    mended: Counter  # what was corrected -> boxes


def assign(seen: Dict[str, int], order: List[str], settings: Settings) -> Classes:
    """Applies RENAME, LABEL_MAP and CATEGORIES.

    Args:
      seen: a name as boxes have it -> how many boxes.
      order: names in the source's own order, where it has one; the others follow alphabetically.
      settings: the variables.

    Raises:
      UsageError: CATEGORIES names an unknown class, or a class is not in LABEL_MAP.
    """
    renamed = {
        name: one_line(settings.rename.get(canonical(name), name)) for name in order + sorted(seen)
    }
    typed = {canonical(new): one_line(new) for new in settings.rename.values()}
    known = (
        _read_own_ids(settings.label_map)
        if settings.label_map
        else _in_order(renamed, order, typed)
    )
    chosen = known
    if settings.categories:
        chosen = categories.choose(
            settings.categories, known, settings.label_map or "the annotations"
        )
    elif settings.label_map:
        _check_all_known(renamed, seen, known, settings.label_map)
    used = {canonical(renamed[name]) for name in seen}
    names = (
        chosen
        if settings.label_map
        else categories.renumbered(
            {key: name for key, name in chosen.items() if canonical(name) in used}
        )
    )
    numbers = {canonical(name): identity for identity, name in names.items()}
    ids = {
        name: numbers[canonical(renamed[name])]
        for name in seen
        if canonical(renamed[name]) in numbers
    }
    mended: Counter = Counter()
    for name, identity in sorted(ids.items()):
        if name != names[identity]:
            mended["box of class %s taken as %s" % (one_line(name), names[identity])] += seen[name]
    return Classes(
        names, ids, [name for name in chosen.values() if canonical(name) not in used], mended
    )


def _in_order(renamed: Dict[str, str], order: List[str], typed: Dict[str, str]) -> Dict[int, str]:
    """1..N in the source's order, then alphabetically; of several spellings of one class RENAME's is kept, else the first."""
    rest = sorted(
        (renamed[name] for name in renamed if name not in set(order)),
        key=lambda name: (canonical(name), name),
    )
    spelled: Dict[str, str] = {}
    for name in [renamed[name] for name in order] + rest:
        spelled.setdefault(canonical(name), typed.get(canonical(name), name))
    return dict(enumerate(spelled.values(), start=1))


def _read_own_ids(path: str) -> Dict[int, str]:
    names = categories.read_label_map(path)
    if max(names) > HIGHEST_ID:
        raise UsageError(
            "LABEL_MAP=%s has id %d; ids up to %d are usable" % (path, max(names), HIGHEST_ID)
        )
    if len({canonical(name) for name in names.values()}) < len(names):
        raise UsageError("LABEL_MAP=%s has a name twice; give each class one id" % path)
    return names


def _check_all_known(
    renamed: Dict[str, str], seen: Dict[str, int], known: Dict[int, str], path: str
) -> None:
    have = {canonical(name): name for name in known.values()}
    for name in sorted(seen):
        if canonical(renamed[name]) not in have:
            near = [
                have[key] for key in difflib.get_close_matches(canonical(renamed[name]), have, n=1)
            ]
            hint = 'RENAME="%s=%s"' % (
                one_line(name),
                near[0] if near else shortened(known.values(), 1),
            )
            raise UsageError(
                "class %s (%d boxes) is not in LABEL_MAP=%s; add it there, set %s, or leave it out with CATEGORIES"
                % (renamed[name], seen[name], path, hint)
            )
