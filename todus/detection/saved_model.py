"""A saved_model folder."""

from pathlib import Path
from typing import Dict, Optional

from todus.detection.detector import DETECTIONS
from todus.detection.graph import GraphDetector
from todus.errors import TodusError
from todus.text import first_line


class SavedModel(GraphDetector):
    """A saved_model folder with the signature serving_default that the OD API gives it: inputs -> detection_*."""

    form = "saved_model"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        from todus.tf import tf

        super().__init__(path, names, threads)
        if not (path / "saved_model.pb").exists():
            raise TodusError("%s is missing; run ./export.sh" % (path / "saved_model.pb"))
        with tf.Graph().as_default() as graph:
            session = self._session_of(graph)
            try:
                signature = tf.saved_model.loader.load(session, ["serve"], str(path)).signature_def[
                    "serving_default"
                ]
                outputs = [
                    graph.get_tensor_by_name(signature.outputs[name].name) for name in DETECTIONS
                ]
                self._open(
                    session, graph.get_tensor_by_name(signature.inputs["inputs"].name), outputs
                )
            except (KeyError, ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
                raise TodusError(
                    "%s is no detection model this TensorFlow can run (%s); run ./export.sh"
                    % (path, first_line(error))
                )
