"""At which steps a training saves, evaluates and logs."""

from dataclasses import dataclass
from typing import Tuple


@dataclass
class Schedule:
    """The last step, and the steps between two checkpoints, lines of progress and evaluations; `evaluate` 0 is never."""

    steps: int
    save: int
    log: int
    evaluate: int


class Due:
    """Whether a step has reached, or passed, the next multiple of `every`; on a cluster this process does not see every step."""

    def __init__(self, every: int, step: int):
        self._every, self._last = every, step

    def at(self, step: int) -> bool:
        """Whether it will be due at `step`."""
        return bool(self._every) and step // self._every > self._last // self._every

    def __call__(self, step: int) -> bool:
        """Whether it is due at `step`. Each multiple is due once."""
        due = self.at(step)
        if due:
            self._last = step
        return due


Save = Tuple[bool, bool]  # whether to save a checkpoint, and whether it is to be evaluated


class SavePlan:
    """Which steps of a run are saved.

    Args:
      schedule: of the run.
      start: the step that the run starts from.
    """

    def __init__(self, schedule: Schedule, start: int):
        self._last_step, self._evaluates, self._start = (
            schedule.steps,
            bool(schedule.evaluate),
            start,
        )
        self._save, self._evaluate = Due(schedule.save, start), Due(schedule.evaluate, start)
        self._saved = -1  # the step that was saved last

    def at_start(self, step: int) -> Save:
        """The step of a new session: saved, except where it was restored from the checkpoint that the run starts from."""
        return self._noted(step, step != self._start or not self._start, False)

    def may_be_due(self, step: int) -> bool:
        """Whether `after_step` may save at `step` or before."""
        return step >= self._last_step or self._save.at(step) or self._evaluate.at(step)

    def after_step(self, step: int) -> Save:
        """Multiples of schedule.save and of schedule.evaluate are saved, and the last step."""
        save, evaluate, last = self._save(step), self._evaluate(step), step >= self._last_step
        return self._noted(
            step,
            (save or evaluate or last) and step != self._saved,
            self._evaluates and (evaluate or last),
        )

    def at_end(self, step: int) -> Save:
        """The step at which the session ends: saved, where it is not yet."""
        return self._noted(step, step != self._saved, False)

    def _noted(self, step: int, save: bool, evaluate: bool) -> Save:
        if save:
            self._saved = step
        return save, evaluate
