"""The settings of a training, and how they change pipeline.config."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from todus.model import pipeline


@dataclass
class Scoring:
    """How checkpoints are scored.

    Attributes:
      every: steps between evaluations; 0: never.
      sample: one of so many images.
      train_too: whether train images are scored as well, as many as there are val images.
    """

    every: int = 1000
    sample: int = 1
    train_too: bool = False


@dataclass
class Settings:
    """What environment variables may set. None: the value in pipeline.config is used.

    Attributes:
      scoring: the evaluation while training.
      separate: whether a separate process evaluates.
      target_ap: a number as text, "pretrained", or "" for none.
      patience: evaluations without a better AP after which training stops; 0: never.
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


def apply(config: pipeline.Config, settings: Settings) -> None:
    """Applies the settings to a pipeline config. The delay of quantization is scaled with num_steps."""
    before = config.train_config.num_steps
    if settings.batch_size:
        pipeline.set_batch_size(config, settings.batch_size)
    if settings.learning_rate:
        pipeline.set_learning_rate(config, settings.learning_rate)
    if settings.num_steps:
        pipeline.set_num_steps(config, settings.num_steps)
        delay = config.graph_rewriter.quantization.delay if pipeline.is_quantized(config) else 0
        if delay and before:
            pipeline.set_quantization(
                config, max(1, int(round(delay * settings.num_steps / before)))
            )


def scoring_for(settings: Settings, num_steps: int) -> Scoring:
    """The scoring of a run: none for a run that is shorter than the first evaluation."""
    every = settings.scoring.every if settings.scoring.every <= num_steps else 0
    return Scoring(every, settings.scoring.sample, settings.scoring.train_too)


def to_record(
    settings: Settings, scoring: Scoring, role: Optional[Tuple[str, int]]
) -> Dict[str, Any]:
    """What run.json says of a start beside what is in pipeline.config; optional settings only where they are set.

    Args:
      settings: of the run.
      scoring: of the run, see `scoring_for`.
      role: task type and number of this process in its cluster, None without one.
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
