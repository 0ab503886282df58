"""Train images of COCO that have none of some classes."""

from pathlib import Path
from typing import Callable, List, Sequence

from todus import categories
from todus.dataset.annotations import Image, id_order
from todus.dataset.seeded_order import sort_key
from todus.dataset.sources import coco_annotations, coco_raw_data
from todus.errors import TodusError

SPLIT = "train"
SEED = 0

Say = Callable[[str], None]


def fetch(names: Sequence[str], count: int, say: Say) -> List[Image]:
    """At most `count` images, each with its path; [] where COCO is not there, which is said.

    Images and annotations are those of raw-data, and are fetched from COCO_URL where absent.
    """
    if not count:
        return []
    text = "train: %d images of COCO without %s are negatives; COCO_NEGATIVES=0 trains without"
    say(text % (count, " or ".join(names)))
    try:
        return _fetch(names, count)
    except TodusError as error:
        text = "train: no images of COCO as negatives (%s); false alarms are likelier: "
        say(text % error + "give pictures without the classes to the dataset with NEGATIVES=DIR")
        return []


def _fetch(names: Sequence[str], count: int) -> List[Image]:
    def chosen(path: Path) -> List[Image]:
        known = coco_annotations.read_categories(path)
        unwanted = set(categories.match_by_name(dict(enumerate(names)), known).values())
        listed = coco_annotations.read(path, known, unwanted).images
        without = [image for image in listed if not image.boxes]
        first = sorted(without, key=lambda image: sort_key(SEED, image.id))[:count]
        return sorted(first, key=lambda image: id_order(image.id))

    with coco_raw_data.located(SPLIT, chosen) as (images, _missing):
        return images
