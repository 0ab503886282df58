"""At which steps a training saves, evaluates and logs."""

from dataclasses import dataclass
from typing import Tuple


@dataclass
class Schedule:
    """The last step; the steps between checkpoints, reports and evaluations (0: none)."""

    steps: int
    save: int
    log: int
    evaluate: int


class Due:
    """Whether a step has reached the next multiple of `every`, or passed it.

    In a cluster, a process does not see every step.
    """

    def __init__(self, every: int, step: int):
        self._every, self._last = every, step

    def at(self, step: int) -> bool:
        """Whether a multiple is due at `step`."""
        return bool(self._every) and step // self._every > self._last // self._every

    def __call__(self, step: int) -> bool:
        """Whether a multiple is due at `step`; each is due once."""
        due = self.at(step)
        if due:
            self._last = step
        return due


Save = Tuple[bool, bool]  # whether to save a checkpoint, and whether it is to be evaluated


class SavePlan:
    """Which steps of a run are saved; `start` is the step that the run starts from."""

    def __init__(self, schedule: Schedule, start: int):
        self._last_step, self._start = schedule.steps, start
        self._evaluates = bool(schedule.evaluate)
        self._save, self._evaluate = Due(schedule.save, start), Due(schedule.evaluate, start)
        self._saved = -1  # the step that was saved last

    def at_start(self, step: int) -> Save:
        """A session's first step is saved, unless it is the checkpoint that the run starts from."""
        return self._recorded(step, step != self._start or not self._start, False)

    def may_be_due(self, step: int) -> bool:
        """Whether `after_step` may save at `step` or before."""
        return step >= self._last_step or self._save.at(step) or self._evaluate.at(step)

    def after_step(self, step: int) -> Save:
        """Multiples of schedule.save and of schedule.evaluate are saved, and the last step."""
        save, evaluate, last = self._save(step), self._evaluate(step), step >= self._last_step
        save = (save or evaluate or last) and step != self._saved
        return self._recorded(step, save, self._evaluates and (evaluate or last))

    def at_end(self, step: int) -> Save:
        """A session's last step is saved, unless it was."""
        return self._recorded(step, step != self._saved, False)

    def _recorded(self, step: int, save: bool, evaluate: bool) -> Save:
        if save:
            self._saved = step
        return save, evaluate
