"""Measures the making of datasets on drawn data; prints ratios of medians of interleaved runs.

    python -m bench.data [--images 3000] [--boxes 860000] [--repeats 3]
                         [--only records filter bytes]

records   640x480 JPEGs of about 130 kB with 7 polygons each to TFRecord: Todus, the OD API's
          create_coco_tf_record, both also with masks (only once: slow), and cp -r of the images
filter    an annotations file of COCO's size, limited to three classes: Todus, and json.load with
          a list comprehension
bytes     what a server sends for three rare classes and for the complete dataset
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import PIL.Image

from bench._miniature import failure
from demo import server, shapes
from todus.command import Parser, run
from todus.paths import REPO

SIZE = (640, 480)
SECTIONS = ("records", "filter", "bytes")
CLASSES = 80
DATASET = ["-m", "todus.commands.dataset", "coco"]
OFFICIAL = ["-m", "object_detection.dataset_tools.create_coco_tf_record"]


class Cost(NamedTuple):
    """What a command and its children took.

    Attributes:
      seconds: wall time.
      processor: seconds of user and system time.
      memory: bytes, the largest resident set of a process.
    """

    seconds: float
    processor: float
    memory: float


def timed(command: List[str], **variables: str) -> Cost:
    """Runs a command in the repository. Raises TodusError when it fails."""
    os.sync()
    environment = dict(os.environ, PYTHONPATH=str(REPO), TF_CPP_MIN_LOG_LEVEL="3", **variables)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, cwd=str(REPO), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    errors = process.stderr.read()
    _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        raise failure(command, errors)
    seconds = time.perf_counter() - start
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0)


def interleaved(
    runs: Dict[str, Callable[[], Cost]], repeats: int, once: Tuple[str, ...] = ()
) -> Dict[str, Cost]:
    """The median costs of each run; the runs alternate, those in `once` run once.

    So a slow period of the machine affects all of them.
    """
    results: Dict[str, List[Cost]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, work in runs.items():
            if repeat == 0 or name not in once:
                results[name].append(work())
    return {name: Cost(*map(statistics.median, zip(*found))) for name, found in results.items()}


def polygon(chance: random.Random, width: int, height: int) -> List[float]:
    """A star-shaped polygon of 8 to 36 corners inside the image: x, y, x, y ..."""
    radius = chance.uniform(12, 110)
    x, y = chance.uniform(radius, width - radius), chance.uniform(radius, height - radius)
    corners = chance.randint(8, 36)
    points: List[float] = []
    for corner in range(corners):
        angle, length = 2 * np.pi * corner / corners, radius * chance.uniform(0.5, 1.0)
        ends = (x + length * np.cos(angle), y + length * np.sin(angle))
        points += [round(float(end), 2) for end in ends]
    return points


def annotation(number: int, image: int, points: List[float], category: int) -> Dict[str, Any]:
    left, top = min(points[::2]), min(points[1::2])
    width, height = max(points[::2]) - left, max(points[1::2]) - top
    return {
        "segmentation": [points],
        "area": shapes.polygon_area(np.array(points).reshape(-1, 2)),
        "iscrowd": 0,
        "image_id": image,
        "bbox": [left, top, round(width, 2), round(height, 2)],
        "category_id": category,
        "id": number,
    }


def entry(identity: int) -> Dict[str, Any]:
    name = "%012d.jpg" % identity
    return {
        "license": 1,
        "file_name": name,
        "coco_url": "http://images.cocodataset.org/train2017/" + name,
        "height": SIZE[1],
        "width": SIZE[0],
        "date_captured": "2017-09-01 00:00:00",
        "id": identity,
    }


def classes() -> List[Dict[str, Any]]:
    return [
        {"supercategory": "drawn", "id": identity, "name": "class %d" % identity}
        for identity in range(1, CLASSES + 1)
    ]


def document(images: int, weights: Optional[List[float]] = None) -> Dict[str, Any]:
    """A COCO document with 7 polygons on each image, of classes drawn by their weights."""
    chance = random.Random(0)
    listed: List[Dict[str, Any]] = []
    for image in range(1, images + 1):
        for category in chance.choices(range(1, CLASSES + 1), weights, k=7):
            listed.append(annotation(len(listed) + 1, image, polygon(chance, *SIZE), category))
    entries = [entry(image) for image in range(1, images + 1)]
    return {"images": entries, "annotations": listed, "categories": classes()}


def draw_images(folder: Path, count: int) -> None:
    """Draws JPEGs of clouds, about 130 kB each."""
    folder.mkdir(parents=True)
    noise = np.random.RandomState(0)
    small = PIL.Image.fromarray(noise.randint(0, 255, (24, 32, 3), np.uint8))
    clouds = np.asarray(small.resize(SIZE, PIL.Image.BICUBIC), np.int16)
    grain = noise.randint(-30, 31, (SIZE[1], SIZE[0], 1)).astype(np.int16)
    for index in range(count):
        pixels = np.clip(np.roll(clouds, 7 * index, 1) + np.roll(grain, index, 0), 0, 255)
        picture = PIL.Image.fromarray(pixels.astype(np.uint8))
        picture.save(str(folder / ("%012d.jpg" % (index + 1))), quality=82)


def bench_records(work: Path, count: int, repeats: int) -> None:
    mscoco = work / "dataset" / "mscoco"
    images, annotations = mscoco / "raw-data" / "train2017", mscoco / "raw-data" / "annotations"
    draw_images(images, count)
    annotations.mkdir()
    whole = document(count)
    (annotations / "instances_train2017.json").write_text(json.dumps(whole))
    whole.update(images=whole["images"][:1], annotations=whole["annotations"][:7])
    (annotations / "few.json").write_text(json.dumps(whole))
    out = work / "od-api"

    def official(*more: str) -> Cost:
        shutil.rmtree(str(out), ignore_errors=True)
        out.mkdir()
        names = {"train": "instances_train2017.json", "val": "few.json", "testdev": "few.json"}
        flags = ["--%s_annotations_file=%s" % (each, annotations / names[each]) for each in names]
        flags += ["--%s_image_dir=%s" % (split, images) for split in ("train", "val", "test")]
        return timed([sys.executable] + OFFICIAL + ["--output_dir=%s" % out] + flags + list(more))

    def ours(**more: str) -> Cost:
        shutil.rmtree(str(mscoco / "complete"), ignore_errors=True)
        command = [sys.executable] + DATASET + ["complete"]
        return timed(command, TODUS_HOME=str(work), SPLITS="train", **more)

    def copy() -> Cost:
        shutil.rmtree(str(work / "copy"), ignore_errors=True)
        return timed(["cp", "-r", str(images), str(work / "copy")])

    our_masks, official_masks = "todus INCLUDE_MASKS=1", "OD API --include_masks"
    runs = {
        "todus": ours,
        "cp -r": copy,
        "OD API": official,
        our_masks: lambda: ours(INCLUDE_MASKS="1"),
        official_masks: lambda: official("--include_masks"),
    }
    results = interleaved(runs, repeats, (official_masks, our_masks))
    size = sum(path.stat().st_size for path in images.iterdir())
    print("records: %d images, %.0f kB each" % (count, size / count / 1000))
    show(results, "todus")
    ratio = results[official_masks].seconds / results[our_masks].seconds
    print("  images and masks in both: %.1f times" % ratio)


def show(results: Dict[str, Cost], first: str, memory: bool = False) -> None:
    """Prints a line for each run, with the ratios to the run `first`."""
    base = results[first]
    for name, cost in results.items():
        facts = (name, cost.seconds, cost.seconds / base.seconds, first)
        line = "  %-24s %7.2f s (%.2f times %s)" % facts
        facts = (cost.processor, cost.processor / base.processor)
        line += ", %.2f s of processor (%.2f times)" % facts
        if memory:
            line += ", %.0f MB (%.2f times)" % (cost.memory / 1e6, cost.memory / base.memory)
        print(line)


FILTER = """
import sys
from pathlib import Path
from todus.dataset import annotations
from todus.dataset.sources import coco_annotations
path = Path(sys.argv[1])
names = coco_annotations.read_categories(path)
found = annotations.clean(coco_annotations.read(path, names, {23, 24, 25}))
print(sum(len(image.boxes) for image in found.images))
"""
PLAIN = """
import json, sys
with open(sys.argv[1]) as file:
    document = json.load(file)
boxes = [each for each in document["annotations"] if each["category_id"] in {23, 24, 25}]
wanted = {each["image_id"] for each in boxes}
print(len(boxes), len([each for each in document["images"] if each["id"] in wanted]))
"""


def bench_filter(work: Path, boxes: int, repeats: int) -> None:
    path = work / "instances_train2017.json"
    draw_annotations(path, boxes)
    runs = {
        "todus": lambda: timed([sys.executable, "-c", FILTER, str(path)]),
        "json.load": lambda: timed([sys.executable, "-c", PLAIN, str(path)]),
    }
    results = interleaved(runs, repeats)
    print("filter: %d boxes, %.0f MB" % (boxes, path.stat().st_size / 1e6))
    show(results, "todus", memory=True)


def draw_annotations(path: Path, boxes: int) -> None:
    """Writes a file like instances_train2017.json: one line, categories last, 7 boxes per image."""
    chance = random.Random(0)
    images = max(1, boxes // 7)
    patterns = [polygon(chance, *SIZE) for _ in range(3000)]
    with path.open("w") as file:
        file.write('{"info": {"description": "drawn"}, "licenses": [], "images": ')
        file.write(json.dumps([entry(image) for image in range(1, images + 1)]))
        file.write(', "annotations": [')
        for number in range(boxes):
            points = patterns[number % len(patterns)]
            image, category = chance.randint(1, images), chance.randint(1, CLASSES)
            drawn = annotation(number + 1, image, points, category)
            if number % 90 == 0:
                counts = [chance.randint(1, 400) for _ in range(200)]
                drawn.update(iscrowd=1, segmentation={"counts": counts, "size": [480, 640]})
            file.write((", " if number else "") + json.dumps(drawn))
        file.write('], "categories": %s}' % json.dumps(classes()))


def bench_bytes(work: Path, images: int) -> None:
    """Draws classes as unevenly as COCO: the n-th most frequent has 1/n of the first's boxes."""
    root = work / "site"
    draw_images(root / "train2017", images)
    text = json.dumps(document(images, [1 / number for number in range(1, CLASSES + 1)]))
    for folder in ("zips", "annotations"):
        (root / folder).mkdir()
    annotations = str(root / "annotations" / "annotations_trainval2017.zip")
    with zipfile.ZipFile(annotations, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/instances_train2017.json", text)
    with zipfile.ZipFile(str(root / "zips" / "train2017.zip"), "w") as archive:
        for path in sorted((root / "train2017").iterdir()):
            archive.write(str(path), "train2017/" + path.name)
    sent = {}
    for kind in ("limited", "complete"):
        with server.Server(root) as site:
            timed(
                [sys.executable] + DATASET + [kind],
                TODUS_HOME=str(work / kind),
                COCO_URL=site.url,
                CATEGORIES="class 60, class 70, class 80",
                SPLITS="train",
            )
            sizes = site.bytes_sent.items()
            sent[kind] = sum(size for path, size in sizes if not path.startswith("/annotations"))
    few, whole = sent["limited"], sent["complete"]
    print("bytes: of images, sent by the server, for three rare classes of %d" % CLASSES)
    print("  %.1f MB of %.1f MB, %.1f%%" % (few / 1e6, whole / 1e6, 100 * few / whole))


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("bench.data", __doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--boxes", type=int, default=860000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    arguments = parser.parse_args(argv)
    for section in arguments.only:
        with tempfile.TemporaryDirectory(prefix="todus-bench-") as folder:
            work = Path(folder)
            if section == "records":
                bench_records(work, arguments.images, arguments.repeats)
            elif section == "filter":
                bench_filter(work, arguments.boxes, arguments.repeats)
            else:
                bench_bytes(work, min(arguments.images, 1000))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(run("bench", main))
