"""TFLite model metadata, which tflite-support packs into the file: its input, name and labels."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from todus import files
from todus.errors import TodusError
from todus.export import tflite_operators

LABELS = "labels.txt"
LABELS_NOTE = (
    "detection_classes counts from 0: line 0 of the labels is class 0; "
    "the label map's id is class + 1"
)


class Packed(NamedTuple):
    """The metadata that tflite-support reads in a file."""

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
    """The bytes of a .tflite file with metadata, which interpreters ignore.

    Args:
      data: a detector of four outputs: boxes, classes, scores, count.
      name: the model's.
      labels: from class 0.
      mean, std: by channel; a float input is (pixel - mean) / std. For a uint8 input, which takes
        pixels, the library leaves them out.
      folder: for temporary files: that of labels, which the library reads, and its own.
    """
    metadata_info, object_detector = _library()
    from tflite_support import metadata_schema_py_generated as schema

    path = folder / LABELS
    path.write_text("\n".join(labels) + "\n", encoding="utf-8")
    description = "Object detector for %d classes. %s." % (len(labels), LABELS_NOTE)
    graph = tflite_operators.model_of(data).subgraphs[0]
    channels = 1 if len(set(zip(mean, std))) == 1 else len(mean)
    pixels = metadata_info.InputImageTensorMd(
        name="image",
        description="RGB image of the model's size",
        norm_mean=list(mean)[:channels],
        norm_std=list(std)[:channels],
        color_space_type=schema.ColorSpaceType.RGB,
        tensor_type=graph.tensors[graph.inputs[0]].type,
    )
    label_file = metadata_info.LabelFileMd(file_path=str(path))
    writer = object_detector.MetadataWriter.create_from_metadata_info(
        bytearray(data),
        general_md=metadata_info.GeneralMd(name=name, description=description),
        input_md=pixels,
        output_category_md=metadata_info.CategoryTensorMd(
            name="category", description=LABELS_NOTE, label_files=[label_file]
        ),
    )
    with files.temporary_files_in(folder):
        return without_time(bytes(writer.populate()))


def without_time(data: bytes) -> bytes:
    """The file with its labels dated 1980, so that the same model gives the same bytes.

    The labels are in a zip archive at the file's end. Offsets: PKWARE's APPNOTE.TXT, 4.3.7 and
    4.3.12.
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
        what = "the TFLite file has no metadata (%s); run ./convert-tflite.sh again"
        raise TodusError(what % error)
    content: Dict = json.loads(displayer.get_metadata_json())
    labels = displayer.get_associated_file_buffer(LABELS).decode("utf-8").splitlines()
    units = content["subgraph_metadata"][0]["input_tensor_metadata"][0].get("process_units", [])
    found = [unit["options"] for unit in units if unit["options_type"] == "NormalizationOptions"]
    options = found[0] if found else {"mean": [], "std": []}
    return Packed(content["name"], content["description"], labels, options["mean"], options["std"])


def _library() -> Tuple:
    """The modules metadata_info and object_detector of tflite-support."""
    from todus.tf import tf  # noqa: F401  tflite-support imports TensorFlow; this makes it quiet

    try:
        from tflite_support.metadata_writers import metadata_info, object_detector
    except ImportError as error:
        raise TodusError("tflite-support cannot be imported (%s); run: make install" % error)
    return metadata_info, object_detector
