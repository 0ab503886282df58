"""The model that a benchmark measures: MODEL_DIR, or the miniature of demo/zoo, prepared for drawn images in a folder that goes again."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator

from demo.server import Server
from todus import paths
from todus.errors import TodusError
from todus.paths import Model

NAME = "ssd_mobilenet_v1_shapes"


@contextlib.contextmanager
def model(scripts: str = "") -> Iterator[Model]:
    """A prepared model; TODUS_HOME is set to where it lies.

    Args:
      scripts: what else is run on the miniature, such as "export.sh convert-onnx.sh"; a model in MODEL_DIR is taken as it is.
    """
    if os.environ.get("MODEL_DIR"):
        yield Model(Path(os.environ["MODEL_DIR"]).absolute()).check()
        return
    with tempfile.TemporaryDirectory(prefix="todus-bench-") as folder:
        served, home = Path(folder) / "served", Path(folder) / "home"
        environment = dict(
            os.environ,
            TODUS_HOME=str(home),
            CATEGORIES="circle, four point star",
            PYTHON=sys.executable,
        )
        _run(
            [sys.executable, "-m", "demo.shapes", str(served), "--train", "300", "--val", "600"],
            environment,
        )
        with Server(served) as server:
            environment["COCO_URL"] = server.url
            _run(["./dataset-limited.sh"], environment)
        archive = str(paths.REPO / "demo" / "zoo" / (NAME + ".tar.gz"))
        _run(
            [sys.executable, "-m", "model", "-m", NAME, "-d", "limited", "--archive", archive],
            environment,
        )
        for script in scripts.split():
            _run(["./" + script], environment)
        os.environ["TODUS_HOME"] = str(home)
        yield paths.model(NAME)


def _run(command, environment: Dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=str(paths.REPO),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if done.returncode:
        raise TodusError(
            "%s failed: %s"
            % (" ".join(command[:3]), done.stderr.decode("utf-8", "replace").strip()[-300:])
        )
