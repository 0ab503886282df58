"""What a consumer's program feeds to an ONNX file, and what it reads: a function for each layout.

Each starts with the network of an SSD and what it predicts for each anchor.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from todus.export import onnx_suppression
from todus.export.onnx_conversion import Operators
from todus.export.onnx_suppression import Limits, Raw

Outputs = List[Tuple[str, str, Sequence[Any]]]  # (name, dtype, shape) of each


class Pixels(NamedTuple):
    """An input [1, ...]: `order` NHWC or NCHW, with (pixel - mean) / std, in RGB."""

    name: str
    order: str
    dtype: str
    mean: float = 0.0
    std: float = 1.0

    def shape(self, size: Sequence[int]) -> List[int]:
        return [1, *size, 3] if self.order == "NHWC" else [1, 3, *size]

    def described(self, size: Sequence[int]) -> Dict[str, Any]:
        """The entry "input" of FILE.json."""
        note = "RGB pixels 0..255" if self.std == 1 else "RGB, (pixel - mean) / std"
        about = {"name": self.name, "shape": self.shape(size), "dtype": self.dtype, "color": "RGB"}
        about.update(mean=[self.mean] * 3, std=[self.std] * 3)
        return dict(about, note="%s, %s" % (note, self.order))

    def prepend(
        self, model, target: str, size: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Makes the model take these pixels where it takes (pixel - mean) / std as `target`."""
        add = Operators(model, "input")
        scale, shift = self.std / np.array(std), (self.mean - np.array(mean)) / np.array(std)
        edge = self.name
        if self.dtype != "float32":
            edge = add.node("Cast", edge, to=1)
        if self.order == "NCHW":
            edge = add.node("Transpose", edge, perm=[0, 2, 3, 1])
        if (scale != 1).any():
            edge = add.node("Mul", edge, add.constant(scale))
        if shift.any():
            edge = add.node("Add", edge, add.constant(shift))
        add.node("Identity", edge, output=target)
        add.prepend(self.name, self.dtype, self.shape(size))


class Layout(NamedTuple):
    """A row of the table.

    Attributes:
      pixels: the input.
      add: from (Operators, Raw, Limits, (height, width)) to the outputs.
      notes: of FILE.json: boxes_note, labels_note.
      next: for the user, with {file} and {labels}.
      rounds: whether a quantization-aware file rounds as its graph; not for TensorRT, nor where
        OpenVINO's bfloat16 would come on top.
      decodes: whether it has box decoding of its own operators, of three dimensions throughout.
    """

    pixels: Pixels
    add: Callable[[Operators, Raw, Limits, Sequence[int]], Outputs]
    notes: Dict[str, str]
    next: str
    rounds: bool = True
    decodes: bool = False


def detections(add: Operators, raw: Raw, limits: Limits) -> Outputs:
    """The outputs of the inference graph: any batch, classes from 1."""
    found = onnx_suppression.select(add, raw, limits)
    most = limits.of_image
    add.node("Identity", found.boxes, output="detection_boxes:0")
    add.node("Add", found.classes, add.constant(1), output="detection_classes:0")
    add.node("Identity", found.scores, output="detection_scores:0")
    # ReduceSum has other inputs from opset 13 on; a product with ones has not.
    ones = add.constant(np.ones([most, 1]))
    count = add.node("MatMul", found.valid, ones)
    add.node("Reshape", count, add.integers(-1), output="num_detections:0")
    shapes = [["batch", most, 4], ["batch", most], ["batch", most], ["batch"]]
    names = ("boxes", "classes", "scores")
    outputs = ["detection_%s:0" % name for name in names] + ["num_detections:0"]
    return [(name, "float32", shape) for name, shape in zip(outputs, shapes)]


def decoded(add: Operators, encodings: str, anchors: np.ndarray, scales: Sequence[float]) -> str:
    """The boxes [1, anchors, 4] of the Faster R-CNN box coder.

    Args:
      add: for the model with `encodings`, four values for each anchor.
      encodings: a name.
      anchors: [anchors, 4], y and x of the centre, height, width.
      scales: the coder's, in the same order.
    """
    factors, ends = np.array(scales, np.float32), (add.integers(0), add.integers(2))
    values = add.node("Reshape", encodings, add.integers(1, -1, 4))
    of_centre = add.node("Slice", values, *ends, add.integers(2))
    of_size = add.node("Slice", values, ends[1], add.integers(4), add.integers(2))
    offset = add.node("Mul", of_centre, add.constant([anchors[:, 2:] / factors[:2]]))
    centre = add.node("Add", offset, add.constant([anchors[:, :2]]))
    size = add.node("Exp", add.node("Mul", of_size, add.constant([[1 / factors[2:]]])))
    half = add.node("Mul", size, add.constant([anchors[:, 2:] / 2]))
    corners = add.node("Sub", centre, half), add.node("Add", centre, half)
    return add.node("Concat", *corners, axis=2)


def _raw(add: Operators, raw: Raw, limits: Limits, size: Sequence[int]) -> Outputs:
    """The boxes and scores of every anchor, as the graph has them."""
    add.node("Identity", raw.boxes, output="boxes")
    add.node("Identity", raw.scores, output="scores")
    return _of_anchors(raw, ("boxes", "scores"), raw.classes)


def _opencv(add: Operators, raw: Raw, limits: Limits, size: Sequence[int]) -> Outputs:
    """The boxes, x before y, and scores of every anchor, for cv2.dnn.NMSBoxes."""
    add.node("Identity", raw.scores, output="scores")
    _x_first(add, raw.boxes, output="boxes")
    return _of_anchors(raw, ("scores", "boxes"), raw.classes)


def _detectnet(add: Operators, raw: Raw, limits: Limits, size: Sequence[int]) -> Outputs:
    """Scores with the background's column first, which detectNet skips; boxes x before y."""
    limited = add.node("Clip", raw.boxes, add.constant(0), add.constant(1))
    background = add.constant(np.zeros([1, raw.anchors, 1]))
    add.node("Concat", background, raw.scores, output="scores", axis=2)
    _x_first(add, limited, output="boxes")
    return _of_anchors(raw, ("scores", "boxes"), raw.classes + 1)


def _detection_output(add: Operators, raw: Raw, limits: Limits, size: Sequence[int]) -> Outputs:
    """OpenVINO's DetectionOutput: image (-1 behind the last detection), class, score, corners."""
    found = onnx_suppression.select(add, raw, limits)
    image = add.node("Sub", found.valid, add.constant(1))
    columns = [_column(add, each) for each in (image, found.classes, found.scores)]
    rows = add.node("Concat", *columns, _x_first(add, found.boxes), axis=2)
    shape = [1, 1, limits.of_image, 7]
    add.node("Reshape", rows, add.integers(*shape), output="detection_out")
    return [("detection_out", "float32", shape)]


def _yolonas(add: Operators, raw: Raw, limits: Limits, size: Sequence[int]) -> Outputs:
    """YOLO-NAS's flat rows: image, corners in pixels, score, class (-1 behind the last)."""
    found = onnx_suppression.select(add, raw, limits)
    image = _column(add, add.node("Mul", found.valid, add.constant(0)))
    height, width = size
    pixels = add.node("Mul", _x_first(add, found.boxes), add.constant([width, height] * 2))
    padding = add.node("Sub", found.valid, add.constant(1))
    classes = add.node("Add", found.classes, padding)
    columns = [image, pixels, _column(add, found.scores), _column(add, classes)]
    rows = add.node("Concat", *columns, axis=2)
    shape = [limits.of_image, 7]
    add.node("Reshape", rows, add.integers(*shape), output="predictions")
    return [("predictions", "float32", shape)]


def _column(add: Operators, values: str) -> str:
    return add.node("Reshape", values, add.integers(0, -1, 1))


def _x_first(add: Operators, boxes: str, output: str = "") -> str:
    return add.node("Gather", boxes, add.integers(1, 0, 3, 2), axis=2, output=output)


def _of_anchors(raw: Raw, names: Sequence[str], columns: int) -> Outputs:
    shapes = {"boxes": [1, raw.anchors, 4], "scores": [1, raw.anchors, columns]}
    return [(name, "float32", shapes[name]) for name in names]


_CORNERS = "xmin, ymin, xmax, ymax, "
_NORMALISED = "normalised to 0..1"
_FROM_0 = "classes count from 0: labels[class]"
_NEXT = "next: {file}.json and docs/onnx.md describe its input and outputs"

LAYOUTS = {
    "detectnet": Layout(
        Pixels("input_0", "NCHW", "float32", 127.5, 127.5),
        _detectnet,
        {
            "boxes_note": "boxes are " + _CORNERS + _NORMALISED,
            "labels_note": "column 0 of scores is the background's: labels[column - 1]",
        },
        "next: (echo BACKGROUND; cat {labels}) > labels.txt; docs/onnx.md has the Jetson's command",
        rounds=False,
    ),
    "opencv": Layout(
        Pixels("image", "NCHW", "float32", 127.5, 127.5),
        _opencv,
        {
            "boxes_note": "boxes are " + _CORNERS + _NORMALISED + ", not limited",
            "labels_note": "columns of scores count from 0: labels[column]",
        },
        "next: docs/opencv.md has a program that runs {file}",
        decodes=True,
    ),
    "detection_output": Layout(
        Pixels("image", "NHWC", "uint8"),
        _detection_output,
        {
            "boxes_note": "rows are image, class, score, " + _CORNERS + _NORMALISED,
            "labels_note": _FROM_0,
        },
        _NEXT,
        rounds=False,
    ),
    "yolonas": Layout(
        Pixels("image", "NCHW", "uint8"),
        _yolonas,
        {
            "boxes_note": "rows are image, " + _CORNERS + "in pixels of the input, score, class",
            "labels_note": _FROM_0,
        },
        _NEXT,
        rounds=False,
    ),
    "raw": Layout(
        Pixels("image", "NHWC", "uint8"),
        _raw,
        {
            "boxes_note": "boxes are ymin, xmin, ymax, xmax, %s, not limited" % _NORMALISED,
            "labels_note": "columns of scores count from 0: labels[column]",
        },
        _NEXT,
    ),
}


def raw_of(add: Operators, outputs: Sequence[str], sizes: Sequence[int], classes: int) -> Raw:
    """What the network predicts for each anchor, without the background's scores.

    Args:
      add: for the model with these outputs.
      outputs: the boxes and the scores.
      sizes: how many anchors and columns the scores have.
      classes: their number.
    """
    boxes, scores = outputs
    anchors, columns = sizes
    if columns > classes:
        bounds = add.integers(columns - classes), add.integers(columns), add.integers(2)
        scores = add.node("Slice", scores, *bounds)
    return Raw(boxes, scores, anchors, classes)
