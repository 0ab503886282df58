"""The progress of a training: lines with the loss and the speed, and training/status.json."""

import contextlib
import time
from typing import Callable, Optional

from todus import files
from todus.paths import Model
from todus.text import duration
from todus.training.schedule import Schedule
from todus.training.stopping import Stop

STATUS_SECONDS = 1  # between two writes of status.json


def write_status(model: Model, **values) -> None:
    """Writes training/status.json for --status. A failed write is ignored: training does not need the file."""
    with contextlib.suppress(OSError):
        files.write_json(model.training / "status.json", dict(values, time=time.time()))


class Progress:
    """Reports the first step, then each `schedule.log` steps, then the last.

    Args:
      model: whose training/status.json is written.
      schedule: of the run.
      stop: with a reason, status.json is written at once.
      say: takes a line.
      tick: called after each report.
      writes_status: whether this process writes status.json; on a cluster only the chief does.
    """

    def __init__(
        self,
        model: Model,
        schedule: Schedule,
        stop: Stop,
        say: Callable[[str], None],
        tick: Callable[[], None] = lambda: None,
        writes_status: bool = True,
    ):
        self._model, self._schedule, self._stop = model, schedule, stop
        self._say, self._tick, self._writes_status = say, tick, writes_status
        self._reported: Optional[int] = None  # the step of the last report
        self._time = self._status_time = 0.0  # of the last report, of the last status.json

    def is_due(self, step: int) -> bool:
        """Whether `step` is to be reported."""
        return (
            self._reported is None
            or step - self._reported >= self._schedule.log
            or step >= self._schedule.steps
        )

    def report(self, step: int, loss: float, learning_rate: Callable[[], Optional[float]]) -> None:
        """Reports a step; `learning_rate` is called only where status.json is written."""
        now, rate = time.perf_counter(), None
        if self._reported is not None:
            rate = (step - self._reported) / max(now - self._time, 1e-9)
        left = (self._schedule.steps - step) / rate if rate else None
        text = "step %d of %d   loss %.4f" % (step, self._schedule.steps, loss)
        self._say(
            text if rate is None else "%s   %.2f steps/s   %s left" % (text, rate, duration(left))
        )
        self._reported, self._time = step, now
        if self._writes_status and (
            now - self._status_time > STATUS_SECONDS
            or step >= self._schedule.steps
            or self._stop.reason
        ):
            self._status_time = now
            write_status(
                self._model,
                step=step,
                num_steps=self._schedule.steps,
                loss=loss,
                steps_per_second=rate,
                seconds_left=left,
                learning_rate=learning_rate(),
            )
        self._tick()
