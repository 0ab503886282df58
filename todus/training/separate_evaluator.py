"""EVAL=separate: an evaluator process that runs beside a training, without the GPU."""

import os
import subprocess
import sys
import threading
import time
from typing import Callable, Optional

from todus import locks, paths
from todus.model import pipeline
from todus.paths import Dataset, Model
from todus.training import checkpoint_scoring, cluster, run_record
from todus.training.checkpoint_scoring import Scorer
from todus.training.settings import Settings, scoring_for
from todus.training.stopping import Stop, Stopped

SECONDS_TO_END = 10  # before it is killed


class SeparateEvaluator:
    """The evaluator process, as its training controls it.

    Args:
      model: in training.
      say: takes lines.
    """

    def __init__(self, model: Model, say: Callable[[str], None]):
        self._model, self._say = model, say
        self._process: Optional[subprocess.Popen] = None

    def start(self) -> None:
        """Starts it without the GPU: TensorFlow has allocated all of its memory for the training."""
        environment = dict(
            os.environ, MODEL_DIR=str(self._model.folder), CUDA_VISIBLE_DEVICES="-1", BACKGROUND="0"
        )
        environment[cluster.LIVES_AS_STDIN] = "1"
        command = [sys.executable, "-m", "todus.commands.train", "--evaluator"]
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=str(paths.REPO),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def restart_if_ended(self) -> None:
        if self._process and self._process.poll() is not None:
            self._say(
                "train: the evaluator ended with exit code %d; starting it again"
                % self._process.returncode
            )
            time.sleep(1)
            self.start()

    def finish(self) -> None:
        """Waits until it has scored all waiting checkpoints and ended; starts it first where it has not been."""
        if not self._process:
            self.start()
        cluster.tell(self._process, cluster.FINISH)
        self._process.wait()

    def end(self) -> None:
        """Ends it, whatever it is doing; does nothing where it does not run."""
        if self._process and self._process.poll() is None:
            cluster.tell(self._process, None)
            try:
                self._process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def score_until_ended(
    model: Model,
    config: pipeline.Config,
    dataset: Dataset,
    settings: Settings,
    say: Callable[[str], None],
) -> int:
    """In the evaluator process: scores checkpoints until it is told to finish or the training has ended, and none waits. Returns 0."""
    began, finish, stop = run_record.now(), threading.Event(), Stop()
    try:
        cluster.stop_with_stdin(finish.set)
        with locks.exclusive(model.training / "evaluation", "the evaluation of %s" % model.name):
            scorer = Scorer(
                model, config, dataset, scoring_for(settings, config.train_config.num_steps), say
            )
            scorer.first()
            while True:
                last_round = finish.is_set() or cluster.ended_since(model, began)
                scorer.work()
                if last_round and not checkpoint_scoring.pending(model):
                    break
                time.sleep(0.5)
    except Stopped:
        say("train: %s: the evaluator ends" % stop.reason)
    finally:
        stop.restore()
    return 0
