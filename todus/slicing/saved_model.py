"""Limits a SavedModel of an SSD of the OD API whose weights are constants, as the zoo's are."""

from typing import Any, Dict

from todus.errors import TodusError
from todus.slicing import graph_def
from todus.slicing.finished import Cutting
from todus.slicing.tensorflow import FrozenGraph

FILE = "saved_model.pb"
VARIABLES = "variables"

_VARIABLES = {"Variable", "VariableV2", "VarHandleOp"}
_SHAPES = "_output_shapes"  # an attribute that repeats what the operators give


class SavedModel(FrozenGraph):
    """The file saved_model.pb.

    Raises TodusError, without the file's name, where it is damaged or no such detector.
    """

    kind = "SavedModel"

    def cut(self, wanted: Cutting) -> bytes:
        """The limited file. The object can cut once."""
        super().cut(wanted)
        for node in self.graph.definition.node:
            for each in [each for each in node.attr if each.key == _SHAPES]:
                node.attr.remove(each)
        columns = self.classes + self.first
        for signature in self._meta.signature_def:
            for output in signature.value.outputs:
                dims = output.value.tensor_shape.dim
                scores = len(dims) == 3 and output.key.endswith("_scores")
                if scores and dims[-1].size == columns:
                    dims[-1].size = len(wanted.choices) + self.first
        return self._model.SerializeToString()

    def _definition(self, data: bytes):
        self._model = _read(data)
        self._meta = self._model.meta_graphs[0]
        if _VARIABLES.intersection(node.op for node in self._meta.graph_def.node):
            what = "its weights are variables, not constants; limit the "
            raise TodusError(what + "frozen_inference_graph.pb that was exported with it")
        return self._meta.graph_def

    def _graph_of(self, data: bytes) -> bytes:
        return _read(data).meta_graphs[0].graph_def.SerializeToString()

    def description(self) -> Dict[str, Any]:
        return dict(super().description(), format="saved_model")


def _read(data: bytes):
    model = graph_def.messages()["SavedModel"]()
    try:
        model.ParseFromString(data)
    except Exception:  # DecodeError is of the protobuf in use
        raise TodusError("it is damaged; download or export it again")
    if len(model.meta_graphs) != 1:
        raise TodusError(
            "it has %d graphs; one with one graph is understood" % len(model.meta_graphs)
        )
    return model
