"""The normalisation of pixels by a model's feature extractor."""

from typing import List, Tuple

from todus.model import pipeline

# preprocess() of the extractors computes (pixel - mean) / std: 2/255 * pixel - 1 in MobileNet,
# Inception, Inception ResNet, MobileDet and SpaghettiNet; pixel - the ImageNet means in ResNet.
RESNET_MEANS = [123.68, 116.779, 103.939]


def normalization(config: pipeline.Config) -> Tuple[List[float], List[float]]:
    """(mean, std) of red, green and blue in pixel values 0 to 255."""
    extractor = pipeline.extractor(config)
    if "resnet" in extractor and "inception_resnet" not in extractor:
        return RESNET_MEANS, [1.0, 1.0, 1.0]
    return [127.5] * 3, [127.5] * 3
