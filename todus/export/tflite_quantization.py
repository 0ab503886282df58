"""Quantizes a float .tflite file to 8 bits, with ranges from images."""

from typing import List

import numpy as np

from todus.slicing import tflite_file
from todus.slicing import tflite_schema as schema

INPUTS = ("uint8", "int8", "float32")  # the types that the input of the file can have

# In place of a first weight of 0, where all weights of an output channel are 0: it adds less than
# half of an 8-bit step to the channel.
_WEIGHT = 1e-3
_CHANNEL_AXES = {
    schema.BuiltinOperator.CONV_2D: 0,
    schema.BuiltinOperator.FULLY_CONNECTED: 0,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
}


def quantize(data: bytes, images: List[np.ndarray], dtype: str) -> bytes:
    """The file with 8-bit weights and activations.

    Args:
      data: a float .tflite file of one input.
      images: that input's values, float32 [1, height, width, 3]. The range of an 8-bit input is
        theirs.
      dtype: the type of the input, one of INPUTS.
    """
    from todus.tf import tf

    from tensorflow.lite.python.optimize.calibrator import Calibrator

    calibrator = Calibrator(_without_zero_channels(data))
    samples = ([image] for image in images)
    types = getattr(tf, dtype), tf.float32
    return calibrator.calibrate_and_quantize(lambda: samples, *types, allow_float=True)


def _without_zero_channels(data: bytes) -> bytes:
    """The file with a weight other than 0 in each output channel.

    The scale of a channel is that of its largest weight. Without one it is 0, the channel's bias is
    lost, and a class's score is 0.5 on every image.
    """
    content = tflite_file.read(data)
    for graph in content.subgraphs:
        for operator in graph.operators:
            code = content.operatorCodes[operator.opcodeIndex]
            axis = _CHANNEL_AXES.get(max(code.builtinCode, code.deprecatedBuiltinCode))
            if axis is None:
                continue
            tensor = graph.tensors[operator.inputs[1]]
            buffer = content.buffers[tensor.buffer]
            if tensor.type != schema.TensorType.FLOAT32 or buffer.data is None:
                continue
            weights = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape).copy()
            channels = np.moveaxis(weights, axis, 0)
            zero = ~channels.any(axis=(1, 2, 3)[: channels.ndim - 1])
            channels[(zero,) + (0,) * (channels.ndim - 1)] = _WEIGHT
            buffer.data = np.frombuffer(weights.tobytes(), np.uint8)
    return tflite_file.packed(content)
