"""A .tflite file, run by TensorFlow's own interpreter or LiteRT."""

import queue
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from todus import categories
from todus.detection.detector import Detections, Detector, split
from todus.detection.resizer import Resizer
from todus.errors import TodusError
from todus.machine.cores import cores
from todus.model import artefacts
from todus.text import first_line


class TFLite(Detector):
    """A .tflite file with the detection post-process operator.

    Boxes are clipped to the image, as those of the inference graph are.
    """

    form = "tflite"

    def __init__(
        self,
        path: Path,
        names: Dict[int, str],
        threads: Optional[int] = None,
        opener: Optional[Callable[[Path], Any]] = None,
    ):
        """opener: of the interpreter; None is TensorFlow's, which has one thread."""
        self.path, self.names = path, names
        about = artefacts.read(path)
        artefacts.check_digest(path, about)
        self.workers = cores() if threads == 1 else 1
        self._free: queue.Queue = queue.LifoQueue()  # one caller has one, with warm caches
        for _ in range(self.workers):
            self._free.put((opener or _interpreter)(path))
        interpreter = self._free.queue[0]
        self.runtime = getattr(interpreter, "title", "")
        self._input = interpreter.get_input_details()[0]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]
        if len(self._outputs) != 4:
            text = "%s has %d outputs; a detector has 4; run ./convert-tflite.sh again"
            raise TodusError(text % (path, len(self._outputs)))
        self.size = tuple(int(side) for side in self._input["shape"][1:3])
        scaling = about.get("input", {})
        self._mean = np.asarray(scaling.get("mean", 127.5), np.float32)
        self._std = np.asarray(scaling.get("std", 127.5), np.float32)
        self._resize = Resizer(self.size)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        pixels = self._resize(image)
        dtype = np.dtype(self._input["dtype"])
        if dtype in (np.uint8, np.int8):
            return (np.clip(np.round(pixels), 0, 255) + np.iinfo(dtype).min).astype(dtype)
        return (pixels - self._mean) / self._std

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        interpreter = self._free.get()
        try:
            return [self._detect(interpreter, pixels) for pixels in images]
        finally:
            self._free.put(interpreter)

    def _detect(self, interpreter, pixels: np.ndarray) -> Detections:
        interpreter.set_tensor(self._input["index"], pixels[np.newaxis])
        interpreter.invoke()
        boxes, classes, scores, counts = (interpreter.get_tensor(index) for index in self._outputs)
        return split(np.clip(boxes, 0, 1), classes + categories.FIRST_ID, scores, counts)[0]


def _interpreter(path: Path) -> Any:
    from todus.tf import tf

    try:
        interpreter = tf.lite.Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        text = "%s is no TFLite file TensorFlow can run (%s); run ./convert-tflite.sh again"
        raise TodusError(text % (path, first_line(error)))
    return interpreter
