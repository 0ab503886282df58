"""Some of COCO's val images, for a model without a dataset of its own."""

from pathlib import Path
from typing import Dict, List, Sequence

from todus import categories, variables
from todus.command import say
from todus.dataset import choose, image_bytes
from todus.dataset.annotations import Image, clean
from todus.dataset.sources import coco_annotations, coco_raw_data
from todus.dataset.sources.coco_settings import LIMITED, Settings
from todus.errors import TodusError

SPLIT = "val"


def fetch(names: Sequence[str], count: int) -> List[bytes]:
    """At most `count` encoded val images that have one of these classes.

    Images and annotations are those of raw-data, and are fetched from COCO_URL where absent.

    Raises:
      TodusError: COCO has none of the classes, or the server does not have the images.
    """
    settings = Settings.from_environment(LIMITED)
    if settings.url == variables.defaults("dataset-limited")["COCO_URL"]:
        _wanted(names, categories.bundled("coco"))  # before the download

    def chosen(path: Path) -> List[Image]:
        known = coco_annotations.read_categories(path)
        found = clean(coco_annotations.read(path, known, _wanted(names, known)))
        return choose.choose(found, count, 0, settings.options.seed).images

    with coco_raw_data.located(SPLIT, chosen) as (images, missing):
        if missing:
            say("%d of %d images are missing on the server" % (missing, len(images) + missing))
        return [image_bytes.read(image) for image in images]


def _wanted(names: Sequence[str], known: Dict[int, str]) -> List[int]:
    """The ids of the classes with these names. Raises TodusError where there is none of them."""
    found = categories.match_by_name(dict(enumerate(names)), known)
    if not found:
        what = "COCO has no class %s; set COCO_URL to a server that has"
        raise TodusError(what % " or ".join(names))
    return list(found.values())
