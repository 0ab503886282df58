"""Rows of features with their targets: cached on disk, or computed for each step."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus import files
from todus.added.augmentation import Augmentation, View
from todus.added.network import Network
from todus.dataset import image_bytes, image_files
from todus.dataset.annotations import Image

BATCH = 8  # images that pass the network at once
SPAN = 32  # steps whose random draws have one seed, where views are not cached
MOST_VIEWS = 2  # more gave no higher AP: docs/training.md

Tick = Callable[[], None]


class Labelled(NamedTuple):
    """An image, its boxes [N, 4] from 0 to 1, and their classes, from 0, int32 [N]."""

    image: Image
    boxes: np.ndarray
    classes: np.ndarray


class Cache:
    """Files of rows in a folder, which is emptied where it belongs to another `key`."""

    def __init__(self, folder: Path, key: Dict[str, Any]):
        self.folder = folder
        self._digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = folder / "key.json"
        if path.exists() and files.read_json(path) != self._digest:
            shutil.rmtree(str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(path, self._digest)

    def rows(self, name: str, kind: np.dtype, count: int, make: Iterator[np.ndarray]) -> np.ndarray:
        """[count] of `kind`, mapped from a file, which is made of the parts of `make` if absent."""
        path = self.folder / (name + ".npy")
        if not path.exists():
            with files.replacing(path) as part:
                array = np.lib.format.open_memmap(str(part), "w+", kind, (count,))
                place = 0
                for rows in make:
                    array[place : place + len(rows)] = rows
                    place += len(rows)
                array.flush()
        return np.load(str(path), mmap_mode="r")

    def remove(self) -> None:
        shutil.rmtree(str(self.folder), ignore_errors=True)


class Views:
    """The views of labelled images, as rows of a structured array: "values" and "targets".

    In each pass over the images, every image has another view; after `kept` passes the views
    begin again. What `batch` returns depends only on its arguments, the images and the seed.

    Args:
      network, augmentation: of the model.
      images: the train images.
      cache: where the views of `kept` passes are stored; with 0 each is computed when it is used.
      tick: called after each few images.
    """

    def __init__(
        self,
        network: Network,
        augmentation: Augmentation,
        images: Sequence[Labelled],
        cache: Cache,
        kept: int,
        seed: int,
        tick: Tick,
    ):
        self._network, self._augmentation, self._images = network, augmentation, images
        self._cache, self._kept, self._seed, self._tick = cache, kept, seed, tick
        self._kind = row_kind(network)
        self._passes = [
            cache.rows("pass-%d" % number, self._kind, len(images), self._whole_pass(number))
            for number in range(kept)
        ]
        self._position: Optional[Tuple[int, int]] = None  # the span, and its next step

    def _whole_pass(self, number: int) -> Iterator[np.ndarray]:
        self._augmentation.start_pass(number)
        for start in range(0, len(self._images), BATCH):
            yield self._rows([self._view(each) for each in self._images[start : start + BATCH]])
            self._tick()

    def _view(self, labelled: Labelled) -> View:
        return self._augmentation.view(pixels_of(labelled.image), *labelled[1:])

    def _rows(self, views: Sequence[View]) -> np.ndarray:
        rows = np.zeros(len(views), self._kind)
        rows["values"] = self._network.of(np.stack([view.pixels for view in views]))
        for name in self._kind.names[1:]:
            rows[name] = np.stack([getattr(view, name) for view in views])
        return rows

    def batch(self, step: int, size: int) -> np.ndarray:
        """The rows of a step, which is counted from 0."""
        if self._kept:
            chosen = list(self._chosen(step, size))
            return np.stack([self._passes[number % self._kept][at] for number, at in chosen])
        span, first = step // SPAN, step // SPAN * SPAN
        if self._position != (span, step):
            self._augmentation.start_pass(span)
            for earlier in range(first, step):
                for _, at in self._chosen(earlier, size):
                    self._view(self._images[at])
        self._position = (span, step + 1)
        return self._rows([self._view(self._images[at]) for _, at in self._chosen(step, size)])

    def _chosen(self, step: int, size: int) -> Iterator[Tuple[int, int]]:
        """(pass, image) of each row of a step. A pass has each image once."""
        count = len(self._images)
        for place in range(step * size, (step + 1) * size):
            number, at = divmod(place, count)
            yield number, int(self._order(number)[at])

    def _order(self, number: int) -> np.ndarray:
        if getattr(self, "_ordered", (None,))[0] != number:
            order = np.random.RandomState([self._seed, number]).permutation(len(self._images))
            self._ordered = (number, order)
        return self._ordered[1]


def row_kind(network: Network) -> np.dtype:
    """The type of a row: what the network knows in half precision, and the targets of a View."""
    anchors = len(network.anchors)
    fields = [("values", "<f2", (network.row,)), ("targets", "<i2", (anchors,))]
    if network.box_levels:
        fields.append(("encodings", "<f2", (anchors, 4)))
    return np.dtype(fields)


def pixels_of(image: Image) -> np.ndarray:
    """uint8 [height, width, 3]."""
    return image_files.decode(image_bytes.read(image))


def views_that_fit(network: Network, images: int, passes: int, room: float) -> int:
    """How many passes over the images are cached in `room` bytes; 0 where not even two are."""
    if images == 0:
        return 0
    fitting = int(room // (images * row_kind(network).itemsize))
    kept = min(fitting, passes, MOST_VIEWS)
    return kept if kept >= min(2, passes) else 0
