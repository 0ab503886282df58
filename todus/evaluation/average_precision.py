"""COCO AP of a detector on a dataset's records, by pycocotools.

pycocotools gets the scores unrounded. todus.evaluation.pascal has the other metrics.
"""

import contextlib
import io
import itertools
import time
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, Deque, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from todus import categories
from todus.dataset.image_files import decode
from todus.dataset.records import reader
from todus.detection.detector import Detections, Detector
from todus.errors import UsageError
from todus.paths import Dataset
from todus.text import one_line

BATCH = 2  # larger batches do not fit the caches of a small machine

# COCOeval.stats, in its order (pycocotools/cocoeval.py, summarize).
STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
STATS += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


class Matches(NamedTuple):
    """One class's detections in all images, highest score first, matched at IoU 0.5.

    Detections that match a crowd box are left out.
    """

    scores: np.ndarray  # float64 [N]
    right: np.ndarray  # bool [N]: whether it is the first detection of a groundtruth box
    boxes: int  # the number of groundtruth boxes


@dataclass
class Evaluation:
    """The result for one detector.

    Attributes:
      form: of the detector.
      images: their number.
      seconds: of the detections in them.
      stats: STATS -> value. COCO's AP is the mean over IoU 0.50 to 0.95 and the classes; NaN
        where there is no groundtruth.
      per_class: name -> AP.
      summary: the table that pycocotools prints.
      unknown: the dataset's classes that the model does not have; their AP is 0.
      score_threshold: lower scores were left out.
      precision: [10 IoU thresholds, 101 recalls, classes]; -1 where there is no groundtruth.
      matches: name -> detections matched at IoU 0.5.
      protocol: the metrics, and the numbers of images and boxes, as a sentence.
      metrics: coco, pascal or openimages.
      split: of the dataset.
      negatives: the number of images without a groundtruth box of these classes.
      alarms: name -> float64 scores of the detections in those images.
      runtime: of the detector, as there.
      truth: the groundtruth.
      rows: float64 [N, 7], every detection: image id, x, y, width, height in pixels, score, id of
        the class in truth.names.
    """

    form: str
    images: int
    seconds: float
    stats: Dict[str, float]
    per_class: Dict[str, float]
    summary: str
    unknown: List[str] = field(default_factory=list)
    score_threshold: float = 0.0
    precision: Optional[np.ndarray] = None
    matches: Dict[str, Matches] = field(default_factory=dict)
    protocol: str = ""
    metrics: str = "coco"
    split: str = "val"
    negatives: int = 0
    alarms: Dict[str, np.ndarray] = field(default_factory=dict)
    runtime: str = ""
    truth: Optional["Groundtruth"] = None
    rows: np.ndarray = np.zeros((0, 7))

    @property
    def ap(self) -> float:
        return self.stats["ap"]

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    def as_dict(self) -> Dict:
        """The content of an eval.json; NaN is None."""
        return {
            "format": self.form,
            "metrics": self.metrics,
            "split": self.split,
            "runtime": self.runtime,
            "images": self.images,
            "images_per_second": round(self.images_per_second, 2),
            **_without_nan(self.stats),
            "per_class": _without_nan(self.per_class),
        }


def _without_nan(values: Dict[str, float]) -> Dict[str, Optional[float]]:
    return {name: None if np.isnan(value) else value for name, value in values.items()}


@dataclass
class Groundtruth:
    """The groundtruth boxes of a split, in COCO's form.

    Attributes:
      names: id -> name, the dataset's classes that are evaluated.
      images: {"id", "file_name", "width", "height"}.
      annotations: bbox is x, y, width, height in pixels.
    """

    names: Dict[int, str]
    images: List[Dict]
    annotations: List[Dict]

    def add(self, example, number: int) -> None:
        """Adds an example's image, with `number` as its id, and its boxes of the classes."""
        size = {"width": example.width, "height": example.height}
        name = one_line(example.file_name or example.source_id)
        self.images.append({"id": number, "file_name": name, **size})
        for box, class_id, area, crowd, difficult in zip(
            example.boxes, example.classes, example.area, example.is_crowd, example.difficult
        ):
            if int(class_id) in self.names:
                bbox = _in_pixels((float(side) for side in box), example.width, example.height)
                annotation = {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": int(class_id),
                    "bbox": bbox,
                    "area": float(area) if area > 0 else bbox[2] * bbox[3],
                    "iscrowd": int(bool(crowd)),
                    "difficult": bool(difficult),
                }
                self.annotations.append(annotation)

    def without_boxes(self) -> List[int]:
        """The ids of the images without a box of the classes."""
        others = {each["image_id"] for each in self.annotations}
        return [image["id"] for image in self.images if image["id"] not in others]

    def described(self) -> str:
        """The numbers of images and boxes that count and of those that do not."""
        images, crowds = len(self.images), sum(each["iscrowd"] for each in self.annotations)
        empty = len(self.without_boxes())
        text = "%d images (%d without a box of these classes, where every detection is wrong), "
        text += "%d boxes, %d crowd boxes ignored"
        return text % (images, empty, len(self.annotations) - crowds, crowds)


def _in_pixels(box: Iterable[float], width: int, height: int) -> List[float]:
    """x, y, width, height in pixels of a normalised ymin, xmin, ymax, xmax."""
    ymin, xmin, ymax, xmax = box
    return [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]


def wanted_classes(dataset: Dataset, only: Optional[Iterable[str]]) -> Dict[int, str]:
    """The dataset's classes, or those of them in `only`. Raises UsageError for an unknown name."""
    names = categories.read_label_map(dataset.label_map)
    return categories.choose(",".join(only), names, "dataset %s" % dataset.name) if only else names


def examples_of(dataset: Dataset, split: str, first: Optional[int]) -> Iterator:
    """The first N examples of a split, or all for None. Raises TodusError where it has none."""
    return itertools.islice(reader.read_examples(dataset, split), first)


def detect_all(detector: Detector, encoded: Iterable[bytes]) -> Iterator[Tuple[int, Detections]]:
    """(index, detections) of each image, not in order.

    Images are decoded and resized in other threads. A detector that takes batches gets images of
    one shape together; one with several workers detects in as many batches at once.
    """
    waiting: Dict[Tuple[int, ...], List[Tuple[int, np.ndarray]]] = defaultdict(list)
    size = (detector.batch or BATCH) if detector.takes_batches else 1
    running: Deque = deque()

    def run(group):
        numbers, images = zip(*group)
        return list(zip(numbers, detector.detect_prepared(images)))

    with ThreadPoolExecutor(detector.workers) as pool:
        for number, image in enumerate(_prepared(detector, encoded, 2 * size * detector.workers)):
            group = waiting[image.shape]
            group.append((number, image))
            if len(group) >= size:
                running.append(pool.submit(run, waiting.pop(image.shape)))
            while running and (running[0].done() or len(running) > 2 * detector.workers):
                yield from running.popleft().result()
        running.extend(pool.submit(run, group) for group in waiting.values())
        while running:
            yield from running.popleft().result()


def _prepared(detector: Detector, encoded: Iterable[bytes], ahead: int) -> Iterator[np.ndarray]:
    """Each image from `prepare`, in order; up to `ahead` of them are prepared in two threads."""
    with ThreadPoolExecutor(2) as pool:
        pending: Deque = deque()
        for data in encoded:
            pending.append(pool.submit(lambda data: detector.prepare(decode(data)), data))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def evaluate(
    detector: Detector,
    dataset: Dataset,
    split: str = "val",
    only: Optional[Iterable[str]] = None,
    first: Optional[int] = None,
    score_threshold: float = 0.0,
    tick: Callable[[int], None] = lambda done: None,
    metrics: str = "coco",
) -> Evaluation:
    """AP of a detector on a split.

    Args:
      detector: its classes are matched to the dataset's by name.
      dataset: has records of the split.
      split: one that the dataset has records of.
      only: names of the classes to evaluate; None is all of the dataset's.
      first: only the first N images.
      score_threshold: detections that score less are left out, as an exported graph does.
      tick: called with the number of images done.
      metrics: coco, pascal or openimages.

    Raises:
      TodusError: no records.
      UsageError: a class that the dataset does not have, or unknown metrics.
    """
    names = wanted_classes(dataset, only)
    truth = Groundtruth(names, [], [])
    matched = categories.match_by_name(names, detector.names)
    to_dataset = {of_model: of_dataset for of_dataset, of_model in matched.items()}
    rows: List[List[float]] = []

    def encoded():
        for number, example in enumerate(examples_of(dataset, split, first), start=1):
            truth.add(example, number)
            yield example.encoded

    detector.detect([np.zeros((detector.size or (300, 300)) + (3,), np.uint8)])  # the first is slow
    started = time.perf_counter()
    for done, (number, found) in enumerate(detect_all(detector, encoded()), start=1):
        image = truth.images[number]
        for box, class_id, confidence in zip(*found):
            if int(class_id) in to_dataset and confidence >= score_threshold:
                bbox = _in_pixels(box, image["width"], image["height"])
                rows.append([image["id"], *bbox, confidence, to_dataset[int(class_id)]])
        tick(done)
    seconds = time.perf_counter() - started
    table = np.array(rows, np.float64).reshape(-1, 7)
    result = score(truth, table)
    if metrics != "coco":
        from todus.evaluation import pascal

        result.update(pascal.score(metrics, truth, table, STATS))
    empty = truth.without_boxes()
    alarms = table[np.isin(table[:, 0], empty)]
    return Evaluation(
        form=detector.form,
        images=len(truth.images),
        seconds=seconds,
        unknown=[name for identity, name in names.items() if identity not in to_dataset.values()],
        score_threshold=score_threshold,
        metrics=metrics,
        split=split,
        negatives=len(empty),
        alarms={name: alarms[alarms[:, 6] == each, 5] for each, name in names.items()},
        runtime=detector.runtime,
        truth=truth,
        rows=table,
        **result,
    )


def score(truth: Groundtruth, rows: np.ndarray) -> Dict:
    """The stats, per_class, summary, precision, matches and protocol of an Evaluation.

    Args:
      truth: the groundtruth.
      rows: float64 [N, 7]: image id, x, y, width, height in pixels, score, category id.

    Raises:
      UsageError: no images.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not truth.images:
        raise UsageError("no images to evaluate on")
    listed = [{"id": identity, "name": name} for identity, name in truth.names.items()]
    content = {"info": {}, "images": truth.images, "categories": listed}
    with contextlib.redirect_stdout(io.StringIO()):
        coco, found = COCO(), COCO()
        coco.dataset = dict(content, annotations=truth.annotations)
        found.dataset = dict(content, annotations=[])
        coco.createIndex()
        found.createIndex()
        if len(rows):
            found = coco.loadRes(rows)
        evaluator = COCOeval(coco, found, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluator.summarize()
    precision = evaluator.eval["precision"][:, :, :, 0, 2]
    names = [truth.names[identity] for identity in evaluator.params.catIds]
    rules = "COCO boxes, IoU 0.50 to 0.95, at most 100 detections an image and class, "
    rules += "unrounded scores, areas of the annotations; "
    return {
        "stats": {name: _mean(value) for name, value in zip(STATS, evaluator.stats)},
        "per_class": {name: _mean(precision[:, :, i]) for i, name in enumerate(names)},
        "summary": printed.getvalue().rstrip(),
        "precision": precision,
        "matches": {name: _matches(evaluator, i) for i, name in enumerate(names)},
        "protocol": rules + truth.described(),
    }


def _matches(evaluator, place: int) -> Matches:
    """The matches of the class at `place` in COCOeval's catIds."""
    # evalImgs is [classes][area ranges][images]; area range 0 is all sizes.
    images = len(evaluator.params.imgIds)
    start = place * len(evaluator.params.areaRng) * images
    found = [each for each in evaluator.evalImgs[start : start + images] if each]
    if not found:
        return Matches(np.zeros(0), np.zeros(0, bool), 0)
    scores = np.concatenate([each["dtScores"] for each in found])
    right = np.concatenate([each["dtMatches"][0] > 0 for each in found])
    counted = ~np.concatenate([each["dtIgnore"][0].astype(bool) for each in found])
    order = np.argsort(-scores[counted], kind="mergesort")
    boxes = int(sum((~each["gtIgnore"].astype(bool)).sum() for each in found))
    return Matches(scores[counted][order], right[counted][order], boxes)


def _mean(values: np.ndarray) -> float:
    """The mean without COCOeval's -1, which is no groundtruth; NaN where there is nothing else."""
    values = np.asarray(values)
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else float("nan")
