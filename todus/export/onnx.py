"""Converts the inference graph to ONNX, for ONNX Runtime or with TensorRT's EfficientNMS plugin."""

import zlib
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np

from todus import files, variables
from todus.detection.detector import DETECTIONS
from todus.detection.frozen_graph import read_graph
from todus.errors import TodusError, UsageError
from todus.export import fake_quantization
from todus.model import artefacts, normalization, pipeline
from todus.paths import Model
from todus.text import first_line

NEEDS = ("onnx", "tf2onnx")  # packages beside TensorFlow
OPSET = 11
LAYOUTS = ("todus", "tensorrt")

# The ends of tflite_graph.pb without its last operator: the normalised image, the encoded boxes,
# and the score of each class, the background's first.
RAW_INPUT = "normalized_input_image_tensor"
RAW_OUTPUTS = ["raw_outputs/box_encodings", "raw_outputs/class_predictions"]
ANCHORS = "anchors"

_TENSORRT_TYPES = {
    "num_dets": "INT32",
    "det_boxes": "FLOAT",
    "det_scores": "FLOAT",
    "det_classes": "INT32",
}


def run(model: Model, say: Callable[[str], None]) -> List[str]:
    """Runs ./convert-onnx.sh: converts by the environment's settings.

    Returns the lines to print: the file, and the next command.
    """
    layout = variables.value("LAYOUT", "convert-onnx")
    path, about = convert(model, layout, variables.value("OPSET", "convert-onnx"))
    say(about["labels_note"])
    made = "%s  %.1f MB, opset %d, checked" % (path, path.stat().st_size / 1e6, about["opset"])
    if layout == "todus":
        return [made, "next: python -m eval -m %s --format onnx" % model.name]
    build = "trtexec --onnx=%s --fp16 --saveEngine=%s.engine" % (path.name, model.name)
    return [made, "next, where TensorRT is: " + build]


def convert(model: Model, layout: str = "todus", opset: int = OPSET) -> Tuple[Path, Dict]:
    """Writes model/MODEL/MODEL.onnx, or MODEL-tensorrt.onnx, and its .json.

    Args:
      model: with an inference graph; for "tensorrt" with a TFLite graph, which has no loops before
        its last operator.
      layout: "todus" has the graph's own non-max suppression; "tensorrt" ends in the plugin
        EfficientNMS_TRT.
      opset: 11 or newer.

    Raises:
      TodusError: no graph, or one that tf2onnx or ONNX's checker refuses.
    """
    if layout not in LAYOUTS:
        raise UsageError("LAYOUT=%s is unknown; there is: %s" % (layout, ", ".join(LAYOUTS)))
    if opset < 11:
        raise UsageError("OPSET=%d: must be 11 or newer" % opset)
    for_tensorrt = layout == "tensorrt"
    found = artefacts.graph_of(model, "tflite_graph" if for_tensorrt else "inference_graph")
    converted, about = (_tensorrt if for_tensorrt else _graph)(model, opset)
    _check(converted)
    path = model.file_of("onnx-tensorrt" if for_tensorrt else "onnx")
    with files.replacing(path) as part:
        part.write_bytes(converted.SerializeToString())
    operators = dict(sorted(Counter(node.op_type for node in converted.graph.node).items()))
    about.update({"opset": opset, "operators": operators, "labels": list(found.labels)})
    graph = model.tflite_graph if for_tensorrt else model.frozen_graph
    return path, artefacts.write(model, path, graph, found, about)


def _library():
    from todus.tf import tf  # noqa: F401  tf2onnx imports TensorFlow; this makes it quiet

    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise TodusError("tf2onnx cannot be imported (%s); run: make install" % error)
    # tf2onnx iterates over sets of its nodes. With hashes of their names, the order is the same in
    # every run (under the script's PYTHONHASHSEED).
    tf2onnx.graph.Node.__hash__ = lambda node: zlib.crc32(node.name.encode("utf-8"))
    return onnx, tf2onnx


def _converted(
    graph_def, inputs: List[str], outputs: List[str], opset: int, name: str, rounds: bool
):
    """The ONNX ModelProto of a frozen graph between inputs and outputs.

    `rounds`: whether values are rounded where the graph has fake quantization; else they are only
    limited to its ranges.
    """
    from todus.tf import tf

    onnx, tf2onnx = _library()

    def convert_graph(catch_errors: bool):
        limits = fake_quantization.Limits()
        folded = tf2onnx.tf_loader.tf_optimize(inputs, outputs, graph_def)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(folded, name="")
            with tf.Session(graph=graph):
                converted = tf2onnx.tfonnx.process_tf_graph(
                    graph,
                    opset=opset,
                    input_names=inputs,
                    output_names=outputs,
                    custom_op_handlers=limits.handlers,
                )
        optimized = tf2onnx.optimizer.optimize_graph(converted, catch_errors)
        made = optimized.make_model("Todus: %s" % name)
        if rounds:
            limits.add_rounding(made, onnx.helper.make_node, onnx.numpy_helper.from_array)
        return made

    # tf2onnx raises ValueError, RuntimeError, KeyError and more for operators that it lacks.
    try:
        try:
            return convert_graph(catch_errors=False)
        except Exception:  # catching copies the graph before each optimizer, which takes seconds
            return convert_graph(catch_errors=True)
    except Exception as error:
        what = "tf2onnx refused the graph of %s (%s: %s); export it again, or try another OPSET"
        raise TodusError(what % (name, type(error).__name__, first_line(error, 300)))


def _graph(model: Model, opset: int) -> Tuple:
    graph_def = read_graph(model.frozen_graph)
    exported = artefacts.exported(model.inference_graph).get("inference_graph", {})
    if not any(node.name == "image_tensor" for node in graph_def.node):
        remedy = "run INPUT_TYPE=image_tensor ./export.sh"
        what = "%s takes encoded images, which ONNX cannot decode; %s"
        raise TodusError(what % (model.frozen_graph, remedy))
    outputs = [name + ":0" for name in DETECTIONS]
    converted = _converted(graph_def, ["image_tensor:0"], outputs, opset, model.name, True)
    return converted, {
        "format": "onnx",
        "input": {
            "name": "image_tensor:0",
            "shape": exported.get("input_shape"),
            "dtype": "uint8",
            "note": "RGB pixels 0..255, NHWC",
        },
        "outputs": outputs,
        "labels_note": "detection_classes counts from 1: labels[class - 1]",
        "exported": exported,
    }


def _tensorrt(model: Model, opset: int) -> Tuple:
    """The network without its loops, the boxes decoded by plain operators, and EfficientNMS_TRT.

    The plugin (github.com/NVIDIA/TensorRT, plugin/efficientNMSPlugin) takes boxes
    [batch, anchors, 4] and scores [batch, anchors, classes]. box_coding 0 is two corners; the
    background class -1 is none.
    """
    config = pipeline.read(model.exported_pipeline)
    coder = config.model.ssd.box_coder.faster_rcnn_box_coder
    graph_def = read_graph(model.tflite_graph)
    anchors = _anchors(graph_def, model)
    # TensorFlow itself has no such operator.
    kept = [node for node in graph_def.node if node.op != "TFLite_Detection_PostProcess"]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    raw_outputs = [name + ":0" for name in RAW_OUTPUTS]
    inputs = [RAW_INPUT + ":0"]
    converted = _converted(graph_def, inputs, raw_outputs, opset, model.name, False)
    scales = (coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale)
    exported = artefacts.tflite_graph(model)
    nms = pipeline.non_max_suppression(config)
    attributes = {
        "background_class": -1,
        "box_coding": 0,
        "iou_threshold": nms.iou_threshold or 0.6,
        "score_threshold": exported["score_threshold"],
        "max_output_boxes": exported["max_detections"],
        "score_activation": 0,
        "plugin_version": "1",
    }
    _end_in_nms(converted, anchors, scales, attributes)
    mean, std = normalization.normalization(config)
    height, width = pipeline.input_size(config)
    return converted, {
        "format": "onnx-tensorrt",
        "input": {
            "name": RAW_INPUT + ":0",
            "shape": [1, height, width, 3],
            "dtype": "float32",
            "mean": mean,
            "std": std,
            "note": "feed (pixel - mean) / std, RGB, NHWC",
        },
        "outputs": list(_TENSORRT_TYPES),
        "boxes_note": "det_boxes are ymin, xmin, ymax, xmax, normalised to 0..1",
        "labels_note": "det_classes counts from 0: labels[class]",
        "nms": attributes,
        "exported": exported,
    }


def _anchors(graph_def, model: Model) -> np.ndarray:
    """float32 [anchors, 4]: y and x of the centre, height, width."""
    from todus.tf import tf

    for node in graph_def.node:
        if node.name == ANCHORS and node.op == "Const":
            return tf.make_ndarray(node.attr["value"].tensor).reshape(-1, 4)
    raise TodusError("%s has no anchors; run ./export-tflite.sh again" % model.tflite_graph)


def _end_in_nms(model, anchors: np.ndarray, scales: Sequence[float], attributes: Dict) -> None:
    """Appends box decoding, the plugin and a limit of its boxes to the image.

    The ONNX model has the outputs RAW_OUTPUTS.

    The Faster R-CNN box coder, for y, x, height, width: centre = encoding / scale * anchor size +
    anchor centre, size = exp(encoding / scale) * anchor size.
    """
    onnx, _ = _library()
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    graph = model.graph
    boxes, scores = (name + ":0" for name in RAW_OUTPUTS)

    def constant(name, values, dtype=np.float32):
        array = np.asarray(values).astype(dtype)
        graph.initializer.append(numpy_helper.from_array(array, "decode/" + name))

    def node(kind, inputs, output, **more):
        graph.node.append(helper.make_node(kind, inputs, [output], name=output, **more))

    constant("centre_factor", (anchors[:, 2:] / np.array(scales[:2]))[np.newaxis])
    constant("centre", anchors[np.newaxis, :, :2])
    constant("size_factor", 1.0 / np.array(scales[2:]))
    constant("half_size", (anchors[:, 2:] / 2)[np.newaxis])
    end = np.iinfo(np.int64).max
    for name, value in (("zero", 0), ("one", 1), ("two", 2), ("four", 4), ("end", end)):
        constant(name, [value], np.int64)
    constant("flat", [0, -1, 4], np.int64)
    node("Reshape", [boxes, "decode/flat"], "decode/encoded")
    for name, start, stop in (("encoded_centre", "zero", "two"), ("encoded_size", "two", "four")):
        bounds = ["decode/" + each for each in (start, stop, "two")]
        node("Slice", ["decode/encoded", *bounds], "decode/" + name)
    node("Mul", ["decode/encoded_centre", "decode/centre_factor"], "decode/offset")
    node("Add", ["decode/offset", "decode/centre"], "decode/centres")
    node("Mul", ["decode/encoded_size", "decode/size_factor"], "decode/log_size")
    node("Exp", ["decode/log_size"], "decode/relative_size")
    node("Mul", ["decode/relative_size", "decode/half_size"], "decode/half")
    node("Sub", ["decode/centres", "decode/half"], "decode/low")
    node("Add", ["decode/centres", "decode/half"], "decode/high")
    node("Concat", ["decode/low", "decode/high"], "decode/boxes", axis=2)
    node("Slice", [scores, "decode/one", "decode/end", "decode/two"], "decode/scores")
    inputs, outputs = ["decode/boxes", "decode/scores"], list(_TENSORRT_TYPES)
    boxes = outputs[1]
    outputs[1] = "nms/" + boxes
    plugin = "EfficientNMS_TRT"
    nms = helper.make_node(plugin, inputs, outputs, name=plugin, domain="TRT", **attributes)
    graph.node.append(nms)
    for name, value in (("low", 0.0), ("high", 1.0)):
        constant(name + "_limit", value)
    node("Clip", [outputs[1], "decode/low_limit", "decode/high_limit"], boxes)
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    count = attributes["max_output_boxes"]
    del graph.output[:]
    for name, shape in zip(_TENSORRT_TYPES, ([1, 1], [1, count, 4], [1, count], [1, count])):
        kind = getattr(onnx.TensorProto, _TENSORRT_TYPES[name])
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))


def _check(model) -> None:
    onnx, _ = _library()
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        what = "ONNX's checker refuses the converted model (%s); try another OPSET"
        raise TodusError(what % first_line(error, 300))
