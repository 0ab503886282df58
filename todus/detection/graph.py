"""The base class of the detectors that run a graph of the OD API in TensorFlow."""

import io
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from todus.detection.detector import DETECTIONS, Detections, Detector, in_batches, split
from todus.detection.resizer import Resizer
from todus.machine.cores import cores

INPUTS = ("image_tensor", "encoded_image_string_tensor", "tf_example")


class GraphDetector(Detector):
    """A graph of the OD API: one of INPUTS in, detection_* out.

    Attributes:
      session: the tf.Session of the graph.
      input: the tensor that takes images from `prepare`, with a batch dimension.
      outputs: the tensors of DETECTIONS.
    """

    takes_batches = True

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int]):
        """threads: of one call, None is TensorFlow's default; with 1, each core is a worker."""
        self.path, self.names, self._threads = path, names, threads
        self.workers = cores() if threads == 1 else 1

    def _session_of(self, graph):
        from todus.tf import tf

        self._options = tf.RunOptions(inter_op_thread_pool=-1) if self._threads == 1 else None
        if not self._threads:
            return tf.Session(graph=graph)
        config = tf.ConfigProto(
            use_per_session_threads=True,
            intra_op_parallelism_threads=self._threads,
            inter_op_parallelism_threads=self._threads,
        )
        return tf.Session(graph=graph, config=config)

    def _open_by_name(self, session) -> None:
        """Finds the input and the outputs by the OD API's names. Raises KeyError for none."""
        there = {operation.name for operation in session.graph.get_operations()}
        inputs = [name for name in INPUTS if name in there]
        if not inputs:
            raise KeyError("no input named %s" % " or ".join(INPUTS))
        tensor = session.graph.get_tensor_by_name
        self._open(session, tensor(inputs[0] + ":0"), [tensor(name + ":0") for name in DETECTIONS])

    def _open(self, session, inputs, outputs: Sequence) -> None:
        """Takes the graph's input and the tensors of DETECTIONS.

        Where the graph resizes every image to one size, `prepare` does it: an image of that size
        passes the graph's own resize unchanged.
        """
        self.session, self.outputs, self.input = session, list(outputs), inputs
        self._encode = _ENCODERS.get(inputs.op.name)
        self._resize, self.batch = None, None
        if self._encode:
            return
        shape = inputs.shape.as_list() if inputs.shape.rank == 4 else [None] * 4
        self.batch, fixed = shape[0], tuple(shape[1:3])
        self.takes_batches = self.batch != 1
        casts = [
            op.outputs[0]
            for op in inputs.consumers()
            if op.type in ("Cast", "Identity") and op.outputs[0].dtype.is_floating
        ]
        if None not in fixed:
            self.size = fixed
        elif len(casts) == 1:
            self.size = _resized_to(session.graph)
        if self.size:
            self._resize = Resizer(self.size)
            self.input = casts[0] if len(casts) == 1 else inputs

    def prepare(self, image: np.ndarray) -> np.ndarray:
        if self._encode:
            return np.array(self._encode(image), object)
        pixels = self._resize(image) if self._resize else image
        if self.input.dtype.is_floating or pixels.dtype == np.uint8:
            return pixels
        return np.round(pixels).astype(np.uint8)

    def fetch(self, tensors: Sequence, image: np.ndarray) -> List[np.ndarray]:
        """The values of the graph's tensors for one image, uint8 [height, width, 3]."""
        return self.session.run(tensors, {self.input: self.prepare(image)[np.newaxis]})

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        found: List[Detections] = []
        for batch, count in in_batches(images, self.batch):
            outputs = self.session.run(self.outputs, {self.input: batch}, options=self._options)
            found += split(*outputs)[:count]
        return found


def _resized_to(graph) -> Optional[Tuple[int, int]]:
    """(height, width) of the graph's bilinear resizes; None where they depend on the image."""
    from todus.tf import tf

    sizes = set()
    for op in graph.get_operations():
        if op.type == "ResizeBilinear" and op.name.startswith("Preprocessor"):
            size = None if op.get_attr("align_corners") else tf.get_static_value(op.inputs[1])
            sizes.add(None if size is None else (int(size[0]), int(size[1])))
    return sizes.pop() if len(sizes) == 1 else None


def _png(image: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _example(image: np.ndarray) -> bytes:
    from todus.tf import tf

    values = {"image/encoded": _png(image), "image/format": b"png"}
    feature = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


_ENCODERS = {"encoded_image_string_tensor": _png, "tf_example": _example}
