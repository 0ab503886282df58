"""COCO AP of any detector on a dataset's records, by pycocotools, with unrounded scores."""

import contextlib
import io
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from todus import categories
from todus.dataset import records
from todus.detectors import Detections, Detector
from todus.errors import TodusError, UsageError
from todus.paths import Dataset

BATCH = 8

# COCOeval.stats, in its order (pycocotools/cocoeval.py, summarize).
STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


@dataclass
class Evaluation:
    """The result for one detector. AP is COCO's, averaged over IoU 0.50 to 0.95 and the classes; NaN where there is no groundtruth."""

    form: str
    images: int
    seconds: float
    stats: Dict[str, float]
    per_class: Dict[str, float]
    summary: str  # what pycocotools prints
    unknown: List[str] = field(default_factory=list)  # classes of the dataset that the model does not know: they count with AP 0
    score_threshold: float = 0.0
    precision: Optional[np.ndarray] = None  # [10 IoU thresholds, 101 recalls, classes]

    @property
    def ap(self) -> float:
        return self.stats["ap"]

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    def as_dict(self) -> Dict:
        result = {"format": self.form, "images": self.images, "images_per_second": round(self.images_per_second, 2)}
        result.update({name: None if np.isnan(value) else value for name, value in self.stats.items()})
        result["per_class"] = {name: None if np.isnan(value) else value for name, value in self.per_class.items()}
        return result


@dataclass
class Groundtruth:
    """What the detections of a split are compared with."""

    names: Dict[int, str]  # the classes that count: id -> name, of the dataset
    images: List[Dict]
    annotations: List[Dict]


def wanted_classes(dataset: Dataset, only: Optional[Iterable[str]]) -> Dict[int, str]:
    """The dataset's classes, or those of them that `only` names. Raises UsageError for a name it has not."""
    names = categories.read_label_map(dataset.label_map)
    return categories.choose(",".join(only), names, "dataset %s" % dataset.name) if only else names


def groundtruth_of(example, number: int, names: Mapping[int, str], into: Groundtruth) -> None:
    """Adds one example's image and boxes, in COCO's form: bbox is x, y, width, height in pixels."""
    into.images.append({"id": number, "width": example.width, "height": example.height})
    for box, class_id, area, crowd in zip(example.boxes, example.classes, example.area, example.is_crowd):
        if int(class_id) not in names:
            continue
        ymin, xmin, ymax, xmax = (float(side) for side in box)
        bbox = [xmin * example.width, ymin * example.height, (xmax - xmin) * example.width, (ymax - ymin) * example.height]
        into.annotations.append(
            {
                "id": len(into.annotations) + 1,
                "image_id": number,
                "category_id": int(class_id),
                "bbox": bbox,
                "area": float(area) if area > 0 else bbox[2] * bbox[3],
                "iscrowd": int(bool(crowd)),
            }
        )


def decode(encoded: bytes) -> np.ndarray:
    """uint8 [height, width, 3] RGB of an encoded image."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def examples_of(dataset: Dataset, split: str, first: Optional[int]) -> Iterator:
    """The first N examples of a split. Raises TodusError where it has none."""
    if not dataset.check().shards(split):
        raise TodusError("dataset %s has no %s records at %s; make it with SPLITS=\"train val\"" % (dataset.name, split, dataset.folder))
    for number, example in enumerate(records.read_examples(dataset, split)):
        if first is not None and number >= first:
            return
        yield example


def detect_all(detector: Detector, encoded: Iterable[bytes], batch: int = BATCH, threads: int = 2) -> Iterator[Tuple[int, Detections, float]]:
    """(number, detections, seconds of the detector) of each image; images are decoded ahead, and batched with others of their size."""
    waiting: Dict[Tuple[int, ...], List[Tuple[int, np.ndarray]]] = defaultdict(list)

    def run(group):
        start = time.perf_counter()
        found = detector.detect([image for _, image in group])
        each = (time.perf_counter() - start) / len(group)
        return [(number, detections, each) for (number, _), detections in zip(group, found)]

    size = batch if detector.takes_batches else 1
    for number, image in enumerate(_decoded(encoded, threads)):
        group = waiting[image.shape]
        group.append((number, image))
        if len(group) >= size:
            yield from run(waiting.pop(image.shape))
    for group in waiting.values():
        yield from run(group)


def _decoded(encoded: Iterable[bytes], threads: int, ahead: int = 32) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(threads) as pool:
        pending = []
        for data in encoded:
            pending.append(pool.submit(decode, data))
            if len(pending) >= ahead:
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()


def evaluate(
    detector: Detector,
    dataset: Dataset,
    split: str = "val",
    only: Optional[Iterable[str]] = None,
    first: Optional[int] = None,
    score_threshold: float = 0.0,
    tick: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """COCO AP of a detector on a split.

    Args:
      detector: its classes are matched to the dataset's by name, whatever the ids.
      dataset: has records of the split.
      split: "train" or "val".
      only: names of the classes that count; None is all of the dataset's.
      first: only the first N images.
      score_threshold: detections below it are left out, so that a checkpoint can be compared with an exported graph that cuts there.
      tick: called with the number of images done.

    Raises:
      TodusError: no records. UsageError: a class that the dataset has not.
    """
    names = wanted_classes(dataset, only)
    truth = Groundtruth(names, [], [])
    to_dataset = {source: wanted for wanted, source in categories.match_by_name(names, detector.names).items()}
    rows: List[Tuple] = []
    seconds, done = 0.0, 0

    def encoded():
        for number, example in enumerate(examples_of(dataset, split, first), start=1):
            groundtruth_of(example, number, names, truth)
            yield example.encoded

    started = time.perf_counter()
    for number, found, each in detect_all(detector, encoded()):
        image = truth.images[number]
        for (ymin, xmin, ymax, xmax), class_id, confidence in zip(*found):
            if int(class_id) in to_dataset and confidence >= score_threshold:
                corner = (xmin * image["width"], ymin * image["height"], (xmax - xmin) * image["width"], (ymax - ymin) * image["height"])
                rows.append((image["id"],) + corner + (confidence, to_dataset[int(class_id)]))
        seconds += each
        done += 1
        tick(done)
    result = score(truth, np.array(rows, np.float64).reshape(-1, 7))
    unknown = [name for identity, name in names.items() if identity not in to_dataset.values()]
    return Evaluation(
        form=detector.form,
        images=done,
        seconds=time.perf_counter() - started,
        unknown=unknown,
        score_threshold=score_threshold,
        **result
    )


def score(truth: Groundtruth, rows: np.ndarray) -> Dict:
    """COCOeval of detections.

    Args:
      truth: the groundtruth.
      rows: float64 [N, 7]: image id, x, y, width, height in pixels, score, category id.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not truth.images:
        raise UsageError("no images to evaluate on")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": truth.images,
            "annotations": truth.annotations,
            "categories": [{"id": identity, "name": name} for identity, name in truth.names.items()],
        }
        coco.createIndex()
        found = coco.loadRes(rows) if len(rows) else _no_detections(coco)
        evaluator = COCOeval(coco, found, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluator.summarize()
    precision = evaluator.eval["precision"][:, :, :, 0, 2]
    stats = {name: float(value) if value > -1 else float("nan") for name, value in zip(STATS, evaluator.stats)}
    per_class = {truth.names[identity]: _mean(precision[:, :, place]) for place, identity in enumerate(evaluator.params.catIds)}
    return {"stats": stats, "per_class": per_class, "summary": printed.getvalue().rstrip(), "precision": precision}


def _no_detections(coco):
    from pycocotools.coco import COCO

    empty = COCO()
    empty.dataset = dict(coco.dataset, annotations=[])
    empty.createIndex()
    return empty


def _mean(values: np.ndarray) -> float:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else float("nan")
