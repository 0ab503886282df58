"""Non-max suppression as the OD API computes it, in ONNX's operators and without a loop."""

from typing import NamedTuple

from todus.export.onnx_conversion import Operators


class Limits(NamedTuple):
    """The settings of batch_non_max_suppression."""

    score_threshold: float
    iou_threshold: float
    of_class: int
    of_image: int


class Raw(NamedTuple):
    """The names of the values before the suppression, and their sizes.

    `boxes` are [batch, anchors, 4], ymin, xmin, ymax, xmax, and may reach over the image; `scores`
    are [batch, anchors, classes].
    """

    boxes: str
    scores: str
    anchors: int
    classes: int


class Selected(NamedTuple):
    """The names of float32 values with the detections of each image, highest score first.

    Behind the last detection all values are 0.
    """

    boxes: str  # [batch, of_image, 4]: ymin, xmin, ymax, xmax, limited to the image
    classes: str  # [batch, of_image], from 0
    scores: str  # [batch, of_image]
    valid: str  # [batch, of_image]: 1 for a detection, 0 behind the last


def select(add: Operators, raw: Raw, limits: Limits) -> Selected:
    """Adds the suppression of a Raw.

    As in the OD API, boxes suppress each other within a class before they are limited to the
    image, and those that then have no area are dropped. Equal scores keep the order of classes.
    """
    by_class = add.node("Transpose", raw.scores, perm=[0, 2, 1])
    chosen = add.node(  # int64 [selected, 3]: image, class, anchor
        "NonMaxSuppression",
        raw.boxes,
        by_class,
        add.integers(limits.of_class),
        add.constant([limits.iou_threshold]),
        add.constant([limits.score_threshold]),
    )
    boxes = add.node("Clip", raw.boxes, add.constant(0), add.constant(1))
    of_anchor = add.node("Gather", chosen, add.integers(0, 2), axis=1)
    nonempty = add.node("GatherND", _nonempty(add, boxes), of_anchor)
    scores = add.node("Mul", add.node("GatherND", by_class, chosen), nonempty)
    none = add.node("Mul", by_class, add.constant(0))
    kept = add.node("ScatterND", none, chosen, scores)
    flat = add.node("Reshape", kept, add.integers(0, raw.classes * raw.anchors))
    missing = limits.of_image - raw.classes * raw.anchors
    if missing > 0:
        flat = add.node("Pad", flat, add.integers(0, 0, 0, missing))
    best, places = add.nodes("TopK", [flat, add.integers(limits.of_image)], ["", ""])
    classes = add.node("Div", places, add.integers(raw.anchors))
    before = add.node("Mul", classes, add.integers(raw.anchors))
    anchors = add.node("Sub", places, before)
    columns = add.node("Reshape", anchors, add.integers(0, -1, 1))
    indices = add.node("Expand", columns, add.integers(1, 1, 4))
    valid = add.node("Cast", add.node("Greater", best, add.constant(0)), to=1)
    each = add.node("Reshape", valid, add.integers(0, -1, 1))
    return Selected(
        add.node("Mul", add.node("GatherElements", boxes, indices, axis=1), each),
        add.node("Mul", add.node("Cast", classes, to=1), valid),
        best,
        valid,
    )


def _nonempty(add: Operators, boxes: str) -> str:
    """float32 [batch, anchors]: 1 for a box with an area, else 0."""
    low, high = (
        add.node("Gather", boxes, add.integers(*each), axis=2) for each in ((0, 1), (2, 3))
    )
    sides = add.node("Sub", high, low)
    height, width = (
        add.node("Gather", sides, add.constant(each, "int64"), axis=2) for each in (0, 1)
    )
    area = add.node("Mul", height, width)
    return add.node("Cast", add.node("Greater", area, add.constant(0)), to=1)
