"""The session hooks of a training: one checks the loss and reports progress, one saves checkpoints.

After a step, the value of global_step that was fetched with it may be the one from before the step; to read it again takes time. So the
highest step that it can be is compared with the schedule first, and the step is read only where something may be due.
"""

import math
import re
from typing import Callable, Dict, List, Optional

from todus.paths import Model
from todus.training import estimator_setup
from todus.training.progress import Progress
from todus.training.schedule import SavePlan
from todus.training.stopping import Stop

_LEARNING_RATE = re.compile(r"(^|/)learning_rate(_\d+)?$")


class BadLoss(Exception):
    """The loss is NaN or infinite.

    Attributes:
      step: the step.
      loss: its loss.
      hashes: int32 [batch] hashes of its images' source ids.
    """

    def __init__(self, step: int, loss: float, hashes: List[int]):
        super().__init__("step %d: loss %s" % (step, loss))
        self.step, self.loss, self.hashes = step, loss, hashes


def check_loss(loss: float, hashes, read_step: Callable[[], int]) -> None:
    """Raises BadLoss for a loss that is NaN or infinite; only then the step is read."""
    if not math.isfinite(loss):
        raise BadLoss(read_step(), loss, [int(each) for each in hashes])


def watch_hook(stop: Stop, progress: Progress):
    """A hook that checks the loss, requests a stop and reports progress, in this order.

    It comes before `save_hook`, so that no checkpoint is saved after a bad loss.

    Args:
      stop: with a reason, the session stops after the step.
      progress: of the run.
    """
    from todus.tf import tf

    class Watch(tf.train.SessionRunHook):
        def begin(self):
            graph, self._step = tf.get_default_graph(), tf.train.get_global_step()
            self._fetches, self._learning_rate = (
                dict(_watched(graph), step=self._step),
                _learning_rate_of(graph),
            )

        def after_create_session(self, session, coord):
            stop.at_once = False

        def before_run(self, _context):
            return tf.train.SessionRunArgs(self._fetches)

        def after_run(self, context, values):
            session, loss = context.session, float(values.results["loss"])
            check_loss(loss, values.results.get("hashes", []), lambda: int(session.run(self._step)))
            if stop.reason:
                context.request_stop()
            if progress.is_due(int(values.results["step"]) + 1):
                step = int(session.run(self._step))
                if progress.is_due(step):
                    progress.report(step, loss, lambda: _value(session, self._learning_rate))

    return Watch()


def _watched(graph) -> Dict[str, object]:
    """The tensors of the loss and, where the input has source ids, of the images' hashes."""
    tensors = {
        "loss": graph.get_tensor_by_name("total_loss:0"),
        "hashes": estimator_setup.hashes_in(graph),
    }
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _learning_rate_of(graph):
    """The tensor of the learning rate's summary, None where the graph has none."""
    summaries = [
        op
        for op in graph.get_operations()
        if op.type == "ScalarSummary" and _LEARNING_RATE.search(op.name)
    ]
    return summaries[0].inputs[1] if summaries else None


def _value(session, tensor) -> Optional[float]:
    return None if tensor is None else float(session.run(tensor))


def save_hook(model: Model, plan: SavePlan, stop: Stop, after_save: Callable[[int, bool], None]):
    """A CheckpointSaverHook that saves the weights, without a MetaGraph: pipeline.config describes the graph, and writing it takes seconds.

    Args:
      model: whose training/ is written to.
      plan: when to save.
      stop: with a reason, the session stops after a save.
      after_save: takes the step, and whether the checkpoint is to be evaluated.
    """
    from todus.tf import tf

    class Save(tf.train.CheckpointSaverHook):
        def after_create_session(self, session, coord):
            self._save_where(plan.at_start, session)

        def after_run(self, run_context, run_values):
            if plan.may_be_due(int(run_values.results) + 1):
                saved = self._save_where(plan.after_step, run_context.session)
                if saved and stop.reason:
                    run_context.request_stop()

        def end(self, session):
            self._save_where(plan.at_end, session)

        def _save_where(self, planned, session):
            step = int(session.run(self._global_step_tensor))
            save, evaluate = planned(step)
            if save:
                self._get_saver().save(
                    session, self._save_path, global_step=step, write_meta_graph=False
                )
                after_save(step, evaluate)
            return save

    return Save(str(model.training), save_steps=1)
