"""What a command needs, looked at before TensorFlow is imported: seconds in, not hours in, it says what is missing."""

import glob
import importlib.util
import itertools
import shutil
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional, Tuple

from todus import categories, files
from todus.dataset import box_sizes
from todus.dataset.records import reader, verify
from todus.errors import TodusError
from todus.evaluation import self_check
from todus.machine import environment, gpus
from todus.model import checkpoint_files, checkpoints, pipeline, prepared, resources
from todus.paths import Dataset, Model
from todus.text import one_line, shortened

Say = Callable[[str], None]

LOOKED_AT = 300  # images of train whose boxes are measured
SLOTS = {
    "momentum_optimizer": 1,
    "rms_prop_optimizer": 2,
    "adam_optimizer": 2,
}  # values an optimizer keeps beside each weight
EXPORTED = 5  # an export's size in checkpoints: frozen graph, SavedModel, checkpoint with its graph, and the same while it is replaced


def train(model: Model, config: pipeline.Config, keep: int, evaluates: bool, say: Say) -> None:
    """What a training needs.

    Args:
      model: a prepared model.
      config: its pipeline config as it will be run.
      keep: newest checkpoints that will be kept.
      evaluates: whether checkpoints will be scored.
      say: takes sentences on what is doubtful but does not prevent the training.

    Raises:
      TodusError: something is missing, damaged, or does not go together.
    """
    environment.check()
    if evaluates:
        self_check.coco_toy()
    dataset = prepared.dataset_of(model)
    verify.dataset_is_whole(dataset)
    _readers_find_their_files(model, config)
    classes_agree(model, config, dataset)
    newest = checkpoints.latest(model)
    if newest:
        checkpoint_files.check(
            newest[1], "remove %s.*: the one before it is taken then" % newest[1]
        )
    else:
        _start_is_whole(model, config)
    _room_for_checkpoints(model, config, keep)
    for doubt in itertools.chain(
        _memory(model, config), tiny_boxes(dataset, config), gpus.doubts()
    ):
        say(doubt)


def evaluate(dataset: Dataset, split: str) -> None:
    """What an evaluation needs. Raises TodusError."""
    environment.check()
    self_check.coco_toy()
    verify.dataset_is_whole(dataset, [split])


def export(model: Model, prefix: Path) -> None:
    """What an export of a checkpoint needs. Raises TodusError."""
    environment.check()
    checkpoint_is_whole(prefix)
    config = prepared.resolved(model)
    _ids_fit(model.limited_label_map, categories.read_label_map(model.limited_label_map), config)
    _room(model.folder, EXPORTED * checkpoint_files.size(prefix), "the export", "")


def convert(*modules: str) -> None:
    """What a conversion needs beside TensorFlow: `modules` that can be found. Raises TodusError."""
    environment.check()
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise TodusError("%s is not installed; run: make install" % module)


def checkpoint_is_whole(prefix: Path) -> None:
    """Raises TodusError, with the way to another one, for a checkpoint that is cut short or damaged."""
    of_model = checkpoints.is_slice(prefix) or prefix.parent.name == "pretrained"
    checkpoint_files.check(
        prefix,
        "run python -m model again" if of_model else "take another one with CHECKPOINT_PREFIX",
    )


def _readers_find_their_files(model: Model, config: pipeline.Config) -> None:
    """Raises TodusError for an input_path of pipeline.config, written by hand perhaps, that no file matches."""
    readers = [("train_input_reader", config.train_input_reader)] + [
        ("eval_input_reader", each) for each in config.eval_input_reader
    ]
    for name, each in readers:
        for pattern in each.tf_record_input_reader.input_path:
            if not glob.glob(pattern):
                text = "%s: %s reads %s, and no file has such a name; run python -m model again"
                raise TodusError(text % (model.pipeline, name, pattern))


def classes_agree(model: Model, config: pipeline.Config, dataset: Dataset) -> None:
    """Raises TodusError unless label map, dataset.json, num_classes and the slice name the same classes."""
    listed = {
        entry["id"]: one_line(entry["name"])
        for entry in reader.read_manifest(dataset)["categories"]
    }
    path = Path(config.train_input_reader.label_map_path)
    names = categories.read_label_map(path)
    if path == dataset.label_map and names != listed:
        raise TodusError(
            "%s and dataset.json name different classes; build the dataset again" % path
        )
    sliced = categories.read_label_map(model.limited_label_map)
    if sliced != names:
        raise TodusError(
            "%s was prepared for %s, and the dataset now has %s; run: %s"
            % (
                model.name,
                shortened(sliced.values()),
                shortened(names.values()),
                prepared.preparation(model),
            )
        )
    _ids_fit(path, names, config, has_gaps=names == listed)


def _ids_fit(
    path: Path, names: Dict[int, str], config: pipeline.Config, has_gaps: bool = True
) -> None:
    """Raises TodusError where ids and num_classes differ, or ids have gaps that the dataset does not know of."""
    classes = pipeline.meta(config).num_classes
    if max(names) != classes:
        raise TodusError(
            "%s has ids up to %d, pipeline.config has num_classes: %d; run python -m model again"
            % (path, max(names), classes)
        )
    if not has_gaps and len(names) < classes:
        gap = min(set(range(1, classes + 1)) - set(names))
        raise TodusError(
            "%s has no item with id %d; ids are 1 to %d, each once: mend its braces and ids"
            % (path, gap, classes)
        )


def _start_is_whole(model: Model, config: pipeline.Config) -> None:
    prefix = config.train_config.fine_tune_checkpoint
    if prefix:
        checkpoint_files.check(Path(prefix), "run python -m model again")


def _room_for_checkpoints(model: Model, config: pipeline.Config, keep: int) -> None:
    """Room for `keep` checkpoints, the best, and the one being written; those that are there count."""
    trained = checkpoints.trained(model)
    slots = SLOTS.get(config.train_config.optimizer.WhichOneof("optimizer") or "", 1)
    each = (
        checkpoint_files.size(trained[-1][1])
        if trained
        else (1 + slots) * checkpoint_files.size(Path(config.train_config.fine_tune_checkpoint))
    )
    there = files.size_of(model.training) if model.training.exists() else 0
    _room(
        model.folder,
        max((keep + 2) * each - there, 2 * each),
        "checkpoints",
        ", or set a smaller KEEP" if keep > 1 else "",
    )


def _room(folder: Path, needed: int, what: str, other: str) -> None:
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        raise TodusError(
            "%s: %d MB are free, and %s will take about %d MB; free some%s"
            % (folder, free / 1e6, what, needed / 1e6, other)
        )


def _memory(model: Model, config: pipeline.Config) -> Iterator[str]:
    """A doubt where the batch is likely not to fit into memory, by what the network was measured to take when it was prepared."""
    measured = (prepared.prepared_from(model) or {}).get("cost")
    if not measured:
        return
    cost = resources.Costs(measured["parameters"], 0, measured["activations"], None, [], [])
    doubt = resources.memory_doubt(cost, config.train_config.batch_size, "BATCH_SIZE=")
    if doubt:
        yield doubt


def tiny_boxes(dataset: Dataset, config: pipeline.Config) -> Iterator[str]:
    """A doubt where boxes of the first images of train are too small to learn from once resized: the loss may become NaN."""
    size: Optional[Tuple[int, int]] = pipeline.input_size(config)
    if not size:
        return
    images = [
        found.image for found in itertools.islice(reader.read_stored(dataset, "train"), LOOKED_AT)
    ]
    counts = box_sizes.measure(images, (size[1], size[0]))
    names = {entry["id"]: entry["name"] for entry in reader.read_manifest(dataset)["categories"]}
    found = [
        (names.get(identity, str(identity)), each)
        for identity, each in sorted(counts.items())
        if each.tiny
    ]
    tiny = ["%s %d of %d" % (name, each.tiny, each.boxes) for name, each in found]
    if tiny:
        yield (
            "boxes under %d pixels at the network's %dx%d, in %d images of train: %s; they teach nothing and can make the loss NaN"
            % ((box_sizes.LEAST_PIXELS, size[0], size[1], len(images), shortened(tiny)))
        )
