"""The one place that knows the directory contract (README, "Directory structure").

Everything lies under TODUS_HOME, by default the repository.
"""

import glob
import os
import re
from pathlib import Path
from typing import List

from todus import forms, sources
from todus.errors import TodusError, UsageError

REPO = Path(__file__).resolve().parent.parent


def home() -> Path:
    """TODUS_HOME, absolute, resolved when a command starts."""
    return Path(os.path.abspath(os.environ.get("TODUS_HOME") or str(REPO)))


class Dataset:
    """A folder of TFRecord shards with their label map and manifest."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.label_map = self.folder / "label_map.pbtxt"
        self.manifest = self.folder / "dataset.json"

    @property
    def name(self) -> str:
        """The name to give to -d: limited, voc/raccoon, or a path outside TODUS_HOME."""
        for root in (home() / "dataset" / "mscoco", home() / "dataset"):
            try:
                return str(self.folder.relative_to(root))
            except ValueError:
                continue
        return str(self.folder)

    def shard_pattern(self, split: str) -> str:
        """The glob of a split's shards, for tf_record_input_reader.input_path."""
        return str(Path(glob.escape(str(self.folder))) / ("%s.record-?????-of-?????" % split))

    def shards(self, split: str) -> List[Path]:
        return [Path(path) for path in sorted(glob.glob(self.shard_pattern(split)))]

    def check(self) -> "Dataset":
        """Raises TodusError when there is no whole dataset here."""
        if not self.manifest.exists() or not self.label_map.exists():
            raise TodusError(
                "no dataset at %s; make it with %s%s"
                % (self.folder, sources.maker(self.name), _known_datasets())
            )
        return self


def datasets() -> List[Dataset]:
    root = home() / "dataset"
    return [
        Dataset(path.parent)
        for path in sorted(root.glob("*/*/dataset.json"))
        if not path.parent.name.startswith(".")
    ]


def _known_datasets() -> str:
    names = [found.name for found in datasets()]
    return " (there is: %s)" % ", ".join(names) if names else ""


def dataset(name: str) -> Dataset:
    """The dataset that -d names: a name under dataset/mscoco/, KIND/NAME under dataset/, or a path."""
    if not name:
        raise UsageError("-d needs a dataset's name, such as limited")
    if name.startswith((".", "/", "~")):
        return Dataset(Path(os.path.abspath(os.path.expanduser(name))))
    root = home() / "dataset"
    return Dataset(root / name if "/" in name.strip("/") else root / "mscoco" / name)


def mscoco_dataset(name: str) -> Dataset:
    """dataset/mscoco/NAME. Raises UsageError for a name that is not one folder."""
    if name == "raw-data":
        raise UsageError("NAME=raw-data is where downloads go; choose another name")
    return Dataset(home() / "dataset" / "mscoco" / checked_name(name, "NAME"))


def raw_data() -> Path:
    return home() / "dataset" / "mscoco" / "raw-data"


def checked_name(name: str, what: str) -> str:
    """`name` when it can be one folder's name, else UsageError."""
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise UsageError(
            "%s=%s cannot be a folder's name; use letters, digits, and . _ + -" % (what, name)
        )
    return name


class Model:
    """model/NAME and everything in it."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.name = self.folder.name
        self.pretrained = self.folder / "pretrained"
        self.zoo_checkpoint = self.pretrained / "model.ckpt"
        self.zoo_frozen_graph = self.file_of("zoo")
        self.zoo_pipeline = self.pretrained / "zoo-pipeline.config"
        self.zoo_label_map = self.pretrained / "label_map.pbtxt"
        self.pipeline = self.pretrained / "pipeline.config"
        self.limited_checkpoint = self.pretrained / "limited" / "model.ckpt"
        self.features_checkpoint = (
            self.pretrained / "limited" / "features.ckpt"
        )  # in its place where the head is fresh
        self.limited_label_map = self.pretrained / "limited" / "label_map.pbtxt"
        self.training = self.folder / "training"
        self.inference_graph = self.folder / "inference-graph"
        self.frozen_graph = self.file_of("frozen_graph")
        self.saved_model = self.file_of("saved_model")
        self.tflite_graph = self.file_of("tflite_graph")
        self.exported_pipeline = self.inference_graph / "pipeline.config"
        self.exported_label_map = self.inference_graph / "label_map.pbtxt"
        self.exported_labels = self.inference_graph / "labels.txt"

    def file_of(self, form: str) -> Path:
        """The file of a form, by its name in todus.forms, whether it is there or not."""
        return forms.find(form).path(self.folder)

    def check(self) -> "Model":
        """Raises TodusError when model.py has not prepared this model."""
        if not self.pipeline.exists():
            hint = "run: python -m model -m %s -d limited" % self.name
            names = [found.name for found in models()]
            raise TodusError(
                "no model at %s; %s%s"
                % (self.folder, hint, " (there is: %s)" % ", ".join(names) if names else "")
            )
        return self


def models_folder() -> Path:
    return home() / "model"


def models() -> List[Model]:
    """The prepared models, by name."""
    return [
        Model(path.parent.parent)
        for path in sorted(models_folder().glob("*/pretrained/pipeline.config"))
    ]


def model(name: str) -> Model:
    """model/NAME; also takes what a person's shell completes, model/NAME or a path with slashes."""
    if not name:
        raise UsageError("-m needs a model's name, such as ssd_mobilenet_v1_coco_2018_01_28")
    if "/" in name:
        return Model(Path(os.path.abspath(os.path.expanduser(name))))
    return Model(models_folder() / checked_name(name, "-m"))


def beside_json(path: Path) -> Path:
    """FILE.json: what stands beside a converted model (inputs, outputs, labels)."""
    return path.with_name(path.name + ".json")
