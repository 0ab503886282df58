"""The metadata and the labels that a TFLite file carries.

The metadata is a flatbuffer in one of the file's buffers. The labels are in a zip archive at the
end of the file, under a name that the metadata gives.
"""

import io
import re
import zipfile
from typing import Dict, List, Optional, Sequence

from todus.errors import TodusError
from todus.slicing import metadata_schema as schema
from todus.slicing import tflite_schema

NAME = "TFLITE_METADATA"
LABELS = "labels.txt"
LABELS_NOTE = "detection_classes counts from 0: line 0 of the labels is class 0"
_IDENTIFIER = b"M001"
_BY_CLASS = (
    schema.AssociatedFileType.TENSOR_AXIS_LABELS,
    schema.AssociatedFileType.TENSOR_VALUE_LABELS,
    schema.AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION,
)


class Packed:
    """The metadata of a file and the files packed at its end.

    Attributes:
      content: None where the file has none.
      files: name -> bytes.
    """

    def __init__(self, model: tflite_schema.ModelT, data: bytes):
        self.content: Optional[schema.ModelMetadataT] = None
        self.files: Dict[str, bytes] = {}
        # The archive and the metadata are read by nobody but us before the cut; a damaged part of
        # them is left out, and made again.
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                self.files = {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
            pass
        for each in model.metadata or []:
            content = model.buffers[each.buffer].data
            if _text(each.name) == NAME and content is not None:
                self.content = _parsed(bytes(bytearray(content)))

    def labels(self) -> Optional[List[str]]:
        """The names packed into the file, by index; None where there are none."""
        for each in self._by_class():
            kind = schema.AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION
            if each.type != kind and _text(each.name) in self.files:
                return _lines(self.files[_text(each.name)])
        texts = [name for name in self.files if name.endswith(".txt")]
        return _lines(self.files[texts[0]]) if len(texts) == 1 else None

    def scaling(self) -> Optional[Dict[str, List[float]]]:
        """{"mean", "std"} of a float input, by channel; None where unknown."""
        graphs = self.content.subgraphMetadata if self.content else None
        for tensor in (graphs[0].inputTensorMetadata or []) if graphs else []:
            for unit in tensor.processUnits or []:
                options = unit.options
                if isinstance(options, schema.NormalizationOptionsT) and len(options.mean or ()):
                    return {
                        "mean": list(map(float, options.mean)),
                        "std": list(map(float, options.std)),
                    }
        return None

    def cut(self, names: Sequence[str], columns: Sequence[int], classes: int) -> None:
        """Limits the packed files of a line a class, and what the metadata says of them.

        Args:
          names: of the classes that remain.
          columns: their indices among `classes`.
          classes: the number of classes before.
        """
        found = self._by_class()
        for each in found:
            name = _text(each.name)
            lines = self.files.get(name, b"").decode("utf-8", "replace").splitlines()
            if each.type == schema.AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION:
                lines = lines[len(lines) - classes :] if len(lines) >= classes else []
                if lines:
                    self.files[name] = _joined([lines[column] for column in columns])
            else:
                self.files[name] = _joined(names)
        description = _text(self.content.description) if self.content else ""
        changed = re.sub(r"\b%d classes\b" % classes, "%d classes" % len(names), description)
        if self.content and description:
            self.content.description = changed

    def make(self, name: str, names: Sequence[str], scaling: Optional[Dict[str, List[float]]]):
        """Metadata for a detector of four outputs, as MediaPipe's and Android's libraries read it.

        Args:
          name: the model's.
          names: of its classes.
          scaling: {"mean", "std"} of a float input; None for an input of pixels.
        """
        content = schema.ModelMetadataT()
        content.name, content.minParserVersion = name, "1.0.0"
        content.description = "Object detector for %d classes. %s." % (len(names), LABELS_NOTE)
        graph = schema.SubGraphMetadataT()
        graph.inputTensorMetadata = [_image(scaling)]
        boxes, classes = schema.BoundingBoxPropertiesT(), schema.FeaturePropertiesT()
        boxes.index, boxes.type = [1, 0, 3, 2], schema.BoundingBoxType.BOUNDARIES
        kinds = schema.ContentProperties
        labels = schema.AssociatedFileT()
        labels.name, labels.type = LABELS, schema.AssociatedFileType.TENSOR_VALUE_LABELS
        labels.description = "the class of each value"
        graph.outputTensorMetadata = [
            _tensor(
                "location", "the boxes: ymin, xmin, ymax, xmax", kinds.BoundingBoxProperties, boxes
            ),
            _tensor("category", LABELS_NOTE, kinds.FeatureProperties, classes),
            _tensor("score", "the scores", kinds.FeatureProperties, classes),
            _tensor("number of detections", "", kinds.FeatureProperties, classes, whole=True),
        ]
        graph.outputTensorMetadata[1].associatedFiles = [labels]
        group = schema.TensorGroupT()
        group.name, group.tensorNames = "detection_result", ["location", "category", "score"]
        graph.outputTensorGroups = [group]
        content.subgraphMetadata = [graph]
        self.content, self.files = content, {LABELS: _joined(names)}

    def put(self, model: tflite_schema.ModelT) -> None:
        """Puts the metadata into the file's buffers."""
        import flatbuffers
        import numpy as np

        if self.content is None:
            return
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.content.Pack(builder), file_identifier=_IDENTIFIER)
        buffer = tflite_schema.BufferT()
        buffer.data = np.frombuffer(bytes(builder.Output()), np.uint8)
        model.buffers.append(buffer)
        entries = [each for each in model.metadata or [] if _text(each.name) != NAME]
        entry = tflite_schema.MetadataT()
        entry.name, entry.buffer = NAME, len(model.buffers) - 1
        model.metadata = entries + [entry]

    def appended(self, data: bytes) -> bytes:
        """A TFLite file with the packed files at its end, dated 1980 so that they never differ."""
        whole = io.BytesIO(data)
        whole.seek(0, io.SEEK_END)
        if self.files:
            with zipfile.ZipFile(whole, "a") as archive:
                for name, content in self.files.items():
                    archive.writestr(zipfile.ZipInfo(name), content)
        return whole.getvalue()

    def _by_class(self) -> List[schema.AssociatedFileT]:
        """The packed files of the outputs that have a line a class."""
        graphs = (self.content.subgraphMetadata or []) if self.content else []
        tensors = [each for graph in graphs for each in graph.outputTensorMetadata or []]
        files = [each for tensor in tensors for each in tensor.associatedFiles or []]
        return [each for each in files if each.type in _BY_CLASS]


def _parsed(content: bytes) -> Optional[schema.ModelMetadataT]:
    # flatbuffers checks nothing: damaged content raises struct.error, IndexError, TypeError ...
    try:
        return schema.ModelMetadataT.InitFromObj(
            schema.ModelMetadata.GetRootAs(bytearray(content), 0)
        )
    except Exception:
        return None


def _image(scaling: Optional[Dict[str, List[float]]]) -> schema.TensorMetadataT:
    image = schema.ImagePropertiesT()
    image.colorSpace = schema.ColorSpaceType.RGB
    kind = schema.ContentProperties.ImageProperties
    tensor = _tensor("image", "RGB image of the model's size", kind, image, whole=True)
    if scaling:
        unit, options = schema.ProcessUnitT(), schema.NormalizationOptionsT()
        options.mean, options.std = scaling["mean"], scaling["std"]
        unit.options, unit.optionsType = options, schema.ProcessUnitOptions.NormalizationOptions
        tensor.processUnits = [unit]
    return tensor


def _tensor(
    name: str, description: str, kind: int, properties, whole: bool = False
) -> schema.TensorMetadataT:
    """A tensor's metadata; its content is in the third dimension unless `whole`."""
    tensor, content = schema.TensorMetadataT(), schema.ContentT()
    tensor.name, tensor.description = name, description
    content.contentPropertiesType, content.contentProperties = kind, properties
    if not whole:
        content.range = schema.ValueRangeT()
        content.range.min = content.range.max = 2
    tensor.content = content
    return tensor


def _lines(content: bytes) -> List[str]:
    try:
        return content.decode("utf-8").rstrip("\n").splitlines()
    except UnicodeDecodeError:
        raise TodusError("its packed labels are not UTF-8 text; give them: --labels FILE")


def _joined(names: Sequence[str]) -> bytes:
    return ("\n".join(names) + "\n").encode("utf-8")


def _text(name) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name or ""
