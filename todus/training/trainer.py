"""A training, from the checks before it to its last line: `train` for the command, `Run` for the process that saves checkpoints."""

import contextlib
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional

from todus import files, locks
from todus.dataset.records import access, reader
from todus.errors import TodusError
from todus.machine import memory
from todus.model import checkpoints, pipeline, prepared
from todus.paths import Dataset, Model
from todus.training import (
    background,
    checkpoint_scoring,
    cluster,
    hooks,
    input_pipeline,
    kept_checkpoints,
    run_record,
)
from todus.training.estimator_run import run_estimator, take_part
from todus.training.evaluations import Evaluations
from todus.training.progress import Progress, write_status
from todus.training.schedule import SavePlan, Schedule
from todus.training.separate_evaluator import SeparateEvaluator, score_until_ended
from todus.training.settings import Settings, apply, to_record
from todus.training.stopping import Stop, Stopped

Say = Callable[[str], None]


def train(model: Model, settings: Settings, say: Say) -> int:
    """Trains until num_steps, a signal, an AP that is enough, or an error. Under TF_CONFIG this is one role of its cluster.

    Returns:
      The step reached; 0 for a role that saves no checkpoints.

    Raises:
      TodusError: no dataset, other classes or another config than training/ was begun with, a NaN or infinite loss, too little memory,
        or what TensorFlow says of the data.
    """
    role = cluster.role()
    config = prepared.resolved(model)
    apply(config, settings)
    dataset = prepared.dataset_of(model)
    if not dataset.shards("train"):
        raise TodusError(
            'dataset %s has no train records; make it with SPLITS="train val"' % dataset.name
        )
    manifest = reader.read_manifest(dataset)
    model.training.mkdir(parents=True, exist_ok=True)
    if role and role.kind == "evaluator":
        return score_until_ended(model, config, dataset, settings, say)
    who = "the training of %s" % model.name
    with files.scratch(model.training) as folder, files.temporary_files_in(folder), access.reading(
        dataset, who
    ):
        for note in input_pipeline.fit(config, manifest, memory.free_memory()):
            say("train: %s" % note)
        if role and role.kind in ("worker", "ps"):
            return take_part(model, config, settings, role, say)
        with locks.exclusive(model.training, who):
            return Run(model, config, dataset, manifest, settings, role, say).run()


class Run:
    """A run in its single process, or in the chief of its cluster.

    Args:
      model: a prepared model.
      config: its pipeline config, with the settings applied.
      dataset: that it is trained on.
      manifest: of the dataset.
      settings: of this run.
      role: the chief's, None without a cluster.
      say: takes lines.
    """

    def __init__(
        self,
        model: Model,
        config: pipeline.Config,
        dataset: Dataset,
        manifest: Dict[str, Any],
        settings: Settings,
        role: Optional[cluster.Role],
        say: Say,
    ):
        self.model, self.config, self.manifest = model, config, manifest
        self.settings, self.role, self.say = settings, role, say
        self.pid_file, self.config_file = model.training / "pid", model.training / "pipeline.config"
        self.steps = config.train_config.num_steps
        self.stop, self.reason = Stop(), "an error"
        separate = settings.separate and not role
        self.evaluations = Evaluations(
            model, config, dataset, settings, not separate and not role, self.stop, say
        )
        self.evaluator = (
            SeparateEvaluator(model, say) if separate and self.evaluations.scoring.every else None
        )

    def run(self) -> int:
        """Trains; returns the step of the newest checkpoint."""
        try:
            start = self._prepare()
            if start >= self.steps:
                return self._skip(start)
            self._record_start(start)
            with self._stop_recorded():
                self._begin(start)
                self.reason = self.evaluations.enough() or self._train(start)
            return self._finish()
        except Stopped:
            self.say("train: %s: stopped before the first step; nothing is lost" % self.stop.reason)
            return self._newest_step()
        finally:
            self._clean_up()

    def _prepare(self) -> int:
        """Writes training/pid and checks what evaluations need; returns the step to start from."""
        cluster.stop_with_stdin()
        files.write_text(self.pid_file, "%d\n" % os.getpid())
        self.evaluations.check()
        return self._newest_step()

    def _skip(self, start: int) -> int:
        """Where num_steps is reached already: only scores what is left."""
        self._finish_evaluations()
        self.say(
            "train: already at step %d of %d: nothing to do; NUM_TRAIN_STEPS=%d goes on"
            % (start, self.steps, start * 2)
        )
        return start

    def _record_start(self, start: int) -> None:
        chosen = to_record(self.settings, self.evaluations.scoring, self.role)
        for note in run_record.begin(self.model, self.config, self.manifest, start, chosen):
            self.say("train: %s" % note)

    @contextlib.contextmanager
    def _stop_recorded(self) -> Iterator[None]:
        """Records the stop and its reason in run.json when the block ends, after an exception too."""
        try:
            yield
        except Stopped:
            self.reason = self.stop.reason
            raise
        except TodusError as error:
            self.reason = str(error)
            raise
        finally:
            run_record.end(self.model, self._newest_step(), self.reason)

    def _begin(self, start: int) -> None:
        """Writes pipeline.config and status.json, and makes the evaluations that come before the first step."""
        pipeline.write(self.config_file, self.config)
        newest = checkpoints.latest(self.model)
        source = newest[1].name if newest else _first_weights(self.model)
        batch = self.config.train_config.batch_size
        self.say(
            "train: %s, step %d of %d, batch %d, from %s"
            % (self.model.name, start, self.steps, batch, source)
        )
        write_status(self.model, step=start, num_steps=self.steps)
        self.evaluations.begin(start)
        if self.evaluator:
            self.evaluator.start()

    def _train(self, start: int) -> str:
        """Trains until num_steps or a stop; returns the reason of the stop."""
        if not self.role:
            kept_checkpoints.keep_newest(self.model, self.settings.keep)
        schedule = Schedule(
            self.steps,
            self.settings.save_steps,
            self.settings.log_steps,
            self.evaluations.scoring.every,
        )
        session_hooks = [
            hooks.watch_hook(
                self.stop, Progress(self.model, schedule, self.stop, self.say, self._tick)
            ),
            hooks.save_hook(
                self.model, SavePlan(schedule, start), self.stop, self.evaluations.saved
            ),
        ]
        try:
            run_estimator(self.model, self.config_file, self.settings, self.role, session_hooks)
        finally:
            self.stop.at_once = True
        return self.stop.reason or "reached num_steps"

    def _tick(self) -> None:
        """After each report of progress."""
        background.rotate_log()
        self.evaluations.read_new_results()
        if self.evaluator:
            self.evaluator.restart_if_ended()

    def _finish(self) -> int:
        """Makes the evaluations that are left, and says where the run has ended."""
        reached = self._newest_step()
        self._finish_evaluations()
        why = "" if self.reason == "reached num_steps" else "; %s" % self.reason
        resume = (
            "; the same command goes on"
            if reached < self.steps and self.reason.startswith("signal")
            else ""
        )
        self.say("train: step %d of %d saved%s%s" % (reached, self.steps, why, resume))
        return reached

    def _finish_evaluations(self) -> None:
        if self.stop.reason.startswith("signal"):
            return
        self.evaluations.finish()
        if self.evaluator and checkpoint_scoring.pending(self.model):
            self.evaluator.finish()

    def _clean_up(self) -> None:
        if self.evaluator:
            self.evaluator.end()
        self.stop.restore()
        if self.pid_file.exists():
            self.pid_file.unlink()

    def _newest_step(self) -> int:
        """The step of the newest checkpoint, 0 without one."""
        return (checkpoints.latest(self.model) or (0, None))[0]


def _first_weights(model: Model) -> str:
    return (
        "the slice"
        if Path(str(model.limited_checkpoint) + ".index").exists()
        else "the zoo's features, with a fresh head"
    )
