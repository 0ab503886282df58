"""Draws a miniature COCO: "shapes", in the layout and schema of the 2017 release.

    python -m demo.shapes OUT [--train 200] [--val 80] [--size 200x150] [--seed 1]

    OUT/zips/{train,val}2017.zip                    the images as one download
    OUT/annotations/annotations_trainval2017.zip    annotations/instances_{train,val}2017.json
    OUT/{train,val}2017/000000000001.jpg            the images one by one

The same arguments give the same bytes. An image depends only on the seed and its index, not on the
number of images. There are eighteen classes with ids 1 to 22; four ids are unused, as ten are in
COCO. As in COCO, a split of 8 images or more has a crowd (a run-length mask), an image without
boxes and a greyscale JPEG. A polygon covers the whole shape, also where another shape hides it.
"""

import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image, ImageDraw

from todus import files
from todus.command import Parser, run
from todus.errors import UsageError

SIZE = (200, 150)
SPLITS = ("train2017", "val2017")
FINENESS = 3  # shapes are drawn this many times larger, for smooth edges
IMAGES_URL = "http://images.cocodataset.org"
LICENSE_URL = "http://creativecommons.org/publicdomain/zero/1.0/"

Outline = List[np.ndarray]  # polygons, each a float [N, 2] of x and y


def _polygon(points: str) -> Outline:
    """One polygon, its corners as in SVG: "x,y x,y ..."."""
    return [np.array([pair.split(",") for pair in points.split()], float)]


def _arc(radius: float, start: float, end: float, points: int = 20) -> np.ndarray:
    """Points on a circle, by angles in degrees; 0 is to the right, 90 is down."""
    angles = np.radians(np.linspace(start, end, points))
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def _star(points: int, inner: float) -> Outline:
    radii = np.tile([1.0, inner], points)[:, None]
    return [radii * _arc(1, -90, 270, 2 * points + 1)[:-1]]


def _rectangle(half_height: float) -> Outline:
    return _polygon("-1,-{0} 1,-{0} 1,{0} -1,{0}".format(half_height))


def _cross(arm: float = 0.34) -> Outline:
    corner = np.array([(arm, -1), (arm, -arm), (1, -arm)])
    quarter = np.array([[0, 1], [-1, 0]])
    return [np.concatenate([corner @ np.linalg.matrix_power(quarter, turns) for turns in range(4)])]


def _ring(inner: float = 0.55) -> Outline:
    """Two halves: a COCO polygon has no holes."""
    return [
        np.concatenate([_arc(1, start, start + 180), _arc(inner, start + 180, start)])
        for start in (0, 180)
    ]


def _heart() -> Outline:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    across = 16 * np.sin(angle) ** 3
    up = 13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)
    return [np.stack([across, -up], 1) / 16]


def _moon() -> Outline:
    """A disc minus a smaller disc to its right; the circles meet at +-50 degrees."""
    tip = np.sin(np.radians(50))
    inner = _arc(1, -90, 90) * [0.75, tip] * [-1, 1] + [np.cos(np.radians(50)), 0]
    return [np.concatenate([_arc(1, 50, 310), inner[1:-1]])]


ARROW = "-1,-0.28 0.1,-0.28 0.1,-0.75 1,0 0.1,0.75 0.1,0.28 -1,0.28"
BOLT = "-0.1,-1 0.65,-1 0.25,-0.25 0.75,-0.25 -0.4,1 -0.1,0.1 -0.6,0.1"
BOW_TIE = _polygon("-1,-0.7 0,0 -1,0.7") + _polygon("1,-0.7 1,0.7 0,0")
CHEVRON = "-1,-0.9 0.1,-0.9 1,0 0.1,0.9 -1,0.9 -0.1,0"
STAIRS = "-1,1 -1,0.33 -0.33,0.33 -0.33,-0.33 0.33,-0.33 0.33,-1 1,-1 1,1"


class Shape(NamedTuple):
    """A class of the dataset.

    Attributes:
      hue: in degrees.
      outline: about -1 to 1 in x and y; y grows downwards.
      pattern: plain, striped or dotted.
    """

    id: int
    name: str
    supercategory: str
    hue: float
    outline: Outline
    pattern: str = "plain"


SHAPES = (
    Shape(1, "circle", "round", 0, [_arc(1, 0, 360, 41)[:-1]]),
    Shape(2, "square", "straight", 220, _rectangle(1)),
    Shape(3, "triangle", "straight", 120, _star(3, 0.5)),
    Shape(5, "diamond", "straight", 50, _polygon("0,-1 0.62,0 0,1 -0.62,0")),
    Shape(6, "hexagon", "straight", 280, [_arc(1, 0, 360, 7)[:-1]]),
    Shape(7, "cross", "straight", 0, _cross()),
    Shape(8, "ring", "round", 185, _ring()),
    Shape(10, "heart", "round", 330, _heart()),
    Shape(11, "arrow", "pointed", 120, _polygon(ARROW)),
    Shape(13, "moon", "round", 50, _moon()),
    Shape(14, "four point star", "pointed", 220, _star(4, 0.36)),
    Shape(15, "star", "pointed", 25, _star(5, 0.42)),
    Shape(16, "bar", "straight", 25, _rectangle(0.28), "striped"),
    Shape(17, "bow tie", "pointed", 280, BOW_TIE, "dotted"),
    Shape(18, "dome", "round", 85, [_arc(1, 180, 360) + [0, 0.5]], "striped"),
    Shape(20, "chevron", "pointed", 185, _polygon(CHEVRON), "striped"),
    Shape(21, "stairs", "straight", 330, _polygon(STAIRS), "dotted"),
    Shape(22, "bolt", "pointed", 85, _polygon(BOLT)),
)


class Drawn(NamedTuple):
    """An image as a JPEG, with its entries of COCO's document."""

    jpeg: bytes
    image: Dict[str, Any]
    annotations: List[Dict[str, Any]]


def drawn(split: str, count: int, size: Tuple[int, int] = SIZE, seed: int = 1) -> Iterator[Drawn]:
    """The first `count` images of a split; `size` is the largest width and height, in pixels."""
    for index in range(count):
        yield _draw(split, index, size, np.random.RandomState([seed, SPLITS.index(split), index]))


def _draw(split: str, index: int, size: Tuple[int, int], random: np.random.RandomState) -> Drawn:
    width, height = [
        int(round(side * random.uniform(0.8, 1.0)))
        for side in (size if random.rand() < 0.75 else size[::-1])
    ]
    identity = 3 * index + 1 + SPLITS.index(split)
    picture = _background(width, height, random)
    annotations: List[Dict[str, Any]] = []
    if index % 60 != 5:
        count = random.choice([1, 2, 3, 4, 5, 6], p=[0.15, 0.25, 0.25, 0.2, 0.1, 0.05])
        others = random.randint(len(SHAPES), size=count - 1)
        taken: List[np.ndarray] = []
        if index % 40 == 2:
            annotations.append(_crowd(picture, SHAPES[random.randint(len(SHAPES))], taken, random))
        for each in (index % len(SHAPES), *others):
            annotations.extend(draw_object(picture, SHAPES[each], taken, random))
    for number, annotation in enumerate(annotations):
        annotation.update(image_id=identity, id=100 * identity + number)
    pixels = (
        np.asarray(picture.reduce(FINENESS), np.int16)
        + random.randint(-14, 15, (height, width, 1))
        + random.randint(-6, 7, (height, width, 3))
    )
    finished = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    jpeg = io.BytesIO()
    (finished.convert("L") if index % 50 == 7 else finished).save(jpeg, "JPEG", quality=85)
    name = "%012d.jpg" % identity
    image = {
        "license": 1,
        "file_name": name,
        "coco_url": "%s/%s/%s" % (IMAGES_URL, split, name),
        "height": height,
        "width": width,
        "id": identity,
    }
    return Drawn(jpeg.getvalue(), image, annotations)


def _colour(hue: float, saturation: float, value: float) -> Tuple[int, int, int]:
    """RGB of a hue in degrees."""
    sector = (np.array([5, 3, 1]) + hue / 60.0) % 6
    rgb = value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return tuple(int(round(255 * each)) for each in rgb)


def _background(width: int, height: int, random: np.random.RandomState) -> Image.Image:
    """Pale or dark clouds with some thin lines, FINENESS times larger."""
    base = _colour(random.uniform(0, 360), random.uniform(0, 0.25), random.uniform(0.25, 0.95))
    clouds = base + random.normal(0, 18, (5, 6, 1)) + random.normal(0, 8, (5, 6, 3))
    small = Image.fromarray(np.clip(clouds, 0, 255).astype(np.uint8))
    picture = small.resize((width * FINENESS, height * FINENESS), Image.BILINEAR)
    draw = ImageDraw.Draw(picture)
    for _ in range(random.randint(0, 7)):
        ends = random.uniform(0, 1, (2, 2)) * picture.size
        colour = _colour(random.uniform(0, 360), 0.3, random.uniform(0.2, 0.9))
        draw.line([tuple(end) for end in ends], colour, random.randint(2, 6))
    return picture


def draw_object(
    picture: Image.Image, shape: Shape, taken: List[np.ndarray], random: np.random.RandomState
) -> List[Dict[str, Any]]:
    """Draws a shape at a random free place; returns its annotation.

    Returns an empty list when twelve tries find no free place.
    """
    width, height = picture.width / FINENESS, picture.height / FINENESS
    for _ in range(12):
        radius = min(width, height) * np.exp(random.uniform(np.log(0.12), np.log(0.32)))
        outline = _placed(shape, radius, (width, height), random)
        box = _bounds(outline)
        if outline and all(_overlap(box, other) < 0.2 for other in taken):
            break
    else:
        return []
    taken.append(box)
    _paint(picture, shape, outline, random)
    left, top, right, bottom = box
    return [
        {
            "segmentation": [[float(each) for each in polygon.ravel()] for polygon in outline],
            "area": round(sum(polygon_area(polygon) for polygon in outline), 4),
            "iscrowd": 0,
            "bbox": [round(float(each), 2) for each in (left, top, right - left, bottom - top)],
            "category_id": shape.id,
        }
    ]


def _placed(
    shape: Shape, radius: float, area: Tuple[float, float], random: np.random.RandomState
) -> Outline:
    """The outline at a random place, angle and scale inside `area`, maybe mirrored.

    In pixels, rounded to hundredths; empty when the shape does not fit.
    """
    angle = random.uniform(-0.2, 0.2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = radius * random.uniform(0.88, 1.14, 2) * [random.choice([-1, 1]), 1]
    outline = [polygon * stretch @ turn for polygon in shape.outline]
    left, top, right, bottom = _bounds(outline)
    room = np.array(area) - [right - left, bottom - top] - 2
    move = 1 + random.uniform(0, 1, 2) * np.maximum(room, 0) - [left, top]
    return [np.round(polygon + move, 2) for polygon in outline] if (room > 0).all() else []


def _bounds(outline: Outline) -> np.ndarray:
    """Left, top, right, bottom."""
    points = np.concatenate(outline) if outline else np.zeros((1, 2))
    return np.concatenate([points.min(0), points.max(0)])


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    """The boxes' intersection as a share of the smaller one."""
    sides = np.maximum(np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2]), 0)
    return sides.prod() / min((box[2:] - box[:2]).prod() for box in (one, two))


def polygon_area(polygon: np.ndarray) -> float:
    """Area of a simple polygon, a float [N, 2], by the shoelace formula."""
    x, y = polygon.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _paint(
    picture: Image.Image, shape: Shape, outline: Outline, random: np.random.RandomState
) -> None:
    hue = shape.hue + random.uniform(-14, 14)
    value = random.uniform(0.55, 1.0)
    fill = _colour(hue, random.uniform(0.55, 1.0), value)
    left, top, right, bottom = [int(each * FINENESS) for each in _bounds(outline)]
    patch = Image.new("RGB", (right - left + 2, bottom - top + 2), fill)
    other = _colour(hue, 0.35, 0.45 * value if value > 0.75 else 1.0)
    step = max(9, (bottom - top) // 5)
    draw = ImageDraw.Draw(patch)
    if shape.pattern == "striped":
        for at in range(0, patch.width + patch.height, step):
            draw.line([(at, 0), (at - patch.height, patch.height)], other, step // 3)
    elif shape.pattern == "dotted":
        for y in range(step // 2, patch.height, step):
            for x in range(step // 2, patch.width, step):
                draw.ellipse([x - step // 4, y - step // 4, x + step // 4, y + step // 4], other)
    mask = Image.new("1", patch.size)
    for polygon in outline:
        points = polygon * FINENESS - 0.5 - [left, top]
        ImageDraw.Draw(mask).polygon([tuple(point) for point in points], fill=1)
    picture.paste(patch, (left, top), mask)


def _crowd(
    picture: Image.Image, shape: Shape, taken: List[np.ndarray], random: np.random.RandomState
) -> Dict[str, Any]:
    """Draws many small shapes of one class in a corner; returns their one annotation."""
    width, height = picture.width // FINENESS, picture.height // FINENESS
    mask = Image.new("1", (width, height))
    corner = np.array([width, height]) * random.choice([0.0, 0.6], 2)
    for _ in range(12):
        outline = _placed(shape, 0.06 * min(width, height), (0.4 * width, 0.4 * height), random)
        outline = [np.round(polygon + corner, 2) for polygon in outline]
        _paint(picture, shape, outline, random)
        for polygon in outline:
            ImageDraw.Draw(mask).polygon([tuple(point) for point in polygon - 0.5], fill=1)
    pixels = np.asarray(mask)
    rows, columns = np.nonzero(pixels)
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    taken.append(np.array([left, top, right, bottom], float))
    return {
        "segmentation": {"counts": run_lengths(pixels), "size": [height, width]},
        "area": int(pixels.sum()),
        "iscrowd": 1,
        "bbox": [int(left), int(top), int(right - left), int(bottom - top)],
        "category_id": shape.id,
    }


def run_lengths(mask: np.ndarray) -> List[int]:
    """COCO's uncompressed RLE of a bool [height, width].

    Lengths of runs in column order; the first run is of zeros.
    """
    values = np.concatenate([[False], mask.T.ravel(), [not mask[-1, -1]]])
    return np.diff(np.concatenate([[0], np.nonzero(values[1:] != values[:-1])[0]])).tolist()


def write(
    out: files.PathLike,
    train: int = 200,
    val: int = 80,
    size: Tuple[int, int] = SIZE,
    seed: int = 1,
) -> None:
    """Writes zips, annotations and images under `out`; replaces those of an earlier run."""
    out, instances = Path(out), {}
    for split, count in zip(SPLITS, (train, val)):
        pictures = list(drawn(split, count, size, seed))
        entries = [(split + "/", b"")]
        with files.replacing_folder(out / split) as folder:
            for each in pictures:
                name = each.image["file_name"]
                (folder / name).write_bytes(each.jpeg)
                entries.append((split + "/" + name, each.jpeg))
        _zip(out / "zips" / (split + ".zip"), entries, zipfile.ZIP_STORED)
        text = json.dumps(_instances(pictures, seed), separators=(",", ":"))
        instances["annotations/instances_%s.json" % split] = text.encode()
    archive = out / "annotations" / "annotations_trainval2017.zip"
    _zip(archive, instances.items(), zipfile.ZIP_DEFLATED)


def _instances(pictures: List[Drawn], seed: int) -> Dict[str, Any]:
    """COCO's document; images and annotations are shuffled, as they are in COCO."""
    shuffled = np.random.RandomState(seed)
    images = [each.image for each in pictures]
    annotations = [annotation for each in pictures for annotation in each.annotations]
    shuffled.shuffle(images)
    shuffled.shuffle(annotations)
    info = {"description": "Todus shapes", "url": "", "version": "1.0", "year": 2017}
    info.update(contributor="Todus", date_created="2017/09/01")
    return {
        "info": info,
        "licenses": [{"url": LICENSE_URL, "id": 1, "name": "Public domain"}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"supercategory": shape.supercategory, "id": shape.id, "name": shape.name}
            for shape in SHAPES
        ],
    }


def _zip(path: Path, entries: Iterable[Tuple[str, bytes]], compression: int) -> None:
    """Writes a zip whose bytes depend only on the entries: fixed times and file modes."""
    with files.replacing(path) as part, zipfile.ZipFile(str(part), "w") as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, (2017, 9, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (0o40755 << 16 | 0x10) if name.endswith("/") else 0o100644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith("/") else compression
            archive.writestr(entry, content)


def _size(text: str) -> Tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    sides = [int(side) for side in match.groups()] if match else [0]
    if min(sides) < 64 or max(sides) > 4096:
        form = "WIDTHxHEIGHT in pixels, 64 to 4096, such as 200x150"
        raise UsageError("--size %s is not a size; give %s" % (text, form))
    return sides[0], sides[1]


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("demo.shapes", __doc__)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--val", type=int, default=80)
    parser.add_argument("--size", default="%dx%d" % SIZE)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    if min(arguments.train, arguments.val) < 1 or not 0 <= arguments.seed < 2**32:
        raise UsageError("--train and --val take 1 or more, --seed 0 to %d" % (2**32 - 1))
    write(arguments.out, arguments.train, arguments.val, _size(arguments.size), arguments.seed)
    facts = (arguments.train, arguments.val, len(SHAPES), arguments.out)
    print("%d train and %d val images of %d classes in %s" % facts)
    return 0


if __name__ == "__main__":
    sys.exit(run("demo.shapes", main))
