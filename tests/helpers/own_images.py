"""Draws images and annotations for the tests of the sources of the user's own images."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

import numpy as np
from PIL import Image

from todus import categories, paths
from todus.command import run
from todus.dataset.records import reader
from todus.dataset.records.example import Example
from todus.variables import TABLE

Named = Tuple[str, float, float, float, float]


def clean_environment(monkeypatch, home: Path, **variables: str) -> None:
    """Sets TODUS_HOME, JOBS=1 and these variables, and unsets all others of Todus."""
    for name in ["TODUS_COMMAND", "TODUS_DEBUG"] + [row.name for row in TABLE]:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TODUS_HOME": str(home), "JOBS": "1", **variables}.items():
        monkeypatch.setenv(name, value)


def runner(main: Callable, home: Path, monkeypatch, capsys) -> Callable:
    """call(*arguments, **variables), which runs a source's `main` in a clean environment.

    It returns exit code, stdout and stderr.
    """

    def call(*arguments: object, **variables: str) -> Tuple[int, str, str]:
        clean_environment(monkeypatch, home, **variables)
        capsys.readouterr()
        code = run("dataset", main, [str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return call


def pixels(seed: int, width: int = 40, height: int = 30) -> np.ndarray:
    """A uint8 [height, width, 3] image, another one for each seed."""
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3), np.uint8)


def save(path: Path, seed: int, width: int = 40, height: int = 30, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, width, height)).save(str(path), **options)
    return path


def xml(filename: str, size: Sequence[int], boxes: Iterable[Named], more: str = "") -> str:
    """A Pascal VOC annotation; each box is name, xmin, ymin, xmax, ymax."""
    corners = "<xmin>%s</xmin><ymin>%s</ymin><xmax>%s</xmax><ymax>%s</ymax>"
    one = "<object><name>%s</name><bndbox>" + corners + "</bndbox></object>"
    objects = "".join(one % box for box in boxes)
    head = "<filename>%s</filename><size><width>%s</width><height>%s</height></size>"
    return "<annotation>%s%s%s</annotation>" % (head % (filename, *size), objects, more)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def annotate(image: Path, boxes: Iterable[Named], size: Sequence[int] = (40, 30)) -> Path:
    """Writes a Pascal VOC annotation of the image beside it."""
    return write(image.with_suffix(".xml"), xml(image.name, size, boxes))


def voc_folder(root: Path, number: int = 10, names: Sequence[str] = ("cat", "dog")) -> Path:
    """`number` images with one box each, of the classes in turn."""
    for index in range(number):
        image = save(root / ("i%02d.jpg" % index), index)
        annotate(image, [(names[index % len(names)], 5, 6, 25, 26)])
    return root


def coco_json(
    path: Path,
    images: List[Dict[str, Any]],
    names: Dict[int, str],
    boxes: Iterable[Tuple[int, int]],
    bbox: Sequence[float] = (5, 6, 20, 20),
) -> Path:
    """COCO JSON with a box for each (image id, category id), annotations before the images."""
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": bbox, "iscrowd": 0}
        for number, (image, category) in enumerate(boxes)
    ]
    categories = [{"id": identity, "name": name} for identity, name in names.items()]
    value = {"info": {}, "annotations": annotations, "images": images, "categories": categories}
    return write(path, json.dumps(value))


def cvat(shapes: Dict[str, str], labels: Sequence[str] = ("dog", "cat"), image: str = "") -> str:
    """CVAT for images 1.1: the shapes of each image name; `image` has more attributes."""
    start = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    named = "".join("<label><name>%s</name><color>#fff</color></label>" % name for name in labels)
    one = '<image id="%d" name="%s" width="40" height="30" ' + image + ">%s</image>\n"
    images = "".join(one % (number, *pair) for number, pair in enumerate(shapes.items()))
    return "%s<meta><job><labels>%s</labels></job></meta>%s</annotations>" % (start, named, images)


def labelme(image: Path, shapes: Iterable[Tuple], kind: str = "rectangle", **more: Any) -> Path:
    """Writes LabelMe's JSON beside an image; each shape is label, points and, if any, its type."""
    listed = [
        {"label": label, "points": points, "shape_type": (*own_kind, kind)[0], "flags": {}}
        for label, points, *own_kind in shapes
    ]
    value = {"version": "5.5.0", "flags": {}, "shapes": listed, "imagePath": image.name}
    value.update({"imageData": None, "imageHeight": 30, "imageWidth": 40}, **more)
    return write(image.with_suffix(".json"), json.dumps(value))


def label_map(name: str) -> Dict[int, str]:
    """id -> name of a dataset's classes."""
    return categories.read_label_map(paths.dataset(name).label_map)


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
    """Path below the folder -> content, of every file."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}
