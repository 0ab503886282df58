"""The class columns of each box predictor of the OD API, and how to take some of them.

The layouts are those of object_detection/predictors: the last axis of a class-specific variable is
[groups, classes, inner], with a background class first where the predictor scores one. A group is
an anchor (SSD), a spatial bin (R-FCN) or the only one (Faster R-CNN); inner is the box code where
boxes are predicted per class.
"""

import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from google.protobuf.message import Message

from todus.errors import TodusError
from todus.model import pipeline

SSD_PREDICTORS = ("convolutional_box_predictor", "weight_shared_convolutional_box_predictor")
SECOND_STAGE = "SecondStageBoxPredictor"

_SSD_CLASSES = re.compile(r"(^|/)ClassPredictor/(weights|biases|pointwise_weights)$")
_BOX_CODE = 4  # ty, tx, th, tw

# The score bias of a class that is to be silent until it is trained: its scores are 2e-9.
SILENT = -20.0

# The prefix of the variables in a checkpoint that hold the state of adding classes.
ADDED_STATE = "todus_added/"


ALL = slice(None)  # the groups of every anchor


class Layout(NamedTuple):
    """The last axis: [groups, background + classes, inner]."""

    background: bool
    inner: int = 1


def can_slice(config: pipeline.Config) -> bool:
    """Whether the layout of the model's box predictor is known."""
    known = {
        "ssd": SSD_PREDICTORS,
        "faster_rcnn": ("mask_rcnn_box_predictor", "rfcn_box_predictor"),
    }
    return pipeline.box_predictor(config) in known.get(pipeline.architecture(config), ())


def check(config: pipeline.Config) -> None:
    """Raises TodusError where the model's box predictor cannot be sliced."""
    if not can_slice(config):
        predictor = pipeline.box_predictor(config) or "predictor of unknown kind"
        raise TodusError(
            "a %s model with a %s cannot be limited; "
            "--no-limit trains a fresh head on its features"
            % (pipeline.extractor(config), predictor)
        )


def layouts(config: pipeline.Config, variables: Mapping[str, np.ndarray]) -> Dict[str, Layout]:
    """Name -> layout of the class-specific variables of a checkpoint."""
    if pipeline.architecture(config) == "ssd":
        layout = Layout(background=config.model.ssd.add_background_class)
        found = [name for name in variables if not name.startswith(ADDED_STATE)]
        return {name: layout for name in found if _SSD_CLASSES.search(name)}
    predictor = config.model.faster_rcnn.second_stage_box_predictor
    all_layouts = {name: _second_stage(name, predictor) for name in variables}
    found = {name: layout for name, layout in all_layouts.items() if layout}
    masks = predictor.mask_rcnn_box_predictor
    if masks.predict_instance_masks and not masks.masks_are_class_agnostic:
        found.update({name: Layout(background=False) for name in _mask_outputs(variables)})
    return found


def _second_stage(name: str, predictor: Message) -> Optional[Layout]:
    """The layout of a variable of the second stage; None for one without classes."""
    match = re.search(r"(^|/)%s/(\w+)/(weights|biases)$" % SECOND_STAGE, name)
    scope = match.group(2) if match else ""
    if scope in ("ClassPredictor", "class_predictions"):
        return Layout(background=True)
    shared = predictor.mask_rcnn_box_predictor.share_box_across_classes
    if scope == "refined_locations" or (scope == "BoxEncodingPredictor" and not shared):
        return Layout(background=False, inner=_BOX_CODE)
    return None


def _mask_outputs(variables: Mapping[str, np.ndarray]) -> List[str]:
    """The variables of the mask head's last convolution: the highest of Conv, Conv_1, Conv_2 ..."""
    scopes = {}
    for name in variables:
        match = re.search(r"(^|/)%s/Conv(_(\d+))?/(weights|biases)$" % SECOND_STAGE, name)
        if match:
            scopes.setdefault(int(match.group(3) or 0), []).append(name)
    return scopes[max(scopes)] if scopes else []


def mask_depth(config: pipeline.Config, variables: Mapping[str, np.ndarray]) -> int:
    """Channels of the mask head's convolutions; 0 where there are none.

    With mask_prediction_conv_depth: 0 the OD API computes them from the number of classes.
    """
    for name, value in variables.items():
        if re.search(r"(^|/)%s/Conv/weights$" % SECOND_STAGE, name):
            return int(value.shape[-1])
    return 0


def take_classes(
    name: str,
    value: np.ndarray,
    layout: Layout,
    classes: int,
    wanted: List[int],
    random: np.random.RandomState,
    silent: bool = False,
) -> np.ndarray:
    """A class-specific variable limited to some classes.

    Args:
      name: of the variable, which ends in weights or biases.
      value: [..., groups * (background + classes) * inner].
      layout: of the last axis.
      classes: number of classes in the checkpoint, without background.
      wanted: the checkpoint's class, from 1, for each class of the limited model; 0 is a new class.
      random: draws the weights of new classes.
      silent: whether new classes have no weights and the bias SILENT instead.

    Raises:
      TodusError: the last axis is not a multiple of the classes.
    """
    slots = classes + layout.background
    if value.shape[-1] % (slots * layout.inner):
        raise TodusError(
            "%s has %d outputs, not a multiple of %d (from num_classes %d); "
            "is pipeline.config this checkpoint's?"
            % (name, value.shape[-1], slots * layout.inner, classes)
        )
    grouped = value.reshape(value.shape[:-1] + (-1, slots, layout.inner))
    first = int(layout.background)
    columns = [0] * first + [identity - 1 + first if identity else -1 for identity in wanted]
    result = grouped[..., [max(column, 0) for column in columns], :].copy()
    for place, column in enumerate(columns):
        if column < 0:
            known = grouped[..., first:, :]
            fresh = _silent(name, known) if silent else _fresh(name, known, layout, random)
            result[..., place, :] = fresh
    return result.reshape(value.shape[:-1] + (-1,))


def _fresh(
    name: str, known: np.ndarray, layout: Layout, random: np.random.RandomState
) -> np.ndarray:
    """The values of a new class: mean box refinement and bias, small random score weights."""
    if layout.inner > 1 or name.endswith("biases"):
        return known.mean(axis=-2)
    return random.normal(0.0, 0.01, known.shape[:-2] + (1,)).astype(known.dtype)


def _silent(name: str, known: np.ndarray) -> np.ndarray:
    value = SILENT if name.endswith("biases") else 0.0
    return np.full_like(known[..., 0, :], value)


def silenced(
    name: str, value: np.ndarray, layout: Layout, classes: int, places: Sequence[int]
) -> np.ndarray:
    """A copy of a class-specific variable in which the classes at `places` detect nothing."""
    slots = classes + layout.background
    grouped = value.reshape(value.shape[:-1] + (-1, slots, layout.inner)).copy()
    grouped[..., _places(layout, places), :] = _silent(name, grouped)[..., np.newaxis, :]
    return grouped.reshape(value.shape)


def _places(layout: Layout, places: Sequence[int]) -> List[int]:
    return [place + int(layout.background) for place in places]


def columns_at(
    value: np.ndarray, layout: Layout, classes: int, places: Sequence[int], groups: slice = ALL
) -> np.ndarray:
    """The columns of the classes at `places`, from 0: [..., groups * len(places) * inner]."""
    slots = classes + layout.background
    grouped = value.reshape(value.shape[:-1] + (-1, slots, layout.inner))[..., groups, :, :]
    return grouped[..., _places(layout, places), :].reshape(value.shape[:-1] + (-1,))


def with_columns(
    value: np.ndarray,
    layout: Layout,
    classes: int,
    places: Sequence[int],
    groups: slice,
    columns: np.ndarray,
) -> np.ndarray:
    """A copy of `value` with `columns`, as from `columns_at`, at `places`."""
    slots = classes + layout.background
    result = value.reshape(value.shape[:-1] + (-1, slots, layout.inner)).copy()
    shape = value.shape[:-1] + (-1, len(places), layout.inner)
    result[..., groups, _places(layout, places), :] = columns.reshape(shape)
    return result.reshape(value.shape)
