"""Slices a zoo checkpoint to a label map: the class predictor keeps the wanted classes' columns.

Everything else is copied; moving averages only where eval_config uses them. A zoo SSD scores its
classes independently (sigmoid), so the slice detects its classes exactly as the zoo model does. A
Faster R-CNN's second stage has a softmax: without the other classes in its denominator the scores
rise, most where two classes compete.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Dict, List, Mapping

import numpy as np

from todus.categories import match_by_name
from todus.errors import TodusError
from todus.model import class_columns, pipeline
from todus.model.checkpoint_values import AVERAGE

_OPTIMIZER_STATE = re.compile(
    r"/(Momentum|RMSProp(_1)?|Adam(_1)?|Adagrad|Ftrl(_1)?|ExponentialMovingAverage|step)$"
    r"|_power$|^(learning_rate|save_counter)$|^" + class_columns.ADDED_STATE
)


@dataclass
class Slice:
    """A limited checkpoint and how it was made."""

    variables: "OrderedDict[str, np.ndarray]"
    sliced: List[str] = field(default_factory=list)
    copied: List[str] = field(default_factory=list)
    dropped: List[str] = field(default_factory=list)
    from_zoo: Dict[str, int] = field(default_factory=dict)  # class name -> the zoo's id
    fresh: List[str] = field(default_factory=list)  # class names that the zoo model lacks
    parameters_before: int = 0

    @property
    def parameters(self) -> int:
        """The number of weights, without their moving averages."""
        weights = [name for name in self.variables if not name.endswith(AVERAGE)]
        return sum(self.variables[name].size for name in weights)


def is_exact(config: pipeline.Config) -> bool:
    """Whether the slice scores its classes exactly as the zoo model: where there is no softmax."""
    stage = pipeline.post_processing(config)
    return stage.score_converter != stage.SOFTMAX


def slice_variables(
    variables: Mapping[str, np.ndarray],
    config: pipeline.Config,
    zoo_names: Mapping[int, str],
    names: Mapping[int, str],
    seed: int = 0,
    silent: bool = False,
) -> Slice:
    """The variables of the limited model.

    Args:
      variables: name -> value, of the zoo checkpoint.
      config: the zoo's pipeline config, with the checkpoint's num_classes.
      zoo_names: the zoo model's label map, id -> name.
      names: the wanted label map, also with gaps; the limited model has max(id) classes.
      seed: of the new columns for classes that the zoo model lacks.
      silent: whether these columns never detect anything, as class_columns.take_classes has it.

    Raises:
      TodusError: the predictor cannot be sliced, or num_classes is not the checkpoint's.
    """
    class_columns.check(config)
    zoo_classes = pipeline.meta(config).num_classes
    known = match_by_name(names, zoo_names)
    outside = [zoo_names[identity] for identity in known.values() if identity > zoo_classes]
    if outside:
        text = "the label map has %s beyond the model's %d classes; give the archive's label map"
        raise TodusError(text % (outside[0], zoo_classes))
    result = Slice(OrderedDict())
    result.from_zoo = {names[identity]: source for identity, source in known.items()}
    result.fresh = [names[identity] for identity in sorted(names) if identity not in known]
    wanted = _wanted(names, known, zoo_classes)
    random = np.random.RandomState(seed)
    class_layouts = class_columns.layouts(config, variables)
    averages, states = config.eval_config.use_moving_averages, {}
    for name in sorted(variables):
        value = variables[name]
        is_average = averages and name.endswith(AVERAGE)
        if _OPTIMIZER_STATE.search(name) and not is_average:
            result.dropped.append(name)
            continue
        weight = name[: -len(AVERAGE)] if is_average else name
        result.parameters_before += 0 if is_average else value.size
        if name == "global_step":
            result.variables[name] = np.zeros_like(value)
        elif weight in class_layouts:
            # A new class has the same values in a weight and in its average.
            random.set_state(states.setdefault(weight, random.get_state()))
            result.variables[name] = class_columns.take_classes(
                weight, value, class_layouts[weight], zoo_classes, wanted, random, silent
            )
            result.sliced.append(name)
        else:
            result.variables[name] = value
            result.copied.append(name)
    if not result.sliced:
        raise TodusError(
            "the checkpoint has no class predictor (no variable .../ClassPredictor/weights); "
            "is it this model's checkpoint?"
        )
    result.variables.setdefault("global_step", np.zeros((), np.int64))
    return result


def _wanted(names: Mapping[int, str], known: Mapping[int, int], zoo_classes: int) -> List[int]:
    """The checkpoint's class for each id of the limited model; 0 for one that the zoo model lacks.

    Where every class keeps its id (a complete dataset) the gaps between ids keep their columns, so
    that the slice equals the zoo checkpoint.
    """
    keeps_ids = known == {identity: identity for identity in names}
    gaps = range(1, zoo_classes + 1) if keeps_ids else ()
    ids = range(1, max(names) + 1)
    return [known.get(identity, identity if identity in gaps else 0) for identity in ids]


def without_classes(variables: Mapping[str, np.ndarray], config: pipeline.Config) -> Slice:
    """The variables that do not belong to single classes, for a fresh head on their features."""
    result = Slice(OrderedDict(), parameters_before=sum(value.size for value in variables.values()))
    if class_columns.can_slice(config):
        left_out = set(class_columns.layouts(config, variables))
    else:
        left_out = {name for name in variables if "Predictor" in name}
    left_out.add("global_step")
    for name in sorted(variables):
        if name in left_out or _OPTIMIZER_STATE.search(name):
            result.dropped.append(name)
        else:
            result.variables[name] = variables[name]
            result.copied.append(name)
    result.variables["global_step"] = np.zeros((), np.int64)
    return result


def is_classification(variables: Mapping[str, np.ndarray]) -> bool:
    """Whether a checkpoint is a classifier's, which has no box predictor."""
    return not any("Predictor" in name for name in variables)
