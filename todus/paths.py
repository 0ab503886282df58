"""The paths under TODUS_HOME (README, "Directory structure")."""

import contextlib
import glob
import os
import re
from pathlib import Path
from typing import List, Sequence, Union

from todus import forms, sources
from todus.errors import TodusError, UsageError

REPO = Path(__file__).resolve().parent.parent


def home() -> Path:
    """TODUS_HOME as an absolute path; the repository by default."""
    return Path(os.path.abspath(os.path.expanduser(os.environ.get("TODUS_HOME") or str(REPO))))


class Dataset:
    """A dataset's folder: TFRecord shards, label map and manifest."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.label_map = self.folder / "label_map.pbtxt"
        self.manifest = self.folder / "dataset.json"

    @property
    def name(self) -> str:
        """The name that -d takes: limited, voc/raccoon, or a path outside TODUS_HOME."""
        for root in (home() / "dataset" / "mscoco", home() / "dataset"):
            with contextlib.suppress(ValueError):
                return str(self.folder.relative_to(root))
        return str(self.folder)

    def shard_pattern(self, split: str) -> str:
        """The glob of a split's shards, for tf_record_input_reader.input_path."""
        # Python and TensorFlow both read [\\] as a backslash.
        folder = glob.escape(str(self.folder)).replace("\\", "[\\\\]")
        return str(Path(folder) / ("%s.record-?????-of-?????" % split))

    def shards(self, split: str) -> List[Path]:
        return [Path(path) for path in sorted(glob.glob(self.shard_pattern(split)))]

    def check(self) -> "Dataset":
        """Raises TodusError if the dataset is missing or incomplete."""
        if not self.manifest.exists() or not self.label_map.exists():
            hint = sources.maker(self.name) + _listed(datasets())
            raise TodusError("no dataset at %s; make it with %s" % (self.folder, hint))
        return self


def datasets() -> List[Dataset]:
    """The datasets that are complete, by folder."""
    folders = [path.parent for path in sorted(home().glob("dataset/*/*/dataset.json"))]
    return [Dataset(folder) for folder in folders if not folder.name.startswith(".")]


def _listed(found: Sequence[Union[Dataset, "Model"]]) -> str:
    """The end of a message that lists the datasets or models that exist."""
    return " (existing: %s)" % ", ".join(each.name for each in found) if found else ""


def dataset(name: str) -> Dataset:
    """The dataset for a value of -d: NAME in dataset/mscoco/, KIND/NAME in dataset/, or a path."""
    if not name:
        raise UsageError("-d needs the name of a dataset, such as limited")
    if name.startswith((".", "/", "~")):
        return Dataset(Path(os.path.abspath(os.path.expanduser(name))))
    root = home() / "dataset"
    return Dataset(root / name if "/" in name.strip("/") else root / "mscoco" / name)


def mscoco_dataset(name: str) -> Dataset:
    """dataset/mscoco/NAME. Raises UsageError for a name that cannot be a dataset's folder."""
    if name == "raw-data":
        raise UsageError("NAME=raw-data is the folder for downloads; choose another name")
    return Dataset(home() / "dataset" / "mscoco" / checked_name(name, "NAME"))


def raw_data() -> Path:
    return home() / "dataset" / "mscoco" / "raw-data"


def checked_name(name: str, what: str) -> str:
    """`name`, a value of `what`. Raises UsageError if it cannot be the name of a folder."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        hint = "use letters, digits, and . _ + -"
        raise UsageError("%s=%s cannot be a folder's name; %s" % (what, name, hint))
    return name


class Model:
    """A model's folder, model/NAME, and the paths in it.

    Attributes:
      limited_checkpoint: the slice.
      features_checkpoint: the zoo model's features, instead of a slice, for a fresh head.
    """

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
        self.features_checkpoint = self.pretrained / "limited" / "features.ckpt"
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
        """The path of a form's file, by its name in todus.forms; it need not exist."""
        return forms.find(form).path(self.folder)

    def check(self) -> "Model":
        """Raises TodusError unless this is a prepared model."""
        if not self.pipeline.exists():
            hint = "python -m model -m %s -d limited%s" % (self.name, _listed(models()))
            raise TodusError("no model at %s; run: %s" % (self.folder, hint))
        return self


def models_folder() -> Path:
    return home() / "model"


def models() -> List[Model]:
    """The prepared models, by name."""
    found = models_folder().glob("*/pretrained/pipeline.config")
    return [Model(path.parent.parent) for path in sorted(found)]


def model(name: str) -> Model:
    """The model for a value of -m: NAME in model/, or a path with a slash."""
    if not name:
        raise UsageError("-m needs the name of a model, such as ssd_mobilenet_v1_coco_2018_01_28")
    if "/" in name:
        return Model(Path(os.path.abspath(os.path.expanduser(name))))
    return Model(models_folder() / checked_name(name, "-m"))


def beside_json(path: Path) -> Path:
    """FILE.json, which describes a converted model: inputs, outputs, labels."""
    return path.with_name(path.name + ".json")
