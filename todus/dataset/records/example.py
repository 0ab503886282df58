"""One image and its boxes as a tf.train.Example with the OD API's features, without TensorFlow.

The messages are those of tensorflow/core/example/{example,feature}.proto. They are declared in a
descriptor pool of their own, so that TensorFlow's can be in the same process.
"""

import warnings
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
# decode() compares the number of parsed bytes instead.
warnings.filterwarnings("ignore", message="Unexpected end-group tag")


class BadExample(Exception):
    """The bytes are not an example of a detection dataset; the message is the reason."""


class Example(NamedTuple):
    """One decoded record with N boxes."""

    encoded: bytes  # the JPEG or PNG file
    format: str  # jpeg or png
    source_id: str
    file_name: str
    sha256: str  # of `encoded`, hexadecimal
    height: int
    width: int
    boxes: np.ndarray  # float32 [N, 4]: ymin, xmin, ymax, xmax, normalised to 0..1
    classes: np.ndarray  # int64 [N]: ids of the dataset's label map
    class_texts: List[str]  # N names
    is_crowd: np.ndarray  # bool [N]
    area: np.ndarray  # float32 [N], square pixels
    difficult: np.ndarray  # bool [N]
    truncated: np.ndarray  # bool [N]
    masks: List[bytes]  # N PNG files, or none
    repeat: int = 0  # the number of this further record of an image: see todus/dataset/balance.py


def _declare() -> Any:
    """The message class of Example, and those of feature.proto that it contains."""
    file = descriptor_pb2.FileDescriptorProto(
        name="todus/example.proto", package="todus", syntax="proto3"
    )

    def add(name: str, *fields: tuple) -> Any:
        added = file.message_type.add(name=name)
        for number, (field, kind, label, type_name) in enumerate(fields, start=1):
            added.field.add(name=field, number=number, type=kind, label=label, type_name=type_name)
        return added

    one, many = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
    kinds = {"Bytes": _FIELD.TYPE_BYTES, "Float": _FIELD.TYPE_FLOAT, "Int64": _FIELD.TYPE_INT64}
    lists = []
    for kind, field_type in kinds.items():
        add(kind + "List", ("value", field_type, many, None))
        lists.append((kind.lower() + "_list", _FIELD.TYPE_MESSAGE, one, ".todus.%sList" % kind))
    feature = add("Feature", *lists)
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    map_entry = ("feature", _FIELD.TYPE_MESSAGE, many, ".todus.Features.FeatureEntry")
    features = add("Features", map_entry)
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=one)
    entry.field.add(
        name="value", number=2, type=_FIELD.TYPE_MESSAGE, label=one, type_name=".todus.Feature"
    )
    add("Example", ("features", _FIELD.TYPE_MESSAGE, one, ".todus.Features"))
    pool = descriptor_pool.DescriptorPool()
    example_type = pool.AddSerializedFile(file.SerializeToString()).message_types_by_name["Example"]
    return message_factory.MessageFactory(pool).GetPrototype(example_type)


ExampleMessage = _declare()

Value = Union[bytes, str, int, float]
_LISTS = {bytes: "bytes_list", float: "float_list", int: "int64_list"}


def encode(
    encoded: bytes, features: Dict[str, Sequence[Value]], kinds: Dict[str, type]
) -> Tuple[bytes, bytes, bytes]:
    """The serialised tf.train.Example of an image, in pieces so that the image is not copied.

    The pieces equal protobuf's deterministic serialisation, which orders map entries by key:
    image/encoded is the first.

    Args:
      encoded: the value of image/encoded.
      features: every other feature key -> values; text is given as bytes.
      kinds: feature key -> bytes, float or int, which is the kind of an empty list too.
    """
    parsed = ExampleMessage()
    feature = parsed.features.feature
    for key, values in features.items():
        into = getattr(feature[key], _LISTS[kinds[key]])
        into.SetInParent()  # an empty list is serialised with its kind
        into.value.extend(values)
    others = parsed.features.SerializeToString(deterministic=True)
    head, length = b"", len(encoded)
    # From the inside: BytesList.value, Feature.bytes_list, FeatureEntry.value after its key,
    # Features.feature.
    for number, before in ((1, b""), (1, b""), (2, b"\n\rimage/encoded"), (1, b"")):
        head = before + bytes([number << 3 | 2]) + _varint(length) + head
        length = len(head) + len(encoded)
    return b"\n" + _varint(length + len(others)) + head, encoded, others


def _varint(number: int) -> bytes:
    """Protocol buffers' base 128 varint of a length."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(groups + [number])


IMAGE_KINDS = {
    "image/encoded": bytes,
    "image/format": bytes,
    "image/filename": bytes,
    "image/source_id": bytes,
    "image/key/sha256": bytes,
    "image/height": int,
    "image/width": int,
}
OBJECT_KINDS = {
    "image/object/bbox/ymin": float,
    "image/object/bbox/xmin": float,
    "image/object/bbox/ymax": float,
    "image/object/bbox/xmax": float,
    "image/object/class/text": bytes,
    "image/object/class/label": int,
    "image/object/area": float,
    "image/object/is_crowd": int,
    "image/object/difficult": int,
    "image/object/truncated": int,
}
MASK = "image/object/mask"
REPEAT = "image/repeat"
KINDS = {**IMAGE_KINDS, **OBJECT_KINDS, MASK: bytes, REPEAT: int}


def decode(data: bytes) -> Example:
    """The example in one record.

    Raises BadExample where a feature is missing, or has a kind or length that the OD API cannot
    read.
    """
    feature = parse(data)
    image = {key: _single(feature, key, kind) for key, kind in IMAGE_KINDS.items()}
    objects = {key: _values(feature, key, kind) for key, kind in OBJECT_KINDS.items()}
    masks = list(_values(feature, MASK, bytes))
    number = len(objects["image/object/class/label"])
    for key, values in list(objects.items()) + ([(MASK, masks)] if masks else []):
        if len(values) != number:
            raise BadExample("%s has %d values for %d boxes" % (key, len(values), number))
    sides = [objects["image/object/bbox/" + side] for side in ("ymin", "xmin", "ymax", "xmax")]
    return Example(
        encoded=image["image/encoded"],
        format=_text(image["image/format"], "image/format"),
        source_id=_text(image["image/source_id"], "image/source_id"),
        file_name=_text(image["image/filename"], "image/filename"),
        sha256=_text(image["image/key/sha256"], "image/key/sha256"),
        height=image["image/height"],
        width=image["image/width"],
        boxes=np.array([list(side) for side in sides], np.float32).reshape(4, number).T.copy(),
        classes=np.fromiter(objects["image/object/class/label"], np.int64, number),
        class_texts=[
            _text(text, "image/object/class/text") for text in objects["image/object/class/text"]
        ],
        is_crowd=_flags(objects["image/object/is_crowd"], number),
        area=np.fromiter(objects["image/object/area"], np.float32, number),
        difficult=_flags(objects["image/object/difficult"], number),
        truncated=_flags(objects["image/object/truncated"], number),
        masks=masks,
        repeat=next(iter(_values(feature, REPEAT, int)), 0),
    )


def parse(data: bytes) -> Any:
    """The features in one record, by key. Raises BadExample where it is not an example."""
    parsed = ExampleMessage()
    try:
        whole = parsed.MergeFromString(data) == len(data)
    except (message.DecodeError, UnicodeDecodeError, ValueError):
        whole = False
    if not whole:
        raise BadExample("not a tf.train.Example")
    return parsed.features.feature


def _values(feature: Any, key: str, kind: type) -> Iterable[Any]:
    if key not in feature:
        if key in OBJECT_KINDS:
            raise BadExample("has no %s" % key)
        return ()
    found = feature[key].WhichOneof("kind")
    if found is None:
        return ()
    if found != _LISTS[kind]:
        raise BadExample("%s is a %s, not a %s" % (key, found, _LISTS[kind]))
    return getattr(feature[key], found).value


def _single(feature: Any, key: str, kind: type) -> Any:
    values = _values(feature, key, kind)
    if not values:
        raise BadExample("has no %s" % key)
    if len(values) > 1:
        raise BadExample("%s has %d values" % (key, len(values)))
    return values[0]


def _text(value: bytes, key: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadExample("%s is not UTF-8" % key)


def _flags(values: Iterable[int], number: int) -> np.ndarray:
    return np.fromiter((value != 0 for value in values), np.bool_, number)
