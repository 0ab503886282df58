"""A .tflite file, run by TensorFlow's own interpreter."""

import queue
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from todus import categories
from todus.detection.detector import Detections, Detector
from todus.detection.resizer import Resizer
from todus.errors import TodusError
from todus.machine.cores import cores
from todus.model import artefacts
from todus.text import first_line


class TFLite(Detector):
    """A .tflite file with the detection post-process operator, run by TensorFlow's own interpreter, which has one thread.

    Its boxes reach beyond the image, where the inference graph's are cut; they are cut here.
    """

    form = "tflite"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        self.path, self.names = path, names
        about = artefacts.read(path)
        artefacts.check_whole(path, about)
        self.workers = cores() if threads == 1 else 1
        self._free: queue.Queue = queue.Queue()
        for _ in range(self.workers):
            self._free.put(self._interpreter())
        interpreter = self._free.queue[0]
        self._input = interpreter.get_input_details()[0]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]
        if len(self._outputs) != 4:
            raise TodusError(
                "%s has %d outputs, not the 4 of a detector; run ./convert-tflite.sh again"
                % (path, len(self._outputs))
            )
        self.size = tuple(int(side) for side in self._input["shape"][1:3])
        self._mean, self._std = (
            np.asarray(about.get("input", {}).get(key, 127.5), np.float32)
            for key in ("mean", "std")
        )
        self._resize = Resizer(self.size)

    def _interpreter(self):
        from todus.tf import tf

        try:
            interpreter = tf.lite.Interpreter(model_path=str(self.path))
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TodusError(
                "%s is not a TFLite file this TensorFlow can run (%s); run ./convert-tflite.sh again"
                % (self.path, first_line(error))
            )
        return interpreter

    def prepare(self, image: np.ndarray) -> np.ndarray:
        pixels = self._resize(image)
        if self._input["dtype"] == np.uint8:
            return np.clip(np.round(pixels), 0, 255).astype(np.uint8)
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
        boxes, classes, scores, count = (interpreter.get_tensor(index) for index in self._outputs)
        count = int(count[0])
        return Detections(
            np.clip(boxes[0][:count], 0, 1),
            classes[0][:count].astype(np.int64) + categories.FIRST_ID,
            scores[0][:count],
        )
