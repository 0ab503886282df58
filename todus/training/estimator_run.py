"""Training with the Estimator, also as a worker or a parameter server of a cluster."""

import tempfile
import time
from pathlib import Path
from typing import Callable, List, Optional

from todus.model import pipeline
from todus.paths import Model
from todus.training import cluster, estimator_setup, failures, hooks, processes, run_record
from todus.training.progress import Progress
from todus.training.schedule import Schedule
from todus.training.settings import Settings
from todus.training.stopping import Stop, Stopped

Say = Callable[[str], None]


def run_estimator(
    model: Model,
    config_path: Path,
    settings: Settings,
    role: Optional[cluster.Role],
    session_hooks: List,
) -> None:
    """Trains until num_steps or until one of the SessionRunHooks requests a stop.

    `role` is the role of this process in its cluster, None without one. Raises TodusError, with one
    line, in place of an error of TensorFlow.
    """
    config = pipeline.read(config_path)
    with failures.as_one_line(model, config):
        summary_steps = max(1, settings.log_steps)
        made = estimator_setup.estimator(model, config_path, settings.keep, summary_steps)
        estimator, input_fn = made["estimator"], made["train_input_fn"]
        server = cluster.server(estimator.config) if role else None
        estimator.train(input_fn, max_steps=config.train_config.num_steps, hooks=session_hooks)
        del server


def run_task(
    model: Model, config: pipeline.Config, settings: Settings, role: cluster.Role, say: Say
) -> int:
    """Runs a worker or a parameter server until its cluster's training ends; returns 0."""
    stop, began = Stop(), run_record.now()
    try:
        processes.stop_with_stdin()
        with tempfile.TemporaryDirectory(prefix="todus-") as folder:
            config_path = Path(folder) / "pipeline.config"
            pipeline.write(config_path, config)
            if role.kind == "ps":
                _serve_parameters(model, config_path, role, began, say)
            else:
                num_steps = config.train_config.num_steps
                schedule = Schedule(num_steps, settings.save_steps, settings.log_steps, 0)
                progress = Progress(model, schedule, stop, say, writes_status=False)
                watch = hooks.watch_hook(stop, progress)
                run_estimator(model, config_path, settings, role, [watch])
    except Stopped:
        say("train: %s: %s %d ends" % ((stop.reason,) + role))
    finally:
        stop.restore()
    return 0


def _serve_parameters(
    model: Model, config_path: Path, role: cluster.Role, began: str, say: Say
) -> None:
    """Runs a parameter server until the chief has recorded a stop after `began`."""
    made = estimator_setup.estimator(model, config_path)
    server = cluster.server(made["estimator"].config)
    say("train: parameter server %d listens at %s" % (role.index, server.target))
    while not cluster.ended_since(model, began):
        time.sleep(0.5)
    del server  # its destructor needs modules that are unloaded when the interpreter exits
