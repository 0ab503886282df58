"""Makes the homes that tests share: datasets, models and exports of the drawn miniature of COCO."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

from tests.helpers.places import MODEL, QUANTIZED, REPO, ZOO


def draw(folder: Path) -> None:
    """A small drawn COCO, to serve over HTTP."""
    command = [sys.executable, "-m", "demo.shapes", str(folder), "--train", "40", "--val", "24"]
    subprocess.run(command, check=True, cwd=str(REPO), stdout=subprocess.DEVNULL)


def limit(home: Path, drawn: Path) -> None:
    """A limited dataset of two shapes, and both models for it."""
    from demo.server import Server

    environment = dict(os.environ, TODUS_HOME=str(home), PYTHON=sys.executable)
    environment.update(CATEGORIES="circle, four point star", JOBS="2")
    with Server(drawn) as server:
        environment["COCO_URL"] = server.url
        script = str(REPO / "dataset-limited.sh")
        subprocess.run([script], check=True, env=environment, cwd=str(REPO))
    for name, more in ((MODEL, []), (QUANTIZED, ["-q"])):
        archive = str(ZOO / (name + ".tar.gz"))
        command = [sys.executable, "-m", "model", "-m", name, "-d", "limited"]
        command += ["--archive", archive] + more
        subprocess.run(command, check=True, env=environment, cwd=str(REPO))


def export(home: Path, limited: Path) -> None:
    """A copy of a limited home with both models exported and converted.

    MODEL has every form, QUANTIZED the uint8 TFLite file.
    """
    from todus import paths
    from todus.export import inference_graph, onnx, tflite, tflite_graph
    from todus.model import checkpoints

    shutil.copytree(str(limited), str(home))
    with mock.patch.dict(os.environ, TODUS_HOME=str(home)):
        for name, formats in ((MODEL, (None, "float16", "dynamic", "int8")), (QUANTIZED, (None,))):
            model = paths.model(name)
            prefix = checkpoints.choose(model, "pretrained")
            inference_graph.export(model, prefix)
            tflite_graph.export(model, prefix)
            for wanted in formats:
                tflite.convert(model, wanted, calibration=20)
        model = paths.model(MODEL)
        onnx.convert(model)
        onnx.convert(model, "tensorrt")
