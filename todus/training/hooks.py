"""The session hooks of a training: one checks the loss and reports progress, one saves checkpoints.

The value of global_step that a step fetches may be the one from before the step, and to read it
again takes time. So the highest possible step is compared with the schedule first; the step is read
only where a report or a save may be due.
"""

import math
import re
from typing import Callable, List, Optional

from todus.paths import Model
from todus.training import estimator_setup
from todus.training.progress import Progress
from todus.training.schedule import SavePlan
from todus.training.stopping import Stop

_LEARNING_RATE = re.compile(r"(^|/)learning_rate(_\d+)?$")


class BadLoss(Exception):
    """The `loss` of a `step` is NaN or infinite; `hashes` are those of its images' source ids."""

    def __init__(self, step: int, loss: float, hashes: List[int]):
        super().__init__("step %d: loss %s" % (step, loss))
        self.step, self.loss, self.hashes = step, loss, hashes


def watch_hook(stop: Stop, progress: Progress):
    """A hook that checks the loss, requests a stop and reports progress, in this order.

    It must come before `save_hook`, so that no checkpoint is saved after a BadLoss. Once `stop` has
    a reason, the session stops after the step.
    """
    from todus.tf import tf

    class Watch(tf.train.SessionRunHook):
        def begin(self):
            graph, self._step = tf.get_default_graph(), tf.train.get_global_step()
            self._learning_rate = _learning_rate_of(graph)
            self._fetches = {"step": self._step, "loss": graph.get_tensor_by_name("total_loss:0")}
            hashes = estimator_setup.hashes_in(graph)
            if hashes is not None:
                self._fetches["hashes"] = hashes

        def after_create_session(self, session, coord):
            stop.at_once = False

        def before_run(self, _context):
            return tf.train.SessionRunArgs(self._fetches)

        def after_run(self, context, values):
            session, loss = context.session, float(values.results["loss"])
            if not math.isfinite(loss):
                hashes = [int(each) for each in values.results.get("hashes", [])]
                raise BadLoss(int(session.run(self._step)), loss, hashes)
            if stop.reason:
                context.request_stop()
            if progress.is_due(int(values.results["step"]) + 1):
                step = int(session.run(self._step))
                if progress.is_due(step):
                    progress.report(step, loss, lambda: _value(session, self._learning_rate))

    return Watch()


def _learning_rate_of(graph):
    """The tensor of the learning rate's summary, None where the graph has none."""
    for op in graph.get_operations():
        if op.type == "ScalarSummary" and _LEARNING_RATE.search(op.name):
            return op.inputs[1]
    return None


def _value(session, tensor) -> Optional[float]:
    return None if tensor is None else float(session.run(tensor))


def save_hook(model: Model, plan: SavePlan, stop: Stop, after_save: Callable[[int, bool], None]):
    """A CheckpointSaverHook that saves without a MetaGraph, which takes seconds to write.

    Args:
      model: its training/ is written to.
      plan: when to save.
      stop: once it has a reason, the session stops after a save.
      after_save: takes the step, and whether the checkpoint is to be evaluated.
    """
    from todus.tf import tf

    class Save(tf.train.CheckpointSaverHook):
        def after_create_session(self, session, coord):
            self._save_if_planned(plan.at_start, session)

        def after_run(self, run_context, run_values):
            if plan.may_be_due(int(run_values.results) + 1):
                saved = self._save_if_planned(plan.after_step, run_context.session)
                if saved and stop.reason:
                    run_context.request_stop()

        def end(self, session):
            self._save_if_planned(plan.at_end, session)

        def _save_if_planned(self, planned, session):
            step = int(session.run(self._global_step_tensor))
            save, evaluate = planned(step)
            if save:
                self._get_saver().save(
                    session, self._save_path, global_step=step, write_meta_graph=False
                )
                after_save(step, evaluate)
            return save

    return Save(str(model.training), save_steps=1)
