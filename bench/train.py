"""What Todus's training costs a step, against a bare Estimator loop on the same config.

  python -m bench.train [--steps 100] [--batch-size 8] [--repeats 3]

MODEL_DIR names the model; without it the miniature is measured. The bare loop is Estimator.train on the OD API's own input and model
function, without hooks of Todus's. Both run in turn, each in a process of its own, on a copy of the model; the first fifth of the steps is
not counted. Prints the median seconds a step and the ratio.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional

from bench import _miniature
from todus.command import Parser, run
from todus.errors import TodusError
from todus.paths import Model

REPO = Path(__file__).resolve().parent.parent


def timing_hook(times: List[float]):
    """Notes in `times` when each step begins."""
    from todus.tf import tf

    class Timing(tf.train.SessionRunHook):
        def before_run(self, _context):
            times.append(time.perf_counter())

    return Timing()


def measure(folder: Path, way: str, steps: int, batch: int) -> float:
    """Median seconds a step of one way, in this process."""
    from todus.training import hooks, trainer
    from todus.training.settings import Scoring, Settings

    model, times = Model(folder), []
    settings = Settings(
        num_steps=steps, batch_size=batch, save_steps=10 * steps, log_steps=10, scoring=Scoring(0)
    )
    if way == "todus":
        watch = hooks.watch_hook

        def watched(*arguments):
            return _with_timing(watch(*arguments), timing_hook(times))

        hooks.watch_hook = watched
        trainer.train(model, settings, lambda text: None)
    else:
        _bare(model, settings, times)
    gaps = [after - before for before, after in zip(times, times[1:])][steps // 5 :]
    return statistics.median(gaps)


def _with_timing(first, second):
    """The hook `first`, which calls `second` before each step."""
    before = first.before_run

    def before_run(context):
        second.before_run(context)
        return before(context)

    first.before_run = before_run
    return first


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
    made = model_lib.create_estimator_and_inputs(
        run_config=tf.estimator.RunConfig(
            str(model.training), save_checkpoints_steps=settings.save_steps, save_summary_steps=10
        ),
        hparams=model_hparams.create_hparams(None),
        pipeline_config_path=str(path),
        train_steps=settings.num_steps,
    )
    made["estimator"].train(
        made["train_input_fn"], max_steps=settings.num_steps, hooks=[timing_hook(times)]
    )


def child(source: Path, way: str, steps: int, batch: int) -> float:
    """`measure` in a process of its own, on a copy."""
    with tempfile.TemporaryDirectory(prefix="todus-bench-") as folder:
        copy = Path(folder) / "model" / source.name
        copy.mkdir(parents=True)
        shutil.copytree(str(source / "pretrained"), str(copy / "pretrained"))
        command = [
            sys.executable,
            "-m",
            "bench.train",
            "--way",
            way,
            "--steps",
            str(steps),
            "--batch-size",
            str(batch),
        ]
        environment = dict(os.environ, PYTHONPATH=str(REPO), MODEL_DIR=str(copy))
        done = subprocess.run(command, cwd=str(REPO), env=environment, capture_output=True)
        if done.returncode:
            raise TodusError(
                "%s failed: %s" % (way, done.stderr.decode("utf-8", "replace").strip()[-300:])
            )
        return json.loads(done.stdout.decode().strip().split("\n")[-1])


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("bench.train", __doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=("todus", "bare"))
    arguments = parser.parse_args(argv)
    with _miniature.model() as model:
        if arguments.way:
            print(
                json.dumps(
                    measure(model.folder, arguments.way, arguments.steps, arguments.batch_size)
                )
            )
            return 0
        compare(model.folder, arguments)
    return 0


def compare(folder: Path, arguments) -> None:
    seconds = {"bare": [], "todus": []}
    for _ in range(arguments.repeats):
        for way, found in seconds.items():
            found.append(child(folder, way, arguments.steps, arguments.batch_size))
    medians = {way: statistics.median(found) for way, found in seconds.items()}
    print(
        "train: seconds a step at batch %d, median of %d runs of %d steps"
        % (arguments.batch_size, arguments.repeats, arguments.steps)
    )
    for way in ("bare", "todus"):
        print(
            "  %-6s %.4f s, %.3f times bare" % (way, medians[way], medians[way] / medians["bare"])
        )


if __name__ == "__main__":
    sys.exit(run("bench", main))
