"""The models that the proof compares: each with all classes of the zoo, and limited."""

import sys
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from bench import _miniature
from demo.server import Server
from todus import categories, paths
from todus.errors import UsageError
from todus.model import zoo
from todus.paths import Dataset, Model

MINIATURE = (_miniature.NAME, "ssd_mobilenet_v1_quantized_shapes")
FLOAT_FILES = "export.sh export-tflite.sh convert-tflite.sh convert-onnx.sh"
EIGHT_BIT_FILES = "export-tflite.sh convert-tflite.sh"

Say = Callable[[str], None]


class Compared(NamedTuple):
    """What is compared; the models are exported and converted.

    Attributes:
      name: of the zoo model.
      quantized: of the quantization-aware zoo model, "" for none.
      dataset: the images, with boxes of the kept classes.
      pairs: (with all classes, limited).
    """

    name: str
    quantized: str
    dataset: Dataset
    pairs: List[Tuple[Model, Model]]


def of_the_miniature(home: Path, say: Say) -> Compared:
    """Draws the dataset, and prepares the zoo of demo/."""
    say("drawing 600 images")
    served = home / "served"
    run("demo.shapes", str(served), "--train", "8", "--val", "600")
    with Server(served) as server:
        wanted = {"CATEGORIES": _miniature.CLASSES, "COCO_URL": server.url}
        _miniature.run_command(["./dataset-limited.sh"], PYTHON=sys.executable, **wanted)
    archives = [paths.REPO / "demo" / "zoo" / (name + ".tar.gz") for name in MINIATURE]
    return _prepared(paths.dataset("limited"), MINIATURE, archives, say)


def of_the_zoo(home: Path, dataset: Dataset, names: Sequence[Optional[str]], say: Say) -> Compared:
    """Downloads the zoo models. Raises UsageError where they lack a class of the dataset."""
    archives = []
    for name in filter(None, names):
        say("fetching %s" % name)
        archives.append(zoo.fetch_archive(name, None, home))
    return _prepared(dataset, names, archives, say)


def _prepared(
    dataset: Dataset, names: Sequence[Optional[str]], archives: Sequence[Path], say: Say
) -> Compared:
    """The models of the archives; the second name is that of the quantization-aware one."""
    pairs = []
    for name, archive, more in zip(names, archives, (FLOAT_FILES, EIGHT_BIT_FILES)):
        say("limiting, exporting and converting %s" % name)
        options = ["-m", name, "--archive", str(archive)] + (["-q"] if pairs else [])
        limited = _model(options + ["-d", str(dataset.folder)], "limited-%d" % len(pairs), more)
        every = categories.read_label_map(limited.zoo_label_map)
        _check(categories.read_label_map(dataset.label_map), every, dataset, name)
        options += ["-d", _with_classes(dataset, every).name]
        whole = _model(options, "whole-%d" % len(pairs), more)
        pairs.append((whole, limited))
    return Compared(names[0], names[1] or "", dataset, pairs)


def _with_classes(dataset: Dataset, every: Dict[int, str]) -> Dataset:
    """A dataset of the same records whose label map has the zoo's ids, so that all are kept."""
    result = paths.mscoco_dataset("every")
    result.folder.mkdir(parents=True, exist_ok=True)
    for each in [dataset.manifest, *dataset.shards("train"), *dataset.shards("val")]:
        link = result.folder / each.name
        if not link.exists():
            link.symlink_to(each)
    categories.write_label_map(result.label_map, every)
    return result


def _check(wanted: Dict[int, str], known: Dict[int, str], dataset: Dataset, name: str) -> None:
    unknown = [each for each in wanted.values() if each not in known.values()]
    if unknown:
        text = "DATASET=%s has classes that %s does not know: %s; make one of its classes"
        raise UsageError(text % (dataset.name, name, ", ".join(unknown)))


def _model(options: List[str], name: str, scripts: str) -> Model:
    """Prepares, exports and converts a model under the name."""
    model = paths.model(name)
    run("model", *options, "--as", name)
    for script in scripts.split():
        variables = {"MODEL_DIR": str(model.folder), "CHECKPOINT_PREFIX": "pretrained"}
        _miniature.run_command(["./" + script], PYTHON=sys.executable, **variables)
    return model


def run(module: str, *arguments: str) -> None:
    _miniature.run_command([sys.executable, "-m", module, *arguments])
