"""The commands under test, their inputs, and which of their outputs must stay the same."""

import csv
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Pattern, Tuple

from tests.torture.tree import NOTHING, Loose

REPO = Path(__file__).resolve().parent.parent.parent
# The server has the miniature under this name, because config/ has an entry for it.
MODEL = "ssd_mobilenet_v1_coco_2018_01_28"
STEPS = 12


@dataclass
class Command:
    """One command.

    Attributes:
      name: of the row; the command's own, with a word more where it has several rows.
      argv: with {trial} for the folder of home/, tmp/ and the user's images.
      start: the stage (see world.py) that it runs on.
      trials: its share of the trials, when all commands have 250.
      variables: NAME=VALUE ... for its environment; {url} and {zoo} are the server's URLs.
      network: whether it downloads.
      loose: how to compare files that hold times.
      ignored: paths that may differ between two runs.
      why: which outputs are loose or ignored, and why.
      after: what the row's title adds to the command.
      kills: so many trials with KILL come first; then the faults alternate.
      asks: options with which a second run only asks about the first, or must not end it.
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
    after: str = ""
    kills: int = 0
    asks: Tuple[str, ...] = ()

    @property
    def begins(self) -> str:
        """The start of its messages."""
        if self.argv[1:2] == ["-m"]:
            return self.argv[2]
        return Path(self.argv[0]).stem if self.argv[0].endswith(".sh") else self.name

    @property
    def title(self) -> str:
        """What the user types, without paths."""
        is_made = Path(self.argv[0]).parent.name == "lib"
        form = "make %s" if is_made else "./%s.sh"
        return (
            "python -m %s" if self.argv[0] == sys.executable else form
        ) % self.begins + self.after


def _without_times(data: bytes) -> object:
    """eval.sh's JSON without its measured times."""
    times = ("seconds", "images_per_second")
    return {key: value for key, value in json.loads(data.decode()).items() if key not in times}


def _steps(data: bytes) -> object:
    """The steps of metrics.csv, in order of rows."""
    return [row["step"] for row in csv.DictReader(io.StringIO(data.decode()))]


def _scores(data: bytes) -> object:
    """metrics.csv without its measured times."""
    rows = csv.DictReader(io.StringIO(data.decode()))
    return [{name: row[name] for name in row if name not in ("time", "seconds")} for row in rows]


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


COCO = "COCO_URL={url} CATEGORIES=circle,four_point_star JOBS=2 SHARDS=2 CONNECTIONS=4"
TRAIN = "NUM_TRAIN_STEPS=%d BATCH_SIZE=4 SAVE_STEPS=4 EVAL_STEPS=12 LOG_STEPS=2 EVAL_SAMPLE=6"
SLICE = "CHECKPOINT_PREFIX=pretrained"
PREPARE = _module("model", "-m", MODEL, "-d", "limited")
GROWN = "grown"
TFLITE = "{trial}/home/model/%s/%s.tflite" % (MODEL, MODEL)


def _training(model: str, checkpoint: str, metrics: Callable) -> Dict[str, Any]:
    """How to compare the files of a training of STEPS steps.

    Args:
      model: its name.
      checkpoint: "loose" where only the names of the last checkpoint's files are compared.
      metrics: reads metrics.csv.
    """
    folder = "home/model/%s/training/" % model
    loose = [
        (folder + r"metrics\.csv", metrics),
        (folder + r"run\.json", _run),
        (folder + r"status\.json", _status),
        (folder + "checkpoint", _newest),
    ]
    if checkpoint == "loose":
        loose.append((folder + r"model\.ckpt-%d\..*" % STEPS, lambda data: "there"))
    changing = r"(best.*|(eval.*/)?events\..*|model\.ckpt-(?!%d\.).*)" % STEPS
    return {"loose": tuple(loose), "ignored": re.compile(folder + changing)}


COMMANDS: Tuple[Command, ...] = (
    Command("dataset-limited", _script("dataset-limited"), "nothing", 24, COCO, network=True),
    Command("dataset-voc", _script("dataset-voc", "{trial}/voc"), "nothing", 22, "JOBS=2"),
    Command("dataset-yolo", _script("dataset-yolo", "{trial}/yolo"), "nothing", 22, "JOBS=2"),
    Command(
        "dataset-coco-json",
        _script("dataset-coco-json", "{trial}/coco"),
        "nothing",
        22,
        "JOBS=2",
    ),
    Command(
        "dataset-label",
        _script("dataset-label", "{trial}/pictures", "-m", MODEL),
        "model",
        10,
        "THRESHOLD=0.3",
    ),
    Command("model", PREPARE, "dataset", 20, "ZOO_URL={zoo}", network=True),
    Command(
        "model-keep",
        _module("model", "-m", MODEL, "-d", "voc/voc", "--keep", "circle", "--as", GROWN),
        "own",
        8,
        "ZOO_URL={zoo}",
        network=True,
        after=" --keep",
    ),
    Command(
        "train",
        _script("train"),
        "model",
        12,
        TRAIN % STEPS,
        why="step, rows of metrics.csv, classes and config; each training draws other images",
        asks=("--status", "--stop"),
        **_training(MODEL, "loose", _steps),
    ),
    Command(
        "train-keep",
        _script("train"),
        "grown",
        18,
        TRAIN % STEPS + " COCO_NEGATIVES=6 COCO_URL={url} MODEL_DIR={trial}/home/model/" + GROWN,
        why="as ./train.sh, but the last checkpoint byte by byte, and every AP of metrics.csv",
        after=" of a model with --keep",
        kills=10,
        asks=("--status", "--stop"),
        **_training(GROWN, "exact", _scores),
    ),
    Command(
        "eval",
        _script("eval", "--json", "{trial}/home/ap.json"),
        "model",
        8,
        SLICE,
        loose=((r"home/ap\.json", _without_times),),
        why="ap.json without seconds and images_per_second",
    ),
    Command("eval-errors", _script("eval", "--errors"), "model", 8, SLICE, after=" --errors"),
    Command("export", _script("export"), "model", 10, SLICE),
    Command("export-tflite", _script("export-tflite"), "model", 10, SLICE),
    Command("convert-tflite", _script("convert-tflite"), "graphs", 10),
    Command("convert-onnx", _script("convert-onnx"), "graphs", 8),
    Command("convert_uff", _module("convert_uff", "-m", MODEL, "-t"), "model", 8),
    Command(
        "slice",
        _script("lib/slice"),
        "files",
        14,
        "CATEGORIES=circle FILE=" + TFLITE,
    ),
    Command("device", _script("lib/device"), "graphs", 10, "MODEL=" + MODEL),
    Command("frigate", _script("lib/frigate"), "graphs", 6, "MODEL=" + MODEL),
)


def named(names: str) -> List[Command]:
    """The commands of a COMMANDS value, all for an empty one.

    Raises KeyError with the first unknown name.
    """
    known = {command.name: command for command in COMMANDS}
    return [known[name] for name in names.replace(",", " ").split()] or list(COMMANDS)
