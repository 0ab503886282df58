"""A saved_model folder, run by TensorFlow."""

import warnings
from pathlib import Path
from typing import Dict, Optional

from todus.detection.detector import DETECTIONS
from todus.detection.graph import GraphDetector
from todus.errors import TodusError
from todus.slicing import graph_operations
from todus.text import first_line


class SavedModel(GraphDetector):
    """A saved_model folder of the OD API, with the signature serving_default.

    Of its graph, only what the detections need is loaded, with what restores its variables:
    TensorFlow's own loader also runs whatever the file names as its initialisation.
    """

    form = "saved_model"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        from todus.tf import tf

        super().__init__(path, names, threads)
        if not (path / "saved_model.pb").exists():
            raise TodusError("%s is missing; run ./export.sh" % (path / "saved_model.pb"))
        try:
            found = _serving(path / "saved_model.pb")
            signature = found.signature_def["serving_default"]
            inputs = signature.inputs["inputs"].name
            outputs = [signature.outputs[name].name for name in DETECTIONS]
            saver, ends = found.saver_def, [inputs, *outputs]
            variables = path / "variables" / "variables"
            has_variables = variables.with_name("variables.index").exists()
            restores = has_variables and saver.restore_op_name
            if restores:
                ends.append(saver.restore_op_name)
            graph_def = graph_operations.needed(found.graph_def, ends)
            filename = saver.filename_tensor_name if restores else ""
            graph_operations.check(graph_def, path, filename.split(":")[0])
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(graph_def, name="")
                session = self._session_of(graph)
                if restores:
                    session.run(saver.restore_op_name, {filename: str(variables)})
                tensors = [graph.get_tensor_by_name(name) for name in ends[: len(outputs) + 1]]
                self._open(session, tensors[0], tensors[1:])
        except (KeyError, ValueError, TypeError, RuntimeError, OSError, tf.errors.OpError) as error:
            text = "%s is no detection model that TensorFlow can run (%s); run ./export.sh"
            raise TodusError(text % (path, first_line(error)))


def _serving(path: Path):
    """The MetaGraphDef with the tag serve. Raises ValueError where there is none."""
    from todus.tf import tf  # noqa: F401  makes the import above quiet

    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            saved.ParseFromString(path.read_bytes())
    except Exception as error:  # the class of DecodeError depends on protobuf's implementation
        raise ValueError(first_line(error))
    for each in saved.meta_graphs:
        if set(each.meta_info_def.tags) == {"serve"}:
            return each
    raise ValueError("no graph with the tag serve")
