"""Frozen SSDs of the published architectures with random weights, and their directories."""

import functools
from typing import Dict, List

from todus.tf import tf

import numpy as np
from object_detection import exporter
from object_detection.builders import model_builder

from todus import categories, paths
from todus.model import pipeline

# name -> the parts of its published pipeline.config that differ from PIPELINE.
MODELS: Dict[str, Dict[str, str]] = {
    "ssd_mobilenet_v1_coco_2018_01_28": {
        "extractor": "ssd_mobilenet_v1",
        "predictor": "kernel_size: 1",
    },
    "ssd_mobilenet_v1_0.75_depth_300x300_coco14_sync_2018_07_03": {
        "extractor": "ssd_mobilenet_v1",
        "features": "depth_multiplier: 0.75 override_base_feature_extractor_hyperparams: true",
        "predictor": "kernel_size: 1 class_prediction_bias_init: -4.6",
    },
    "ssd_mobilenet_v2_coco_2018_03_29": {
        "extractor": "ssd_mobilenet_v2",
        "features": "use_depthwise: true",
        "predictor": "kernel_size: 3",
    },
    "ssdlite_mobilenet_v2_coco_2018_05_09": {
        "extractor": "ssd_mobilenet_v2",
        "features": "use_depthwise: true",
        "predictor": "kernel_size: 3 use_depthwise: true",
    },
    "ssd_inception_v2_coco_2018_01_28": {
        "extractor": "ssd_inception_v2",
        "features": "override_base_feature_extractor_hyperparams: true",
        "predictor": "kernel_size: 3",
        "anchors": "reduce_boxes_in_lowest_layer: true",
    },
}
MODELS["ssd_inception_v2_coco_2017_11_17"] = dict(
    MODELS["ssd_inception_v2_coco_2018_01_28"], scores="score_threshold: 1e-8"
)

PIPELINE = """
model { ssd {
  num_classes: %(num_classes)d
  image_resizer { fixed_shape_resizer { height: %(size)d width: %(size)d } }
  feature_extractor {
    type: "%(extractor)s" min_depth: 16 %(features)s conv_hyperparams { %(hyperparams)s } }
  box_coder {
    faster_rcnn_box_coder { y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0 } }
  matcher { argmax_matcher { matched_threshold: 0.5 unmatched_threshold: 0.5 } }
  similarity_calculator { iou_similarity { } }
  box_predictor { convolutional_box_predictor {
    conv_hyperparams { %(hyperparams)s }
    box_code_size: 4 apply_sigmoid_to_scores: false %(predictor)s } }
  anchor_generator { ssd_anchor_generator {
    num_layers: 6 min_scale: 0.2 max_scale: 0.95 aspect_ratios: 1.0 aspect_ratios: 2.0
    aspect_ratios: 0.5 aspect_ratios: 3.0 aspect_ratios: 0.3333 %(anchors)s } }
  post_processing {
    batch_non_max_suppression {
      iou_threshold: 0.6 max_detections_per_class: 100 max_total_detections: 100 %(scores)s }
    score_converter: SIGMOID }
  loss { localization_loss { weighted_smooth_l1 { } } classification_loss { weighted_sigmoid { } } }
  encode_background_as_zeros: true
} }
"""

HYPERPARAMS = """
  regularizer { l2_regularizer { weight: 0.00004 } }
  initializer { truncated_normal_initializer { stddev: 0.03 } }
  activation: RELU_6 batch_norm { decay: 0.9997 center: true scale: true epsilon: 0.001 }
"""


def pipeline_text(name: str, num_classes: int = 3, size: int = 300, **changes: str) -> str:
    """The pipeline.config of one of MODELS, with `changes` of its features, anchors or scores."""
    parts = {"features": "", "anchors": "", "scores": "score_threshold: 0.3"}
    parts.update(MODELS[name], **changes)
    return PIPELINE % dict(parts, num_classes=num_classes, size=size, hyperparams=HYPERPARAMS)


@functools.lru_cache(maxsize=None)
def frozen(text: str, seed: int = 1) -> "tf.GraphDef":
    """The OD API's frozen graph of a pipeline.config; random weights keep activations near 1."""
    config = pipeline.parse(text, "the test's config")
    with tf.Graph().as_default() as graph:
        model = model_builder.build(config.model, is_training=False)
        exporter.build_detection_graph("image_tensor", model, None, "inference_op", None)
        outputs = [tensor.op.name for tensor in tf.get_collection("inference_op")]
        with tf.Session(graph=graph) as session:
            set_random_weights(session, seed)
            graph_def = graph.as_graph_def()
            return tf.graph_util.convert_variables_to_constants(session, graph_def, outputs)


def set_random_weights(session: "tf.Session", seed: int) -> None:
    """Initialises every variable of the current graph."""
    draw, variables = np.random.RandomState(seed), tf.global_variables()
    weights = {
        each.initializer.inputs[1]: random_weights(each.op.name, each.shape.as_list(), draw)
        for each in variables
    }
    session.run([each.initializer for each in variables], weights)


def random_weights(name: str, shape, draw: np.random.RandomState) -> np.ndarray:
    """Weights for a variable of the OD API, by its name."""
    if name.endswith(("moving_variance", "gamma")):
        return draw.uniform(0.7, 1.3, shape)
    if name.endswith(("beta", "moving_mean")):
        return draw.normal(0, 0.2, shape)
    if name.endswith("biases"):
        return draw.normal(-3.0 if "ClassPredictor" in name else 0.0, 0.3, shape)
    if name.endswith("depthwise_weights"):
        return draw.normal(0, np.sqrt(2.0 / np.prod(shape[:2])), shape)
    if name.endswith("weights"):
        gain = 1.0 if "Predictor" in name or "project" in name else 2.0
        return draw.normal(0, np.sqrt(gain / np.prod(shape[:-1])), shape)
    return np.zeros(shape)


def lay_out(
    name: str, text: str, graph: "tf.GraphDef", names: Dict[int, str], exported: bool = False
) -> paths.Model:
    """Writes a model's directory under TODUS_HOME: the zoo's part, or the exported part."""
    model = paths.model(name)
    files = (model.zoo_frozen_graph, model.zoo_pipeline, model.zoo_label_map)
    if exported:
        files = (model.frozen_graph, model.exported_pipeline, model.exported_label_map)
    files[0].parent.mkdir(parents=True, exist_ok=True)
    files[0].write_bytes(graph.SerializeToString())
    files[1].write_text(text)
    categories.write_label_map(files[2], names)
    return model


def as_of_2018(graph_def: "tf.GraphDef") -> "tf.GraphDef":
    """The graph with the names and ops of 2018, and one batch normalisation as separate ops."""
    result = tf.GraphDef(versions=graph_def.versions)
    split = next(node.name for node in graph_def.node if node.op == "FusedBatchNormV3")
    anchors = "Concatenate", "MultipleGridAnchorGenerator/Concatenate"

    def renamed(edge):
        for old, new in (("Cast", "ToFloat"), anchors):
            if edge == old or edge.startswith(old + "/"):
                return new + edge[len(old) :]
        return edge

    for node in graph_def.node:
        edges = [renamed(edge) for edge in node.input]
        node = result.node.add(name=renamed(node.name), op=node.op, input=edges, attr=node.attr)
        if node.op == "AddV2":
            node.op = "Add"
        if node.op == "FusedBatchNormV3":
            node.op = "FusedBatchNorm"
            node.attr.pop("U")
        if node.name == split:
            parts = _batch_norm_in_parts(node)
            result.node.remove(node)
            result.node.extend(parts)
    return result


def _batch_norm_in_parts(node: "tf.NodeDef") -> List["tf.NodeDef"]:
    x, gamma, beta, mean, variance = node.input
    epsilon = tf.NodeDef(name=node.name + "/epsilon", op="Const")
    epsilon.attr["dtype"].type = tf.float32.as_datatype_enum
    epsilon.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float32(node.attr["epsilon"].f)))
    ops = [
        ("add", "Add", [variance, epsilon.name]),
        ("rsqrt", "Rsqrt", [node.name + "/add"]),
        ("mul", "Mul", [node.name + "/rsqrt", gamma]),
        ("mul_1", "Mul", [x, node.name + "/mul"]),
        ("mul_2", "Mul", [mean, node.name + "/mul"]),
        ("sub", "Sub", [beta, node.name + "/mul_2"]),
        ("", "Add", [node.name + "/mul_1", node.name + "/sub"]),
    ]
    parts = [epsilon]
    for name, op, inputs in ops:
        parts.append(tf.NodeDef(name=(node.name + "/" + name).rstrip("/"), op=op, input=inputs))
        parts[-1].attr["T"].type = tf.float32.as_datatype_enum
    return parts


def classes(count: int) -> Dict[int, str]:
    return categories.bundled("coco") if count == 90 else {1: "bear", 2: "horse", 3: "giraffe"}


def images(size: int, count: int, seed: int = 7) -> np.ndarray:
    """uint8 [count, size, size, 3]: smooth random patterns."""
    draw = np.random.RandomState(seed)
    coarse = draw.randint(0, 256, (count, 12, 12, 3)).astype(np.float64)
    side = -(-size // 12)
    fine = coarse.repeat(side, axis=1).repeat(side, axis=2)[:, :size, :size]
    return np.clip(fine + draw.normal(0, 20, fine.shape), 0, 255).astype(np.uint8)
