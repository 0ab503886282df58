"""What every graph of the OD API shares: image_tensor, encoded_image_string_tensor or tf_example in, detection_* out."""

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from todus.detection.detector import DETECTIONS, Detections, Detector
from todus.detection.resizer import Resizer
from todus.machine.cores import cores

INPUTS = ("image_tensor", "encoded_image_string_tensor", "tf_example")


class GraphDetector(Detector):
    """What every graph of the OD API shares: image_tensor, encoded_image_string_tensor or tf_example in, detection_* out."""

    takes_batches = True

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int]):
        """threads: None leaves the threads to TensorFlow; a number is for each call, and 1 lets one call run on each core."""
        self.path, self.names, self._threads = path, names, threads
        self.workers = cores() if threads == 1 else 1

    def _session_of(self, graph):
        from todus.tf import tf

        self._options = tf.RunOptions(inter_op_thread_pool=-1) if self._threads == 1 else None
        if not self._threads:
            return tf.Session(graph=graph)
        threads = {
            "intra_op_parallelism_threads": self._threads,
            "inter_op_parallelism_threads": self._threads,
        }
        return tf.Session(
            graph=graph, config=tf.ConfigProto(use_per_session_threads=True, **threads)
        )

    def _open(self, session, inputs, outputs: Sequence) -> None:
        """Takes the input tensor and the tensors of boxes, classes, scores and count."""
        self._session, self._outputs, self._input = session, list(outputs), inputs
        self._encode = _ENCODERS.get(inputs.op.name)
        self._resize, self._batch = None, None
        if self._encode:
            return
        shape = inputs.shape.as_list() if inputs.shape.rank == 4 else [None] * 4
        self._batch, fixed = shape[0], tuple(shape[1:3])
        self.takes_batches = self._batch != 1
        casts = [
            op
            for op in inputs.consumers()
            if op.type in ("Cast", "Identity") and op.outputs[0].dtype.is_floating
        ]
        resized = (
            fixed
            if None not in fixed
            else (_resized_to(session.graph) if len(casts) == 1 else None)
        )
        if resized:
            self.size, self._resize = resized, Resizer(resized)
            self._input = casts[0].outputs[0] if len(casts) == 1 else inputs

    def prepare(self, image: np.ndarray) -> np.ndarray:
        if self._encode:
            return self._encode(image)
        pixels = self._resize(image) if self._resize else image
        return (
            pixels
            if self._input.dtype.is_floating or pixels.dtype == np.uint8
            else np.round(pixels).astype(np.uint8)
        )

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        found = []
        for start in range(0, len(images), self._batch or max(1, len(images))):
            part = list(images[start : start + (self._batch or len(images))])
            filler = [part[0]] * ((self._batch or len(part)) - len(part))
            found += self._run(np.stack(part + filler))[: len(part)]
        return found

    def _run(self, batch: np.ndarray) -> List[Detections]:
        boxes, classes, scores, counts = self._session.run(
            self._outputs, {self._input: batch}, options=self._options
        )
        return [
            Detections(boxes[i][:count], classes[i][:count].astype(np.int64), scores[i][:count])
            for i, count in enumerate(counts.astype(int))
        ]


def open_by_name(detector: GraphDetector, graph, session) -> None:
    there = {operation.name for operation in graph.get_operations()}
    inputs = [name for name in INPUTS if name in there]
    if not inputs:
        raise KeyError("no input named %s" % " or ".join(INPUTS))
    detector._open(
        session,
        graph.get_tensor_by_name(inputs[0] + ":0"),
        [graph.get_tensor_by_name(name + ":0") for name in DETECTIONS],
    )


def _resized_to(graph) -> Optional[Tuple[int, int]]:
    """(height, width) that the graph resizes its input to, read from its bilinear resizes; None where it follows the image.

    An image that is resized so beforehand passes the graph's own resize unchanged.
    """
    from todus.tf import tf

    resizes = [
        op
        for op in graph.get_operations()
        if op.type == "ResizeBilinear" and op.name.startswith("Preprocessor")
    ]
    sizes = [
        None if op.get_attr("align_corners") else tf.get_static_value(op.inputs[1])
        for op in resizes
    ]
    known = {(int(size[0]), int(size[1])) for size in sizes if size is not None}
    return known.pop() if len(known) == 1 and not any(size is None for size in sizes) else None


def _png(image: np.ndarray) -> bytes:
    import io

    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _as_example(image: np.ndarray) -> np.ndarray:
    from todus.tf import tf

    values = {"image/encoded": _png(image), "image/format": b"png"}
    feature = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in values.items()
    }
    return np.array(
        tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(), object
    )


_ENCODERS = {
    "encoded_image_string_tensor": lambda image: np.array(_png(image), object),
    "tf_example": _as_example,
}
