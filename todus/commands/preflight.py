"""Checks of train, eval, export and convert before TensorFlow is imported; they take a second."""

import glob
import importlib.util
import itertools
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

from todus import categories, files, variables
from todus.dataset import box_sizes
from todus.dataset.records import reader, verify
from todus.errors import TodusError
from todus.evaluation import self_check
from todus.machine import environment, gpus
from todus.model import checkpoint_files, checkpoints, pipeline, prepared, resources
from todus.paths import Dataset, Model
from todus.text import one_line, shortened

Say = Callable[[str], None]

# Images of train whose boxes are measured.
MEASURED = 300
# Values that an optimizer keeps for each weight.
SLOTS = {"momentum_optimizer": 1, "rms_prop_optimizer": 2, "adam_optimizer": 2}
# An export's size in checkpoints: frozen graph, SavedModel, and a checkpoint with its graph, plus
# those of the export that is being replaced.
EXPORTED = 5
NO_BOXES = "testdev"  # COCO's split without annotations


def train(model: Model, config: pipeline.Config, keep: int, evaluates: bool, say: Say) -> None:
    """Checks what a training needs.

    Args:
      model: a prepared model.
      config: its pipeline config with the settings of this training.
      keep: the number of newest checkpoints to keep.
      evaluates: whether checkpoints are evaluated.
      say: takes the warnings, one sentence each.

    Raises:
      TodusError: something is missing, damaged, or does not fit together.
    """
    environment.check()
    if evaluates:
        self_check.coco_toy()
    dataset = prepared.dataset_of(model)
    verify.check_shard_sizes(dataset)
    _check_input_paths(model, config)
    check_classes(model, config, dataset)
    check_masks(config, dataset)
    newest = checkpoints.latest(model)
    if newest:
        remedy = "to continue from the one before it, run: rm %s.*" % shlex.quote(str(newest[1]))
        checkpoint_files.check(newest[1], remedy)
    elif config.train_config.fine_tune_checkpoint:
        start = Path(config.train_config.fine_tune_checkpoint)
        checkpoint_files.check(start, "run python -m model again")
    _check_room_for_checkpoints(model, config, keep)
    for warning in itertools.chain(
        _memory(model, config), tiny_boxes(dataset, config), gpus.warnings()
    ):
        say(warning)


def evaluate(dataset: Dataset, split: str) -> None:
    """Checks what an evaluation needs. Raises TodusError."""
    _check_split(dataset, split)
    environment.check()
    self_check.coco_toy()
    verify.check_shard_sizes(dataset, [split])


def _check_split(dataset: Dataset, split: str) -> None:
    """Raises TodusError for a split that the dataset lacks, and for COCO's, which has no boxes."""
    splits = list(reader.read_manifest(dataset)["splits"])
    if split in splits and split != NO_BOXES:
        return
    there = ", ".join(name for name in splits if name != NO_BOXES) or "none"
    kind = "boxes in its" if split in splits else "such"
    text = "--split %s: dataset %s has no %s records; it has: %s"
    raise TodusError(text % (one_line(split), dataset.name, kind, there))


def export(model: Model, prefix: Path) -> None:
    """Checks what an export of a checkpoint needs. Raises TodusError."""
    environment.check()
    check_checkpoint(prefix)
    label_map = model.limited_label_map
    _check_ids(label_map, categories.read_label_map(label_map), prepared.resolved(model))
    _check_room(model.folder, EXPORTED * checkpoint_files.size(prefix), "the export", "")


def convert(*modules: str) -> None:
    """Checks that TensorFlow and `modules` are installed for a conversion. Raises TodusError."""
    environment.check()
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise TodusError("%s is not installed; run: make install" % module)


def check_checkpoint(prefix: Path) -> None:
    """Raises TodusError for an incomplete or damaged checkpoint, with how to replace it."""
    of_model = checkpoints.is_slice(prefix) or prefix.parent.name == "pretrained"
    other = "run python -m model again" if of_model else "take another one with CHECKPOINT_PREFIX"
    checkpoint_files.check(prefix, other)


def _check_input_paths(model: Model, config: pipeline.Config) -> None:
    """Raises TodusError for an input_path of pipeline.config that matches no file."""
    readers = [("train_input_reader", config.train_input_reader)]
    readers += [("eval_input_reader", each) for each in config.eval_input_reader]
    for name, each in readers:
        for pattern in each.tf_record_input_reader.input_path:
            if not glob.glob(pattern):
                text = "%s: %s reads %s, and no file has such a name; run python -m model again"
                raise TodusError(text % (model.pipeline, name, pattern))


def check_classes(model: Model, config: pipeline.Config, dataset: Dataset) -> None:
    """Raises TodusError where label map, dataset.json, num_classes and slice differ in classes."""
    listed = reader.read_manifest(dataset)["categories"]
    classes = {entry["id"]: one_line(entry["name"]) for entry in listed}
    path = Path(config.train_input_reader.label_map_path)
    names = categories.read_label_map(path)
    if path == dataset.label_map and names != classes:
        raise TodusError(
            "%s and dataset.json name different classes; build the dataset again" % path
        )
    sliced = categories.read_label_map(model.limited_label_map)
    added = prepared.added_classes(model)
    if added and set(added).issubset(names.values()):
        _check_ids(model.limited_label_map, sliced, config)
        return
    if sliced != names:
        before, now = shortened(sliced.values()), shortened(names.values())
        raise TodusError(
            "%s was prepared for %s, and the dataset now has %s; run: %s"
            % (model.name, before, now, prepared.preparation(model))
        )
    _check_ids(path, names, config, gaps_allowed=names == classes)


def check_masks(config: pipeline.Config, dataset: Dataset) -> None:
    """Raises TodusError where the model learns masks and the train records have none."""
    if not pipeline.predicts_masks(config):
        return
    with_boxes = (each for each in reader.read_examples(dataset, "train") if len(each.boxes))
    first = next(with_boxes, None)
    if first is None or first.masks:
        return
    manifest = reader.read_manifest(dataset)
    text = "%s learns masks, and dataset %s has none; %s"
    remedy = "only COCO's have masks: take a faster_rcnn model, or a dataset of dataset-limited.sh"
    if manifest.get("source") == "coco-json":
        remedy = "make it again with INCLUDE_MASKS=1"
    if manifest.get("source") == "coco":
        remedy = "make it again: INCLUDE_MASKS=1 %s" % _coco_command(dataset, manifest)
    raise TodusError(text % (pipeline.extractor(config), dataset.name, remedy))


def _coco_command(dataset: Dataset, manifest: Dict[str, Any]) -> str:
    """The command, with its variables, that makes a dataset of COCO again."""
    settings = manifest.get("settings") or {}
    kind = settings.get("kind", "limited")
    splits = settings.get("splits") or ["train", "val"]
    given = {"NAME": dataset.folder.name, "SPLITS": " ".join(splits)}
    if kind == "limited":
        given["CATEGORIES"] = ",".join(each["name"] for each in manifest["categories"])
    for key in ("max_images", "negatives") if kind == "limited" else ("max_images",):
        numbers = settings.get(key) or {}
        given[key.upper()] = " ".join("%s=%s" % (each, numbers.get(each, 0)) for each in splits)
    for key in ("seed", "shards", "verify"):
        given[key.upper()] = str(settings.get(key, ""))
    if settings.get("negatives_folder"):
        given["NEGATIVES"] = "DIR"
    usual = dict(variables.defaults("dataset-" + kind), MAX_IMAGES="", NEGATIVES="")
    words = [
        "%s=%s" % (name, shlex.quote(value))
        for name, value in given.items()
        if value not in ("", usual.get(name)) and not re.fullmatch(r"(\w+=0 ?)+", value)
    ]
    return " ".join(words + ["./dataset-%s.sh" % kind])


def _check_ids(
    path: Path, names: Dict[int, str], config: pipeline.Config, gaps_allowed: bool = True
) -> None:
    classes = pipeline.meta(config).num_classes
    if max(names) != classes:
        raise TodusError(
            "%s has ids up to %d, pipeline.config has num_classes: %d; run python -m model again"
            % (path, max(names), classes)
        )
    if not gaps_allowed and len(names) < classes:
        gap = min(set(range(1, classes + 1)) - set(names))
        raise TodusError(
            "%s has no item with id %d; ids are 1 to %d, each once: mend its braces and ids"
            % (path, gap, classes)
        )


def _check_room_for_checkpoints(model: Model, config: pipeline.Config, keep: int) -> None:
    """Raises TodusError without room for `keep` checkpoints, the best and the next."""
    trained = checkpoints.trained(model)
    if trained:
        size = checkpoint_files.size(trained[-1][1])
    else:
        slots = SLOTS.get(config.train_config.optimizer.WhichOneof("optimizer") or "", 1)
        start = Path(config.train_config.fine_tune_checkpoint)
        size = (1 + slots) * checkpoint_files.size(start)
    used = files.size_of(model.training) if model.training.exists() else 0
    needed = max((keep + 2) * size - used, 2 * size)
    other = ", or set a smaller KEEP" if keep > 1 else ""
    _check_room(model.folder, needed, "checkpoints", other)


def _check_room(folder: Path, needed: int, what: str, other: str) -> None:
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        raise TodusError(
            "%s: %d MB are free, and %s will take about %d MB; free some%s"
            % (folder, free / 1e6, what, needed / 1e6, other)
        )


def _memory(model: Model, config: pipeline.Config) -> Iterator[str]:
    """A warning where the batch probably does not fit into memory, by the cost in source.json."""
    measured = (prepared.prepared_from(model) or {}).get("cost")
    if measured:
        cost = resources.Costs(measured["parameters"], 0, measured["activations"], None, [], [])
        warning = resources.memory_warning(cost, config.train_config.batch_size, "BATCH_SIZE=")
        if warning:
            yield warning


def tiny_boxes(dataset: Dataset, config: pipeline.Config) -> Iterator[str]:
    """A warning where the network's input makes boxes of train too small to learn from.

    Measures the first images of train. The loss of such boxes may become NaN.
    """
    size = pipeline.input_size(config)
    if not size:
        return
    examples = itertools.islice(reader.read_stored(dataset, "train"), MEASURED)
    images = [each.image for each in examples]
    names = {entry["id"]: entry["name"] for entry in reader.read_manifest(dataset)["categories"]}
    width_and_height = (size[1], size[0])
    tiny = [
        "%s %d of %d" % (names.get(identity, identity), count.tiny, count.boxes)
        for identity, count in sorted(box_sizes.measure(images, width_and_height).items())
        if count.tiny
    ]
    if tiny:
        yield (
            "boxes under %d pixels at the network's %dx%d, in %d images of train: %s;"
            " they teach nothing and can make the loss NaN"
            % (box_sizes.LEAST_PIXELS, *size, len(images), shortened(tiny))
        )
