"""A frozen_inference_graph.pb as the OD API exports it, run by TensorFlow."""

import warnings
from pathlib import Path
from typing import Dict, Optional

from todus.detection.detector import DETECTIONS
from todus.detection.graph import INPUTS, GraphDetector
from todus.errors import TodusError
from todus.slicing import graph_operations
from todus.text import first_line


class FrozenGraph(GraphDetector):
    """A frozen_inference_graph.pb as the OD API exports it."""

    form = "frozen_graph"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        super().__init__(path, names, threads)
        graph_def = graph_operations.needed(parsed(path), INPUTS + tuple(DETECTIONS))
        graph_operations.check(graph_def, path)
        from todus.tf import tf

        with tf.Graph().as_default() as graph:
            try:
                tf.import_graph_def(graph_def, name="")
                self._open_by_name(self._session_of(graph))
            except (KeyError, ValueError, tf.errors.OpError) as error:
                text = "%s is no detection graph that TensorFlow can run (%s); export it again"
                raise TodusError(text % (path, first_line(error)))


def read_graph(path: Path):
    """The GraphDef in a frozen .pb file.

    Raises TodusError for one that is missing or damaged, or has operators that are not allowed.
    """
    graph_def = parsed(path)
    graph_operations.check(graph_def, path)
    return graph_def


def parsed(path: Path):
    """The GraphDef in a frozen .pb file, which may have any operators: for graphs not to be run.

    Raises TodusError for one that is missing or damaged.
    """
    from todus.tf import tf

    graph_def = tf.GraphDef()
    try:
        with warnings.catch_warnings():
            # protobuf only warns of bytes after the message.
            warnings.simplefilter("error", RuntimeWarning)
            graph_def.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise TodusError("%s is missing; run ./export.sh" % path)
    except Exception as error:  # the class of DecodeError depends on protobuf's implementation
        raise TodusError("%s is damaged (%s); run ./export.sh again" % (path, first_line(error)))
    if not graph_def.node:
        raise TodusError("%s is empty; run ./export.sh again" % path)
    return graph_def
