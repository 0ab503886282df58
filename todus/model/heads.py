"""The box heads of an SSD: a further one has boxes of its own for classes that are added.

A head is a box and a score of each class for every anchor. The heads of a model have the same
anchors and convolve the same features. A class is silent in every head but its own, so each head
leaves the others' detections as they are. The predictors' last axis has the outputs of the first
head before those of the next; a pipeline.config with several heads repeats the list of its aspect
ratios for each.
"""

import re
from typing import Dict, Mapping, Sequence

import numpy as np

from todus.errors import TodusError
from todus.model import class_columns, pipeline

_BOXES = re.compile(
    r"(^|/)(BoxEncodingPredictor|WeightSharedConvolutionalBoxPredictor/BoxPredictor)/"
    r"(weights|biases|pointwise_weights)$"
)
_GENERATORS = ("ssd_anchor_generator", "multiscale_anchor_generator")


def _ratios(config: pipeline.Config):
    """The field of the aspect ratios; None where the anchors are not made of such a list."""
    generator = config.model.ssd.anchor_generator
    kind = generator.WhichOneof("anchor_generator_oneof")
    return getattr(generator, kind).aspect_ratios if kind in _GENERATORS else None


def count(config: pipeline.Config) -> int:
    """How many heads an SSD has; 1 for models of other kinds."""
    return _repeats(list(_ratios(config) or [])) if config.model.HasField("ssd") else 1


def _repeats(values) -> int:
    length = len(values)
    for part in range(1, length):
        if length % part == 0 and values == values[:part] * (length // part):
            return length // part
    return 1


def add(config: pipeline.Config) -> None:
    """Adds a head to the config. Raises TodusError where its anchors are no list of ratios."""
    ratios = _ratios(config)
    if not ratios:
        kind = config.model.ssd.anchor_generator.WhichOneof("anchor_generator_oneof")
        text = "--own-head: %s has no list of aspect ratios; leave --own-head out"
        raise TodusError(text % (kind or "the anchor generator"))
    first = list(ratios)[: len(ratios) // count(config)]
    ratios.extend(first)


def with_another(
    variables: Mapping[str, np.ndarray], config: pipeline.Config, classes: int, moved: Sequence[int]
) -> Dict[str, np.ndarray]:
    """A checkpoint's variables with a further head, whose boxes begin as those of the first.

    Args:
      variables: name -> value.
      config: of these variables, before `add`.
      classes: without background.
      moved: the places, from 0, of the classes that only the further head scores.
    """
    others = [place for place in range(classes) if place not in moved]
    heads, result = count(config), dict(variables)
    for name in box_layouts(variables):
        first = variables[name].shape[-1] // heads
        result[name] = np.concatenate([variables[name], variables[name][..., :first]], axis=-1)
    for name, layout in class_columns.layouts(config, variables).items():
        first = variables[name][..., : variables[name].shape[-1] // heads]
        own = class_columns.silenced(name, first, layout, classes, others)
        rest = class_columns.silenced(name, variables[name], layout, classes, moved)
        result[name] = np.concatenate([rest, own], axis=-1)
    return result


def box_layouts(variables: Mapping[str, np.ndarray]) -> Dict[str, class_columns.Layout]:
    """Name -> layout of the variables that predict boxes, as if for one class."""
    return {
        name: class_columns.Layout(background=False, inner=4)
        for name in variables
        if _BOXES.search(name) and not name.startswith(class_columns.ADDED_STATE)
    }


def install() -> None:
    """Makes the OD API build the anchors of configs with several heads.

    Its ssd_anchor_generator adds anchors that are not of the list, which a longer list would not
    repeat.
    """
    from object_detection.builders import anchor_generator_builder as builder

    if getattr(builder.build, "knows_heads", False):
        return
    build = builder.build

    def build_repeated(config):
        ssd = config.WhichOneof("anchor_generator_oneof") == "ssd_anchor_generator"
        ratios = list(config.ssd_anchor_generator.aspect_ratios) if ssd else []
        heads = _repeats(ratios)
        if heads == 1:
            return build(config)
        single = type(config)()
        single.CopyFrom(config)
        del single.ssd_anchor_generator.aspect_ratios[len(ratios) // heads :]
        return _repeated(build(single), heads)

    build_repeated.knows_heads = True
    builder.build = build_repeated


def _repeated(inner, heads: int):
    """An anchor generator with the anchors of each place of `inner`, once for each head."""
    from todus.tf import tf

    from object_detection.core import anchor_generator, box_list

    def tiled(boxes, here: int):
        places = tf.reshape(boxes.get(), [-1, here, 4])
        return box_list.BoxList(tf.reshape(tf.tile(places, [1, heads, 1]), [-1, 4]))

    class Repeated(anchor_generator.AnchorGenerator):
        def name_scope(self):
            return inner.name_scope()

        def num_anchors_per_location(self):
            return [heads * here for here in inner.num_anchors_per_location()]

        def _generate(self, feature_map_shape_list, **sizes):
            found = inner.generate(feature_map_shape_list, **sizes)
            return list(map(tiled, found, inner.num_anchors_per_location()))

    return Repeated()


def part(groups: int, heads: int, head: int) -> slice:
    """The place of a head, counted from 0, among the groups of all."""
    return slice(groups // heads * head, groups // heads * (head + 1))
