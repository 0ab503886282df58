"""What a model is made of, and what training it takes: anchors, parameters, multiply-adds, memory."""

from dataclasses import dataclass
from typing import List, Optional

from todus.machine import memory
from todus.model import pipeline

BYTES = 4  # of a float32
SHARE = 0.9  # of the free memory that a proposed batch size may take


@dataclass
class Costs:
    """Of one image through the network.

    Attributes:
      parameters: trainable, without batch normalisation's.
      multiply_adds: of convolutions and matrix products.
      activations: float values that the forward pass of training makes, each of which it keeps for the gradient.
      anchors: boxes that the predictor scores; None where they depend on the image.
      trainable: names of the variables that training changes, frozen: of those it leaves alone.
    """

    parameters: int
    multiply_adds: int
    activations: int
    anchors: Optional[int]
    trainable: List[str]
    frozen: List[str]


def costs(config: pipeline.Config) -> Costs:
    """Builds the network once, for one image of its input size (600x1024 where the size follows the image)."""
    from todus.tf import tf

    import tf_slim as slim
    from object_detection.builders import model_builder

    from todus.machine.silence import quiet

    height, width = pipeline.input_size(config) or (600, 1024)
    with tf.Graph().as_default() as graph, quiet():
        tf.keras.backend.set_learning_phase(0)
        model = model_builder.build(config.model, is_training=False)
        image = tf.placeholder(tf.float32, [1, height, width, 3])
        predicted = model.predict(image, tf.constant([[height, width, 3]]))
        every = tf.trainable_variables()
        patterns = list(config.train_config.freeze_variables)
        trained = slim.filter_variables(every, exclude_patterns=patterns) if patterns else every
        anchors = (
            predicted["anchors"].shape.as_list()[0]
            if pipeline.architecture(config) == "ssd"
            else None
        )
        names = {variable.op.name for variable in trained}
        return Costs(
            parameters=sum(
                variable.shape.num_elements()
                for variable in every
                if "BatchNorm" not in variable.op.name
            ),
            multiply_adds=_multiply_adds(graph),
            activations=int(
                _activations(graph) * (_QUANTIZED_FACTOR if pipeline.is_quantized(config) else 1)
            ),
            anchors=anchors,
            trainable=sorted(names),
            frozen=sorted(variable.op.name for variable in every if variable.op.name not in names),
        )


def _multiply_adds(graph) -> int:
    """Outputs of each convolution and matrix product times the inputs that each sums up."""
    total = 0
    for op in graph.get_operations():
        if op.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            continue
        outputs, weights = op.outputs[0].shape.num_elements(), op.inputs[1].shape.as_list()
        if not outputs or None in weights:
            continue
        summed = {
            "Conv2D": weights[:3],
            "DepthwiseConv2dNative": weights[:2],
            "MatMul": weights[:1],
        }.get(op.type, [])
        product = 1
        for side in summed:
            product *= side
        total += outputs * product
    return total


_KEPT = {
    "Conv2D",
    "DepthwiseConv2dNative",
    "FusedBatchNorm",
    "FusedBatchNormV3",
    "Relu",
    "Relu6",
    "BiasAdd",
    "ConcatV2",
    "Add",
    "AddV2",
    "Mul",
}
_KEPT |= {"MaxPool", "AvgPool", "ResizeNearestNeighbor", "MatMul", "CropAndResize"}


def _activations(graph) -> int:
    return sum(
        op.outputs[0].shape.num_elements() or 0 for op in graph.get_operations() if op.type in _KEPT
    )


# Set by the peaks of real processes: a 0.75 MobileNet SSD at 300x300 took 1.16, 1.98 and 3.14 GB at batch 1, 8 and 24 (estimates 1.2, 2.0
# and 3.9), quantization-aware 2.74 and 3.64 GB at batch 8 and 16 (2.3 and 3.5).
_TRAINING_FACTOR = 1.1  # gradients are held beside the last activations only
_QUANTIZED_FACTOR = 1.3  # fake quantization copies activations
_BASE_BYTES = 1000 << 20  # TensorFlow itself, the input pipeline with its shuffle buffer


def training_bytes(cost: Costs, batch_size: int) -> int:
    """An estimate of what training at a batch size takes."""
    slots = 4 * cost.parameters  # weights, gradients, two optimizer slots
    return int(BYTES * (slots + _TRAINING_FACTOR * cost.activations * batch_size)) + _BASE_BYTES


def largest_batch(cost: Costs, free: int, most: int) -> int:
    """The largest power of two, up to `most`, whose training fits into `free` bytes; at least 1."""
    batch = 1
    while batch * 2 <= most and training_bytes(cost, batch * 2) <= free:
        batch *= 2
    return batch


def memory_doubt(cost: Costs, batch_size: int, option: str) -> str:
    """A sentence where training at a batch size is likely not to fit into memory, with the size that does; "" where it fits.

    Args:
      cost: of the network.
      batch_size: images a step.
      option: how a person gives another size, such as BATCH_SIZE=.
    """
    name, free = memory.training_device()
    needed = training_bytes(cost, batch_size)
    if needed <= free:
        return ""
    fits = largest_batch(cost, int(SHARE * free), batch_size)
    text = "batch size %d needs about %.1f GB, and %s has %.1f GB free: take %s%d"
    return text % (batch_size, needed / 1e9, name, free / 1e9, option, fits)
