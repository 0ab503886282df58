"""EVAL=separate: an evaluator process that runs beside a training, without the GPU."""

import subprocess
import threading
import time
from typing import Callable, Optional

from todus import locks
from todus.model import pipeline
from todus.paths import Dataset, Model
from todus.training import checkpoint_scoring, cluster, processes, run_record
from todus.training.checkpoint_scoring import Scorer
from todus.training.settings import Settings, scoring_for
from todus.training.stopping import Stop, Stopped

SECONDS_TO_END = 10  # after which the evaluator is killed


class SeparateEvaluator:
    """Controls the evaluator process from its training."""

    def __init__(self, model: Model, say: Callable[[str], None]):
        self._model, self._say = model, say
        self._process: Optional[subprocess.Popen] = None

    def start(self) -> None:
        """Starts it without the GPU, whose whole memory TensorFlow uses for the training."""
        variables = {"MODEL_DIR": str(self._model.folder), "CUDA_VISIBLE_DEVICES": "-1"}
        variables.update({"BACKGROUND": "0", processes.LIVES_AS_STDIN: "1"})
        command = processes.TRAIN + ["--evaluator"]
        self._process = processes.start(command, variables, stdin=subprocess.PIPE)

    def restart_if_ended(self) -> None:
        if self._process and self._process.poll() is not None:
            self._say(
                "train: the evaluator ended with exit code %d; starting it again"
                % self._process.returncode
            )
            time.sleep(1)
            self.start()

    def finish(self) -> None:
        """Waits until it has scored all pending checkpoints and ended; starts it if needed."""
        if not self._process:
            self.start()
        processes.send(self._process, processes.FINISH)
        self._process.wait()

    def end(self) -> None:
        """Ends it, if it runs."""
        if self._process and self._process.poll() is None:
            processes.send(self._process, None)
            processes.wait_or_kill(self._process, SECONDS_TO_END)


def score_until_ended(
    model: Model,
    config: pipeline.Config,
    dataset: Dataset,
    settings: Settings,
    say: Callable[[str], None],
) -> int:
    """Scores the checkpoints of a training that runs in another process; returns 0.

    Ends when no checkpoint is pending, after processes.FINISH or the end of the training.
    """
    began, finish, stop = run_record.now(), threading.Event(), Stop()
    try:
        processes.stop_with_stdin(finish.set)
        with locks.exclusive(model.training / "evaluation", "the evaluation of %s" % model.name):
            scoring = scoring_for(settings, config.train_config.num_steps)
            scorer = Scorer(model, config, dataset, scoring, say)
            scorer.score_references(slice_too=True)
            while True:
                last_round = finish.is_set() or cluster.ended_since(model, began)
                scorer.score_pending()
                if last_round and not checkpoint_scoring.pending(model):
                    break
                time.sleep(0.5)
    except Stopped:
        say("train: %s: the evaluator ends" % stop.reason)
    finally:
        stop.restore()
    return 0
