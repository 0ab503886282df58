"""TFLite model metadata: what the file is, how to feed it, and its labels, packed into the file itself (tflite-support)."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from todus.errors import TodusError

LABELS = "labels.txt"
LABELS_NOTE = "detection_classes counts from 0: line 0 of the labels is class 0; the label map's id is class + 1"


class Packed(NamedTuple):
    """What the library's own reader finds in a file."""

    name: str
    description: str
    labels: List[str]
    mean: List[float]
    std: List[float]


def pack(
    data: bytes,
    name: str,
    labels: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    folder: Path,
) -> bytes:
    """A .tflite file's bytes with metadata; an interpreter reads them as before.

    Args:
      data: a detector of four outputs: boxes, classes, scores, count.
      name: the model's.
      labels: from class 0.
      mean, std: a float input takes (pixel - mean) / std, by channel; a uint8 input takes pixels and the library leaves them out.
      folder: for the file of labels that the library reads.
    """
    writers = _library()
    path = folder / LABELS
    path.write_text("\n".join(labels) + "\n", encoding="utf-8")
    info, create = writers.metadata_info, writers.object_detector.MetadataWriter
    general = info.GeneralMd(
        name=name, description="Object detector for %d classes. %s." % (len(labels), LABELS_NOTE)
    )
    pixels = info.InputImageTensorMd(
        name="image",
        description="RGB image of the model's size",
        norm_mean=_channels(mean),
        norm_std=_channels(std),
        color_space_type=_rgb(),
        tensor_type=_input_type(data),
    )
    classes = info.CategoryTensorMd(
        name="category",
        description=LABELS_NOTE,
        label_files=[info.LabelFileMd(file_path=str(path))],
    )
    writer = create.create_from_metadata_info(
        bytearray(data), general_md=general, input_md=pixels, output_category_md=classes
    )
    return _undated(bytes(writer.populate()))


def _undated(data: bytes) -> bytes:
    """The file with 1980 as the time of the labels, which are in a zip archive at its end: the same model gives the same bytes.

    Offsets: PKWARE's APPNOTE.TXT, 4.3.7 and 4.3.12.
    """
    result = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        at = archive.start_dir
        for info in archive.infolist():
            for place in (info.header_offset + 10, at + 12):
                result[place : place + 4] = struct.pack("<HH", 0, 0x21)
            at += 46 + sum(struct.unpack_from("<HHH", data, at + 28))
    return bytes(result)


def read(data: bytes) -> Packed:
    """The metadata in a .tflite file. Raises TodusError where it has none."""
    from tflite_support import metadata

    _library()
    try:
        displayer = metadata.MetadataDisplayer.with_model_buffer(bytearray(data))
    except ValueError as error:
        raise TodusError(
            "the TFLite file has no metadata (%s); run ./convert-tflite.sh again" % error
        )
    content: Dict = json.loads(displayer.get_metadata_json())
    labels = displayer.get_associated_file_buffer(LABELS).decode("utf-8").splitlines()
    units = content["subgraph_metadata"][0]["input_tensor_metadata"][0].get("process_units", [])
    options = next(
        (unit["options"] for unit in units if unit["options_type"] == "NormalizationOptions"),
        {"mean": [], "std": []},
    )
    return Packed(content["name"], content["description"], labels, options["mean"], options["std"])


def _library():
    from todus.tf import tf  # noqa: F401  tflite-support imports TensorFlow; this makes it quiet

    try:
        from tflite_support import metadata_writers
        from tflite_support.metadata_writers import metadata_info, object_detector
    except ImportError as error:
        raise TodusError("tflite-support cannot be imported (%s); run: make install" % error)
    metadata_writers.metadata_info, metadata_writers.object_detector = (
        metadata_info,
        object_detector,
    )
    return metadata_writers


def _channels(values: Sequence[float]) -> List[float]:
    return [values[0]] if len(set(values)) == 1 else list(values)


def _rgb() -> int:
    from tflite_support import metadata_schema_py_generated as schema

    return schema.ColorSpaceType.RGB


def _input_type(data: bytes) -> int:
    from todus.export.tflite_operators import model_of

    graph = model_of(data).subgraphs[0]
    return graph.tensors[graph.inputs[0]].type
