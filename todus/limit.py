"""Slices a zoo checkpoint to a label map: the class predictor keeps the wanted classes' columns, everything else is copied.

A zoo SSD scores its classes independently (sigmoid), so the slice detects its classes exactly as the zoo model does. The layouts
are those of object_detection/predictors: a class predictor's last axis is [groups, background + classes], where a group is an
anchor (SSD), a spatial bin (R-FCN) or everything (Faster R-CNN).
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Optional

import numpy as np

from todus import pipeline
from todus.categories import match_by_name
from todus.errors import TodusError

SSD_PREDICTORS = ("convolutional_box_predictor", "weight_shared_convolutional_box_predictor")

_OPTIMIZER_SLOT = re.compile(r"/(Momentum|RMSProp(_1)?|Adam(_1)?|Adagrad|Ftrl(_1)?|ExponentialMovingAverage)$")
_BOOK_KEEPING = re.compile(r"^(beta[12]_power|learning_rate|save_counter|.*/step|.*_power)$")
_CLASS_PREDICTOR = re.compile(r"(^|/)(WeightSharedConvolutional)?BoxPredictor(_\d+)?/ClassPredictor/(weights|biases|pointwise_weights)$")


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


def check_can_slice(config: pipeline.Config) -> None:
    """Raises TodusError, naming the model's kind, when its predictor cannot be sliced."""
    kind = pipeline.architecture(config)
    predictor = pipeline.box_predictor(config)
    if kind != "ssd" or predictor not in SSD_PREDICTORS:
        raise TodusError(
            "a %s model with a %s cannot be limited without training; take an SSD of the zoo such as ssd_mobilenet_v1_coco_2018_01_28"
            % (pipeline.extractor(config), predictor or "predictor of unknown kind")
        )


def is_exact(config: pipeline.Config) -> bool:
    """Whether the slice scores its classes exactly as the whole model: only where no softmax mixes the classes."""
    return pipeline.architecture(config) == "ssd" and config.model.ssd.post_processing.score_converter in (0, 1)


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
    check_can_slice(config)
    zoo_classes = pipeline.meta(config).num_classes
    known = match_by_name(names, zoo_names)
    outside = [zoo_names[identity] for identity in known.values() if identity > zoo_classes]
    if outside:
        raise TodusError("the label map has %s beyond the model's %d classes; give the archive's own label map" % (outside[0], zoo_classes))
    result = Slice(OrderedDict())
    result.from_zoo = {names[identity]: source for identity, source in known.items()}
    result.fresh = [names[identity] for identity in sorted(names) if identity not in known]
    columns = [0] + [known.get(identity, -1) for identity in range(1, max(names) + 1)]
    random = np.random.RandomState(seed)
    for name in sorted(variables):
        value = variables[name]
        if _OPTIMIZER_SLOT.search(name) or _BOOK_KEEPING.match(name):
            result.dropped.append(name)
            continue
        result.parameters_before += value.size
        if name == "global_step":
            result.variables[name] = np.zeros_like(value)
        elif _CLASS_PREDICTOR.search(name):
            result.variables[name] = _columns(name, value, zoo_classes + 1, columns, random)
            result.sliced.append(name)
        else:
            result.variables[name] = value
            result.copied.append(name)
    if not result.sliced:
        raise TodusError("the checkpoint has no class predictor (no variable .../ClassPredictor/weights); is it this model's checkpoint?")
    result.variables.setdefault("global_step", np.zeros((), np.int64))
    return result


def _columns(name: str, value: np.ndarray, slots: int, columns: List[int], random: np.random.RandomState) -> np.ndarray:
    """The wanted `columns` of each group of `slots` on the last axis; -1 is a fresh one."""
    if value.shape[-1] % slots:
        raise TodusError("%s has %d outputs, not a multiple of %d (num_classes + 1); is pipeline.config this checkpoint's?" % (name, value.shape[-1], slots))
    grouped = value.reshape(value.shape[:-1] + (-1, slots))
    taken = grouped[..., [max(column, 0) for column in columns]].copy()
    for place, column in enumerate(columns):
        if column < 0:
            taken[..., place] = _fresh(name, grouped, random)
    return taken.reshape(value.shape[:-1] + (-1,))


def _fresh(name: str, grouped: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """A column for a class that the zoo does not know: small random weights, and the bias of an average class, so that it begins quiet."""
    if name.endswith("biases"):
        return grouped[..., 1:].mean(axis=-1)
    return random.normal(0.0, 0.01, grouped.shape[:-1]).astype(grouped.dtype)


def read_checkpoint(prefix: Path) -> "OrderedDict[str, np.ndarray]":
    """Every variable of a TensorFlow checkpoint. Raises TodusError for one that is missing or damaged."""
    from todus.tf import tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return OrderedDict((name, reader.get_tensor(name)) for name in sorted(reader.get_variable_to_shape_map()))
    except (tf.errors.OpError, ValueError, RuntimeError, UnicodeDecodeError) as error:
        raise TodusError("checkpoint %s cannot be read (%s); fetch it again" % (prefix, str(error).split("\n")[0][:200]))


def write_checkpoint(prefix: Path, variables: Mapping[str, np.ndarray]) -> None:
    """Writes a TensorFlow V2 checkpoint: PREFIX.index and PREFIX.data-00000-of-00001. The folder exists."""
    from todus.tf import tf

    names = sorted(variables)
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={"GPU": 0})) as session:
        feeds = [tf.placeholder(variables[name].dtype, variables[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=feeds)
        session.run(save, dict(zip(feeds, (variables[name] for name in names))))


def has_ranges(names: List[str]) -> bool:
    """Whether variable names include the trained ranges of fake quantization."""
    return any(name.endswith(("quant/min", "quant/max")) for name in names)


def limit(source: Path, target: Path, config: pipeline.Config, zoo_names: Mapping[int, str], names: Mapping[int, str]) -> Slice:
    """Slices checkpoint `source` to the label map `names` and writes it as checkpoint `target`."""
    result = slice_variables(read_checkpoint(source), config, zoo_names, names)
    write_checkpoint(target, result.variables)
    return result


def variable_names(prefix: Path) -> Optional[List[str]]:
    """The names in a checkpoint, None where there is none."""
    from todus.tf import tf

    if not Path(str(prefix) + ".index").exists():
        return None
    return sorted(name for name, _ in tf.train.list_variables(str(prefix)))
