"""The files of eval --errors: a table, a sheet of the worst pictures, and COCO's two files."""

import csv
import io
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
from PIL import Image, ImageDraw

from todus import files
from todus.dataset import image_files
from todus.detection import drawing
from todus.detection.detector import Detections
from todus.evaluation.average_precision import Evaluation, examples_of
from todus.evaluation.errors import BACKGROUND, Analysis, Found, Picture
from todus.paths import Dataset
from todus.text import one_line

MOST_PICTURES = 50
SIDE = 400  # pixels of each picture of a pair
MOST_NAMED = 3  # errors in a caption


def write(folder: Path, dataset: Dataset, result: Evaluation, analysis: Analysis) -> None:
    """Replaces `folder` by one with

    confusion.csv, worst.csv: the matrix, and every picture with errors;
    worst.png: up to 50 of them, groundtruth on the left, detections on the right;
    groundtruth.json, results.json: in COCO's formats, for pycocotools and FiftyOne.
    """
    with files.replacing_folder(folder) as new:
        files.write_text(new / "confusion.csv", _confusion_text(analysis))
        named = {image["id"]: image["file_name"] for image in result.truth.images}
        rows = [
            (named[picture.number], "%.3f" % picture.weight, "; ".join(_texts(picture)))
            for picture in analysis.pictures
        ]
        files.write_text(new / "worst.csv", _csv([("image", "weight", "errors"), *rows]))
        _write_coco(new, result)
        if analysis.pictures:
            worst = analysis.pictures[:MOST_PICTURES]
            _sheet(dataset, result, worst).save(str(new / "worst.png"), "PNG")


def _texts(picture: Picture) -> List[str]:
    return [error.text for error in sorted(picture.errors, key=lambda error: -error.weight)]


def _csv(rows: Sequence[Sequence]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _confusion_text(analysis: Analysis) -> str:
    head = ["groundtruth"] + analysis.names[:-1] + ["missed"]
    names = analysis.names[:-1] + [BACKGROUND]
    return _csv([head] + [[name, *row] for name, row in zip(names, analysis.confusion.tolist())])


def _write_coco(folder: Path, result: Evaluation) -> None:
    """https://cocodataset.org/#format-data and #format-results."""
    truth = result.truth
    annotations = [
        {key: value for key, value in each.items() if key != "difficult"}
        for each in truth.annotations
    ]
    listed = [{"id": identity, "name": name} for identity, name in sorted(truth.names.items())]
    whole = {"images": truth.images, "annotations": annotations, "categories": listed}
    files.write_json(folder / "groundtruth.json", whole)
    results = [
        {
            "image_id": int(row[0]),
            "category_id": int(row[6]),
            "bbox": [round(float(side), 2) for side in row[1:5]],
            "score": float(row[5]),
        }
        for row in result.rows
    ]
    files.write_json(folder / "results.json", results)


def _sheet(dataset: Dataset, result: Evaluation, worst: Sequence[Picture]) -> Image.Image:
    wanted = {picture.number: picture for picture in worst}
    pairs: Dict[int, Image.Image] = {}
    examples = examples_of(dataset, result.split, result.images)
    for number, example in enumerate(examples, start=1):
        if number in wanted:
            pairs[number] = _pair(example, wanted[number], result.truth.names)
    return drawing.contact_sheet([pairs[picture.number] for picture in worst], columns=2)


def _pair(example, picture: Picture, names: Dict[int, str]) -> Image.Image:
    pixels = image_files.decode(example.encoded)
    halves = []
    for boxes, with_scores in ((picture.truth, False), (picture.found, True)):
        drawn = drawing.draw(pixels, _as_detections(boxes, pixels), names, 0.0, with_scores)
        halves.append(drawing.thumbnail(drawn, SIDE))
    both = drawing.beside(*halves, gap=4, above=18)
    texts = _texts(picture)
    more = " and %d more" % (len(texts) - MOST_NAMED) if len(texts) > MOST_NAMED else ""
    name = one_line(example.file_name or example.source_id)
    caption = "%s: %s%s" % (name, one_line("; ".join(texts[:MOST_NAMED])), more)
    drawing.caption(ImageDraw.Draw(both), caption, 2 * halves[0].width)
    return both


def _as_detections(found: Sequence[Found], pixels: np.ndarray) -> Detections:
    height, width = pixels.shape[:2]
    boxes = np.array([each.box for each in found], float).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    scaled = corners[:, [1, 0, 3, 2]] / [height, width, height, width]
    classes = np.array([each.category for each in found], int)
    return Detections(scaled, classes, np.array([each.score for each in found], float))
