"""What a TensorRT build needs to know of a detector and pipeline.config tells; refuses what UFF cannot hold."""

from dataclasses import dataclass
from typing import Tuple

from object_detection.protos import post_processing_pb2

from todus.errors import TodusError
from todus.model import pipeline

ELSEWHERE = "convert it with ./convert-onnx.sh, which TensorRT reads too"
QUANTIZED_ELSEWHERE = "./export-tflite.sh is for it; or " + ELSEWHERE


@dataclass(frozen=True)
class Settings:
    """The numbers for Input, GridAnchor_TRT and NMS_TRT.

    Attributes:
      height, width: of the input, pixels.
      num_classes: with background.
      num_layers: feature maps.
      min_scale, max_scale: of the anchors, relative to the image.
      aspect_ratios: of the anchors, in the generator's order.
      variances: (y, x, height, width), the inverse of the box coder's scales.
      sigmoid: whether NMS_TRT turns logits into scores.
      score_threshold, iou_threshold: of non-maximum suppression.
      max_per_class, max_total: detections that it keeps.
    """

    height: int
    width: int
    num_classes: int
    num_layers: int
    min_scale: float
    max_scale: float
    aspect_ratios: Tuple[float, ...]
    variances: Tuple[float, float, float, float]
    sigmoid: bool
    score_threshold: float
    iou_threshold: float
    max_per_class: int
    max_total: int


def check_kind(config: pipeline.Config, where: str) -> None:
    """Raises TodusError, with the reason, for kinds of models that UFF and its plugins cannot hold."""
    kind = pipeline.architecture(config)
    if kind != "ssd":
        raise _refusal(
            where,
            "a %s has two stages and UFF has no plugin for the second"
            % kind.replace("faster_rcnn", "Faster R-CNN"),
        )
    extractor = pipeline.extractor(config)
    generator = config.model.ssd.anchor_generator.WhichOneof("anchor_generator_oneof")
    if "fpn" in extractor or generator == "multiscale_anchor_generator":
        raise _refusal(
            where,
            "an FPN (%s) resizes feature maps and has multiscale anchors, which UFF's plugins do not do"
            % extractor,
        )
    if pipeline.is_quantized(config):
        raise _refusal(
            where,
            "a quantization-aware model has FakeQuant nodes, which UFF cannot hold",
            QUANTIZED_ELSEWHERE,
        )


def read(config: pipeline.Config, where: str) -> Settings:
    """The settings of an SSD that UFF can hold.

    Args:
      config: the pipeline of the graph that is converted, not of another one.
      where: its file, for messages.

    Raises:
      TodusError: the plugins cannot compute what this config asks for.
    """
    check_kind(config, where)
    ssd = config.model.ssd
    size = pipeline.input_size(config)
    if size is None or min(size) < 1:
        raise _refusal(
            where, "the input has no fixed size (image_resizer is not a fixed_shape_resizer)"
        )
    if pipeline.box_predictor(config) != "convolutional_box_predictor":
        raise _refusal(
            where,
            "box predictor %s is not the convolutional_box_predictor"
            % (pipeline.box_predictor(config) or "(none)"),
        )
    if not ssd.add_background_class:
        raise _refusal(
            where, "add_background_class: false; NMS_TRT is given the background as class 0"
        )
    layers, low, high, ratios = _anchors(ssd.anchor_generator, where)
    threshold, overlap, per_class, total = _suppression(
        ssd.post_processing.batch_non_max_suppression, where
    )
    return Settings(
        height=size[0],
        width=size[1],
        num_classes=ssd.num_classes + 1,
        num_layers=layers,
        min_scale=low,
        max_scale=high,
        aspect_ratios=ratios,
        variances=_variances(ssd.box_coder, where),
        sigmoid=_sigmoid(ssd.post_processing, where),
        score_threshold=threshold,
        iou_threshold=overlap,
        max_per_class=per_class,
        max_total=total,
    )


def _refusal(where: str, reason: str, remedy: str = ELSEWHERE) -> TodusError:
    return TodusError("%s: %s; %s" % (where, reason, remedy))


def _anchors(message, where: str) -> Tuple[int, float, float, Tuple[float, ...]]:
    kind = message.WhichOneof("anchor_generator_oneof")
    if kind != "ssd_anchor_generator":
        raise _refusal(
            where,
            "GridAnchor_TRT does not make the anchors of a %s"
            % (kind or "missing anchor_generator"),
        )
    generator = message.ssd_anchor_generator
    if not generator.reduce_boxes_in_lowest_layer:
        raise _refusal(
            where,
            "reduce_boxes_in_lowest_layer: false; GridAnchor_TRT always has 3 boxes in the lowest layer",
        )
    layers = generator.num_layers
    if layers < 2:
        raise _refusal(where, "num_layers: %d; GridAnchor_TRT needs 2 or more" % layers)
    ratios = tuple(generator.aspect_ratios)
    if len(ratios) < 3:
        raise _refusal(
            where, "GridAnchor_TRT needs 3 aspect_ratios or more, here are %d" % len(ratios)
        )
    scales = generator.scales or (generator.min_scale, generator.max_scale)
    return layers, scales[0], scales[-1], ratios


def _variances(message, where: str) -> Tuple[float, float, float, float]:
    if message.WhichOneof("box_coder_oneof") != "faster_rcnn_box_coder":
        raise _refusal(
            where,
            "NMS_TRT decodes boxes of a faster_rcnn_box_coder only, not of a %s"
            % message.WhichOneof("box_coder_oneof"),
        )
    coder = message.faster_rcnn_box_coder
    scales = (coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale)
    if min(scales) <= 0:
        raise _refusal(
            where, "the box coder's scales %s are not positive" % (scales,), "mend pipeline.config"
        )
    return tuple(1.0 / scale for scale in scales)


def _sigmoid(message, where: str) -> bool:
    converter = post_processing_pb2.PostProcessing.ScoreConverter.Name(message.score_converter)
    if converter not in ("SIGMOID", "IDENTITY"):
        raise _refusal(where, "score_converter: %s; NMS_TRT knows SIGMOID and IDENTITY" % converter)
    if message.logit_scale != 1.0:
        raise _refusal(
            where, "logit_scale: %g; NMS_TRT does not scale logits" % message.logit_scale
        )
    return converter == "SIGMOID"


def _suppression(message, where: str) -> Tuple[float, float, int, int]:
    if message.soft_nms_sigma:
        raise _refusal(
            where, "soft_nms_sigma: %g; NMS_TRT has no soft suppression" % message.soft_nms_sigma
        )
    if message.use_class_agnostic_nms:
        raise _refusal(where, "use_class_agnostic_nms: true; NMS_TRT suppresses within each class")
    if message.max_detections_per_class < 1 or message.max_total_detections < 1:
        raise _refusal(
            where,
            "max_detections_per_class and max_total_detections must be 1 or more",
            "mend pipeline.config",
        )
    return (
        message.score_threshold,
        message.iou_threshold,
        message.max_detections_per_class,
        message.max_total_detections,
    )
