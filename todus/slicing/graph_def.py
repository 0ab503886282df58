"""The messages of a TensorFlow graph that a cut reads, without TensorFlow.

Field names and numbers are those of tensorflow/core/framework/*.proto and saved_model.proto. What
is not declared here stays in a message as it was read: protobuf keeps unknown fields.
"""

import functools
from typing import Any, Dict, List

import numpy as np

_PACKAGE = "todus.tensorflow"
_OPTIONAL, _REPEATED = 1, 3
_ONEOF = "Attribute"  # one of its fields is there, also where it is 0 or false
_TYPES = {"float": 2, "int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "double": 1}
_MESSAGES = {
    "Dim": {"size": (1, "int64")},
    "Shape": {"dim": (2, "*Dim"), "unknown_rank": (3, "bool")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "Shape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "*float"),
        "int_val": (7, "*int32"),
        "int64_val": (10, "*int64"),
    },
    "List": {"shape": (7, "*Shape")},
    "Attribute": {
        "list": (1, "List"),
        "s": (2, "bytes"),
        "i": (3, "int64"),
        "b": (5, "bool"),
        "type": (6, "int32"),
        "shape": (7, "Shape"),
        "tensor": (8, "Tensor"),
    },
    "Entry": {"key": (1, "string"), "value": (2, "Attribute")},
    "Node": {
        "name": (1, "string"),
        "op": (2, "string"),
        "input": (3, "*string"),
        "attr": (5, "*Entry"),
    },
    "Graph": {"node": (1, "*Node")},
    "Info": {"tensor_shape": (3, "Shape")},
    "InfoEntry": {"key": (1, "string"), "value": (2, "Info")},
    "Signature": {"outputs": (2, "*InfoEntry")},
    "SignatureEntry": {"key": (1, "string"), "value": (2, "Signature")},
    "MetaGraph": {"graph_def": (2, "Graph"), "signature_def": (5, "*SignatureEntry")},
    "SavedModel": {"meta_graphs": (2, "*MetaGraph")},
}
DTYPES = {1: np.float32, 3: np.int32, 9: np.int64, 4: np.uint8, 19: np.float16}
_VALUES = {1: "float_val", 3: "int_val", 9: "int64_val"}


@functools.lru_cache(maxsize=None)
def messages() -> Dict[str, Any]:
    """Name -> class of the messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto()
    file.name, file.package, file.syntax = "todus/tensorflow.proto", _PACKAGE, "proto3"
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == _ONEOF:
            message.oneof_decl.add(name="value")
        for field, (number, kind) in fields.items():
            row = message.field.add(name=field, number=number, label=_OPTIONAL)
            if name == _ONEOF:
                row.oneof_index = 0
            if kind.startswith("*"):
                row.label, kind = _REPEATED, kind[1:]
            if kind in _TYPES:
                row.type = _TYPES[kind]
            else:
                row.type, row.type_name = 11, ".%s.%s" % (_PACKAGE, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    descriptors = {name: pool.FindMessageTypeByName(_PACKAGE + "." + name) for name in _MESSAGES}
    if hasattr(message_factory, "GetMessageClass"):
        return {name: message_factory.GetMessageClass(each) for name, each in descriptors.items()}
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(each) for name, each in descriptors.items()}


def attribute(node, name: str):
    """An attribute of a node; an empty one where it is absent."""
    return next((each.value for each in node.attr if each.key == name), messages()["Attribute"]())


def array_of(tensor) -> np.ndarray:
    """The content of a constant. Raises KeyError for a type other than numbers."""
    dtype = np.dtype(DTYPES[tensor.dtype])
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = np.array(getattr(tensor, _VALUES[tensor.dtype]), dtype)
    size = int(np.prod(shape))
    if len(values) < size:  # the last value stands for those that follow
        last = values[-1] if len(values) else 0
        values = np.concatenate([values, np.full(size - len(values), last, dtype)])
    return values.reshape(shape)


def put_array(tensor, array: np.ndarray) -> None:
    """Replaces the content of a constant; its type stays."""
    array = np.asarray(array, DTYPES[tensor.dtype])
    for field in set(_VALUES.values()):
        tensor.ClearField(field)
    del tensor.tensor_shape.dim[:]
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = array.tobytes()


def node_of(value: str) -> str:
    """The name of the node of an input: "a" of "a", "a:1" and "^a"."""
    return value.lstrip("^").partition(":")[0]


def data_inputs(node) -> List[str]:
    """The inputs that carry data, without control inputs."""
    return [each for each in node.input if not each.startswith("^")]
