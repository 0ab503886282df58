"""Small datasets for tests."""

import numpy as np
import PIL.Image

from todus import paths
from todus.dataset.annotations import Annotations, Box, Image
from todus.dataset.records.writer import Content, write_dataset

NAMES = {1: "cat", 2: "traffic light"}
RARE = "bolt"  # a drawn shape that few images hold
CLASSES = "circle, four point star"
SQUARE = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]


def picture(path, seed, size=(64, 48), kind="JPEG"):
    pixels = np.random.RandomState(seed).randint(0, 255, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(str(path), kind)
    return path


def annotated(folder, count=12, first=0):
    """Annotations of images of 64x48.

    Two of three have a cat (source id 17), one of three a traffic light too (source id 10).
    """
    listed = []
    for index in range(first, first + count):
        path = picture(folder / ("%03d.jpg" % index), index)
        boxes = [] if index % 3 == 2 else [Box(17, 10.0, 16.0, 34.0, 48.0, 500.5, id=index)]
        if index % 3 == 1:
            flags = {"is_crowd": True, "difficult": True, "truncated": True}
            boxes.append(Box(10, 0.0, 0.0, 48.0, 64.0, 3072.0, id=1000 + index, **flags))
        listed.append(Image(index, path.name, 64, 48, boxes, path))
    return Annotations({10: "traffic light", 17: "cat"}, listed)


def build(home, name="few", options=None, splits=None, max_dropped=0.01, **more):
    """Writes a dataset of drawn images; `more` is for its Content."""
    dataset = paths.mscoco_dataset(name)
    folder = home / "images"
    splits = splits or {"train": annotated(folder), "val": annotated(folder, 5, 100)}
    content = Content("coco", splits, NAMES, {17: 1, 10: 2}, **more)
    write_dataset(dataset, content, options, max_dropped)
    return dataset


def contents(dataset):
    """File name -> bytes of a dataset's files, {} where it does not exist."""
    return {path.name: path.read_bytes() for path in dataset.folder.glob("*")}
