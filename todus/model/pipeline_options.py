"""What people edit by hand in pipeline.config, as options: learning rate, augmentation, freezing, sizes."""

import re
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from google.protobuf.message import Message

from todus.errors import UsageError
from todus.model import pipeline

DECAYS = ("constant", "exponential", "cosine")
OPTIMIZERS = ("momentum", "rms_prop", "adam")

# Each name stands for the data_augmentation_options that it puts in the place of the config's.
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

# Levels of these extractors are halved and added up again: sides that are no multiple leave rows over ("20 and 19").
_FPN_MULTIPLE = 32
_FPN_SUGGESTED = 128


@dataclass
class Options:
    """None leaves the config's."""

    batch_size: Optional[int] = None
    steps: Optional[int] = None
    image_size: Optional[Tuple[int, int]] = None  # height, width in pixels
    min_size: Optional[int] = None  # of a keep_aspect_ratio_resizer, pixels
    max_size: Optional[int] = None
    freeze: Optional[str] = None  # a regular expression on variable names, or "backbone"
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
    eval_images: Optional[int] = None


def apply(
    config: pipeline.Config, options: Options, warn: Callable[[str], None] = lambda line: None
) -> None:
    """Changes the config in place.

    Raises:
      UsageError: an option that this model has no use for, or a value that the OD API would refuse later.
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
    if options.eval_images:
        config.eval_config.num_examples = options.eval_images


def _sizes(config: pipeline.Config, options: Options, warn: Callable[[str], None]) -> None:
    resizer = pipeline.meta(config).image_resizer
    kind = resizer.WhichOneof("image_resizer_oneof")
    if options.image_size:
        if kind != "fixed_shape_resizer":
            raise UsageError(
                "--image-size is for models of a fixed input; this one keeps the aspect: use --min-size and --max-size"
            )
        check_size(config, options.image_size, warn)
        resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width = options.image_size
    if options.min_size or options.max_size:
        if kind != "keep_aspect_ratio_resizer":
            raise UsageError(
                "--min-size and --max-size are for models that keep the aspect; this one has a fixed input: use --image-size"
            )
        resizer.keep_aspect_ratio_resizer.min_dimension = (
            options.min_size or resizer.keep_aspect_ratio_resizer.min_dimension
        )
        resizer.keep_aspect_ratio_resizer.max_dimension = (
            options.max_size or resizer.keep_aspect_ratio_resizer.max_dimension
        )
    if options.pad_to_multiple:
        if pipeline.architecture(config) != "ssd":
            raise UsageError("--pad-to-multiple is for SSD models")
        config.model.ssd.feature_extractor.pad_to_multiple = options.pad_to_multiple


def check_size(config: pipeline.Config, size: Tuple[int, int], warn: Callable[[str], None]) -> None:
    """Raises UsageError for an input that a feature pyramid cannot add up; warns of one that is merely odd."""
    height, width = size
    is_pyramid = pipeline.architecture(config) == "ssd" and (
        "fpn" in pipeline.extractor(config)
        or "retinanet" in pipeline.extractor(config)
        or config.model.ssd.feature_extractor.HasField("fpn")
    )
    if not is_pyramid:
        return
    if height % _FPN_MULTIPLE or width % _FPN_MULTIPLE:
        better = [
            _FPN_SUGGESTED * max(1, int(round(side / float(_FPN_SUGGESTED)))) for side in size
        ]
        raise UsageError(
            "--image-size %dx%d: a feature pyramid needs multiples of %d; take %dx%d"
            % (height, width, _FPN_MULTIPLE, better[0], better[1])
        )
    if height % _FPN_SUGGESTED or width % _FPN_SUGGESTED:
        warn(
            "--image-size %dx%d: multiples of %d keep every level of the pyramid even"
            % (height, width, _FPN_SUGGESTED)
        )


def _optimizer(config: pipeline.Config) -> Message:
    optimizer = config.train_config.optimizer
    kind = optimizer.WhichOneof("optimizer") or "momentum_optimizer"
    return getattr(optimizer, kind)


def _set_optimizer(config: pipeline.Config, name: str) -> None:
    """Another optimizer with the same learning-rate schedule."""
    if name not in OPTIMIZERS:
        raise UsageError("--optimizer %s is unknown; there is: %s" % (name, ", ".join(OPTIMIZERS)))
    before = _optimizer(config).learning_rate
    schedule = type(before)()
    schedule.CopyFrom(before)
    after = getattr(config.train_config.optimizer, name + "_optimizer")
    after.learning_rate.CopyFrom(schedule)
    if name != "adam":
        after.momentum_optimizer_value = 0.9


def _learning_rate(config: pipeline.Config, options: Options) -> None:
    if options.decay and options.decay not in DECAYS:
        raise UsageError("--decay %s is unknown; there is: %s" % (options.decay, ", ".join(DECAYS)))
    if options.learning_rate is None and not options.decay:
        if options.decay_steps or options.decay_factor or options.warmup_steps:
            raise UsageError("--decay-steps, --decay-factor and --warmup-steps go with --decay")
        return
    rates = pipeline.optimizer_rates(config)
    rate = options.learning_rate or (getattr(*rates[0]) if rates else 0.001)
    steps = config.train_config.num_steps
    schedule = _optimizer(config).learning_rate
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
            raise UsageError(
                "--warmup-steps %d must be fewer than the %d steps of the decay"
                % (cosine.warmup_steps, cosine.total_steps)
            )


def _freeze(config: pipeline.Config, pattern: str) -> None:
    if pattern == "backbone":
        pattern = r".*FeatureExtractor/"
        if pipeline.architecture(config) == "ssd":
            config.model.ssd.freeze_batchnorm = True
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError("--freeze %s is no regular expression (%s)" % (pattern, error))
    if pattern not in config.train_config.freeze_variables:
        config.train_config.freeze_variables.append(pattern)


def _augment(config: pipeline.Config, names: List[str]) -> None:
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise UsageError(
            "--augment %s is unknown; there is: %s" % (unknown[0], ", ".join(AUGMENTATIONS))
        )
    steps: List[str] = []
    for name in names:
        steps += [step for step in AUGMENTATIONS[name] if step not in steps]
    del config.train_config.data_augmentation_options[:]
    for step in steps:
        getattr(config.train_config.data_augmentation_options.add(), step).SetInParent()


def _quantization(config: pipeline.Config, options: Options) -> None:
    for name, bits in (
        ("--weight-bits", options.weight_bits),
        ("--activation-bits", options.activation_bits),
    ):
        if bits is not None and bits != 8:
            raise UsageError("%s %d: this OD API trains 8 bits only" % (name, bits))
    if options.quantization_delay is None:
        return
    if not pipeline.is_quantized(config):
        raise UsageError("--quantization-delay goes with -q")
    config.graph_rewriter.quantization.delay = options.quantization_delay
