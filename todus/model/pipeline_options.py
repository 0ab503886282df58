"""The fields of pipeline.config that users edit, as options."""

import re
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from todus.errors import UsageError
from todus.model import pipeline

DECAYS = ("constant", "exponential", "cosine")
OPTIMIZERS = ("momentum", "rms_prop", "adam")

# Name -> the data_augmentation_options that replace the config's.
AUGMENTATIONS: Dict[str, List[str]] = {
    "none": [],
    "flip": ["random_horizontal_flip"],
    "flip-vertical": ["random_vertical_flip"],
    "rotate": ["random_rotation90"],
    "ssd": ["random_horizontal_flip", "ssd_random_crop"],
    "crop": ["random_crop_image"],
    "pad": ["random_pad_image"],
    "scale": ["random_image_scale"],
    "colour": ["random_distort_color"],
    "brightness": ["random_adjust_brightness"],
    "contrast": ["random_adjust_contrast"],
    "hue": ["random_adjust_hue"],
    "saturation": ["random_adjust_saturation"],
    "grey": ["random_rgb_to_gray"],
    "jitter": ["random_jitter_boxes"],
    "jpeg": ["random_jpeg_quality"],
    "patches": ["random_black_patches"],
}

# Sides in pixels for a feature pyramid, whose levels are halved and added up again: other sides
# give levels that differ by a row, such as 20 and 19.
_FPN_MULTIPLE = 32
_FPN_SUGGESTED = 128


@dataclass
class Options:
    """Options of `apply`; None keeps the config's value."""

    batch_size: Optional[int] = None
    steps: Optional[int] = None
    image_size: Optional[Tuple[int, int]] = None  # height, width in pixels
    min_size: Optional[int] = None  # of a keep_aspect_ratio_resizer, pixels
    max_size: Optional[int] = None
    freeze: Optional[str] = None  # a regular expression for variable names, "backbone" or "none"
    learning_rate: Optional[float] = None
    decay: Optional[str] = None  # one of DECAYS
    decay_steps: Optional[int] = None
    decay_factor: Optional[float] = None
    warmup_steps: Optional[int] = None
    optimizer: Optional[str] = None  # one of OPTIMIZERS
    augment: Optional[List[str]] = None  # of AUGMENTATIONS
    quantization_delay: Optional[int] = None
    weight_bits: Optional[int] = None
    activation_bits: Optional[int] = None
    pad_to_multiple: Optional[int] = None
    max_detections: Optional[int] = None
    score_threshold: Optional[float] = None


def apply(
    config: pipeline.Config, options: Options, warn: Callable[[str], None] = lambda line: None
) -> None:
    """Changes the config in place.

    Raises:
      UsageError: the model does not support an option, or the OD API does not support its value.
    """
    _sizes(config, options, warn)
    if options.batch_size:
        pipeline.set_batch_size(config, options.batch_size)
    if options.optimizer:
        _set_optimizer(config, options.optimizer)
    if options.steps:
        pipeline.set_num_steps(config, options.steps)
    _learning_rate(config, options)
    if options.freeze:
        _freeze(config, options.freeze)
    if options.augment is not None:
        _augment(config, options.augment)
    _quantization(config, options)
    suppression = pipeline.non_max_suppression(config)
    if options.max_detections:
        suppression.max_detections_per_class = options.max_detections
        suppression.max_total_detections = options.max_detections
    if options.score_threshold is not None:
        suppression.score_threshold = options.score_threshold


def _sizes(config: pipeline.Config, options: Options, warn: Callable[[str], None]) -> None:
    resizer = pipeline.meta(config).image_resizer
    kind = resizer.WhichOneof("image_resizer_oneof")
    if options.image_size:
        if kind != "fixed_shape_resizer":
            raise UsageError(
                "--image-size is for models of a fixed input; "
                "this one keeps the aspect: use --min-size and --max-size"
            )
        check_size(config, options.image_size, warn)
        resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width = options.image_size
    if options.min_size or options.max_size:
        if kind != "keep_aspect_ratio_resizer":
            raise UsageError(
                "--min-size and --max-size are for models that keep the aspect; "
                "this one has a fixed input: use --image-size"
            )
        limits = resizer.keep_aspect_ratio_resizer
        limits.min_dimension = options.min_size or limits.min_dimension
        limits.max_dimension = options.max_size or limits.max_dimension
    if options.pad_to_multiple:
        if pipeline.architecture(config) != "ssd":
            raise UsageError("--pad-to-multiple is for SSD models")
        config.model.ssd.feature_extractor.pad_to_multiple = options.pad_to_multiple


def check_size(config: pipeline.Config, size: Tuple[int, int], warn: Callable[[str], None]) -> None:
    """Checks an input size of a feature pyramid, height and width in pixels.

    Raises UsageError where its levels cannot be added up; warns where they have odd sides.
    """
    extractor = pipeline.extractor(config)
    is_pyramid = pipeline.architecture(config) == "ssd" and (
        "fpn" in extractor
        or "retinanet" in extractor
        or config.model.ssd.feature_extractor.HasField("fpn")
    )
    if is_pyramid and any(side % _FPN_MULTIPLE for side in size):
        better = [_FPN_SUGGESTED * max(1, int(round(side / _FPN_SUGGESTED))) for side in size]
        text = "--image-size %dx%d: a feature pyramid needs multiples of %d; take %dx%d"
        raise UsageError(text % (*size, _FPN_MULTIPLE, *better))
    if is_pyramid and any(side % _FPN_SUGGESTED for side in size):
        text = "--image-size %dx%d: multiples of %d keep every level of the pyramid even"
        warn(text % (*size, _FPN_SUGGESTED))


def _set_optimizer(config: pipeline.Config, name: str) -> None:
    """Sets another optimizer with the same learning-rate schedule."""
    if name not in OPTIMIZERS:
        raise UsageError(
            "--optimizer %s is unknown; choose from %s" % (name, ", ".join(OPTIMIZERS))
        )
    schedule = type(pipeline.optimizer(config).learning_rate)()
    schedule.CopyFrom(pipeline.optimizer(config).learning_rate)
    after = getattr(config.train_config.optimizer, name + "_optimizer")
    after.learning_rate.CopyFrom(schedule)
    if name != "adam":
        after.momentum_optimizer_value = 0.9


def _learning_rate(config: pipeline.Config, options: Options) -> None:
    if options.decay and options.decay not in DECAYS:
        raise UsageError(
            "--decay %s is unknown; choose from %s" % (options.decay, ", ".join(DECAYS))
        )
    if options.learning_rate is None and not options.decay:
        if options.decay_steps or options.decay_factor or options.warmup_steps:
            raise UsageError("--decay-steps, --decay-factor and --warmup-steps go with --decay")
        return
    rates = pipeline.optimizer_rates(config)
    rate = options.learning_rate or (getattr(*rates[0]) if rates else 0.001)
    steps = config.train_config.num_steps
    schedule = pipeline.optimizer(config).learning_rate
    kind = options.decay or "constant"
    if kind == "constant":
        schedule.constant_learning_rate.learning_rate = rate
    elif kind == "exponential":
        exponential = schedule.exponential_decay_learning_rate
        exponential.Clear()
        exponential.initial_learning_rate = rate
        exponential.decay_steps = options.decay_steps or max(1, steps // 20)
        exponential.decay_factor = options.decay_factor or 0.9
        if options.warmup_steps:
            exponential.burnin_learning_rate = rate / 10
            exponential.burnin_steps = options.warmup_steps
    else:
        cosine = schedule.cosine_decay_learning_rate
        cosine.Clear()
        cosine.learning_rate_base = rate
        cosine.total_steps = options.decay_steps or steps
        cosine.warmup_steps = options.warmup_steps or 0
        cosine.warmup_learning_rate = rate / 10
        if cosine.warmup_steps >= cosine.total_steps:
            text = "--warmup-steps %d must be fewer than the %d steps of the decay"
            raise UsageError(text % (cosine.warmup_steps, cosine.total_steps))


def _freeze(config: pipeline.Config, pattern: str) -> None:
    if pattern == "none":
        return
    if pattern == "backbone":
        pattern = r".*FeatureExtractor/"
        pipeline.freeze_batch_norm(config, pipeline.meta(config).feature_extractor)
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError("--freeze %s is not a regular expression (%s)" % (pattern, error))
    if pattern not in config.train_config.freeze_variables:
        config.train_config.freeze_variables.append(pattern)


def _augment(config: pipeline.Config, names: List[str]) -> None:
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        text = "--augment %s is unknown; choose from %s"
        raise UsageError(text % (unknown[0], ", ".join(AUGMENTATIONS)))
    steps: List[str] = []
    for name in names:
        steps += [step for step in AUGMENTATIONS[name] if step not in steps]
    del config.train_config.data_augmentation_options[:]
    for step in steps:
        getattr(config.train_config.data_augmentation_options.add(), step).SetInParent()


def _quantization(config: pipeline.Config, options: Options) -> None:
    bits = {"--weight-bits": options.weight_bits, "--activation-bits": options.activation_bits}
    for name, number in bits.items():
        if number not in (None, 8):
            raise UsageError("%s %d: the OD API trains with 8 bits only" % (name, number))
    if options.quantization_delay is None:
        return
    if not pipeline.is_quantized(config):
        raise UsageError("--quantization-delay goes with -q")
    config.graph_rewriter.quantization.delay = options.quantization_delay
