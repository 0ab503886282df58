"""What a model's extractor does to a pixel."""

from typing import List, Tuple

from todus.model import pipeline

# What preprocess() of the extractors does to a pixel: (pixel - mean) / std. The MobileNet, Inception, MobileDet and SpaghettiNet
# extractors compute 2/255 * pixel - 1; the ResNet FPN ones subtract the ImageNet means of red, green and blue.
RESNET_MEANS = [123.68, 116.779, 103.939]


def normalization(config: pipeline.Config) -> Tuple[List[float], List[float]]:
    """(mean, std) of red, green and blue in pixel values 0 to 255."""
    if "resnet" in pipeline.extractor(config):
        return RESNET_MEANS, [1.0, 1.0, 1.0]
    return [127.5] * 3, [127.5] * 3
