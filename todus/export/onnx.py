"""Converts an exported graph to ONNX, in the layout that its consumer takes."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from todus import files, forms, variables
from todus.detection.detector import DETECTIONS
from todus.detection.frozen_graph import read_graph
from todus.errors import TodusError, UsageError
from todus.export import loop_free, onnx_conversion, onnx_layouts, onnx_tensorrt
from todus.export.onnx_layouts import LAYOUTS
from todus.export.onnx_suppression import Limits
from todus.model import artefacts, normalization, pipeline
from todus.paths import Model

NEEDS = ("onnx", "tf2onnx")  # packages beside TensorFlow
OPSET = 11
_NAMES = ("todus", *forms.ONNX_LAYOUTS, "tensorrt")
_INPUT = "image_tensor"


def run(model: Model, say: Callable[[str], None]) -> List[str]:
    """Runs ./convert-onnx.sh: converts by the environment's settings.

    Returns the lines to print: the file, and the next command.
    """
    layout = variables.value("LAYOUT", "convert-onnx")
    path, about = convert(model, layout, variables.value("OPSET", "convert-onnx"))
    say(about["labels_note"])
    if about.get("loops"):
        say("its loops stay, which ONNX Runtime runs: %s" % about["loops"])
    made = "%s  %.1f MB, opset %d, checked" % (path, path.stat().st_size / 1e6, about["opset"])
    if layout == "todus":
        return [made, "next: python -m eval -m %s --format onnx" % model.name]
    if layout == "tensorrt":
        build = "trtexec --onnx=%s --fp16 --saveEngine=%s.engine" % (path.name, model.name)
        return [made, "next, where TensorRT is: " + build]
    labels = shlex.quote(str(model.inference_graph / "labels.txt"))
    return [made, LAYOUTS[layout].next.format(file=path, labels=labels)]


def convert(model: Model, layout: str = "todus", opset: int = OPSET) -> Tuple[Path, Dict]:
    """Writes model/MODEL/MODEL.onnx, or MODEL-LAYOUT.onnx, and its .json.

    Args:
      model: with an inference graph; for "tensorrt" with a TFLite graph.
      layout: "todus" has the inference graph's input and outputs; "tensorrt" ends in the plugin
        EfficientNMS_TRT; others are in onnx_layouts.
      opset: 11 or newer.

    Raises:
      TodusError: no graph, one that the layout cannot have, or that tf2onnx or ONNX's checker
        refuses.
    """
    if layout not in _NAMES:
        raise UsageError("LAYOUT=%s is unknown; there is: %s" % (layout, ", ".join(_NAMES)))
    if opset < 11:
        raise UsageError("OPSET=%d: must be 11 or newer" % opset)
    for_tensorrt = layout == "tensorrt"
    found = artefacts.graph_of(model, "tflite_graph" if for_tensorrt else "inference_graph")
    if for_tensorrt:
        converted, about = onnx_tensorrt.convert(model, opset)
    elif layout == "todus":
        converted, about = _todus(model, opset)
    else:
        converted, about = _for_consumer(model, layout, opset)
    onnx_conversion.check(converted)
    path = model.file_of("onnx" if layout == "todus" else "onnx-" + layout)
    with files.replacing(path) as part:
        part.write_bytes(converted.SerializeToString())
    operators = dict(sorted(Counter(node.op_type for node in converted.graph.node).items()))
    about.update({"opset": opset, "operators": operators, "labels": list(found.labels)})
    graph = model.tflite_graph if for_tensorrt else model.frozen_graph
    return path, artefacts.write(model, path, graph, found, about)


def _todus(model: Model, opset: int) -> Tuple:
    """The inference graph's input and outputs, without loops where they have an equal."""
    graph_def, config = read_graph(model.frozen_graph), pipeline.read(model.exported_pipeline)
    exported = _exported(model)
    if not any(node.name == _INPUT for node in graph_def.node):
        remedy = "run INPUT_TYPE=image_tensor ./export.sh"
        what = "%s takes encoded images, which ONNX cannot decode; %s"
        raise TodusError(what % (model.frozen_graph, remedy))
    reason, inputs = loop_free.reason_against(config, graph_def), [_INPUT + ":0"]
    outputs = [name + ":0" for name in (DETECTIONS if reason else loop_free.RAW_OUTPUTS)]
    if not reason:
        sizes = loop_free.sizes(graph_def, [_batch(exported) or 1, *pipeline.input_size(config), 3])
        loop_free.resize_at_once(graph_def)
    converted = onnx_conversion.converted(graph_def, inputs, outputs, opset, model.name)
    about = {}
    if reason:
        about["loops"] = reason
    else:
        add = onnx_conversion.Operators(converted, "detections")
        raw = onnx_layouts.raw_of(add, outputs, sizes, pipeline.meta(config).num_classes)
        add.append(onnx_layouts.detections(add, raw, _limits(config)))
    return converted, {
        "format": "onnx",
        "input": {
            "name": _INPUT + ":0",
            "shape": exported.get("input_shape"),
            "dtype": "uint8",
            "note": "RGB pixels 0..255, NHWC",
        },
        "outputs": [name + ":0" for name in DETECTIONS],
        "labels_note": "detection_classes counts from 1: labels[class - 1]",
        "exported": exported,
        **about,
    }


def _for_consumer(model: Model, layout: str, opset: int) -> Tuple:
    """One image of the model's size, and the outputs of a layout."""
    graph_def, config = read_graph(model.frozen_graph), pipeline.read(model.exported_pipeline)
    exported, row = _exported(model), LAYOUTS[layout]
    reason = loop_free.reason_against(config, graph_def)
    if reason:
        what = "%s cannot have LAYOUT=%s: %s; run ./convert-onnx.sh without LAYOUT"
        raise TodusError(what % (model.name, layout, reason))
    batch = _batch(exported)
    if batch not in (None, 1):
        what = "%s takes %d images at once, LAYOUT=%s one; run ./export.sh without BATCH"
        raise TodusError(what % (model.frozen_graph, batch, layout))
    size = pipeline.input_size(config)
    shape = [1, *size, 3]
    sizes = loop_free.sizes(graph_def, shape)
    outputs = [name + ":0" for name in loop_free.RAW_OUTPUTS]
    anchors = loop_free.anchors(graph_def, shape) if row.decodes else None
    outputs[0] = loop_free.encodings(graph_def) if row.decodes else outputs[0]
    network = loop_free.start_at_network(graph_def, shape) + ":0"
    converted = onnx_conversion.converted(
        graph_def, [network], outputs, opset, model.name, row.rounds
    )
    row.pixels.prepend(converted, network, size, *normalization.normalization(config))
    add = onnx_conversion.Operators(converted, "detections")
    if row.decodes:
        coder = config.model.ssd.box_coder.faster_rcnn_box_coder
        scales = (coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale)
        outputs[0] = onnx_layouts.decoded(add, outputs[0], anchors, scales)
    raw = onnx_layouts.raw_of(add, outputs, sizes, pipeline.meta(config).num_classes)
    limits = _limits(config)
    ends = row.add(add, raw, limits, size)
    add.append(ends)
    return converted, {
        "format": "onnx-" + layout,
        "input": row.pixels.described(size),
        "outputs": [name for name, _, _ in ends],
        **row.notes,
        "nms": dict(limits._asdict()),
        "exported": exported,
    }


def _exported(model: Model) -> Dict:
    return artefacts.exported(model.inference_graph).get("inference_graph", {})


def _batch(exported: Dict) -> Optional[int]:
    """The fixed number of images that an exported graph takes at once."""
    return (exported.get("input_shape") or [None])[0]


def _limits(config: pipeline.Config) -> Limits:
    nms = pipeline.non_max_suppression(config)
    limits = nms.max_detections_per_class, nms.max_total_detections
    return Limits(nms.score_threshold, nms.iou_threshold, *limits)
