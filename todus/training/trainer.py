"""The Estimator run: starts from the slice, resumes, scores itself, stops when asked or when it is time, and keeps its books."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from todus import files, locks, paths
from todus.dataset.records import access, reader
from todus.errors import TodusError
from todus.machine import memory
from todus.model import checkpoints, pipeline, prepared
from todus.paths import Dataset, Model
from todus.training import background, checkpoint_scoring, cluster, estimator_setup, hooks, input_pipeline, metrics, run_record
from todus.training.checkpoint_scoring import Scorer, Scoring

Say = Callable[[str], None]


@dataclass
class Settings:
    """What the environment may set; None keeps pipeline.config's.

    Attributes:
      scoring: evaluation while training; separate: in a process of its own.
      target_ap: a number as text, or "pretrained"; patience: evaluations without a better AP, 0 for ever.
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


def settled(config: pipeline.Config, settings: Settings) -> None:
    """Applies the settings to a pipeline config."""
    before = config.train_config.num_steps
    if settings.batch_size:
        pipeline.set_batch_size(config, settings.batch_size)
    if settings.learning_rate:
        pipeline.set_learning_rate(config, settings.learning_rate)
    if settings.num_steps:
        pipeline.set_num_steps(config, settings.num_steps)
        delay = config.graph_rewriter.quantization.delay if pipeline.is_quantized(config) else 0
        if delay and before:
            pipeline.set_quantization(config, max(1, int(round(delay * settings.num_steps / before))))


def scoring_for(settings: Settings, num_steps: int) -> Scoring:
    """The scoring of a run: none for one that is shorter than the first evaluation."""
    every = settings.scoring.every if settings.scoring.every <= num_steps else 0
    return Scoring(every, settings.scoring.sample, settings.scoring.train_too)


def train(model: Model, settings: Settings, say: Say) -> int:
    """Trains until num_steps, a signal, an AP that is enough, or an error; returns the step reached. Under TF_CONFIG it is one role.

    Raises:
      TodusError: no dataset, other classes or another config than training/ was begun with, a loss that is no number, too little memory,
        or what TensorFlow says of the data.
    """
    role = cluster.role()
    config = prepared.resolved(model)
    settled(config, settings)
    dataset = prepared.dataset_of(model)
    if not dataset.shards("train"):
        raise TodusError('dataset %s has no train records; make it with SPLITS="train val"' % dataset.name)
    manifest = reader.read_manifest(dataset)
    model.training.mkdir(parents=True, exist_ok=True)
    if role and role.kind == "evaluator":
        return score_until_ended(model, config, dataset, settings, say)
    with files.scratch(model.training) as folder, files.temporary_files_in(folder):  # AutoGraph writes dozens
        return _run(model, config, dataset, manifest, settings, role, say)


def _run(model: Model, config: pipeline.Config, dataset: Dataset, manifest, settings: Settings, role, say: Say) -> int:
    who = "the training of %s" % model.name
    with access.reading(dataset, who):
        for note in input_pipeline.fit(config, manifest, memory.free_memory()):
            say("train: %s" % note)
        if role and role.kind in ("worker", "ps"):
            return _take_part(model, config, settings, role, say)
        with locks.exclusive(model.training, who):
            return _Lead(model, config, dataset, manifest, settings, role, say).run()


class _Lead:
    """The one process of a run, or the chief of its cluster."""

    def __init__(self, model: Model, config: pipeline.Config, dataset: Dataset, manifest, settings: Settings, role, say: Say):
        self.model, self.config, self.dataset, self.manifest = model, config, dataset, manifest
        self.settings, self.role, self.say = settings, role, say
        self.steps = config.train_config.num_steps
        self.scoring = scoring_for(settings, self.steps)
        self.inline = bool(self.scoring.every) and not settings.separate and not role
        self.stop = hooks.Stop()
        self.scorer = Scorer(model, config, dataset, self.scoring, say, lambda: bool(self.stop.reason)) if self.inline else None
        self.evaluator: Optional[subprocess.Popen] = None
        self.seen = 0.0

    def run(self) -> int:
        pid = self.model.training / "pid"
        try:
            cluster.stop_with_stdin()
            files.write_text(pid, "%d\n" % os.getpid())
            return self._run()
        except hooks.Stopped:
            self.say("train: %s: stopped before the first step; nothing is lost" % self.stop.reason)
            return (checkpoints.latest(self.model) or (0, None))[0]
        finally:
            self._end_evaluator()
            self.stop.restore()
            if pid.exists():
                pid.unlink()

    def _run(self) -> int:
        checkpoint_scoring.check_can_score(self.model, self.dataset, self.scoring, self.settings.target_ap)
        done = checkpoints.latest(self.model)
        start = done[0] if done else 0
        if start >= self.steps:
            self._settle_scores()
            self.say("train: already at step %d of %d: nothing to do; NUM_TRAIN_STEPS=%d goes on" % (start, self.steps, start * 2))
            return start
        for note in run_record.begin(self.model, self.config, self.manifest, start, self._chosen()):
            self.say("train: %s" % note)
        reason, reached = "an error", start
        try:
            pipeline.write(self.model.training / "pipeline.config", self.config)
            batch, source = self.config.train_config.batch_size, done[1].name if done else _first_start(self.model)
            self.say("train: %s, step %d of %d, batch %d, from %s" % (self.model.name, start, self.steps, batch, source))
            hooks.write_status(self.model, step=start, num_steps=self.steps)
            self._begin_scores(start)
            reason = self._enough()
            if not reason:
                if not self.role:
                    hooks.keep_newest(self.model, self.settings.keep)
                self._train(start)
                reason = self.stop.reason or "reached num_steps"
        except hooks.Stopped:
            reason = self.stop.reason
            raise
        except TodusError as error:
            reason = str(error)
            raise
        finally:
            reached = (checkpoints.latest(self.model) or (0, None))[0]
            run_record.end(self.model, reached, reason)
        self._settle_scores()
        why = "" if reason == "reached num_steps" else "; %s" % reason
        self.say("train: step %d of %d saved%s%s" % (reached, self.steps, why, self._next(reached, reason)))
        return reached

    def _chosen(self) -> Dict[str, Any]:
        chosen: Dict[str, Any] = {"save_steps": self.settings.save_steps, "eval_steps": self.scoring.every}
        chosen.update({"eval_sample": self.scoring.sample} if self.scoring.sample > 1 else {})
        chosen.update({"role": "%s %d" % self.role} if self.role else {})
        chosen.update({"target_ap": self.settings.target_ap} if self.settings.target_ap else {})
        return dict(chosen, patience=self.settings.patience) if self.settings.patience else chosen

    def _next(self, reached: int, reason: str) -> str:
        if reached >= self.steps:
            return ""
        return "; the same command goes on" if reason.startswith("signal") else ""

    def _train(self, start: int) -> None:
        schedule = hooks.Schedule(self.steps, self.settings.save_steps, self.settings.log_steps, self.scoring.every)
        name = "chief" if self.role else ""
        every = [
            hooks.watch_hook(self.model, schedule, self.stop, self.say, self._tick, name),
            hooks.save_hook(self.model, schedule, self.stop, start, self._saved),
        ]
        try:
            _run_estimator(self.model, self.model.training / "pipeline.config", self.settings, self.role, every)
        finally:
            self.stop.at_once = True

    def _saved(self, step: int, evaluate: bool) -> None:
        if not evaluate or step in metrics.steps(self.model):
            return
        checkpoint_scoring.put(self.model, self.model.training / ("model.ckpt-%d" % step))
        if self.scorer:
            self.scorer.work()
            self._judge()

    def _tick(self) -> None:
        background.rotate_log()
        path = metrics.path_of(self.model)
        if self.scoring.every and not self.inline and path.exists() and path.stat().st_mtime != self.seen:
            self.seen = path.stat().st_mtime
            self._judge()
        if self.evaluator and self.evaluator.poll() is not None:
            self.say("train: the evaluator ended with exit code %d; starting it again" % self.evaluator.returncode)
            time.sleep(1)
            self._start_evaluator()

    def _judge(self) -> None:
        self.stop.reason = self.stop.reason or self._enough()

    def _enough(self) -> str:
        if not self.scoring.every:
            return ""
        target = checkpoint_scoring.target_ap(self.model, self.settings.target_ap)
        return metrics.enough(metrics.read(self.model), target, self.settings.patience)

    def _begin_scores(self, start: int) -> None:
        """What is owed from before, and the slice's AP, to compare with."""
        if not self.scoring.every:
            return
        checkpoint_scoring.catch_up(self.model, self.scoring, self.steps)
        if self.scorer:
            if start == 0 or self.settings.target_ap == "pretrained":
                self.scorer.first()
            self.scorer.work()
        elif self.settings.separate and not self.role:
            self._start_evaluator()

    def _settle_scores(self) -> None:
        if not self.scoring.every or (self.stop.reason and self.stop.reason.startswith("signal")):
            return
        checkpoint_scoring.catch_up(self.model, self.scoring, self.steps)
        if self.scorer:
            self.scorer.work()
        elif self.settings.separate and not self.role and checkpoint_scoring.pending(self.model):
            if not self.evaluator:
                self._start_evaluator()
            cluster.tell(self.evaluator, cluster.FINISH)
            self.evaluator.wait()

    def _start_evaluator(self) -> None:
        """A process beside this one, without the GPU, which this one has taken whole."""
        environment = dict(os.environ, MODEL_DIR=str(self.model.folder), CUDA_VISIBLE_DEVICES="-1", BACKGROUND="0")
        environment[cluster.LIVES_AS_STDIN] = "1"
        command = [sys.executable, "-m", "todus.commands.train", "--evaluator"]
        self.evaluator = subprocess.Popen(command, env=environment, cwd=str(paths.REPO), stdin=subprocess.PIPE, start_new_session=True)

    def _end_evaluator(self) -> None:
        if self.evaluator and self.evaluator.poll() is None:
            cluster.tell(self.evaluator, None)
            try:
                self.evaluator.wait(10)
            except subprocess.TimeoutExpired:
                self.evaluator.kill()
                self.evaluator.wait()


def _first_start(model: Model) -> str:
    return "the slice" if Path(str(model.limited_checkpoint) + ".index").exists() else "the zoo's features, with a fresh head"


def score_until_ended(model: Model, config: pipeline.Config, dataset: Dataset, settings: Settings, say: Say) -> int:
    """Scores checkpoints as they come, beside a training, until it is told to finish or the training has ended."""
    moment, state = run_record.now(), {"finish": False}
    stop = hooks.Stop()
    scoring = scoring_for(settings, config.train_config.num_steps)
    try:
        cluster.stop_with_stdin(lambda: state.update(finish=True))
        with locks.exclusive(model.training / "evaluation", "the evaluation of %s" % model.name):
            scorer = Scorer(model, config, dataset, scoring, say)
            scorer.first()
            while True:
                last_round = state["finish"] or cluster.ended_since(model, moment)
                scorer.work()
                if last_round and not checkpoint_scoring.pending(model):
                    break
                time.sleep(0.5)
    except hooks.Stopped:
        say("train: %s: the evaluator ends" % stop.reason)
    finally:
        stop.restore()
    return 0


def _take_part(model: Model, config: pipeline.Config, settings: Settings, role: cluster.Role, say: Say) -> int:
    """A worker's or a parameter server's part of a cluster's run."""
    stop, moment = hooks.Stop(), run_record.now()
    try:
        cluster.stop_with_stdin()
        with tempfile.TemporaryDirectory(prefix="todus-") as folder:
            config_path = Path(folder) / "pipeline.config"
            pipeline.write(config_path, config)
            if role.kind == "ps":
                made = estimator_setup.estimator(model, config_path)
                server = cluster.server(made["estimator"].config)
                say("train: parameter server %d listens at %s" % (role.index, server.target))
                while not cluster.ended_since(model, moment):
                    time.sleep(0.5)
                del server  # at the interpreter's end it would stumble over modules that are gone
                return 0
            schedule = hooks.Schedule(config.train_config.num_steps, settings.save_steps, settings.log_steps, 0)
            every = [hooks.watch_hook(model, schedule, stop, say, lambda: None, "worker")]
            _run_estimator(model, config_path, settings, role, every)
    except hooks.Stopped:
        say("train: %s: %s %d ends" % (stop.reason, role.kind, role.index))
    finally:
        stop.restore()
    return 0


def _run_estimator(model: Model, config_path: Path, settings: Settings, role: Optional[cluster.Role], every: List) -> None:
    """Estimator.train, with one line for what TensorFlow raises."""
    from todus.tf import tf

    config = pipeline.read(config_path)
    batch = config.train_config.batch_size
    try:
        made = estimator_setup.estimator(model, config_path, settings.keep, max(1, settings.log_steps))
        estimator = made["estimator"]
        server = cluster.server(estimator.config) if role else None
        estimator.train(made["train_input_fn"], max_steps=config.train_config.num_steps, hooks=every)
        del server
    except (hooks.BadLoss, tf.train.NanLossDuringTrainingError) as error:
        raise TodusError(_bad_loss(model, config, error))
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        if "No space left" in str(error):
            raise TodusError("no space left at %s; free some and run this again: nothing that was saved is lost" % model.training)
        advice = "try BATCH_SIZE=%d" % (batch // 2) if batch > 1 else "this model does not fit; choose a smaller one"
        raise TodusError("out of memory at BATCH_SIZE=%d; nothing that was saved is lost: %s" % (batch, advice))
    except tf.errors.OpError as error:
        line = str(error).strip().split("\n")[0][:300]
        raise TodusError("training stopped (%s); check the records: python -m todus.commands.verify DIR" % line)


def _bad_loss(model: Model, config: pipeline.Config, error: Exception) -> str:
    """What is said of a loss that is no number: when, from which images, what is kept, what to do."""
    from todus.training import batch_images

    step, images = getattr(error, "step", 0), []
    if getattr(error, "hashes", None):
        images = batch_images.named(prepared.dataset_of(model), error.hashes)
    hooks.drop_suspects(model, step)
    kept = checkpoints.latest(model)
    rates = pipeline.optimizer_rates(config)
    rate = " than %.4g" % getattr(*rates[0]) if rates else ""
    batch = "; its batch was %s" % ", ".join(images) if images else ""
    return "the loss became %s at step %d%s; %s is kept; go on with a LEARNING_RATE smaller%s, or look at these images' boxes" % (
        "NaN" if getattr(error, "loss", float("nan")) != getattr(error, "loss", float("nan")) else "infinite",
        step,
        batch,
        kept[1].name if kept else "the slice",
        rate,
    )
