"""The commands that are disturbed: what they are run on, and what of their outputs must be the same after a disturbance."""

import csv
import io
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Pattern, Tuple

from tests.torture.tree import Loose

REPO = Path(__file__).resolve().parent.parent.parent
MODEL = "ssd_mobilenet_v1_coco_2018_01_28"  # the miniature is served under this name, so that config/ has an entry for it
STEPS = 12
NOTHING = re.compile("(?!)")


@dataclass
class Command:
    """One command.

    Attributes:
      name: begins its messages.
      argv: with {trial} for the folder that holds home/, voc/ and tmp/.
      start: the stage of the way (see world.py) that it begins from.
      variables: of its environment; {url} and {zoo} are the loopback server's.
      network: whether it fetches something.
      trials: its share of 200.
      loose: what counts of files that hold times.
      ignored: paths that legitimately differ between two runs; `why` says which and why.
      resumes: whether SIGTERM and SIGHUP end it well.
    """

    name: str
    argv: List[str]
    start: str
    trials: int
    variables: Dict[str, str] = field(default_factory=dict)
    network: bool = False
    loose: Loose = ()
    ignored: Pattern = NOTHING
    why: str = ""
    resumes: bool = False

    @property
    def title(self) -> str:
        return (
            "python -m %s" % self.name if self.argv[0] == sys.executable else "./%s.sh" % self.name
        )


def _without(*keys: str):
    """A JSON object but for the values of keys that hold times."""

    def reading(data: bytes) -> object:
        return json.dumps(
            {
                key: value
                for key, value in json.loads(data.decode("utf-8")).items()
                if key not in keys
            },
            sort_keys=True,
        )

    return reading


def _steps(data: bytes) -> object:
    """The steps of metrics.csv's rows, in their order: each once."""
    return [row["step"] for row in csv.DictReader(io.StringIO(data.decode("utf-8")))]


def _run(data: bytes) -> object:
    """Of run.json: what was trained, and how it ended."""
    run = json.loads(data.decode("utf-8"))
    return [
        run["classes"],
        run["dataset_digest"],
        run["config_digest"],
        run["events"][-1]["reason"],
        run["events"][-1]["step"],
    ]


def _status(data: bytes) -> object:
    return json.loads(data.decode("utf-8"))["step"]


def _newest(data: bytes) -> object:
    return re.search(rb'^model_checkpoint_path: "(.*)"$', data, re.MULTILINE).group(1).decode()


def _script(name: str, *more: str) -> List[str]:
    return [str(REPO / (name + ".sh"))] + list(more)


def _module(name: str, *more: str) -> List[str]:
    return [sys.executable, "-m", name] + list(more)


TRAINING = "home/model/%s/training/" % MODEL
SLICE = {"CHECKPOINT_PREFIX": "pretrained"}

COMMANDS: Tuple[Command, ...] = (
    Command(
        "dataset-limited",
        _script("dataset-limited"),
        "nothing",
        40,
        {
            "COCO_URL": "{url}",
            "CATEGORIES": "circle, four point star",
            "JOBS": "2",
            "SHARDS": "2",
            "CONNECTIONS": "4",
        },
        network=True,
    ),
    Command("dataset-voc", _script("dataset-voc", "{trial}/voc"), "nothing", 34, {"JOBS": "2"}),
    Command(
        "model",
        _module("model", "-m", MODEL, "-d", "limited"),
        "dataset",
        34,
        {"ZOO_URL": "{zoo}"},
        network=True,
    ),
    Command(
        "train",
        _script("train"),
        "model",
        16,
        {
            "NUM_TRAIN_STEPS": str(STEPS),
            "BATCH_SIZE": "4",
            "SAVE_STEPS": "4",
            "EVAL_STEPS": "12",
            "LOG_STEPS": "2",
            "EVAL_SAMPLE": "6",
        },
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
        why="training draws its images anew, so its weights differ: the step, the rows of metrics.csv, classes and config count",
        resumes=True,
    ),
    Command(
        "eval",
        _script("eval", "--json", "{trial}/home/ap.json"),
        "model",
        10,
        SLICE,
        loose=((r"home/ap\.json", _without("seconds", "images_per_second")),),
        why="ap.json: seconds and images_per_second",
    ),
    Command("export", _script("export"), "model", 14, SLICE),
    Command("export-tflite", _script("export-tflite"), "model", 14, SLICE),
    Command("convert-tflite", _script("convert-tflite"), "graphs", 14),
    Command("convert-onnx", _script("convert-onnx"), "graphs", 12),
    Command("convert_uff", _module("convert_uff", "-m", MODEL, "-t"), "model", 12),
)


def named(names: str) -> List[Command]:
    """The commands of a COMMANDS value, all for an empty one. Raises KeyError with the first that is unknown."""
    known = {command.name: command for command in COMMANDS}
    return [known[name] for name in names.replace(",", " ").split()] or list(COMMANDS)
