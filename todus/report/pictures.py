"""The pictures of the report as data URIs: plots from files, and detections drawn on images."""

import base64
import io
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from todus import categories
from todus.detection import catalogue, drawing
from todus.detection.detector import Detections
from todus.model import prepared
from todus.paths import Model

SAMPLES = 4
THRESHOLD = 0.4
WIDEST = 480  # pixels


def of_file(path: Path) -> Optional[str]:
    """A PNG file as a data URI; None where the file does not exist."""
    return _data_uri("png", path.read_bytes()) if path.exists() else None


def _data_uri(kind: str, data: bytes) -> str:
    return "data:image/%s;base64,%s" % (kind, base64.b64encode(data).decode("ascii"))


def detections(model: Model) -> List[List[Dict[str, str]]]:
    """A row of {"caption", "uri"} for each of SAMPLES val images, those with the most classes.

    The columns are the groundtruth, the zoo model, the limited model and an 8-bit file. Raises
    TodusError when the dataset or a file of the model is missing.
    """
    from todus.dataset.image_files import decode
    from todus.evaluation.average_precision import examples_of

    examples = examples_of(prepared.dataset_of(model), "val", 200)
    examples = sorted(examples, key=lambda each: (-len(set(each.classes)), -len(each.boxes)))
    detectors = [(form.title, catalogue.open_form(model, form)) for form in _compared(model)]
    kept = set(categories.read_label_map(model.limited_label_map).values())
    zoo_names = categories.read_label_map(model.zoo_label_map)
    ids = {name: identity for identity, name in zoo_names.items()}
    own = categories.read_label_map(prepared.dataset_of(model).label_map)
    rows = []
    for example in examples[:SAMPLES]:
        image = decode(example.encoded)
        row = [_truth_cell(example, image, own, ids)]
        rows.append(row + [_cell(title, each, image, kept, ids) for title, each in detectors])
    return rows


def _compared(model: Model) -> List[catalogue.Present]:
    """The zoo model, the limited one, and its 8-bit file, else its float TFLite file, if any."""
    forms = catalogue.present(model)
    limited = next((form for form in forms if form.name == "frozen_graph"), forms[0])
    small = [form for form in forms if form.title in ("TFLite uint8", "TFLite int8")]
    small += [form for form in forms if form.name == "tflite"]
    return [catalogue.find(model, "zoo"), limited] + small[:1]


def _cell(
    title: str, detector, image: np.ndarray, kept: set, zoo_ids: Dict[str, int]
) -> Dict[str, str]:
    """A detector's detections drawn on a uint8 [height, width, 3] image, and their number."""
    found = detector.detect([image])[0]
    strong = [
        detector.names.get(int(each))
        for each, score in zip(found.classes, found.scores)
        if score >= THRESHOLD
    ]
    others = sum(name not in kept for name in strong)
    more = ", %d of other classes" % others if others else ""
    jpeg = _drawn(image, *_with_zoo_ids(found, detector.names, zoo_ids))
    caption = "%s: %d detections%s" % (title, len(strong), more)
    return {"caption": caption, "uri": _data_uri("jpeg", jpeg)}


def _truth_cell(
    example, image: np.ndarray, names: Dict[int, str], zoo_ids: Dict[str, int]
) -> Dict[str, str]:
    """The groundtruth boxes drawn on an image, and their number."""
    truth = Detections(example.boxes, example.classes, np.ones(len(example.classes)))
    jpeg = _drawn(image, *_with_zoo_ids(truth, names, zoo_ids), with_scores=False)
    count = len(example.classes)
    caption = "groundtruth: %d box%s" % (count, "" if count == 1 else "es")
    return {"caption": caption, "uri": _data_uri("jpeg", jpeg)}


def _with_zoo_ids(
    found, names: Dict[int, str], zoo_ids: Dict[str, int]
) -> Tuple[Any, Dict[int, str]]:
    """Detections and names with the zoo's ids: a class has the same colour in all pictures."""
    ids = {each: zoo_ids.get(name, each) for each, name in names.items()}
    classes = np.array([ids.get(int(each), each) for each in found.classes], int)
    return found._replace(classes=classes), {ids[each]: name for each, name in names.items()}


def _drawn(image: np.ndarray, found, names: Dict[int, str], with_scores: bool = True) -> bytes:
    """A JPEG of the image with its detections."""
    encoded = io.BytesIO()
    picture = drawing.draw(image, found, names, THRESHOLD, with_scores)
    drawing.thumbnail(picture, WIDEST).save(encoded, "JPEG", quality=82)
    return encoded.getvalue()
