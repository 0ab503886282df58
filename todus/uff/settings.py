"""The numbers in pipeline.config that a TensorRT build needs; refuses what UFF cannot hold."""

from dataclasses import dataclass
from typing import Iterator, Tuple

from object_detection.protos import post_processing_pb2

from todus.errors import TodusError
from todus.model import heads, pipeline

ELSEWHERE = "convert it with ./convert-onnx.sh, which TensorRT reads too"
QUANTIZED_ELSEWHERE = "./export-tflite.sh is for it; or " + ELSEWHERE
CORRECT = "correct pipeline.config"


@dataclass(frozen=True)
class Settings:
    """The numbers for Input, GridAnchor_TRT and NMS_TRT.

    Attributes:
      height, width: of the input, pixels.
      num_classes: with background.
      num_layers: feature maps.
      min_scale, max_scale: of the anchors, relative to the image.
      aspect_ratios: of the anchors, in the generator's order.
      variances: (x, y, width, height), the inverse of the box coder's scales. NMS_TRT multiplies
        in this order, although the encodings of a TensorFlow model are (y, x, height, width).
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
    """Raises TodusError for a kind of model that UFF and its plugins cannot hold."""
    _raise_first(_unsupported_kind(config), where)


def read(config: pipeline.Config, where: str) -> Settings:
    """The settings of an SSD that UFF can hold.

    Args:
      config: the pipeline of the graph that is converted, not of another one.
      where: its file, for messages.

    Raises:
      TodusError: the plugins cannot compute what this config asks for.
    """
    check_kind(config, where)
    _raise_first(_unsupported_settings(config), where)
    ssd = config.model.ssd
    height, width = pipeline.input_size(config)
    anchors = ssd.anchor_generator.ssd_anchor_generator
    scales = anchors.scales or (anchors.min_scale, anchors.max_scale)
    nms = ssd.post_processing.batch_non_max_suppression
    y_scale, x_scale, height_scale, width_scale = _box_scales(config)
    return Settings(
        height=height,
        width=width,
        num_classes=ssd.num_classes + 1,
        num_layers=anchors.num_layers,
        min_scale=scales[0],
        max_scale=scales[-1],
        aspect_ratios=tuple(anchors.aspect_ratios),
        variances=tuple(1.0 / scale for scale in (x_scale, y_scale, width_scale, height_scale)),
        sigmoid=_score_converter(config) == "SIGMOID",
        score_threshold=nms.score_threshold,
        iou_threshold=nms.iou_threshold,
        max_per_class=nms.max_detections_per_class,
        max_total=nms.max_total_detections,
    )


def _raise_first(reasons: Iterator[Tuple[str, str]], where: str) -> None:
    for reason, remedy in reasons:
        raise TodusError("%s: %s; %s" % (where, reason, remedy))


def _unsupported_kind(config: pipeline.Config) -> Iterator[Tuple[str, str]]:
    """Why UFF cannot hold this kind of model, and what to do instead."""
    kind = pipeline.architecture(config).replace("faster_rcnn", "Faster R-CNN")
    if kind != "ssd":
        yield "a %s has two stages and UFF has no plugin for the second" % kind, ELSEWHERE
    extractor = pipeline.extractor(config)
    anchors = config.model.ssd.anchor_generator.WhichOneof("anchor_generator_oneof")
    if "fpn" in extractor or anchors == "multiscale_anchor_generator":
        what = "an FPN (%s) resizes feature maps and has multiscale anchors; UFF's plugins do not"
        yield what % extractor, ELSEWHERE
    if pipeline.is_quantized(config):
        what = "a quantization-aware model has FakeQuant nodes, which UFF cannot hold"
        yield what, QUANTIZED_ELSEWHERE


def _unsupported_settings(config: pipeline.Config) -> Iterator[Tuple[str, str]]:
    """Why the plugins cannot compute what the config of an SSD asks for, and what to do instead."""
    ssd = config.model.ssd
    if min(pipeline.input_size(config) or (0,)) < 1:
        what = "the input has no fixed size (image_resizer is not a fixed_shape_resizer)"
        yield what, ELSEWHERE
    predictor = pipeline.box_predictor(config) or "(none)"
    if predictor != "convolutional_box_predictor":
        yield "box predictor %s is not the convolutional_box_predictor" % predictor, ELSEWHERE
    if not ssd.add_background_class:
        what = "add_background_class: false; NMS_TRT takes the background as class 0"
        yield what, ELSEWHERE

    kind = ssd.anchor_generator.WhichOneof("anchor_generator_oneof") or "missing anchor_generator"
    if kind != "ssd_anchor_generator":
        yield "GridAnchor_TRT does not make the anchors of a %s" % kind, ELSEWHERE
    if heads.count(config) > 1:
        what = "classes with boxes of their own (--own-head); UFF's plugins have one box an anchor"
        yield what, "prepare it without --own-head for UFF, or use ./convert-onnx.sh"
    anchors = ssd.anchor_generator.ssd_anchor_generator
    if not anchors.reduce_boxes_in_lowest_layer:
        what = "reduce_boxes_in_lowest_layer: false; GridAnchor_TRT has 3 boxes in the lowest layer"
        yield what, ELSEWHERE
    if anchors.num_layers < 2:
        yield "num_layers: %d; GridAnchor_TRT needs 2 or more" % anchors.num_layers, ELSEWHERE
    ratios = len(anchors.aspect_ratios)
    if ratios < 3:
        yield "GridAnchor_TRT needs 3 aspect_ratios or more, here are %d" % ratios, ELSEWHERE

    nms = ssd.post_processing.batch_non_max_suppression
    if nms.soft_nms_sigma:
        what = "soft_nms_sigma: %g; NMS_TRT has no soft suppression" % nms.soft_nms_sigma
        yield what, ELSEWHERE
    if nms.use_class_agnostic_nms:
        yield "use_class_agnostic_nms: true; NMS_TRT suppresses within each class", ELSEWHERE
    if min(nms.max_detections_per_class, nms.max_total_detections) < 1:
        yield "max_detections_per_class and max_total_detections must be 1 or more", CORRECT

    coder = ssd.box_coder.WhichOneof("box_coder_oneof")
    if coder != "faster_rcnn_box_coder":
        what = "NMS_TRT decodes the boxes of a faster_rcnn_box_coder only, not of a %s"
        yield what % coder, ELSEWHERE
    if min(_box_scales(config)) <= 0:
        yield "the box coder's scales %s are not positive" % (_box_scales(config),), CORRECT

    converter = _score_converter(config)
    if converter not in ("SIGMOID", "IDENTITY"):
        yield "score_converter: %s; NMS_TRT has SIGMOID and IDENTITY" % converter, ELSEWHERE
    scale = ssd.post_processing.logit_scale
    if scale != 1.0:
        yield "logit_scale: %g; NMS_TRT does not scale logits" % scale, ELSEWHERE


def _box_scales(config: pipeline.Config) -> Tuple[float, float, float, float]:
    coder = config.model.ssd.box_coder.faster_rcnn_box_coder
    return coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale


def _score_converter(config: pipeline.Config) -> str:
    number = config.model.ssd.post_processing.score_converter
    return post_processing_pb2.PostProcessing.ScoreConverter.Name(number)
