"""The settings of a training, and how they change pipeline.config."""

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Optional, Tuple

from todus.model import checkpoints, pipeline, prepared
from todus.paths import Model

EVERY = (100, 1000)  # least and most steps between evaluations, by default


@dataclass
class Scoring:
    """How checkpoints are scored.

    Attributes:
      every: steps between evaluations; 0: never; None: a tenth of the run, within EVERY.
      sample: one in this many images is scored.
      train_too: whether as many train images are scored as well.
    """

    every: Optional[int] = None
    sample: int = 1
    train_too: bool = False


@dataclass
class Settings:
    """The settings from environment variables. None: the value in pipeline.config is used.

    Attributes:
      keep: how many of the newest checkpoints are kept.
      separate: whether a separate process evaluates.
      target_ap: a number as text, "pretrained", or "" for none.
      patience: evaluations without a better AP after which training stops; 0: never.
      coco_negatives: images of COCO that a training that adds classes learns to be silent in.
      cache_bytes: for features, on disk, of such a training.
    """

    num_steps: Optional[int] = None
    batch_size: Optional[int] = None
    learning_rate: Optional[float] = None
    save_steps: int = 500
    keep: int = 5
    log_steps: int = 10
    scoring: Scoring = field(default_factory=Scoring)
    separate: bool = False
    target_ap: str = ""
    patience: int = 0
    coco_negatives: int = 0
    cache_bytes: float = 0.0


def apply(model: Model, config: pipeline.Config, settings: Settings) -> None:
    """Changes the model's pipeline config.

    A quantization delay that its run has passed stays, and one that was given to python -m model;
    the default, a tenth of the steps, follows num_steps.
    """
    quantization, has_default = config.graph_rewriter.quantization, False
    if pipeline.is_quantized(config) and not prepared.is_given(model, "--quantization-delay"):
        has_default = quantization.delay == pipeline.default_delay(config)
    if settings.batch_size:
        pipeline.set_batch_size(config, settings.batch_size)
    if settings.learning_rate:
        pipeline.set_learning_rate(config, settings.learning_rate)
    if settings.num_steps:
        pipeline.set_num_steps(config, settings.num_steps)
    if has_default:
        passed = checkpoints.passed_delay(model)
        quantization.delay = pipeline.default_delay(config) if passed is None else passed


def scoring_for(settings: Settings, num_steps: int) -> Scoring:
    """The scoring of a run, with `every` set.

    Of a run that ends before the first evaluation, TARGET_AP and PATIENCE have the last step
    scored; without them it is not scored.
    """
    every = settings.scoring.every
    if every is None:
        every = max(EVERY[0], min(num_steps // 10, EVERY[1]))
    if every > num_steps:
        every = num_steps if settings.target_ap or settings.patience else 0
    return replace(settings.scoring, every=every)


def to_record(
    settings: Settings, scoring: Scoring, role: Optional[Tuple[str, int]]
) -> Dict[str, Any]:
    """The settings that run.json records for a start in addition to those in pipeline.config.

    `role` is the task type and index of this process in its cluster, None without one.
    """
    optional = {
        "eval_sample": scoring.sample if scoring.sample > 1 else None,
        "role": "%s %d" % role if role else None,
        "target_ap": settings.target_ap,
        "patience": settings.patience,
    }
    result: Dict[str, Any] = {"save_steps": settings.save_steps, "eval_steps": scoring.every}
    result.update({name: value for name, value in optional.items() if value})
    return result
