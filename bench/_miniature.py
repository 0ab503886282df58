"""The model that a benchmark measures: MODEL_DIR, or the miniature of demo/zoo."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, List

from demo.server import Server
from todus import paths
from todus.errors import TodusError
from todus.paths import Model

NAME = "ssd_mobilenet_v1_shapes"
WHOLE = "all_classes"
CLASSES = "circle, four point star"


@contextlib.contextmanager
def model(scripts: str = "", with_whole: bool = False) -> Iterator[Model]:
    """A prepared model; the miniature's TODUS_HOME is temporary and set in os.environ.

    Args:
      scripts: run after preparing the miniature, such as "export.sh convert-onnx.sh".
      with_whole: whether to prepare the miniature also as the model WHOLE, for all its classes.
    """
    if os.environ.get("MODEL_DIR"):
        yield Model(Path(os.environ["MODEL_DIR"]).absolute()).check()
        return
    with tempfile.TemporaryDirectory(prefix="todus-bench-") as folder:
        served, home = Path(folder) / "served", Path(folder) / "home"
        variables = {"TODUS_HOME": str(home), "PYTHON": sys.executable}
        python = [sys.executable, "-m"]
        run_command(python + ["demo.shapes", str(served), "--train", "300", "--val", "600"])
        datasets = {NAME: "limited", **({WHOLE: "complete"} if with_whole else {})}
        with Server(served) as server:
            for dataset in datasets.values():
                wanted = {"CATEGORIES": CLASSES} if dataset == "limited" else {}
                script = "./dataset-%s.sh" % dataset
                run_command([script], COCO_URL=server.url, **wanted, **variables)
        archive = str(paths.REPO / "demo" / "zoo" / (NAME + ".tar.gz"))
        for name, dataset in datasets.items():
            variables["MODEL_DIR"] = str(home / "model" / name)
            prepare = ["model", "-m", NAME, "-d", dataset, "--archive", archive, "--as", name]
            for command in [python + prepare] + [["./" + script] for script in scripts.split()]:
                run_command(command, **variables)
        os.environ["TODUS_HOME"] = str(home)
        yield paths.model(NAME)


def run_command(command: List[str], **variables: str) -> str:
    """Runs a command in the repository, with these environment variables; returns its stdout.

    Raises TodusError when the command fails.
    """
    environment = dict(os.environ, **variables)
    done = subprocess.run(command, cwd=str(paths.REPO), env=environment, capture_output=True)
    if done.returncode:
        raise failure(command, done.stderr)
    return done.stdout.decode("utf-8")


def failure(command: List[str], errors: bytes) -> TodusError:
    """The error of a failed command, with the end of its stderr."""
    end = errors.decode("utf-8", "replace").strip()[-300:]
    return TodusError("%s failed: %s" % (" ".join(command[:4]), end))
