"""The images whose activations give the ranges of an int8 file."""

import itertools
from typing import List, Sequence, Tuple

import numpy as np

from todus import variables
from todus.command import say
from todus.dataset.image_files import decode
from todus.dataset.records import reader
from todus.dataset.sources import coco_sample
from todus.errors import TodusError
from todus.model import prepared
from todus.paths import Model


class NoImages(TodusError):
    """There are no images; `reason` is the message without what to do."""

    def __init__(self, reason: str, remedy: str):
        super().__init__("%s; %s" % (reason, remedy))
        self.reason = reason


def images(model: Model, labels: Sequence[str], count: int) -> Tuple[List[np.ndarray], str]:
    """At most `count` uint8 images [height, width, 3], and where they come from.

    They are spread evenly over the train records of the model's dataset. A model that was prepared
    without a dataset gets val images of COCO with its classes.

    Raises:
      NoImages: there are none.
    """
    if (prepared.prepared_from(model.check()) or {}).get("dataset"):
        dataset = prepared.dataset_of(model)
        total = reader.read_manifest(dataset)["splits"].get("train", {}).get("images", 0)
        if not total:
            what = "%s has no train images, which FORMAT=int8 measures its ranges on"
            raise NoImages(what % dataset.folder, "make it again, or take FORMAT=dynamic")
        step = max(1, total // count)
        examples = reader.read_examples(dataset, "train")
        chosen = itertools.islice(examples, 0, step * count, step)
        return [decode(example.encoded) for example in chosen], "train records of " + dataset.name
    url = variables.value("COCO_URL", "convert-tflite")
    what = "%s has no dataset: FORMAT=int8 measures its ranges on %d val images of COCO with %s"
    some = ", ".join(labels[:5]) + (" ..." if len(labels) > 5 else "")
    say(what % (model.name, count, some) + ", from raw-data or " + url)
    try:
        encoded = coco_sample.fetch(labels, count)
    except TodusError as error:
        remedy = "take FORMAT=dynamic, which needs none, or prepare the model for a dataset"
        raise NoImages("no images for FORMAT=int8: %s" % error, "or " + remedy)
    if not encoded:
        raise NoImages("no val image of COCO has %s" % some, "take FORMAT=dynamic")
    return [decode(each) for each in encoded], "val images of COCO"


def values(
    pixels: Sequence[np.ndarray], mean: Sequence[float], std: Sequence[float]
) -> List[np.ndarray]:
    """Normalised float32 [1, height, width, 3] of resized images with values from 0 to 255.

    The first image gets a black and a white pixel, so that the range of an 8-bit input is that of
    all pixels, and a step is one.
    """
    means, scales = np.float32(mean), np.float32(std)
    copies = [np.array(image, np.float32) for image in pixels]
    copies[0][0, 0], copies[0][0, -1] = 0, 255
    return [((image - means) / scales)[np.newaxis] for image in copies]
