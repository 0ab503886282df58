"""Draws images and annotations for the tests of the sources of a person's own images."""

import os
from pathlib import Path
from typing import Dict, Iterable, List, Sequence, Tuple

import numpy as np
from PIL import Image

from todus import paths
from todus.dataset.records import reader
from todus.dataset.records.example import Example

VARIABLES = [
    "NAME",
    "CATEGORIES",
    "RENAME",
    "LABEL_MAP",
    "KEEP_EMPTY",
    "VAL",
    "SEED",
    "EXIF",
    "MAX_DROPPED",
    "JOBS",
    "DATA_DIR",
    "SPLITS",
    "MAX_IMAGES",
    "EXPAND",
    "EXCLUDE",
    "STATS_ONLY",
    "OPENIMAGES_URL",
    "OPENIMAGES_VERSION",
    "MAX_MISSING",
    "CONNECTIONS",
    "VERIFY",
    "TODUS_COMMAND",
    "TODUS_DEBUG",
]

Named = Tuple[str, float, float, float, float]


def clean_environment(monkeypatch, home: Path, **variables: str) -> None:
    """An empty TODUS_HOME and only these variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TODUS_HOME", str(home))
    monkeypatch.setenv("JOBS", "1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def pixels(seed: int, width: int = 40, height: int = 30) -> np.ndarray:
    """A uint8 [height, width, 3] image that no other seed has."""
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3), np.uint8)


def save(path: Path, seed: int, width: int = 40, height: int = 30, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, width, height)).save(str(path), **options)
    return path


def xml(filename: str, size: Sequence[int], boxes: Iterable[Named], more: str = "") -> str:
    """A Pascal VOC annotation; each box is name, xmin, ymin, xmax, ymax."""
    objects = "".join(
        "<object><name>%s</name><bndbox><xmin>%s</xmin><ymin>%s</ymin><xmax>%s</xmax><ymax>%s</ymax></bndbox></object>"
        % box
        for box in boxes
    )
    text = "<annotation><filename>%s</filename><size><width>%s</width><height>%s</height><depth>3</depth></size>%s%s</annotation>"
    return text % (filename, size[0], size[1], objects, more)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def voc_folder(root: Path, number: int = 10, names: Sequence[str] = ("cat", "dog")) -> Path:
    """`number` images with one box each, of the classes in turn."""
    for index in range(number):
        save(root / ("i%02d.jpg" % index), index)
        write(
            root / ("i%02d.xml" % index),
            xml("i%02d.jpg" % index, (40, 30), [(names[index % len(names)], 5, 6, 25, 26)]),
        )
    return root


def examples(name: str) -> Dict[str, Dict[str, Example]]:
    """split -> image/source_id -> record of a dataset."""
    dataset = paths.dataset(name)
    splits = reader.read_manifest(dataset)["splits"]
    return {
        split: {found.source_id: found for found in reader.read_examples(dataset, split)}
        for split in splits
    }


def every(name: str) -> Dict[str, Example]:
    """image/source_id -> record of all splits."""
    return {key: found for split in examples(name).values() for key, found in split.items()}


def boxes_of(found: Example) -> List[Tuple]:
    """(class, xmin, ymin, xmax, ymax) in pixels, rounded."""
    scale = np.array([found.height, found.width, found.height, found.width])
    corners = np.round(found.boxes * scale, 3).tolist()
    return sorted(
        (text, xmin, ymin, xmax, ymax)
        for text, (ymin, xmin, ymax, xmax) in zip(found.class_texts, corners)
    )


def tree(root: Path) -> Dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        os.path.relpath(str(path), str(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
