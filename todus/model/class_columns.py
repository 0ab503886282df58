"""Where each box predictor of the OD API keeps its classes, and how to take some of them.

The layouts are those of object_detection/predictors: the last axis of a class-specific variable is [groups, classes, inner], with a
background class first where the predictor scores one. A group is an anchor (SSD), a spatial bin (R-FCN) or everything (Faster R-CNN);
inner is the box code where boxes are predicted a class each.
"""

import re
from typing import Dict, List, Mapping, NamedTuple

import numpy as np

from todus.errors import TodusError
from todus.model import pipeline

SSD_PREDICTORS = ("convolutional_box_predictor", "weight_shared_convolutional_box_predictor")
SECOND_STAGE = "SecondStageBoxPredictor"

_SSD_CLASSES = re.compile(r"(^|/)ClassPredictor/(weights|biases|pointwise_weights)$")
_BOX_CODE = 4  # ty, tx, th, tw


class Layout(NamedTuple):
    """The last axis: [groups, background + classes, inner]."""

    background: bool
    inner: int = 1


def can(config: pipeline.Config) -> bool:
    """Whether this module knows the model's box predictor."""
    known = {
        "ssd": SSD_PREDICTORS,
        "faster_rcnn": ("mask_rcnn_box_predictor", "rfcn_box_predictor"),
    }
    return pipeline.box_predictor(config) in known.get(pipeline.architecture(config), ())


def check(config: pipeline.Config) -> None:
    """Raises TodusError, naming the model's kind, when its predictor is none of those that can be sliced."""
    if not can(config):
        raise TodusError(
            "a %s model with a %s cannot be limited; --no-limit trains a fresh head on its features"
            % (
                pipeline.extractor(config),
                pipeline.box_predictor(config) or "predictor of unknown kind",
            )
        )


def of(config: pipeline.Config, variables: Mapping[str, np.ndarray]) -> Dict[str, Layout]:
    """The class-specific variables of a checkpoint and how they are laid out."""
    if pipeline.architecture(config) == "ssd":
        layout = Layout(background=config.model.ssd.add_background_class)
        return {name: layout for name in variables if _SSD_CLASSES.search(name)}
    predictor = config.model.faster_rcnn.second_stage_box_predictor
    found = {
        name: layout for name in variables for layout in [_second_stage(name, predictor)] if layout
    }
    masks = predictor.mask_rcnn_box_predictor
    if masks.predict_instance_masks and not masks.masks_are_class_agnostic:
        found.update({name: Layout(background=False) for name in _mask_outputs(variables)})
    return found


def _second_stage(name: str, predictor):
    """The layout of a Faster R-CNN or R-FCN second-stage variable, None for one without classes."""
    match = re.search(r"(^|/)%s/(\w+)/(weights|biases)$" % SECOND_STAGE, name)
    scope = match.group(2) if match else ""
    if scope in ("ClassPredictor", "class_predictions"):
        return Layout(background=True)
    if scope == "refined_locations":
        return Layout(background=False, inner=_BOX_CODE)
    if (
        scope == "BoxEncodingPredictor"
        and not predictor.mask_rcnn_box_predictor.share_box_across_classes
    ):
        return Layout(background=False, inner=_BOX_CODE)
    return None


def _mask_outputs(variables: Mapping[str, np.ndarray]) -> List[str]:
    """The last convolution of the mask head, which has an output a class: the highest of Conv, Conv_1, Conv_2 ..."""
    scopes = {}
    for name in variables:
        match = re.search(r"(^|/)%s/Conv(_(\d+))?/(weights|biases)$" % SECOND_STAGE, name)
        if match:
            scopes.setdefault(int(match.group(3) or 0), []).append(name)
    return scopes[max(scopes)] if scopes else []


def mask_depth(config: pipeline.Config, variables: Mapping[str, np.ndarray]) -> int:
    """Channels of the mask head's convolutions; 0 where there are none.

    With mask_prediction_conv_depth: 0 the OD API derives them from the number of classes, which limiting changes.
    """
    for name, value in variables.items():
        if re.search(r"(^|/)%s/Conv/weights$" % SECOND_STAGE, name):
            return int(value.shape[-1])
    return 0


def taken(
    name: str,
    value: np.ndarray,
    layout: Layout,
    classes: int,
    wanted: List[int],
    random: np.random.RandomState,
) -> np.ndarray:
    """A class-specific variable with only some classes.

    Args:
      name: for the message, and to tell weights from biases.
      value: [..., groups * (background + classes) * inner].
      layout: of the last axis.
      classes: of the checkpoint, without background.
      wanted: for each class of the limited model the checkpoint's, from 1; 0 is one that the checkpoint does not know.
      random: draws the columns of those.

    Raises:
      TodusError: the last axis does not divide so.
    """
    slots = classes + layout.background
    if value.shape[-1] % (slots * layout.inner):
        raise TodusError(
            "%s has %d outputs, not a multiple of %d (from num_classes %d); is pipeline.config this checkpoint's?"
            % (name, value.shape[-1], slots * layout.inner, classes)
        )
    grouped = value.reshape(value.shape[:-1] + (-1, slots, layout.inner))
    first = int(layout.background)
    columns = [0] * first + [identity - 1 + first if identity else -1 for identity in wanted]
    result = grouped[..., [max(column, 0) for column in columns], :].copy()
    for place, column in enumerate(columns):
        if column < 0:
            result[..., place, :] = _fresh(name, grouped[..., first:, :], layout, random)
    return result.reshape(value.shape[:-1] + (-1,))


def _fresh(
    name: str, known: np.ndarray, layout: Layout, random: np.random.RandomState
) -> np.ndarray:
    """A class that the checkpoint does not know: the average box refinement and bias, and small random weights for its score."""
    if layout.inner > 1 or name.endswith("biases"):
        return known.mean(axis=-2)
    return random.normal(0.0, 0.01, known.shape[:-2] + (1,)).astype(known.dtype)
