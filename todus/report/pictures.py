"""The pictures of the report, as data URIs: plots that are files already, and detections drawn side by side."""

import base64
import io
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from todus import categories
from todus.detection import catalogue, drawing
from todus.model import prepared
from todus.paths import Model

SAMPLES = 4
THRESHOLD = 0.4
WIDEST = 480  # pixels


def of_file(path: Path) -> Optional[str]:
    """A PNG file as a data URI; None where there is no such file."""
    return _data_uri("png", path.read_bytes()) if path.exists() else None


def _data_uri(kind: str, data: bytes) -> str:
    return "data:image/%s;base64,%s" % (kind, base64.b64encode(data).decode("ascii"))


def detections(model: Model) -> List[List[Dict[str, str]]]:
    """SAMPLES val images, each as a row: a {"caption", "uri"} for the zoo model, the limited model and an 8-bit file.

    Raises TodusError when the dataset or a file of the model is missing.
    """
    from todus.dataset.image_files import decode

    examples = _examples(model)
    detectors = [(form.title, catalogue.open_form(model, form)) for form in _compared(model)]
    kept, ids = set(categories.read_label_map(model.limited_label_map).values()), _zoo_ids(model)
    images = [decode(example.encoded) for example in examples]
    return [
        [_cell(title, detector, image, kept, ids) for title, detector in detectors]
        for image in images
    ]


def _examples(model: Model) -> List[Any]:
    """The val examples with the most classes, then the most boxes."""
    from todus.evaluation.average_precision import examples_of

    found = examples_of(prepared.dataset_of(model), "val", 200)
    return sorted(found, key=lambda each: (-len(set(each.classes)), -len(each.boxes)))[:SAMPLES]


def _zoo_ids(model: Model) -> Dict[str, int]:
    return {
        name: identity for identity, name in categories.read_label_map(model.zoo_label_map).items()
    }


def _compared(model: Model) -> List[catalogue.Present]:
    """The zoo model, the limited one, and an 8-bit file of it where there is one."""
    there = catalogue.present(model)
    limited = next((form for form in there if form.name == "frozen_graph"), there[0])
    small = [form for form in there if form.title in ("TFLite uint8", "TFLite int8")] or [
        form for form in there if form.name == "tflite"
    ]
    return [catalogue.find(model, "zoo"), limited] + small[:1]


def _cell(
    title: str, detector, image: np.ndarray, kept: set, zoo_ids: Dict[str, int]
) -> Dict[str, str]:
    """What a detector finds in an image, uint8 [height, width, 3], drawn, with the number of detections."""
    found = detector.detect([image])[0]
    strong = [
        detector.names.get(int(each))
        for each, score in zip(found.classes, found.scores)
        if score >= THRESHOLD
    ]
    others = sum(name not in kept for name in strong)
    caption = "%s: %d detections%s" % (
        title,
        len(strong),
        ", %d of other classes" % others if others else "",
    )
    return {
        "caption": caption,
        "uri": _data_uri("jpeg", _drawn(image, *_with_zoo_ids(found, detector.names, zoo_ids))),
    }


def _with_zoo_ids(
    found, names: Dict[int, str], zoo_ids: Dict[str, int]
) -> Tuple[Any, Dict[int, str]]:
    """Detections and class names with the zoo's ids, so that a class has one colour in every picture."""
    ids = {each: zoo_ids.get(name, each) for each, name in names.items()}
    classes = np.array([ids.get(int(each), each) for each in found.classes], int)
    return found._replace(classes=classes), {ids[each]: name for each, name in names.items()}


def _drawn(image: np.ndarray, found, names: Dict[int, str]) -> bytes:
    """A JPEG of the image with its detections."""
    encoded = io.BytesIO()
    drawing.thumbnail(drawing.draw(image, found, names, THRESHOLD), WIDEST).save(
        encoded, "JPEG", quality=82
    )
    return encoded.getvalue()
