"""An .onnx file, run by ONNX Runtime."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from todus.detection.detector import DETECTIONS, Detections, Detector, in_batches, split
from todus.detection.resizer import Resizer
from todus.errors import TodusError
from todus.machine.cores import cores
from todus.text import first_line


class Onnx(Detector):
    """An .onnx file with the inference graph's inputs and outputs."""

    form = "onnx"

    def __init__(
        self,
        path: Path,
        names: Dict[int, str],
        threads: Optional[int] = None,
        opener: Optional[Callable[[Path], Any]] = None,
    ):
        """opener: of the session; None is that of .venv's ONNX Runtime."""
        self.path, self.names = path, names
        self.workers = cores() if threads == 1 else 1
        if not path.exists():
            raise TodusError("%s is missing; run ./convert-onnx.sh" % path)
        self._session = opener(path) if opener else _session(path, threads)
        self.runtime = getattr(self._session, "title", "")
        outputs = {output.name.split(":")[0]: output.name for output in self._session.get_outputs()}
        self._outputs = [outputs.get(name) for name in DETECTIONS]
        if None in self._outputs:
            text = "%s lacks an output of %s; run ./convert-onnx.sh without LAYOUT"
            raise TodusError(text % (path, ", ".join(DETECTIONS)))
        self._input = self._session.get_inputs()[0]
        # A free dimension has a name or None instead of a number.
        batch, *sides = [side if isinstance(side, int) else None for side in self._input.shape[:3]]
        self.batch, self.takes_batches = batch, batch != 1
        self.size = None if None in sides else tuple(sides)
        self._resize = Resizer(self.size) if self.size else None

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return np.round(self._resize(image)).astype(np.uint8) if self._resize else image

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        found: List[Detections] = []
        for batch, count in in_batches(images, self.batch):
            outputs = self._session.run(self._outputs, {self._input.name: batch})
            found += split(*outputs)[:count]
        return found


def _session(path: Path, threads: Optional[int]) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise TodusError("ONNX Runtime cannot be imported (%s); run: make install" % error)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions have no common class
        text = "%s is no ONNX file that ONNX Runtime can run (%s); run ./convert-onnx.sh again"
        raise TodusError(text % (path, first_line(error)))
