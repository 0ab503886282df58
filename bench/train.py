"""Measures seconds per training step, against a plain Estimator loop on the same config.

  python -m bench.train [--steps 100] [--batch-size 8] [--repeats 3]

MODEL_DIR is the model (default: the miniature). The plain loop is Estimator.train with the OD API's
own input and model functions, without Todus's hooks. Both run in turn, each in its own process on a
copy of the model; the first fifth of the steps is not counted. Prints the median seconds per step
and the ratio.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional

from bench import _miniature
from todus.command import Parser, run
from todus.paths import REPO, Model


def timing_hook(times: List[float]):
    """A hook that appends each step's start time to `times`."""
    from todus.tf import tf

    class Timing(tf.train.SessionRunHook):
        def before_run(self, _context):
            times.append(time.perf_counter())

    return Timing()


def measure(folder: Path, way: str, steps: int, batch: int) -> float:
    """Median seconds per step of one way ("todus" or "bare"), in this process."""
    from todus.training import hooks, trainer
    from todus.training.settings import Scoring, Settings

    model, times = Model(folder), []
    settings = Settings(
        num_steps=steps, batch_size=batch, save_steps=10 * steps, log_steps=10, scoring=Scoring(0)
    )
    if way == "todus":
        watch = hooks.watch_hook

        def watched(*arguments):
            hook = watch(*arguments)
            before_run = hook.before_run

            def timed(context):
                times.append(time.perf_counter())
                return before_run(context)

            hook.before_run = timed
            return hook

        hooks.watch_hook = watched
        trainer.train(model, settings, lambda text: None)
    else:
        _bare(model, settings, times)
    gaps = [after - before for before, after in zip(times, times[1:])][steps // 5 :]
    return statistics.median(gaps)


def _bare(model: Model, settings, times: List[float]) -> None:
    from todus.tf import tf

    from object_detection import model_hparams, model_lib

    from todus.model import pipeline, prepared
    from todus.training.settings import apply

    config = prepared.resolved(model)
    apply(config, settings)
    model.training.mkdir(parents=True)
    path = model.training / "pipeline.config"
    pipeline.write(path, config)
    run_config = tf.estimator.RunConfig(
        str(model.training), save_checkpoints_steps=settings.save_steps, save_summary_steps=10
    )
    made = model_lib.create_estimator_and_inputs(
        run_config=run_config,
        hparams=model_hparams.create_hparams(None),
        pipeline_config_path=str(path),
        train_steps=settings.num_steps,
    )
    hooks = [timing_hook(times)]
    made["estimator"].train(made["train_input_fn"], max_steps=settings.num_steps, hooks=hooks)


def child(source: Path, way: str, steps: int, batch: int) -> float:
    """`measure` in its own process, on a copy of the model."""
    with tempfile.TemporaryDirectory(prefix="todus-bench-") as folder:
        copy = Path(folder) / "model" / source.name
        copy.mkdir(parents=True)
        shutil.copytree(str(source / "pretrained"), str(copy / "pretrained"))
        command = [sys.executable, "-m", "bench.train", "--way", way]
        command += ["--steps", str(steps), "--batch-size", str(batch)]
        output = _miniature.run_command(command, PYTHONPATH=str(REPO), MODEL_DIR=str(copy))
        return json.loads(output.strip().split("\n")[-1])


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("bench.train", __doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=("todus", "bare"))
    arguments = parser.parse_args(argv)
    with _miniature.model() as model:
        if arguments.way:
            steps, batch = arguments.steps, arguments.batch_size
            print(json.dumps(measure(model.folder, arguments.way, steps, batch)))
        else:
            compare(model.folder, arguments)
    return 0


def compare(folder: Path, arguments) -> None:
    seconds = {"bare": [], "todus": []}
    for _ in range(arguments.repeats):
        for way, found in seconds.items():
            found.append(child(folder, way, arguments.steps, arguments.batch_size))
    medians = {way: statistics.median(found) for way, found in seconds.items()}
    facts = (arguments.batch_size, arguments.repeats, arguments.steps)
    print("train: seconds per step at batch %d, median of %d runs of %d steps" % facts)
    for way, median in medians.items():
        print("  %-6s %.4f s, %.3f times bare" % (way, median, median / medians["bare"]))


if __name__ == "__main__":
    sys.exit(run("bench", main))
