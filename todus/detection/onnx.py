"""An .onnx file, run by ONNX Runtime."""

from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from todus.detection.detector import DETECTIONS, Detections, Detector
from todus.errors import TodusError
from todus.machine.cores import cores
from todus.text import first_line


class Onnx(Detector):
    """An .onnx file, of the inference graph's inputs and outputs, run by ONNX Runtime."""

    form = "onnx"
    takes_batches = True

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        self.path, self.names = path, names
        self.workers = cores() if threads == 1 else 1
        try:
            import onnxruntime
        except ImportError as error:
            raise TodusError("ONNX Runtime cannot be imported (%s); run: make install" % error)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        if not path.exists():
            raise TodusError("%s is missing; run ./convert-onnx.sh" % path)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's exceptions share no class of their own
            raise TodusError(
                "%s is not an ONNX file that runs here (%s); run ./convert-onnx.sh again"
                % (path, first_line(error))
            )
        there = [output.name for output in self._session.get_outputs()]
        self._outputs = [
            next((name for name in there if name.split(":")[0] == wanted), None)
            for wanted in DETECTIONS
        ]
        if None in self._outputs:
            raise TodusError(
                "%s has not the outputs %s; run ./convert-onnx.sh without LAYOUT"
                % (path, ", ".join(DETECTIONS))
            )
        self._input = self._session.get_inputs()[0]
        self.takes_batches = self._input.shape[0] != 1

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        boxes, classes, scores, counts = self._session.run(
            self._outputs, {self._input.name: np.stack(images)}
        )
        return [
            Detections(boxes[i][:n], classes[i][:n].astype(np.int64), scores[i][:n])
            for i, n in enumerate(counts.astype(int))
        ]
