"""The commands under test, their inputs, and which of their outputs must stay the same."""

import csv
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Pattern, Tuple

from tests.torture.tree import NOTHING, Loose

REPO = Path(__file__).resolve().parent.parent.parent
# The server has the miniature under this name, because config/ has an entry for it.
MODEL = "ssd_mobilenet_v1_coco_2018_01_28"
STEPS = 12


@dataclass
class Command:
    """One command.

    Attributes:
      name: the start of its messages.
      argv: with {trial} for the folder of home/, voc/ and tmp/.
      start: the stage (see world.py) that it runs on.
      trials: its number of trials when all commands have 200.
      variables: NAME=VALUE ... for its environment; {url} and {zoo} are the server's URLs.
      network: whether it downloads.
      loose: how to compare files that hold times.
      ignored: paths that may differ between two runs.
      why: which outputs are loose or ignored, and why.
    """

    name: str
    argv: List[str]
    start: str
    trials: int
    variables: str = ""
    network: bool = False
    loose: Loose = ()
    ignored: Pattern = NOTHING
    why: str = ""

    @property
    def title(self) -> str:
        return ("python -m %s" if self.argv[0] == sys.executable else "./%s.sh") % self.name


def _without_times(data: bytes) -> object:
    """eval.sh's JSON without its measured times."""
    times = ("seconds", "images_per_second")
    return {key: value for key, value in json.loads(data.decode()).items() if key not in times}


def _steps(data: bytes) -> object:
    """The steps of metrics.csv, in order of rows."""
    return [row["step"] for row in csv.DictReader(io.StringIO(data.decode()))]


def _run(data: bytes) -> object:
    """The part of run.json that is the same in two runs: the training's inputs and its end."""
    run = json.loads(data.decode())
    last = run["events"][-1]
    keys = ("classes", "dataset_digest", "config_digest")
    return [run[key] for key in keys] + [last["reason"], last["step"]]


def _status(data: bytes) -> object:
    return json.loads(data.decode())["step"]


def _newest(data: bytes) -> object:
    """The checkpoint that a `checkpoint` file names."""
    return re.search(rb'^model_checkpoint_path: "(.*)"$', data, re.MULTILINE).group(1).decode()


def _script(name: str, *more: str) -> List[str]:
    return [str(REPO / (name + ".sh"))] + list(more)


def _module(name: str, *more: str) -> List[str]:
    return [sys.executable, "-m", name] + list(more)


TRAINING = "home/model/%s/training/" % MODEL
COCO = "COCO_URL={url} CATEGORIES=circle,four_point_star JOBS=2 SHARDS=2 CONNECTIONS=4"
TRAIN = "NUM_TRAIN_STEPS=%d BATCH_SIZE=4 SAVE_STEPS=4 EVAL_STEPS=12 LOG_STEPS=2 EVAL_SAMPLE=6"
SLICE = "CHECKPOINT_PREFIX=pretrained"
PREPARE = _module("model", "-m", MODEL, "-d", "limited")

COMMANDS: Tuple[Command, ...] = (
    Command("dataset-limited", _script("dataset-limited"), "nothing", 40, COCO, network=True),
    Command("dataset-voc", _script("dataset-voc", "{trial}/voc"), "nothing", 34, "JOBS=2"),
    Command("model", PREPARE, "dataset", 34, "ZOO_URL={zoo}", network=True),
    Command(
        "train",
        _script("train"),
        "model",
        16,
        TRAIN % STEPS,
        loose=(
            (TRAINING + r"metrics\.csv", _steps),
            (TRAINING + r"run\.json", _run),
            (TRAINING + r"status\.json", _status),
            (TRAINING + "checkpoint", _newest),
            (TRAINING + r"model\.ckpt-%d\..*" % STEPS, lambda data: "there"),
        ),
        ignored=re.compile(
            TRAINING + r"(best.*|(eval.*/)?events\..*|model\.ckpt-(?!%d\.).*)" % STEPS
        ),
        why="step, rows of metrics.csv, classes and config; each training draws other images",
    ),
    Command(
        "eval",
        _script("eval", "--json", "{trial}/home/ap.json"),
        "model",
        10,
        SLICE,
        loose=((r"home/ap\.json", _without_times),),
        why="ap.json without seconds and images_per_second",
    ),
    Command("export", _script("export"), "model", 14, SLICE),
    Command("export-tflite", _script("export-tflite"), "model", 14, SLICE),
    Command("convert-tflite", _script("convert-tflite"), "graphs", 14),
    Command("convert-onnx", _script("convert-onnx"), "graphs", 12),
    Command("convert_uff", _module("convert_uff", "-m", MODEL, "-t"), "model", 12),
)


def named(names: str) -> List[Command]:
    """The commands of a COMMANDS value, all for an empty one.

    Raises KeyError with the first unknown name.
    """
    known = {command.name: command for command in COMMANDS}
    return [known[name] for name in names.replace(",", " ").split()] or list(COMMANDS)
