"""ONNX for TensorRT: the network of the TFLite graph, and the plugin EfficientNMS_TRT."""

from typing import Dict, Sequence, Tuple

import numpy as np

from todus.detection.frozen_graph import read_graph
from todus.errors import TodusError
from todus.export import onnx_conversion
from todus.model import artefacts, normalization, pipeline
from todus.paths import Model

# The ends of tflite_graph.pb without its last operator: the normalised image, the encoded boxes,
# and the score of each class, the background's first.
RAW_INPUT = "normalized_input_image_tensor"
RAW_OUTPUTS = ["raw_outputs/box_encodings", "raw_outputs/class_predictions"]
ANCHORS = "anchors"

_TYPES = {
    "num_dets": "INT32",
    "det_boxes": "FLOAT",
    "det_scores": "FLOAT",
    "det_classes": "INT32",
}


def convert(model: Model, opset: int) -> Tuple:
    """(ModelProto, description): the network, decoded boxes, and EfficientNMS_TRT.

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
    converted = onnx_conversion.converted(graph_def, inputs, raw_outputs, opset, model.name, False)
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
        "outputs": list(_TYPES),
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
    onnx, _ = onnx_conversion.library()
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
    inputs, outputs = ["decode/boxes", "decode/scores"], list(_TYPES)
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
    for name, shape in zip(_TYPES, ([1, 1], [1, count, 4], [1, count], [1, count])):
        kind = getattr(onnx.TensorProto, _TYPES[name])
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))
