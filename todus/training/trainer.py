"""A training: `train` for the command, `Run` for the process that saves checkpoints."""

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Optional

from todus import categories, files, locks
from todus.dataset.records import access, reader
from todus.errors import TodusError
from todus.machine import memory
from todus.model import checkpoints, pipeline, prepared
from todus.paths import Dataset, Model
from todus.text import shortened
from todus.training import (
    background,
    checkpoint_scoring,
    cluster,
    hooks,
    input_pipeline,
    kept_checkpoints,
    processes,
    run_record,
    split_changes,
)
from todus.training.added_run import remove_features, train_added
from todus.training.estimator_run import run_estimator, run_task
from todus.training.evaluations import Evaluations
from todus.training.progress import Progress, write_status
from todus.training.schedule import SavePlan, Schedule
from todus.training.separate_evaluator import SeparateEvaluator, score_until_ended
from todus.training.settings import Settings, apply, to_record
from todus.training.stopping import Stop, Stopped

Say = Callable[[str], None]


def train(model: Model, settings: Settings, say: Say) -> int:
    """Trains until num_steps, a signal, TARGET_AP or PATIENCE, or an error.

    With TF_CONFIG set, this process is one role of that cluster.

    Returns:
      The step reached; 0 for a role that saves no checkpoints.

    Raises:
      TodusError: there is no dataset; training/ was started with other classes or another config;
        the loss is NaN or infinite; or TensorFlow has raised an error.
    """
    role = cluster.role()
    config = prepared.resolved(model)
    apply(model, config, settings)
    dataset = prepared.dataset_of(model)
    if not dataset.shards("train"):
        raise TodusError(
            'dataset %s has no train records; make it with SPLITS="train val"' % dataset.name
        )
    if role and prepared.added_classes(model):
        raise TodusError("classes are added on one machine, in minutes; unset TF_CONFIG")
    manifest = reader.read_manifest(dataset)
    model.training.mkdir(parents=True, exist_ok=True)
    if role and role.kind == "evaluator":
        return score_until_ended(model, config, dataset, settings, say)
    who = "the training of %s" % model.name
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(files.scratch(model.training))
        stack.enter_context(files.temporary_files_in(folder))
        stack.enter_context(access.reading(dataset, who))
        for note in input_pipeline.fit(config, manifest, memory.free_memory()):
            say("train: %s" % note)
        if role and role.kind in ("worker", "ps"):
            return run_task(model, config, settings, role, say)
        stack.enter_context(locks.exclusive(model.training, who))
        return Run(model, config, dataset, manifest, settings, role, say).run()


@dataclass
class Run:
    """A run in its single process, or in the chief of its cluster, whose `role` it has.

    The model is prepared, and `config` is its pipeline config with the settings applied.
    """

    model: Model
    config: pipeline.Config
    dataset: Dataset
    manifest: Dict[str, Any]
    settings: Settings
    role: Optional[cluster.Role]
    say: Say

    def __post_init__(self) -> None:
        training, separate = self.model.training, self.settings.separate
        self.pid_file, self.config_file = training / "pid", training / "pipeline.config"
        self.steps = self.config.train_config.num_steps
        self.stop, self.reason = Stop(), "an error"
        self.added = prepared.added_classes(self.model)
        inline = not separate and not self.role
        about = (self.model, self.config, self.dataset, self.settings, inline, self.stop, self.say)
        self.evaluations = Evaluations(*about)
        has_evaluator = separate and not self.role and self.evaluations.scoring.every
        self.evaluator = SeparateEvaluator(self.model, self.say) if has_evaluator else None

    def run(self) -> int:
        """Trains; returns the step of the newest checkpoint."""
        try:
            processes.stop_with_stdin()
            files.write_text(self.pid_file, "%d\n" % os.getpid())
            self.evaluations.check()
            start = self._newest_step()
            if start >= self.steps:
                self._finish_evaluations()
                if run_record.complete(self.model, start) and self.added:
                    remove_features(self.model)
                self.say(
                    "train: already at step %d of %d: nothing to do; to continue, "
                    "set NUM_TRAIN_STEPS=%d" % (start, self.steps, start * 2)
                )
                return start
            chosen = to_record(self.settings, self.evaluations.scoring, self.role)
            names = categories.read_label_map(self.model.limited_label_map)
            notes = run_record.begin(self.model, self.config, names, self.manifest, start, chosen)
            for note in notes + split_changes.record(self.model, self.dataset, start):
                self.say("train: %s" % note)
            with self._stop_recorded():
                self._begin(start)
                self.reason = self.evaluations.enough() or self._train(start)
            return self._finish()
        except Stopped:
            self.say("train: %s: stopped before the first step; nothing is lost" % self.stop.reason)
            return self._newest_step()
        finally:
            if self.evaluator:
                self.evaluator.end()
            self.stop.restore()
            if self.pid_file.exists():
                self.pid_file.unlink()

    @contextlib.contextmanager
    def _stop_recorded(self) -> Iterator[None]:
        """Records the stop and its reason in run.json when the block ends or raises."""
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
        """Writes pipeline.config and status.json; evaluates what is due before the first step."""
        pipeline.write(self.config_file, self.config)
        newest = checkpoints.latest(self.model)
        source = newest[1].name if newest else _first_weights(self.model)
        batch = self.config.train_config.batch_size
        where = (start, self.steps, batch, source)
        self.say("train: %s, step %d of %d, batch %d, from %s" % ((self.model.name,) + where))
        images = self.manifest["splits"]["train"]["images"]
        if images:
            passes = "%.3g passes over %d images" % ((self.steps - start) * batch / images, images)
            self.say("train: %s; evaluations: %s" % (passes, self._evaluations_planned()))
        write_status(self.model, step=start, num_steps=self.steps)
        self.evaluations.begin(start)
        if self.evaluator:
            self.evaluator.start()

    def _evaluations_planned(self) -> str:
        every = self.evaluations.scoring.every
        return "every %d steps" % every if every else "none"

    def _train(self, start: int) -> str:
        """Trains until num_steps or a stop; returns the reason of the stop."""
        if self.role:
            kept_checkpoints.list_existing(self.model)
        else:
            kept_checkpoints.keep_newest(self.model, self.settings.keep)
        settings, every = self.settings, self.evaluations.scoring.every
        schedule = Schedule(self.steps, settings.save_steps, settings.log_steps, every)
        progress = Progress(self.model, schedule, self.stop, self.say, self._after_report)
        plan = SavePlan(schedule, start)
        if self.added:
            about = (self.model, self.config, self.dataset, settings, self.evaluations.saved)
            train_added(*about, plan, progress, self.say)
            return self.stop.reason or run_record.FINISHED
        session_hooks = [
            hooks.watch_hook(self.stop, progress),
            hooks.save_hook(self.model, plan, self.stop, self.evaluations.saved),
        ]
        try:
            run_estimator(self.model, self.config_file, settings, self.role, session_hooks)
        finally:
            self.stop.at_once = True
        return self.stop.reason or run_record.FINISHED

    def _after_report(self) -> None:
        background.rotate_log()
        self.evaluations.read_new_results()
        if self.evaluator:
            self.evaluator.restart_if_ended()

    def _finish(self) -> int:
        """Makes the remaining evaluations and reports the last step."""
        reached = self._newest_step()
        self._finish_evaluations()
        why = "" if self.reason == run_record.FINISHED else "; %s" % self.reason
        if reached < self.steps and self.reason.startswith("signal"):
            why += "; to continue, run the same command"
        self.say("train: step %d of %d saved%s" % (reached, self.steps, why))
        return reached

    def _finish_evaluations(self) -> None:
        if self.stop.reason.startswith("signal"):
            return
        self.evaluations.finish()
        if self.evaluator and checkpoint_scoring.pending(self.model):
            self.evaluator.finish()

    def _newest_step(self) -> int:
        """The step of the newest checkpoint, 0 without one."""
        return (checkpoints.latest(self.model) or (0, None))[0]


def _first_weights(model: Model) -> str:
    added = prepared.added_classes(model)
    if added:
        return "the slice, to which it adds %s" % shortened(added)
    has_slice = kept_checkpoints.exists(model.limited_checkpoint)
    return "the slice" if has_slice else "the zoo's features, with a fresh head"
