"""The progress of a training: lines with the loss and the speed, and training/status.json."""

import contextlib
import time
from dataclasses import dataclass
from typing import Callable, Optional, Tuple

from todus import files
from todus.paths import Model
from todus.text import duration
from todus.training.schedule import Schedule
from todus.training.stopping import Stop

ESTIMATE_AFTER = 60  # seconds of training, then the length of the run is reported once
STATUS_SECONDS = 1  # least time between two writes of status.json


def write_status(model: Model, **values) -> None:
    """Writes training/status.json for --status, ignoring an OSError: training does not need it."""
    with contextlib.suppress(OSError):
        files.write_json(model.training / "status.json", dict(values, time=time.time()))


@dataclass
class Progress:
    """Reports the first step, then every `schedule.log` steps, then the last.

    Attributes:
      model: its training/status.json is written.
      schedule: of the run.
      stop: once it has a reason, each report writes status.json.
      say: takes a line for each report.
      tick: called after each report.
      writes_status: whether this process writes status.json; in a cluster only the chief does.
    """

    model: Model
    schedule: Schedule
    stop: Stop
    say: Callable[[str], None]
    tick: Callable[[], None] = lambda: None
    writes_status: bool = True

    def __post_init__(self) -> None:
        self._reported: Optional[int] = None  # the step of the last report
        self._first: Optional[Tuple[int, float]] = None  # step and time of the first report
        self._estimated = False
        self._time = self._status_time = 0.0  # of the last report, of the last status.json

    def is_due(self, step: int) -> bool:
        """Whether `step` is to be reported."""
        return (
            self._reported is None
            or step - self._reported >= self.schedule.log
            or step >= self.schedule.steps
        )

    def _say_total(self, step: int, now: float) -> None:
        first, began = self._first
        rate = (step - first) / (now - began)
        if rate:
            total = duration((self.schedule.steps - first) / rate)
            text = "%d steps take about %s on this machine, apart from evaluations"
            self.say(text % (self.schedule.steps - first, total))

    def report(self, step: int, loss: float, learning_rate: Callable[[], Optional[float]]) -> None:
        """Reports a step. `learning_rate` is called only when status.json is written."""
        now, steps = time.perf_counter(), self.schedule.steps
        text, rate, left = "step %d of %d   loss %.4f" % (step, steps, loss), None, None
        if self._reported is not None:
            rate = (step - self._reported) / max(now - self._time, 1e-9)
            # At the mean speed since the first report: the last steps may include an evaluation.
            first, began = self._first
            left = (steps - step) * (now - began) / (step - first) if step > first else 0.0
            text += "   %.2f steps/s   %s left" % (rate, duration(left))
        self.say(text)
        self._first = self._first or (step, now)
        if not self._estimated and now - self._first[1] >= ESTIMATE_AFTER:
            self._estimated = True
            self._say_total(step, now)
        self._reported, self._time = step, now
        due = now - self._status_time > STATUS_SECONDS or step >= steps or self.stop.reason
        if self.writes_status and due:
            self._status_time = now
            write_status(
                self.model,
                step=step,
                num_steps=steps,
                loss=loss,
                steps_per_second=rate,
                seconds_left=left,
                learning_rate=learning_rate(),
            )
        self.tick()
