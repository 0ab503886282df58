"""The size of a model and the cost of training it: anchors, parameters, multiply-adds, memory."""

from dataclasses import dataclass
from typing import List, Optional

import numpy as np

from todus.errors import UsageError
from todus.machine import memory
from todus.model import heads, pipeline
from todus.text import first_line

BYTES = 4  # of a float32
SHARE = 0.9  # of the free memory that a proposed batch size may take


@dataclass
class Costs:
    """The network's costs for one image.

    Attributes:
      parameters: trainable, without those of batch normalisation.
      multiply_adds: of convolutions and matrix products.
      activations: float values of the forward pass that training keeps for the gradient.
      anchors: boxes that the predictor scores; None where they depend on the image.
      trainable: names of the variables that training changes.
      frozen: names of the trainable variables that freeze_variables excludes.
    """

    parameters: int
    multiply_adds: int
    activations: int
    anchors: Optional[int]
    trainable: List[str]
    frozen: List[str]


def costs(config: pipeline.Config) -> Costs:
    """Builds the network for one image of its input size, 600x1024 where that follows the image.

    Raises UsageError where the OD API cannot build it.
    """
    from todus.tf import tf

    import tf_slim as slim
    from object_detection.builders import model_builder

    from todus.machine.silence import quiet

    height, width = pipeline.input_size(config) or (600, 1024)
    with tf.Graph().as_default() as graph, quiet():
        tf.keras.backend.set_learning_phase(0)
        image = tf.placeholder(tf.float32, [1, height, width, 3])
        heads.install()
        try:
            model = model_builder.build(config.model, is_training=False)
            predicted = model.predict(image, tf.constant([[height, width, 3]]))
        except ValueError as error:
            text = "the network cannot be built for %dx%d pixels (%s); give other options"
            raise UsageError(text % (height, width, first_line(error)))
        every = tf.trainable_variables()
        patterns = list(config.train_config.freeze_variables)
        trained = slim.filter_variables(every, exclude_patterns=patterns) if patterns else every
        anchors = None
        if pipeline.architecture(config) == "ssd":
            anchors = predicted["anchors"].shape.as_list()[0]
        names = {variable.op.name for variable in trained}
        weights = [variable for variable in every if "BatchNorm" not in variable.op.name]
        factor = _QUANTIZED_FACTOR if pipeline.is_quantized(config) else 1
        return Costs(
            parameters=sum(variable.shape.num_elements() for variable in weights),
            multiply_adds=_multiply_adds(graph),
            activations=int(_activations(graph) * factor),
            anchors=anchors,
            trainable=sorted(names),
            frozen=sorted(variable.op.name for variable in every if variable.op.name not in names),
        )


# Axes of an op's weights that each of its outputs sums over.
_SUMMED_AXES = {"Conv2D": 3, "DepthwiseConv2dNative": 2, "MatMul": 1}


def _multiply_adds(graph) -> int:
    total = 0
    for op in graph.get_operations():
        if op.type in _SUMMED_AXES:
            outputs, weights = op.outputs[0].shape.num_elements(), op.inputs[1].shape.as_list()
            if outputs and None not in weights:
                total += outputs * int(np.prod(weights[: _SUMMED_AXES[op.type]]))
    return total


# Ops whose outputs training keeps for the gradient.
_KEPT = {"Conv2D", "DepthwiseConv2dNative", "MatMul", "BiasAdd", "Add", "AddV2", "Mul", "ConcatV2"}
_KEPT |= {"FusedBatchNorm", "FusedBatchNormV3", "Relu", "Relu6", "MaxPool", "AvgPool"}
_KEPT |= {"ResizeNearestNeighbor", "CropAndResize"}


def _activations(graph) -> int:
    kept = [op.outputs[0] for op in graph.get_operations() if op.type in _KEPT]
    return sum(output.shape.num_elements() or 0 for output in kept)


# Fitted to the peak memory of real processes: a 0.75 MobileNet SSD at 300x300 took 1.16, 1.98 and
# 3.14 GB at batch 1, 8 and 24 (estimates 1.2, 2.0 and 3.9), quantization-aware 2.74 and 3.64 GB at
# batch 8 and 16 (2.3 and 3.5).
_TRAINING_FACTOR = 1.1  # gradients exist for the last activations only
_QUANTIZED_FACTOR = 1.3  # fake quantization copies activations
_BASE_BYTES = 1000 << 20  # TensorFlow itself, the input pipeline with its shuffle buffer


def training_bytes(cost: Costs, batch_size: int) -> int:
    """The estimated memory of training at a batch size."""
    slots = 4 * cost.parameters  # weights, gradients, two optimizer slots
    return int(BYTES * (slots + _TRAINING_FACTOR * cost.activations * batch_size)) + _BASE_BYTES


def largest_batch(cost: Costs, free: int, most: int) -> int:
    """The largest power of two, up to `most`, whose training fits into `free` bytes; at least 1."""
    batch = 1
    while batch * 2 <= most and training_bytes(cost, batch * 2) <= free:
        batch *= 2
    return batch


def memory_warning(cost: Costs, batch_size: int, option: str) -> str:
    """A warning where training is likely to exceed the free memory; "" where it fits.

    Args:
      cost: of the network.
      batch_size: images per step.
      option: what the user types before another batch size, such as BATCH_SIZE=.
    """
    name, free = memory.training_device()
    needed = training_bytes(cost, batch_size)
    if needed <= free:
        return ""
    fits = largest_batch(cost, int(SHARE * free), batch_size)
    text = "batch size %d needs about %.1f GB, and %s has %.1f GB free: take %s%d"
    return text % (batch_size, needed / 1e9, name, free / 1e9, option, fits)
