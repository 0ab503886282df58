"""AP of any detector on a dataset's records: COCO's by pycocotools, with unrounded scores; todus.evaluation.pascal has others."""

import contextlib
import io
import time
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import (
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

import numpy as np

from todus import categories
from todus.dataset import image_files
from todus.dataset.records import reader
from todus.detection.detector import Detections, Detector
from todus.errors import TodusError, UsageError
from todus.paths import Dataset

BATCH = 2  # more fall out of the caches of a small machine

# COCOeval.stats, in its order (pycocotools/cocoeval.py, summarize).
STATS = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
)


class Matches(NamedTuple):
    """The detections of one class in all images at IoU 0.5, best first, those left out that match a crowd box."""

    scores: np.ndarray  # float64 [N]
    right: np.ndarray  # bool [N]: whether it is the first to match a box
    boxes: int  # the boxes that are to be found


@dataclass
class Evaluation:
    """The result for one detector. AP is COCO's, averaged over IoU 0.50 to 0.95 and the classes; NaN where there is no groundtruth."""

    form: str
    images: int
    seconds: float
    stats: Dict[str, float]
    per_class: Dict[str, float]
    summary: str  # what pycocotools prints
    unknown: List[str] = field(
        default_factory=list
    )  # classes of the dataset that the model does not know: they count with AP 0
    score_threshold: float = 0.0
    precision: Optional[np.ndarray] = (
        None  # [10 IoU thresholds, 101 recalls, classes]; -1 where there is no groundtruth
    )
    matches: Dict[str, Matches] = field(default_factory=dict)  # name -> at IoU 0.5
    protocol: str = ""  # what was counted, and how
    metrics: str = "coco"

    @property
    def ap(self) -> float:
        return self.stats["ap"]

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    def as_dict(self) -> Dict:
        result = {"format": self.form, "metrics": self.metrics, "images": self.images}
        result["images_per_second"] = round(self.images_per_second, 2)
        result.update(
            {name: None if np.isnan(value) else value for name, value in self.stats.items()}
        )
        result["per_class"] = {
            name: None if np.isnan(value) else value for name, value in self.per_class.items()
        }
        return result


@dataclass
class Groundtruth:
    """What the detections of a split are compared with."""

    names: Dict[int, str]  # the classes that count: id -> name, of the dataset
    images: List[Dict]
    annotations: List[Dict]

    def described(self) -> str:
        """How many images and boxes count, and which do not."""
        with_boxes = len({each["image_id"] for each in self.annotations})
        crowds = sum(each["iscrowd"] for each in self.annotations)
        text = "%d images (%d without a box of these classes, where every detection is wrong), %d boxes"
        return text % (
            len(self.images),
            len(self.images) - with_boxes,
            len(self.annotations) - crowds,
        ) + (", %d crowd boxes ignored" % crowds)


def wanted_classes(dataset: Dataset, only: Optional[Iterable[str]]) -> Dict[int, str]:
    """The dataset's classes, or those of them that `only` names. Raises UsageError for a name it has not."""
    names = categories.read_label_map(dataset.label_map)
    return categories.choose(",".join(only), names, "dataset %s" % dataset.name) if only else names


def groundtruth_of(example, number: int, names: Mapping[int, str], into: Groundtruth) -> None:
    """Adds one example's image and boxes, in COCO's form: bbox is x, y, width, height in pixels."""
    into.images.append({"id": number, "width": example.width, "height": example.height})
    for box, class_id, area, crowd, difficult in zip(
        example.boxes, example.classes, example.area, example.is_crowd, example.difficult
    ):
        if int(class_id) not in names:
            continue
        ymin, xmin, ymax, xmax = (float(side) for side in box)
        bbox = [
            xmin * example.width,
            ymin * example.height,
            (xmax - xmin) * example.width,
            (ymax - ymin) * example.height,
        ]
        into.annotations.append(
            {
                "id": len(into.annotations) + 1,
                "image_id": number,
                "category_id": int(class_id),
                "bbox": bbox,
                "area": float(area) if area > 0 else bbox[2] * bbox[3],
                "iscrowd": int(bool(crowd)),
                "difficult": bool(difficult),
            }
        )


def examples_of(dataset: Dataset, split: str, first: Optional[int]) -> Iterator:
    """The first N examples of a split. Raises TodusError where it has none."""
    if not dataset.check().shards(split):
        raise TodusError(
            'dataset %s has no %s records at %s; make it with SPLITS="train val"'
            % (dataset.name, split, dataset.folder)
        )
    for number, example in enumerate(reader.read_examples(dataset, split)):
        if first is not None and number >= first:
            return
        yield example


def detect_all(
    detector: Detector, encoded: Iterable[bytes], batch: int = BATCH
) -> Iterator[Tuple[int, Detections]]:
    """(number, detections) of each image. While the detector runs, the images after are decoded and resized; where it takes batches, images
    of one shape go in together; where it has several workers, as many batches run at once."""
    waiting: Dict[Tuple[int, ...], List[Tuple[int, np.ndarray]]] = defaultdict(list)
    size = batch if detector.takes_batches else 1
    running: Deque = deque()

    def run(group):
        return [
            (number, found)
            for (number, _), found in zip(
                group, detector.detect_prepared([image for _, image in group])
            )
        ]

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


def _prepared(
    detector: Detector, encoded: Iterable[bytes], ahead: int, threads: int = 2
) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(threads) as pool:
        pending: Deque = deque()
        for data in encoded:
            pending.append(
                pool.submit(lambda data=data: detector.prepare(image_files.decode(data)))
            )
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
      detector: its classes are matched to the dataset's by name, whatever the ids.
      dataset: has records of the split.
      split: "train" or "val".
      only: names of the classes that count; None is all of the dataset's.
      first: only the first N images.
      score_threshold: detections below it are left out, so that a checkpoint can be compared with an exported graph that cuts there.
      tick: called with the number of images done.
      metrics: coco, pascal or openimages.

    Raises:
      TodusError: no records. UsageError: a class that the dataset has not.
    """
    names = wanted_classes(dataset, only)
    truth = Groundtruth(names, [], [])
    to_dataset = {
        source: wanted for wanted, source in categories.match_by_name(names, detector.names).items()
    }
    rows: List[Tuple] = []
    done = 0

    def encoded():
        for number, example in enumerate(examples_of(dataset, split, first), start=1):
            groundtruth_of(example, number, names, truth)
            yield example.encoded

    detector.detect([np.zeros((detector.size or (300, 300)) + (3,), np.uint8)])
    started = time.perf_counter()
    for number, found in detect_all(detector, encoded()):
        image = truth.images[number]
        for (ymin, xmin, ymax, xmax), class_id, confidence in zip(*found):
            if int(class_id) in to_dataset and confidence >= score_threshold:
                corner = (
                    xmin * image["width"],
                    ymin * image["height"],
                    (xmax - xmin) * image["width"],
                    (ymax - ymin) * image["height"],
                )
                rows.append((image["id"],) + corner + (confidence, to_dataset[int(class_id)]))
        done += 1
        tick(done)
    seconds = time.perf_counter() - started
    unknown = [name for identity, name in names.items() if identity not in to_dataset.values()]
    table = np.array(rows, np.float64).reshape(-1, 7)
    result = score(truth, table)
    if metrics != "coco":
        from todus.evaluation import pascal

        result.update(pascal.score(metrics, truth, table, STATS))
    return Evaluation(
        form=detector.form,
        images=done,
        seconds=seconds,
        unknown=unknown,
        score_threshold=score_threshold,
        metrics=metrics,
        **result,
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
            "categories": [
                {"id": identity, "name": name} for identity, name in truth.names.items()
            ],
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
    stats = {
        name: float(value) if value > -1 else float("nan")
        for name, value in zip(STATS, evaluator.stats)
    }
    per_class = {
        truth.names[identity]: _mean(precision[:, :, place])
        for place, identity in enumerate(evaluator.params.catIds)
    }
    protocol = "COCO boxes, IoU 0.50 to 0.95, at most 100 detections an image and class, unrounded scores, areas of the annotations; "
    return {
        "stats": stats,
        "per_class": per_class,
        "summary": printed.getvalue().rstrip(),
        "precision": precision,
        "matches": {
            truth.names[identity]: _matches(evaluator, place)
            for place, identity in enumerate(evaluator.params.catIds)
        },
        "protocol": protocol + truth.described(),
    }


def _matches(evaluator, place: int) -> Matches:
    """Of the class at `place` of COCOeval's catIds, from evalImgs: [classes][area ranges][images], where area range 0 is all sizes."""
    images = len(evaluator.params.imgIds)
    start = place * len(evaluator.params.areaRng) * images
    found = [each for each in evaluator.evalImgs[start : start + images] if each]
    if not found:
        return Matches(np.zeros(0), np.zeros(0, bool), 0)
    scores = np.concatenate([each["dtScores"] for each in found])
    right = np.concatenate([each["dtMatches"][0] > 0 for each in found])
    counted = ~np.concatenate([each["dtIgnore"][0].astype(bool) for each in found])
    order = np.argsort(-scores[counted], kind="mergesort")
    return Matches(
        scores[counted][order],
        right[counted][order],
        int(sum((~each["gtIgnore"].astype(bool)).sum() for each in found)),
    )


def _no_detections(coco):
    from pycocotools.coco import COCO

    empty = COCO()
    empty.dataset = dict(coco.dataset, annotations=[])
    empty.createIndex()
    return empty


def _mean(values: np.ndarray) -> float:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else float("nan")
