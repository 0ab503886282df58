"""The evaluations of a run, and whether it stops because of their results."""

from dataclasses import dataclass
from typing import Callable

from todus.model import pipeline, prepared
from todus.paths import Dataset, Model
from todus.training import checkpoint_scoring, metrics
from todus.training.checkpoint_scoring import Scorer
from todus.training.settings import Settings, scoring_for
from todus.training.stopping import Stop


@dataclass
class Evaluations:
    """Adds checkpoints to training/pending/, scores them, and sets stop.reason when an AP allows.

    Attributes:
      inline: whether this process scores; otherwise another one adds rows to metrics.csv.
      stop: of the run; its reason interrupts an inline evaluation.
      say: takes a line for each result.
      scoring: how checkpoints are scored; with `every` 0 the methods do nothing.
    """

    model: Model
    config: pipeline.Config
    dataset: Dataset
    settings: Settings
    inline: bool
    stop: Stop
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self._num_steps = self.config.train_config.num_steps
        self.scoring = scoring_for(self.settings, self._num_steps)
        about = (self.model, self.config, self.dataset, self.scoring, self.say)
        scores = self.inline and self.scoring.every
        self._scorer = Scorer(*about, lambda: bool(self.stop.reason)) if scores else None
        self._rows_time = 0.0  # modification time of the metrics.csv that was last read

    def check(self) -> None:
        """Raises TodusError without val records, or for a target that cannot be computed."""
        target = self.settings.target_ap
        checkpoint_scoring.check_can_score(self.model, self.dataset, self.scoring, target)

    def begin(self, start: int) -> None:
        """Scores the checkpoints that the last start has not, and the slice."""
        if self.scoring.every:
            checkpoint_scoring.add_missed(self.model, self.scoring, self._num_steps)
        if self._scorer:
            # A slice to which classes are added detects none of them: its AP is 0.
            is_first = start == 0 and not prepared.added_classes(self.model)
            slice_too = is_first or self.settings.target_ap == "pretrained"
            self._scorer.score_references(slice_too)
            self._scorer.score_pending()

    def saved(self, step: int, evaluate: bool) -> None:
        """After a save, adds a checkpoint that is to be evaluated and has no result yet."""
        if not evaluate or step in metrics.steps(self.model):
            return
        checkpoint_scoring.add(self.model, self.model.training / ("model.ckpt-%d" % step))
        if self._scorer:
            self._scorer.score_pending()
            self._stop_if_enough()

    def read_new_results(self) -> None:
        """Where another process evaluates, reads metrics.csv when it has changed."""
        if self._scorer or not self.scoring.every:
            return
        path = metrics.path_of(self.model)
        if path.exists() and path.stat().st_mtime != self._rows_time:
            self._rows_time = path.stat().st_mtime
            self._stop_if_enough()

    def _stop_if_enough(self) -> None:
        self.stop.reason = self.stop.reason or self.enough()

    def enough(self) -> str:
        """Why the run can stop, by its results; "" where it cannot."""
        if not self.scoring.every:
            return ""
        images = checkpoint_scoring.scored_images(self.dataset, self.scoring)
        rows = metrics.comparable(metrics.read(self.model), images)
        target = checkpoint_scoring.target_ap(rows, self.settings.target_ap)
        return metrics.enough(rows, target, self.settings.patience)

    def finish(self) -> None:
        """Scores the checkpoints that are still pending after the last step."""
        if self.scoring.every:
            checkpoint_scoring.add_missed(self.model, self.scoring, self._num_steps)
        if self._scorer:
            self._scorer.score_pending()
