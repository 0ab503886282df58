"""The inference graph to an .onnx file: for ONNX Runtime as it is, or with TensorRT's EfficientNMS at its end."""

import zlib
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np

from todus import files, variables
from todus.detection.detector import DETECTIONS
from todus.detection.frozen_graph import read_graph
from todus.errors import TodusError, UsageError
from todus.model import artefacts, normalization, pipeline
from todus.paths import Model

NEEDS = ("onnx", "tf2onnx")  # packages beside TensorFlow
OPSET = 11
LAYOUTS = ("todus", "tensorrt")

# tflite_graph.pb without its last operator: the image normalised, the encoded boxes, the score of each class with the background's first.
RAW_INPUT = "normalized_input_image_tensor"
RAW_OUTPUTS = ["raw_outputs/box_encodings", "raw_outputs/class_predictions"]
ANCHORS = "anchors"

_TENSORRT_OUTPUTS = (
    ("num_dets", "INT32"),
    ("det_boxes", "FLOAT"),
    ("det_scores", "FLOAT"),
    ("det_classes", "INT32"),
)


def run(model: Model, say: Callable[[str], None]) -> List[str]:
    """./convert-onnx.sh: converts as the environment says; returns what was made and the next command."""
    layout = variables.value("LAYOUT", "convert-onnx")
    path, about = convert(model, layout, variables.value("OPSET", "convert-onnx"))
    say(about["labels_note"])
    made = "%s  %.1f MB, opset %d, checked" % (path, path.stat().st_size / 1e6, about["opset"])
    if layout == "todus":
        return [made, "next: python -m eval -m %s --format onnx" % model.name]
    return [
        made,
        "next, where TensorRT is: trtexec --onnx=%s --fp16 --saveEngine=%s.engine"
        % (path.name, model.name),
    ]


def convert(model: Model, layout: str = "todus", opset: int = OPSET) -> Tuple[Path, Dict]:
    """Writes model/MODEL/MODEL.onnx, or MODEL-tensorrt.onnx, checked by ONNX's own checker, and its .json.

    Args:
      model: with an inference graph; for "tensorrt" with a TFLite graph, whose parts before its last operator have no loops.
      layout: "todus" keeps the graph's own non-max suppression; "tensorrt" ends in the plugin EfficientNMS_TRT.
      opset: 11 or newer.

    Raises:
      TodusError: no graph, or one that tf2onnx or the checker refuses.
    """
    if layout not in LAYOUTS:
        raise UsageError("LAYOUT=%s is unknown; there is: %s" % (layout, ", ".join(LAYOUTS)))
    if opset < 11:
        raise UsageError("OPSET=%d: must be 11 or newer" % opset)
    graph = "inference_graph" if layout == "todus" else "tflite_graph"
    found = artefacts.graph_of(model, graph)
    converted, about = (_graph if layout == "todus" else _tensorrt)(model, opset)
    _check(converted)
    path = model.file_of("onnx" if layout == "todus" else "onnx-" + layout)
    with files.replacing(path) as part:
        part.write_bytes(converted.SerializeToString())
    about.update({"opset": opset, "operators": _counted(converted), "labels": list(found.labels)})
    return path, artefacts.write(
        model, path, model.frozen_graph if layout == "todus" else model.tflite_graph, found, about
    )


def _library():
    from todus.tf import tf  # noqa: F401  tf2onnx imports TensorFlow; this makes it quiet

    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise TodusError("tf2onnx cannot be imported (%s); run: make install" % error)
    # tf2onnx goes through sets of its nodes; by their names the order is the same in every run (under the script's PYTHONHASHSEED).
    tf2onnx.graph.Node.__hash__ = lambda node: zlib.crc32(node.name.encode("utf-8"))
    return onnx, tf2onnx


def _converted(graph_def, inputs: List[str], outputs: List[str], opset: int, name: str):
    """The ONNX ModelProto of a frozen graph between inputs and outputs."""
    from todus.tf import tf

    _, tf2onnx = _library()
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            with tf.Session(graph=graph):
                converted = tf2onnx.tfonnx.process_tf_graph(
                    graph, opset=opset, input_names=inputs, output_names=outputs
                )
        converted = tf2onnx.optimizer.optimize_graph(converted)
        return converted.make_model("Todus: %s" % name)
    except TodusError:
        raise
    except Exception as error:  # tf2onnx raises ValueError, RuntimeError, KeyError and more for what it does not know
        line = (str(error).strip().split("\n") or [""])[0][:300]
        raise TodusError(
            "tf2onnx refused the graph of %s (%s: %s); export it again, or try another OPSET"
            % (name, type(error).__name__, line)
        )


def _graph(model: Model, opset: int) -> Tuple:
    graph_def = read_graph(model.frozen_graph)
    exported = artefacts.exported(model.inference_graph).get("inference_graph", {})
    if not any(node.name == "image_tensor" for node in graph_def.node):
        raise TodusError(
            "%s takes encoded images, which ONNX cannot decode; run INPUT_TYPE=image_tensor ./export.sh"
            % model.frozen_graph
        )
    outputs = [name + ":0" for name in DETECTIONS]
    converted = _converted(graph_def, ["image_tensor:0"], outputs, opset, model.name)
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

    The plugin: github.com/NVIDIA/TensorRT, plugin/efficientNMSPlugin. Boxes [batch, anchors, 4] and scores [batch, anchors, classes] in;
    box_coding 0 is two corners; class -1 as background means that there is none.
    """
    config = pipeline.read(model.exported_pipeline)
    coder = config.model.ssd.box_coder.faster_rcnn_box_coder
    graph_def = read_graph(model.tflite_graph)
    anchors = _anchors(graph_def, model)
    kept = [
        node for node in graph_def.node if node.op != "TFLite_Detection_PostProcess"
    ]  # TensorFlow itself has no such operator
    del graph_def.node[:]
    graph_def.node.extend(kept)
    converted = _converted(
        graph_def, [RAW_INPUT + ":0"], [name + ":0" for name in RAW_OUTPUTS], opset, model.name
    )
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
        "outputs": [name for name, _ in _TENSORRT_OUTPUTS],
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


def _end_in_nms(model, anchors: np.ndarray, scales, attributes: Dict) -> None:
    """Appends box decoding and the plugin to an ONNX model with the outputs RAW_OUTPUTS.

    Decoding, of the Faster R-CNN box coder: centre = encoding / scale * anchor size + anchor centre, size = exp(encoding / scale) * anchor
    size, for y, x, height, width.
    """
    onnx, _ = _library()
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    graph = model.graph
    boxes, scores = (name + ":0" for name in RAW_OUTPUTS)

    def constant(name, values):
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))

    def node(kind, inputs, output, **more):
        graph.node.append(helper.make_node(kind, inputs, [output], name=output, **more))

    constant(
        "decode/centre_factor",
        (anchors[:, 2:] / np.array(scales[:2])).astype(np.float32)[np.newaxis],
    )
    constant("decode/centre", anchors[:, :2].astype(np.float32)[np.newaxis])
    constant("decode/size_factor", (1.0 / np.array(scales[2:])).astype(np.float32))
    constant("decode/half_size", (anchors[:, 2:] / 2).astype(np.float32)[np.newaxis])
    for name, value in (
        ("zero", 0),
        ("one", 1),
        ("two", 2),
        ("four", 4),
        ("end", np.iinfo(np.int64).max),
    ):
        constant("decode/" + name, np.array([value], np.int64))
    constant("decode/flat", np.array([0, -1, 4], np.int64))
    node("Reshape", [boxes, "decode/flat"], "decode/encoded")
    node(
        "Slice",
        ["decode/encoded", "decode/zero", "decode/two", "decode/two"],
        "decode/encoded_centre",
    )
    node(
        "Slice",
        ["decode/encoded", "decode/two", "decode/four", "decode/two"],
        "decode/encoded_size",
    )
    node("Mul", ["decode/encoded_centre", "decode/centre_factor"], "decode/offset")
    node("Add", ["decode/offset", "decode/centre"], "decode/centres")
    node("Mul", ["decode/encoded_size", "decode/size_factor"], "decode/log_size")
    node("Exp", ["decode/log_size"], "decode/relative_size")
    node("Mul", ["decode/relative_size", "decode/half_size"], "decode/half")
    node("Sub", ["decode/centres", "decode/half"], "decode/low")
    node("Add", ["decode/centres", "decode/half"], "decode/high")
    node("Concat", ["decode/low", "decode/high"], "decode/boxes", axis=2)
    node("Slice", [scores, "decode/one", "decode/end", "decode/two"], "decode/scores")
    names = [name for name, _ in _TENSORRT_OUTPUTS]
    inputs = ["decode/boxes", "decode/scores"]
    graph.node.append(
        helper.make_node(
            "EfficientNMS_TRT", inputs, names, name="EfficientNMS_TRT", domain="TRT", **attributes
        )
    )
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    detections = attributes["max_output_boxes"]
    del graph.output[:]
    for (name, kind), shape in zip(
        _TENSORRT_OUTPUTS, ([1, 1], [1, detections, 4], [1, detections], [1, detections])
    ):
        graph.output.append(
            helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)
        )


def _check(model) -> None:
    onnx, _ = _library()
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise TodusError(
            "ONNX's checker refuses the converted model (%s); try another OPSET"
            % str(error).strip().split("\n")[0]
        )


def _counted(model) -> Dict[str, int]:
    counts: Dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))
