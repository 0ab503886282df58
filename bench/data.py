"""Measures the making of datasets on drawn data; interleaved runs, ratios of the medians.

    python -m bench.data [--images 3000] [--boxes 860000] [--repeats 3] [--only records filter bytes]

records   drawn 640x480 JPEGs of about 130 kB with 7 polygons each to TFRecord: Todus against the OD API's create_coco_tf_record with and
          without --include_masks (which is run once, being slow), and against cp -r of the same files
filter    a drawn annotations file of COCO's size, limited to three classes: Todus against json.load and a list comprehension
bytes     what a server sends for three rare classes against the whole
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

from demo import server, shapes
from todus.command import Parser, run
from todus.errors import TodusError

REPO = Path(__file__).resolve().parent.parent
SIZE = (640, 480)
SECTIONS = ("records", "filter", "bytes")
CLASSES = 80


class Cost(NamedTuple):
    """What a command took, its children included."""

    seconds: float
    processor: float  # seconds of user and system time
    memory: float  # bytes resident at most, in its largest process


def timed(command: List[str], environment: Optional[Dict[str, str]] = None) -> Cost:
    """Runs a command that must succeed."""
    os.sync()
    variables = dict(
        os.environ, PYTHONPATH=str(REPO), TF_CPP_MIN_LOG_LEVEL="3", **(environment or {})
    )
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=variables, cwd=str(REPO), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise TodusError(
            "%s failed: %s"
            % (" ".join(command[:4]), errors.decode("utf-8", "replace").strip()[-300:])
        )
    return Cost(
        time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0
    )


def interleaved(
    runs: Dict[str, Callable[[], Cost]], repeats: int, once: Tuple[str, ...] = ()
) -> Dict[str, Cost]:
    """The median of each cost of each run, all in turn so that a slow spell of the machine hits all; those in `once` run once."""
    results: Dict[str, List[Cost]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, work in runs.items():
            if repeat == 0 or name not in once:
                results[name].append(work())
    return {name: Cost(*map(statistics.median, zip(*found))) for name, found in results.items()}


def polygon(chance: random.Random, width: int, height: int) -> List[float]:
    """A star-shaped polygon of some 20 corners inside the image: x, y, x, y ..."""
    radius = chance.uniform(12, 110)
    x, y = chance.uniform(radius, width - radius), chance.uniform(radius, height - radius)
    corners = chance.randint(8, 36)
    points = []
    for corner in range(corners):
        angle, length = 2 * np.pi * corner / corners, radius * chance.uniform(0.5, 1.0)
        points += [
            round(float(x + length * np.cos(angle)), 2),
            round(float(y + length * np.sin(angle)), 2),
        ]
    return points


def annotation(number: int, image: int, points: List[float], category: int) -> Dict[str, Any]:
    left, top, right, bottom = (
        min(points[::2]),
        min(points[1::2]),
        max(points[::2]),
        max(points[1::2]),
    )
    box = [left, top, round(right - left, 2), round(bottom - top, 2)]
    area = shapes.polygon_area(np.array(points).reshape(-1, 2))
    return {
        "segmentation": [points],
        "area": area,
        "iscrowd": 0,
        "image_id": image,
        "bbox": box,
        "category_id": category,
        "id": number,
    }


def entry(identity: int) -> Dict[str, Any]:
    name = "%012d.jpg" % identity
    url = "http://images.cocodataset.org/train2017/" + name
    return {
        "license": 1,
        "file_name": name,
        "coco_url": url,
        "height": SIZE[1],
        "width": SIZE[0],
        "date_captured": "2017-09-01 00:00:00",
        "id": identity,
    }


def draw_images(folder: Path, count: int) -> None:
    """Cloudy JPEGs of about 130 kB."""
    folder.mkdir(parents=True)
    noise = np.random.RandomState(0)
    clouds = np.asarray(
        PIL.Image.fromarray(noise.randint(0, 255, (24, 32, 3), np.uint8)).resize(
            SIZE, PIL.Image.BICUBIC
        ),
        np.int16,
    )
    grain = noise.randint(-30, 31, (SIZE[1], SIZE[0], 1)).astype(np.int16)
    for index in range(count):
        pixels = np.clip(np.roll(clouds, 7 * index, 1) + np.roll(grain, index, 0), 0, 255).astype(
            np.uint8
        )
        PIL.Image.fromarray(pixels).save(str(folder / ("%012d.jpg" % (index + 1))), quality=82)


def draw_split(home: Path, count: int) -> None:
    raw = home / "dataset" / "mscoco" / "raw-data"
    draw_images(raw / "train2017", count)
    chance = random.Random(0)
    listed = []
    for image in range(1, count + 1):
        for _ in range(7):
            points = polygon(chance, *SIZE)
            listed.append(annotation(len(listed) + 1, image, points, chance.randint(1, CLASSES)))
    document = {
        "images": [entry(image) for image in range(1, count + 1)],
        "annotations": listed,
        "categories": classes(),
    }
    (raw / "annotations").mkdir()
    (raw / "annotations" / "instances_train2017.json").write_text(json.dumps(document))
    few = {"images": document["images"][:1], "annotations": listed[:7], "categories": classes()}
    (raw / "annotations" / "few.json").write_text(json.dumps(few))


def classes() -> List[Dict[str, Any]]:
    return [
        {"supercategory": "drawn", "id": identity, "name": "class %d" % identity}
        for identity in range(1, CLASSES + 1)
    ]


def bench_records(work: Path, count: int, repeats: int) -> None:
    draw_split(work, count)
    raw = work / "dataset" / "mscoco" / "raw-data"
    images = raw / "train2017"
    out = work / "od-api"

    def official(*more: str) -> Cost:
        shutil.rmtree(str(out), ignore_errors=True)
        out.mkdir()
        annotations = {
            "train": "instances_train2017.json",
            "val": "few.json",
            "testdev": "few.json",
        }
        flags = [
            "--%s_annotations_file=%s" % (split, raw / "annotations" / name)
            for split, name in annotations.items()
        ]
        flags += ["--%s_image_dir=%s" % (split, images) for split in ("train", "val", "test")]
        module = "object_detection.dataset_tools.create_coco_tf_record"
        return timed([sys.executable, "-m", module, "--output_dir=%s" % out] + flags + list(more))

    def ours(**more: str) -> Cost:
        shutil.rmtree(str(work / "dataset" / "mscoco" / "complete"), ignore_errors=True)
        return timed(
            [sys.executable, "-m", "todus.commands.dataset", "coco", "complete"],
            dict(TODUS_HOME=str(work), SPLITS="train", **more),
        )

    def copy() -> Cost:
        shutil.rmtree(str(work / "copy"), ignore_errors=True)
        return timed(["cp", "-r", str(images), str(work / "copy")])

    runs = {
        "todus": ours,
        "cp -r": copy,
        "OD API": official,
        "todus INCLUDE_MASKS=1": lambda: ours(INCLUDE_MASKS="1"),
        "OD API --include_masks": lambda: official("--include_masks"),
    }
    results = interleaved(runs, repeats, ("OD API --include_masks", "todus INCLUDE_MASKS=1"))
    size = sum(path.stat().st_size for path in images.iterdir())
    print("records: %d images, %.0f kB each" % (count, size / count / 1000))
    show(results, "todus")
    print(
        "  images and masks in both: %.1f times"
        % (results["OD API --include_masks"].seconds / results["todus INCLUDE_MASKS=1"].seconds)
    )


def show(results: Dict[str, Cost], first: str, memory: bool = False) -> None:
    """A line a run; the ratios are to the run `first`."""
    base = results[first]
    for name, cost in results.items():
        line = "  %-24s %7.2f s (%.2f times %s)" % (
            name,
            cost.seconds,
            cost.seconds / base.seconds,
            first,
        )
        line += ", %.2f s of processor (%.2f times)" % (
            cost.processor,
            cost.processor / base.processor,
        )
        print(
            line
            + (
                ", %.0f MB (%.2f times)" % (cost.memory / 1e6, cost.memory / base.memory)
                if memory
                else ""
            )
        )


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
    """A file like instances_train2017.json, a seventh as many images as boxes, written as COCO's is: on one line, categories last."""
    chance = random.Random(0)
    images = max(1, boxes // 7)
    patterns = [polygon(chance, *SIZE) for _ in range(3000)]
    with path.open("w") as file:
        file.write('{"info": {"description": "drawn"}, "licenses": [], "images": ')
        file.write(json.dumps([entry(image) for image in range(1, images + 1)]))
        file.write(', "annotations": [')
        for number in range(boxes):
            drawn = annotation(
                number + 1,
                chance.randint(1, images),
                patterns[number % len(patterns)],
                chance.randint(1, CLASSES),
            )
            if number % 90 == 0:
                drawn.update(
                    iscrowd=1,
                    segmentation={
                        "counts": [chance.randint(1, 400) for _ in range(200)],
                        "size": [480, 640],
                    },
                )
            file.write((", " if number else "") + json.dumps(drawn))
        file.write('], "categories": %s}' % json.dumps(classes()))


def bench_bytes(work: Path, images: int) -> None:
    """Classes are drawn as unevenly as COCO's: the n-th most frequent is a 1/n of the first."""
    root, chance = work / "site", random.Random(0)
    draw_images(root / "train2017", images)
    weights = [1 / number for number in range(1, CLASSES + 1)]
    listed = []
    for image in range(1, images + 1):
        for category in chance.choices(range(1, CLASSES + 1), weights, k=7):
            listed.append(annotation(len(listed) + 1, image, polygon(chance, *SIZE), category))
    document = {
        "images": [entry(image) for image in range(1, images + 1)],
        "annotations": listed,
        "categories": classes(),
    }
    for folder in ("zips", "annotations"):
        (root / folder).mkdir()
    with zipfile.ZipFile(
        str(root / "annotations" / "annotations_trainval2017.zip"), "w", zipfile.ZIP_DEFLATED
    ) as archive:
        archive.writestr("annotations/instances_train2017.json", json.dumps(document))
    with zipfile.ZipFile(str(root / "zips" / "train2017.zip"), "w") as archive:
        for path in sorted((root / "train2017").iterdir()):
            archive.write(str(path), "train2017/" + path.name)
    sent = {}
    for kind in ("limited", "complete"):
        with server.Server(root) as site:
            environment = {
                "TODUS_HOME": str(work / kind),
                "COCO_URL": site.url,
                "CATEGORIES": "class 60, class 70, class 80",
                "SPLITS": "train",
            }
            timed([sys.executable, "-m", "todus.commands.dataset", "coco", kind], environment)
            sent[kind] = sum(
                size
                for path, size in site.bytes_sent.items()
                if not path.startswith("/annotations")
            )
    print("bytes: of images, as the server counts them, for three rare classes of %d" % CLASSES)
    print(
        "  %.1f MB of %.1f MB, %.1f%%"
        % (sent["limited"] / 1e6, sent["complete"] / 1e6, 100 * sent["limited"] / sent["complete"])
    )


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
