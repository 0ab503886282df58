"""A training that adds classes to a slice, whose other classes and boxes stay as they are."""

import math
import time
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

import numpy as np

from todus import categories, files
from todus.added.augmentation import Augmentation
from todus.added.columns import FIRST_SCORE, Columns
from todus.added.negatives import SHARE, Negatives, divided, is_ranking_due
from todus.added.network import Network
from todus.added.views import BATCH, Cache, Labelled, Views, row_kind, views_that_fit
from todus.dataset.annotations import Image
from todus.dataset.records import reader
from todus.model import checkpoint_values, class_columns, heads, pipeline, prepared
from todus.paths import Dataset, Model

STATE = class_columns.ADDED_STATE  # of the optimizer, in a checkpoint
HARDEST = "hardest_negatives"
FEATURES = "features"  # the cache, a folder of training/
SEED = 0
SAY_EVERY = 10  # seconds

Say = Callable[[str], None]


class AddedClasses:
    """The state of the training; each step changes only the new classes' columns and own boxes.

    Args:
      model: prepared with --keep.
      config: its pipeline config with the settings of the run.
      dataset: has train records.
      network: of the slice.
      negatives: images without the new classes, beside those of the dataset that have no box.
      room: bytes for cached features.
      say: takes lines for the user.
    """

    def __init__(
        self,
        model: Model,
        config: pipeline.Config,
        dataset: Dataset,
        network: Network,
        negatives: Sequence[Image],
        room: float,
        say: Say,
    ):
        self._say, self._steps = say, config.train_config.num_steps
        names = categories.read_label_map(model.limited_label_map)
        places = {identity - 1: name for identity, name in names.items()}
        added = prepared.added_classes(model)
        self._places = [place for place, name in sorted(places.items()) if name in added]
        self._variables = checkpoint_values.read_checkpoint(model.limited_checkpoint)
        self._parts = _parts(config, self._variables, network, self._places)
        images = _labelled(dataset, [names[place + 1] for place in self._places])
        images, empty = divided(images)
        negatives = [*negatives, *empty]
        batch = config.train_config.batch_size
        self._negative = max(1, batch // SHARE) if negatives and batch > 1 else 0
        self._positive = batch - self._negative
        self._prepare_rows(model, config, dataset, network, images, negatives, room)
        self.columns = Columns(network, config, self._first_columns(), len(self._places))

    def _prepare_rows(self, model, config, dataset, network, images, negatives, room) -> None:
        passes = max(1, math.ceil(self._steps * self._positive / len(images)))
        kept = views_that_fit(network, len(images), passes, room)
        options = [str(each) for each in config.train_config.data_augmentation_options]
        key = {
            "checkpoint": files.sha256(str(model.limited_checkpoint) + ".data-00000-of-00001"),
            "augmentations": options,
            "dataset": reader.read_manifest(dataset).get("digest"),
            "negatives": [str(image.path or image.file_name) for image in negatives],
            "classes": self._places,
            "row": str(row_kind(network)),
            "seed": SEED,
        }
        self.cache = Cache(model.training / FEATURES, key)
        total = kept * len(images) + len(negatives)
        if kept:
            text = "features of %d images, %d times augmented, and of %d negatives"
            self._say(text % (len(images), kept, len(negatives)))
        else:
            text = "%d images pass the network in each step: their features do not fit CACHE_GB"
            self._say(text % self._positive)
        tick = _Ticker(self._say, total)
        augmentation = Augmentation(config, network.anchors, SEED)
        self._negatives = Negatives(network, negatives, self.cache, SEED, tick)
        self._views = Views(network, augmentation, images, self.cache, kept, SEED, tick)

    def _first_columns(self) -> Dict[str, np.ndarray]:
        """The columns before training: of a new class no weight, of a known one the zoo's."""
        start = {}
        for name, where in self._parts.items():
            found = class_columns.columns_at(self._variables[name], *where)
            silent = name.endswith("biases") & (found == class_columns.SILENT)
            start[name] = np.where(silent, math.log(FIRST_SCORE / (1 - FIRST_SCORE)), found).astype(
                found.dtype
            )
        return start

    def step(self, number: int) -> float:
        """Makes step `number`, counted from 0; returns the loss."""
        if len(self._negatives) and is_ranking_due(number, self._steps):
            self._negatives.rank(lambda values: self.columns.predict(values)[0])
        rows = self._views.batch(number, self._positive)
        if self._negative:
            more = self._negatives.batch(number, self._negative)
            rows = np.concatenate([rows, more])
        return self.columns.train(rows)

    def save(self, prefix, step: int) -> None:
        """Writes a checkpoint: the slice with the columns, and the optimizer's state."""
        state = self.columns.state()
        variables: Dict[str, Any] = dict(self._variables)
        for name, where in self._parts.items():
            variables[name] = class_columns.with_columns(
                self._variables[name], *where, columns=state[name]
            )
        variables["global_step"] = np.array(step, np.int64)
        variables.update({STATE + name: value for name, value in state.items()})
        variables[STATE + HARDEST] = self._negatives.hardest
        checkpoint_values.write_checkpoint(prefix, variables)

    def restore(self, prefix) -> None:
        """Continues from a checkpoint that `save` wrote."""
        values = checkpoint_values.read_checkpoint(prefix)
        state = {
            name[len(STATE) :]: value for name, value in values.items() if name.startswith(STATE)
        }
        hardest = state.pop(HARDEST, np.zeros(0, np.int32))
        if hardest.size <= len(self._negatives):
            self._negatives.hardest = hardest
        self.columns.restore(state)


class Part(NamedTuple):
    """The place in a variable of what is trained: arguments of class_columns.columns_at."""

    layout: class_columns.Layout
    classes: int
    places: Sequence[int]
    groups: slice


def _parts(config: pipeline.Config, variables, network: Network, places) -> Dict[str, Part]:
    """Variable -> the part that is trained."""
    classes = pipeline.meta(config).num_classes
    parts = {
        name: (layout, classes, places)
        for name, layout in class_columns.layouts(config, variables).items()
    }
    if network.box_levels:
        boxes = heads.box_layouts(variables)
        parts.update({name: (layout, 1, [0]) for name, layout in boxes.items()})
    result = {}
    for name, (layout, count, chosen) in parts.items():
        groups = variables[name].shape[-1] // ((count + layout.background) * layout.inner)
        where = heads.part(groups, network.heads, network.head)
        result[name] = Part(layout, count, chosen, where)
    return result


def _labelled(dataset: Dataset, added: Sequence[str]) -> List[Labelled]:
    """The train images with their boxes of the added classes; other boxes are background."""
    names = categories.read_label_map(dataset.label_map)
    places = {canonical: place for place, canonical in enumerate(map(categories.canonical, added))}
    found = []
    for stored in reader.read_stored(dataset, "train"):
        image, boxes, classes = stored.image, [], []
        for box in image.boxes:
            place = places.get(categories.canonical(names[box.category_id]))
            if place is not None and not box.is_crowd:
                boxes.append([box.ymin, box.xmin, box.ymax, box.xmax])
                classes.append(place)
        scale = np.array([image.height, image.width] * 2, np.float32)
        corners = np.array(boxes, np.float32).reshape(-1, 4) / scale
        found.append(Labelled(image, corners, np.array(classes, np.int32)))
    return found


class _Ticker:
    """Prints every ten seconds how many images have passed the network."""

    def __init__(self, say: Say, total: int):
        self._say, self._total, self._done = say, total, 0
        self._began = self._said = time.monotonic()

    def __call__(self) -> None:
        self._done = min(self._done + BATCH, self._total)
        now = time.monotonic()
        if now - self._said >= SAY_EVERY:
            self._said = now
            left = (now - self._began) / self._done * (self._total - self._done)
            text = "features of %d of %d images, %.0f s left"
            self._say(text % (self._done, self._total, left))
