"""Slices a zoo checkpoint to a label map: the class predictor keeps the wanted classes' columns, everything else is copied.

A zoo SSD scores its classes independently (sigmoid), so the slice detects its classes exactly as the zoo model does. A Faster R-CNN's
second stage has a softmax: without the other classes in its denominator the scores of the wanted ones rise, most where two classes
compete. todus/model/class_columns.py knows where each predictor keeps its classes.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Dict, List, Mapping

import numpy as np

from todus.categories import match_by_name
from todus.errors import TodusError
from todus.model import class_columns, pipeline

_OPTIMIZER_SLOT = re.compile(
    r"/(Momentum|RMSProp(_1)?|Adam(_1)?|Adagrad|Ftrl(_1)?|ExponentialMovingAverage)$"
)
_BOOK_KEEPING = re.compile(r"^(beta[12]_power|learning_rate|save_counter|.*/step|.*_power)$")


@dataclass
class Slice:
    """What `slice_variables` made of a checkpoint."""

    variables: "OrderedDict[str, np.ndarray]"
    sliced: List[str] = field(default_factory=list)
    copied: List[str] = field(default_factory=list)
    dropped: List[str] = field(default_factory=list)
    from_zoo: Dict[str, int] = field(default_factory=dict)  # class name -> the zoo's id
    fresh: List[str] = field(default_factory=list)  # class names that the zoo model does not know
    parameters_before: int = 0

    @property
    def parameters(self) -> int:
        return sum(value.size for value in self.variables.values())


def is_exact(config: pipeline.Config) -> bool:
    """Whether the slice scores its classes exactly as the whole model: only where no softmax mixes the classes."""
    stage = pipeline.post_processing(config)
    return stage.score_converter != stage.SOFTMAX


def slice_variables(
    variables: Mapping[str, np.ndarray],
    config: pipeline.Config,
    zoo_names: Mapping[int, str],
    names: Mapping[int, str],
    seed: int = 0,
) -> Slice:
    """The variables of the limited model.

    Args:
      variables: name -> value, of the zoo checkpoint.
      config: the zoo's pipeline config, whose num_classes is the checkpoint's.
      zoo_names: the zoo model's label map, id -> name.
      names: the wanted label map, ids 1..N or any with gaps; the limited model has max(id) classes.
      seed: of the fresh columns for classes that the zoo model does not know.

    Raises:
      TodusError: the predictor cannot be sliced, or does not fit num_classes.
    """
    class_columns.check(config)
    zoo_classes = pipeline.meta(config).num_classes
    known = match_by_name(names, zoo_names)
    outside = [zoo_names[identity] for identity in known.values() if identity > zoo_classes]
    if outside:
        raise TodusError(
            "the label map has %s beyond the model's %d classes; give the archive's own label map"
            % (outside[0], zoo_classes)
        )
    result = Slice(OrderedDict())
    result.from_zoo = {names[identity]: source for identity, source in known.items()}
    result.fresh = [names[identity] for identity in sorted(names) if identity not in known]
    wanted = _wanted(names, known, zoo_classes)
    random = np.random.RandomState(seed)
    class_layouts = class_columns.of(config, variables)
    for name in sorted(variables):
        value = variables[name]
        if _OPTIMIZER_SLOT.search(name) or _BOOK_KEEPING.match(name):
            result.dropped.append(name)
            continue
        result.parameters_before += value.size
        if name == "global_step":
            result.variables[name] = np.zeros_like(value)
        elif name in class_layouts:
            result.variables[name] = class_columns.taken(
                name, value, class_layouts[name], zoo_classes, wanted, random
            )
            result.sliced.append(name)
        else:
            result.variables[name] = value
            result.copied.append(name)
    if not result.sliced:
        raise TodusError(
            "the checkpoint has no class predictor (no variable .../ClassPredictor/weights); is it this model's checkpoint?"
        )
    result.variables.setdefault("global_step", np.zeros((), np.int64))
    return result


def _wanted(names: Mapping[int, str], known: Mapping[int, int], zoo_classes: int) -> List[int]:
    """The checkpoint's class for each id of the limited model, 0 for one it does not know.

    Where every class keeps its id (a complete dataset) the gaps between ids keep their columns too, so that the slice is the identity.
    """
    same = all(identity == source for identity, source in known.items()) and len(known) == len(
        names
    )
    gaps = (
        {identity: identity for identity in range(1, min(max(names), zoo_classes) + 1)}
        if same
        else {}
    )
    return [known.get(identity, gaps.get(identity, 0)) for identity in range(1, max(names) + 1)]


def without_classes(variables: Mapping[str, np.ndarray], config: pipeline.Config) -> Slice:
    """Everything but what belongs to single classes, for a fresh head on the zoo model's features."""
    result = Slice(OrderedDict(), parameters_before=sum(value.size for value in variables.values()))
    classes = (
        class_columns.of(config, variables)
        if class_columns.can(config)
        else {name for name in variables if "Predictor" in name}
    )
    for name in sorted(variables):
        if (
            name in classes
            or _OPTIMIZER_SLOT.search(name)
            or _BOOK_KEEPING.match(name)
            or name == "global_step"
        ):
            result.dropped.append(name)
        else:
            result.variables[name] = variables[name]
            result.copied.append(name)
    result.variables["global_step"] = np.zeros((), np.int64)
    return result


def is_classification(variables: Mapping[str, np.ndarray]) -> bool:
    """Whether a checkpoint is a classifier's, which has features but no boxes."""
    return not any("Predictor" in name for name in variables)
