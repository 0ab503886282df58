"""Small detection models of each family of the zoo, with random weights, as archives."""

import tarfile
from pathlib import Path
from typing import Dict, Optional

from todus.tf import tf

import numpy as np
from object_detection.builders import graph_rewriter_builder, model_builder

from todus.model import checkpoint_values, pipeline

CLASSES = 90

INITIALIZER = "initializer { truncated_normal_initializer { stddev: 0.1 } }"
NO_REGULARIZER = "regularizer { l2_regularizer { } } " + INITIALIZER
HYPERPARAMS = (
    """regularizer { l2_regularizer { weight: 4e-05 } } %s
  activation: RELU_6 batch_norm { decay: 0.97 scale: true epsilon: 0.001 }"""
    % INITIALIZER
)
ANCHORS = "aspect_ratios: 1 aspect_ratios: 2"

SSD = """model { ssd { num_classes: %d
  image_resizer { fixed_shape_resizer { height: %%(size)d width: %%(size)d } }
  feature_extractor { %%(extractor)s conv_hyperparams { %s } }
  box_coder { faster_rcnn_box_coder { y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 } }
  matcher { argmax_matcher { force_match_for_each_row: true } }
  similarity_calculator { iou_similarity { } }
  box_predictor { %%(predictor)s }
  anchor_generator { %%(anchors)s }
  post_processing { score_converter: SIGMOID
    batch_non_max_suppression { score_threshold: 1e-8 iou_threshold: 0.6 } }
  loss { classification_loss { weighted_sigmoid { } }
    localization_loss { weighted_smooth_l1 { } } }
  encode_background_as_zeros: true } }
train_config { batch_size: 2 num_steps: 100 optimizer { momentum_optimizer { learning_rate {
  constant_learning_rate { learning_rate: 0.001 } } } } }
%%(rewriter)s""" % (CLASSES, HYPERPARAMS)

FASTER = """model { faster_rcnn { num_classes: %d
  image_resizer { keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 96 } }
  feature_extractor { type: "faster_rcnn_inception_v2" first_stage_features_stride: 16 }
  first_stage_anchor_generator { grid_anchor_generator { scales: 0.5 scales: 1 aspect_ratios: 1
    height_stride: 16 width_stride: 16 } }
  first_stage_box_predictor_conv_hyperparams { op: CONV %s }
  first_stage_max_proposals: 8 first_stage_nms_iou_threshold: 0.7
  first_stage_localization_loss_weight: 2 first_stage_objectness_loss_weight: 1
  initial_crop_size: 14 maxpool_kernel_size: 2 maxpool_stride: 2
  second_stage_box_predictor { %%s }
  second_stage_post_processing { score_converter: SOFTMAX batch_non_max_suppression {
    iou_threshold: 0.6 max_detections_per_class: 100 max_total_detections: 100 } }
  second_stage_localization_loss_weight: 2 second_stage_classification_loss_weight: 1
  second_stage_batch_size: 8 } }
train_config { batch_size: 1 num_steps: 100 optimizer { momentum_optimizer { learning_rate {
  constant_learning_rate { learning_rate: 0.0001 } } } } }
""" % (CLASSES, NO_REGULARIZER)

PLAIN_ANCHORS = "ssd_anchor_generator { num_layers: 6 %s aspect_ratios: 0.5 }" % ANCHORS
PYRAMID_ANCHORS = (
    """multiscale_anchor_generator { min_level: 3 max_level: 7 anchor_scale: 4
  %s scales_per_octave: 2 }"""
    % ANCHORS
)
CONVOLUTIONAL = (
    """convolutional_box_predictor { conv_hyperparams { %s }
  kernel_size: 3 %%s }"""
    % HYPERPARAMS
)
SHARED = (
    """weight_shared_convolutional_box_predictor { conv_hyperparams { %s }
  depth: 16 num_layers_before_predictor: 1 kernel_size: 3 %%s }"""
    % HYPERPARAMS
)
MASK_RCNN = "mask_rcnn_box_predictor { fc_hyperparams { op: FC %s } %%s }" % NO_REGULARIZER
CONV_OP = "conv_hyperparams { op: CONV %s } " % NO_REGULARIZER
MASKS = (
    CONV_OP
    + """predict_instance_masks: true mask_height: 14 mask_width: 14
  mask_prediction_conv_depth: 0 mask_prediction_num_conv_layers: 2"""
)
RFCN = (
    """rfcn_box_predictor { %s crop_height: 6 crop_width: 6
  num_spatial_bins_height: 3 num_spatial_bins_width: 3 }"""
    % CONV_OP
)

QUANTIZATION = "graph_rewriter { quantization { delay: 50 weight_bits: 8 activation_bits: 8 } }"
NARROW = " depth_multiplier: 0.25 "
DEPTHWISE = "use_depthwise: true "
OVERRIDE = "override_base_feature_extractor_hyperparams: true "
FPN = "fpn { additional_layer_depth: 16 }"


def ssd(
    kind: str,
    options: str,
    predictor: str,
    anchors: str = PLAIN_ANCHORS,
    size: int = 96,
    quantized: bool = False,
) -> str:
    """The pipeline.config of an SSD with the feature extractor ssd_KIND."""
    return SSD % {
        "extractor": 'type: "ssd_%s" %s' % (kind, options),
        "predictor": predictor,
        "anchors": anchors,
        "size": size,
        "rewriter": QUANTIZATION if quantized else "",
    }


SPAGHETTI = 'spaghettinet_arch_name: "spaghettinet_edgetpu_s"'
FIVE_LAYERS = "ssd_anchor_generator { num_layers: 5 %s }" % ANCHORS
PLAIN = CONVOLUTIONAL % ""
SEPARABLE = CONVOLUTIONAL % DEPTHWISE
TOWER = SHARED % (DEPTHWISE + "share_prediction_tower: true")

SSD_FAMILIES: Dict[str, str] = {
    "mobilenet_v1": ssd("mobilenet_v1", NARROW, PLAIN),
    "mobilenet_v1_quantized": ssd("mobilenet_v1", NARROW + OVERRIDE, PLAIN, quantized=True),
    "ssdlite_mobilenet_v2": ssd("mobilenet_v2", NARROW + DEPTHWISE, SEPARABLE),
    "mobilenet_v3_small": ssd("mobilenet_v3_small", DEPTHWISE, SEPARABLE),
    "inception_v2": ssd("inception_v2", NARROW + OVERRIDE, PLAIN),
    "mobiledet": ssd("mobiledet_edgetpu", DEPTHWISE, SEPARABLE),
    "spaghettinet": ssd("spaghettinet", SPAGHETTI, SEPARABLE, FIVE_LAYERS, 128),
    "mobilenet_v1_fpn": ssd("mobilenet_v1_fpn", NARROW + FPN, SHARED % "", PYRAMID_ANCHORS, 128),
    "mobilenet_v2_fpn_depthwise": ssd(
        "mobilenet_v2_fpn", NARROW + DEPTHWISE + FPN, TOWER, PYRAMID_ANCHORS, 128
    ),
}

FASTER_FAMILIES: Dict[str, str] = {
    "faster_rcnn": FASTER % (MASK_RCNN % ""),
    "faster_rcnn_shared_boxes": FASTER % (MASK_RCNN % "share_box_across_classes: true"),
    "mask_rcnn": FASTER % (MASK_RCNN % MASKS),
    "rfcn": FASTER % RFCN,
}

FAMILIES = dict(SSD_FAMILIES, **FASTER_FAMILIES)


def network(config: pipeline.Config, quantized: bool = False):
    """Builds a model's network in the default graph, without post-processing.

    Returns:
      The placeholder of the image and the prediction tensors by name.
    """
    tf.keras.backend.set_learning_phase(0)
    model = model_builder.build(config.model, is_training=False)
    height, width = pipeline.input_size(config) or (64, 96)
    image = tf.placeholder(tf.float32, [1, height, width, 3])
    predicted = model.predict(image, tf.constant([[height, width, 3]]))
    tf.train.get_or_create_global_step()
    if quantized:
        graph_rewriter_builder.build(config.graph_rewriter, is_training=False)()
    return image, predicted


def random_variables(config: pipeline.Config, seed: int = 0) -> Dict[str, np.ndarray]:
    """The initial variables of a model by name, with random biases."""
    with tf.Graph().as_default():
        tf.set_random_seed(seed)
        network(config, pipeline.is_quantized(config))
        variables = tf.global_variables()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            values = dict(zip((variable.op.name for variable in variables), session.run(variables)))
    random = np.random.RandomState(seed)
    for name, value in values.items():
        if name.endswith("/biases"):
            values[name] = random.normal(0, 0.5, value.shape).astype(np.float32)
    return values


def archive(text: str, path: Path, name: str = "model", label_map: Optional[str] = None) -> Path:
    """A zoo archive with random weights for a pipeline.config's text."""
    inside = path.parent / (path.name + ".d") / name
    inside.mkdir(parents=True)
    config = pipeline.parse(text, name, lambda line: None)
    checkpoint_values.write_checkpoint(inside / "model.ckpt", random_variables(config))
    (inside / "pipeline.config").write_text(text)
    if label_map:
        (inside / "label_map.pbtxt").write_text(label_map)
    with tarfile.open(str(path), "w:gz") as tar:
        tar.add(str(inside), arcname=name)
    return path


def predictions(config: pipeline.Config, prefix: Path, image: np.ndarray) -> Dict[str, np.ndarray]:
    """The predictions of the network at a checkpoint for a float32 [1, height, width, 3] image."""
    with tf.Graph().as_default():
        placeholder, predicted = network(config, pipeline.is_quantized(config))
        wanted = {key: each for key, each in predicted.items() if isinstance(each, tf.Tensor)}
        with tf.Session() as session:
            tf.train.Saver().restore(session, str(prefix))
            return session.run(wanted, {placeholder: image})
