"""The evaluations of a run, and whether their results are enough to stop it."""

from typing import Callable

from todus.model import pipeline
from todus.paths import Dataset, Model
from todus.training import checkpoint_scoring, metrics
from todus.training.checkpoint_scoring import Scorer
from todus.training.settings import Settings, scoring_for
from todus.training.stopping import Stop


class Evaluations:
    """Adds checkpoints to training/pending/, scores them where this process evaluates, and sets stop.reason where an AP is enough.

    Args:
      model: in training.
      config: of its run.
      dataset: that it is trained on.
      settings: of its run.
      inline: whether this process evaluates; otherwise another one adds rows to training/metrics.csv.
      stop: of the run; with a reason, an inline evaluation is left.
      say: takes a line for each result.

    Attributes:
      scoring: how checkpoints are scored; with `every` 0 the methods do nothing.
    """

    def __init__(
        self,
        model: Model,
        config: pipeline.Config,
        dataset: Dataset,
        settings: Settings,
        inline: bool,
        stop: Stop,
        say: Callable[[str], None],
    ):
        self._model, self._dataset, self._settings, self._stop = model, dataset, settings, stop
        self._num_steps = config.train_config.num_steps
        self.scoring = scoring_for(settings, self._num_steps)
        has_scorer = self.scoring.every and inline
        self._scorer = (
            Scorer(model, config, dataset, self.scoring, say, lambda: bool(stop.reason))
            if has_scorer
            else None
        )
        self._rows_time = 0.0  # when metrics.csv was last written, as last seen

    def check(self) -> None:
        """Raises TodusError where there is nothing to evaluate on, or the target cannot be known."""
        checkpoint_scoring.check_can_score(
            self._model, self._dataset, self.scoring, self._settings.target_ap
        )

    def begin(self, start: int) -> None:
        """Scores what the last start left, and the slice, before the first step."""
        if not self.scoring.every:
            return
        checkpoint_scoring.catch_up(self._model, self.scoring, self._num_steps)
        if self._scorer:
            if start == 0 or self._settings.target_ap == "pretrained":
                self._scorer.first()
            self._scorer.work()

    def saved(self, step: int, evaluate: bool) -> None:
        """After a save: adds the checkpoint where it is to be evaluated and has no result yet."""
        if not evaluate or step in metrics.steps(self._model):
            return
        checkpoint_scoring.put(self._model, self._model.training / ("model.ckpt-%d" % step))
        if self._scorer:
            self._scorer.work()
            self._judge()

    def read_new_results(self) -> None:
        """Where another process evaluates: reads metrics.csv again when it has changed."""
        if self._scorer or not self.scoring.every:
            return
        path = metrics.path_of(self._model)
        if path.exists() and path.stat().st_mtime != self._rows_time:
            self._rows_time = path.stat().st_mtime
            self._judge()

    def _judge(self) -> None:
        self._stop.reason = self._stop.reason or self.enough()

    def enough(self) -> str:
        """Why the results are enough to stop, "" where they are not."""
        if not self.scoring.every:
            return ""
        target = checkpoint_scoring.target_ap(self._model, self._settings.target_ap)
        return metrics.enough(metrics.read(self._model), target, self._settings.patience)

    def finish(self) -> None:
        """Scores what is left after the last step."""
        if self.scoring.every:
            checkpoint_scoring.catch_up(self._model, self.scoring, self._num_steps)
        if self._scorer:
            self._scorer.work()
