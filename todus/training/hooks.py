"""What happens at each training step: the loss is watched, checkpoints are saved, progress is told, the run is stopped."""

import contextlib
import math
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List

from todus import files
from todus.model import checkpoints
from todus.paths import Model
from todus.text import duration
from todus.training import estimator_setup

_LEARNING_RATE = re.compile(r"(^|/)learning_rate(_\d+)?$")


class Stopped(Exception):
    """A signal came while nothing was being trained."""


class BadLoss(Exception):
    """The loss is not a number.

    Attributes:
      step: the step, loss: what it was, hashes: int32 [batch] hashes of its images' source ids.
    """

    def __init__(self, step: int, loss: float, hashes: List[int]):
        super().__init__("step %d: loss %s" % (step, loss))
        self.step, self.loss, self.hashes = step, loss, hashes


class Stop:
    """Remembers SIGTERM, SIGINT and SIGHUP (unless nohup ignores it) until the step in progress has ended.

    Attributes:
      reason: why to stop, "" for going on.
      at_once: whether nothing would be lost by stopping in the middle; then the signal raises Stopped.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.at_once = True
        self._before = {}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._remember)

    def _remember(self, number, _frame) -> None:
        self.reason = "signal %s" % signal.Signals(number).name
        if self.at_once:
            raise Stopped

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@dataclass
class Schedule:
    """When what happens, in steps; `evaluate` 0 is never."""

    steps: int
    save: int
    log: int
    evaluate: int


class Due:
    """Whether a step has come to, or has passed, the next multiple of `every`; on a cluster steps are skipped over."""

    def __init__(self, every: int, step: int):
        self._every, self._last = every, step

    def at(self, step: int) -> bool:
        """Whether it will be due at `step`."""
        return bool(self._every) and step // self._every > self._last // self._every

    def __call__(self, step: int) -> bool:
        """Whether it is due, once."""
        due = self.at(step)
        if due:
            self._last = step
        return due


def watch_hook(model: Model, schedule: Schedule, stop: Stop, say: Callable[[str], None], tick: Callable[[], None], role: str):
    """A session hook; comes before `save_hook`, so that a loss that is no number is never saved.

    Args:
      model: whose training/status.json is kept.
      schedule: when to speak.
      stop: asks for a stop between two steps.
      say: takes lines of progress.
      tick: called whenever progress is told.
      role: "" or, on a cluster, which; only "" and "chief" keep status.json.
    """
    from todus.tf import tf

    class Watch(tf.train.SessionRunHook):
        def begin(self):
            graph = tf.get_default_graph()
            self._fetches = {"loss": graph.get_tensor_by_name("total_loss:0"), "step": tf.train.get_global_step()}
            if estimator_setup.hashes_in(graph) is not None:
                self._fetches["hashes"] = estimator_setup.hashes_in(graph)
            rate = [op for op in graph.get_operations() if op.type == "ScalarSummary" and _LEARNING_RATE.search(op.name)]
            self._rate = rate[0].inputs[1] if rate else None
            self._step = tf.train.get_global_step()
            self._told = None
            self._saved = 0.0

        def after_create_session(self, session, coord):
            stop.at_once = False

        def before_run(self, _context):
            return tf.train.SessionRunArgs(self._fetches)

        def after_run(self, context, values):
            loss = float(values.results["loss"])
            if not math.isfinite(loss):
                raise BadLoss(int(context.session.run(self._step)), loss, [int(each) for each in values.results.get("hashes", [])])
            if stop.reason:
                context.request_stop()
            latest = int(values.results["step"]) + 1  # the step may have been read before it was counted up; to ask for it costs time
            if self._told is not None and latest - self._told[0] < schedule.log and latest < schedule.steps:
                return
            step, now = int(context.session.run(self._step)), time.perf_counter()
            if self._told is None:
                self._tell(context.session, step, loss, None, now)
            elif step - self._told[0] >= schedule.log or step >= schedule.steps:
                self._tell(context.session, step, loss, (step - self._told[0]) / max(now - self._told[1], 1e-9), now)

        def _tell(self, session, step, loss, rate, now):
            text = "step %d of %d   loss %.4f" % (step, schedule.steps, loss)
            left = (schedule.steps - step) / rate if rate else None
            say(text if rate is None else "%s   %.2f steps/s   %s left" % (text, rate, duration(left)))
            self._told = (step, now)
            if role in ("", "chief") and (now - self._saved > 1 or step >= schedule.steps or stop.reason):
                self._saved = now
                write_status(
                    model,
                    step=step,
                    num_steps=schedule.steps,
                    loss=loss,
                    steps_per_second=rate,
                    seconds_left=left,
                    learning_rate=None if self._rate is None else float(session.run(self._rate)),
                )
            tick()

    return Watch()


def write_status(model: Model, **values) -> None:
    """training/status.json: where the run is, for --status; without it --status knows less, so a failure to write it is no failure."""
    with contextlib.suppress(OSError):
        files.write_json(model.training / "status.json", dict(values, time=time.time()))


def save_hook(model: Model, schedule: Schedule, stop: Stop, start: int, saved: Callable[[int, bool], None]):
    """A CheckpointSaverHook that saves at multiples of schedule.save and schedule.evaluate, at the last step and when stopped.

    It writes weights alone: the graph is in pipeline.config, and writing it out takes seconds a checkpoint.

    Args:
      model: whose training/ it is.
      schedule: when to save.
      stop: asked, after each save, whether there is reason to stop.
      start: the step that the run starts from.
      saved: called with the step of each whole checkpoint, and whether it is one to evaluate.
    """
    from todus.tf import tf

    class Save(tf.train.CheckpointSaverHook):
        def __init__(self):
            super().__init__(str(model.training), save_steps=1)
            self._due_to_save, self._due_to_evaluate = Due(schedule.save, start), Due(schedule.evaluate, start)
            self._last, self._evaluate = -1, False

        def after_run(self, run_context, run_values):
            latest = int(run_values.results) + 1  # as above
            if latest < schedule.steps and not self._due_to_save.at(latest) and not self._due_to_evaluate.at(latest):
                return
            step = int(run_context.session.run(self._global_step_tensor))
            due = [self._due_to_save(step), self._due_to_evaluate(step), step >= schedule.steps]
            self._evaluate = bool(schedule.evaluate) and (due[1] or due[2])
            if any(due) and step != self._last:
                self._save(run_context.session, step)
                if stop.reason:
                    run_context.request_stop()

        def end(self, session):
            step = int(session.run(self._global_step_tensor))
            if step != self._last:
                self._evaluate = False
                self._save(session, step)

        def after_create_session(self, session, coord):
            step = int(session.run(self._global_step_tensor))
            if step != start or not start:
                self._save(session, step)

        def _save(self, session, step):
            self._last = step
            self._get_saver().save(session, self._save_path, global_step=step, write_meta_graph=False)
            saved(int(step), self._evaluate)

    return Save()


def drop_suspects(model: Model, step: int) -> None:
    """Removes the checkpoints that a loss that is no number at `step` puts in doubt: those saved since the weights that gave it."""
    every = checkpoints.trained(model)
    good = [prefix for number, prefix in every if number < max(step - 1, 1)]
    if not good or len(good) == len(every):
        return
    _leave_only(model, good)


def keep_newest(model: Model, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints: TensorFlow itself, resuming with a smaller KEEP, removes one for each it adds."""
    every = [prefix for _, prefix in checkpoints.trained(model)]
    if len(every) > keep:
        _leave_only(model, every[-keep:])


def _leave_only(model: Model, good: List[Path]) -> None:
    lines = ['model_checkpoint_path: "%s"' % good[-1].name] + ['all_model_checkpoint_paths: "%s"' % prefix.name for prefix in good]
    files.write_text(model.training / "checkpoint", "\n".join(lines) + "\n")  # TensorFlow's list, with relative paths
    for _, prefix in checkpoints.trained(model):
        if prefix not in good:
            for path in prefix.parent.glob(prefix.name + ".*"):
                path.unlink()
