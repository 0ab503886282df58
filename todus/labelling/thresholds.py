"""The score from which a detection is a label, for each class."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from todus import categories
from todus.detection.catalogue import Present
from todus.errors import UsageError
from todus.evaluation import score_thresholds
from todus.paths import Model
from todus.text import one_line, shortened

DEFAULT = 0.5
NONE = "none is picked on val; python -m eval -m %s --all does it for a model with a dataset"

Given = Union[float, List[Tuple[str, float]]]


class Thresholds(NamedTuple):
    """The thresholds, and where they come from, for the user."""

    by_class: Dict[str, float]
    source: str


def choose(
    model: Model, form: Present, names: Mapping[int, str], given: Optional[Given]
) -> Thresholds:
    """The thresholds of the classes in `names`.

    Args:
      model: a prepared model.
      form: its form that detects.
      names: id -> name.
      given: THRESHOLD: one for all, or pairs of class and threshold; other classes, and all for
        None, get the best of val that eval has stored, else DEFAULT.

    Raises:
      UsageError: `given` has a class that is not in `names`.
    """
    if isinstance(given, float):
        return Thresholds(dict.fromkeys(names.values(), given), "THRESHOLD")
    stored = score_thresholds.of_form(model, form.name, form.path)
    by_class = {name: stored.get(name, DEFAULT) for name in names.values()}
    without = [name for name in by_class if name not in stored]
    source = "picked on val"
    if without:
        some = "picked on val, but %g for %s" % (DEFAULT, shortened(without, 6))
        source = some if without != list(by_class) else NONE % model.name
    if given:
        by_class.update(_named(given, names))
        source = "THRESHOLD; else " + source
    return Thresholds(by_class, source)


def _named(given: List[Tuple[str, float]], names: Mapping[int, str]) -> Dict[str, float]:
    known = {categories.canonical(name): name for name in names.values()}
    for name, _ in given:
        if categories.canonical(name) not in known:
            text = "THRESHOLD: no class %s here; choose from %s"
            raise UsageError(text % (one_line(name), shortened(names.values())))
    return {known[categories.canonical(name)]: threshold for name, threshold in given}
