"""The images in which classes that are added must stay silent."""

import numpy as np

from todus.added.negatives import divided
from todus.added.views import Labelled
from todus.dataset.annotations import Box, Image


def labelled(name, boxes):
    image = Image(name, name, 40, 30, boxes)
    return Labelled(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int32))


def test_the_images_of_a_dataset_without_a_box_are_negatives_and_those_of_kept_classes_are_not():
    kept = labelled("kept", [Box(1, 0.0, 0.0, 9.0, 9.0, 81.0)])  # its box is not of an added class
    empty = labelled("empty", [])
    assert divided([empty, kept]) == ([kept], [empty.image])
