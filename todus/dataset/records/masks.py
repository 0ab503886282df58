"""COCO segmentations as the PNG files of image/object/mask."""

import io
from typing import Any, Tuple

import numpy as np
import PIL.Image
from pycocotools import mask as coco_mask

from todus.dataset import image_files
from todus.dataset.annotations import Box


def png(box: Box, height: int, width: int) -> bytes:
    """A one-bit PNG [height, width] of the box's polygons or RLE, else of the box itself.

    Raises BadImage for any other segmentation, or one of another size.
    """
    bits = np.packbits(np.ascontiguousarray(pixels(box, height, width)), axis=1)
    image = PIL.Image.frombytes("1", (width, height), bits.tobytes())
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    return data.getvalue()


def scaled(segmentation: Any, scale_x: float, scale_y: float, size: Tuple[int, int]) -> Any:
    """Polygons or RLE of an image that is scaled to `size`, width and height in pixels.

    What is neither stays: `pixels` names it.
    """
    if scale_x == scale_y == 1:
        return segmentation
    if isinstance(segmentation, list):
        scales = (scale_x, scale_y)
        return [
            [
                value * scales[at % 2] if _is_number(value) else value
                for at, value in enumerate(ring)
            ]
            if isinstance(ring, list)
            else ring
            for ring in segmentation
        ]
    try:
        height, width = segmentation["size"]
        inside = pixels(Box(0, 0, 0, 0, 0, 0, mask=segmentation), height, width)
    except (image_files.BadImage, TypeError, ValueError, KeyError):
        return segmentation
    smaller = PIL.Image.fromarray(inside).resize(size, PIL.Image.NEAREST)
    return coco_mask.encode(np.asfortranarray(smaller))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def pixels(box: Box, height: int, width: int) -> np.ndarray:
    """A uint8 [height, width] that is 1 inside the segmentation."""
    segmentation = box.mask
    if not segmentation:
        inside = np.zeros((height, width), np.uint8)
        inside[int(box.ymin) : int(np.ceil(box.ymax)), int(box.xmin) : int(np.ceil(box.xmax))] = 1
        return inside
    try:
        if not isinstance(segmentation, dict):
            segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, height, width)
        inside = coco_mask.decode(segmentation)
    except Exception as error:  # pycocotools raises bare Exception for what it cannot read
        raise image_files.BadImage("segmentation cannot be read (%s)" % error)
    if inside.shape != (height, width):
        raise image_files.BadImage("segmentation has another size than its image")
    return inside
