"""A saved_model folder, run by TensorFlow."""

from pathlib import Path
from typing import Dict, Optional

from todus.detection.detector import DETECTIONS
from todus.detection.graph import GraphDetector
from todus.errors import TodusError
from todus.text import first_line


class SavedModel(GraphDetector):
    """A saved_model folder of the OD API, with the signature serving_default."""

    form = "saved_model"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        from todus.tf import tf

        super().__init__(path, names, threads)
        if not (path / "saved_model.pb").exists():
            raise TodusError("%s is missing; run ./export.sh" % (path / "saved_model.pb"))
        with tf.Graph().as_default() as graph:
            session = self._session_of(graph)
            try:
                loaded = tf.saved_model.loader.load(session, ["serve"], str(path))
                signature = loaded.signature_def["serving_default"]
                inputs = graph.get_tensor_by_name(signature.inputs["inputs"].name)
                outputs = [signature.outputs[name].name for name in DETECTIONS]
                self._open(session, inputs, [graph.get_tensor_by_name(name) for name in outputs])
            except (KeyError, ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
                text = "%s is no detection model that TensorFlow can run (%s); run ./export.sh"
                raise TodusError(text % (path, first_line(error)))
