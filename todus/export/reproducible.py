"""Makes the bytes of exported files depend on their content alone.

Protobuf writes maps in any order, and TensorFlow writes a random name into a SavedModel.
"""

import re
from pathlib import Path

from todus.export import tflite_operators

# The folder for parts of a checkpoint, which only saving would use.
_RANDOM = re.compile(rb"_temp_[0-9a-f]{32}/")


def rewrite_graphs(folder: Path) -> None:
    """Rewrites the graphs of an export in place; what they compute stays the same."""
    from todus.tf import tf

    from tensorflow.core.protobuf import saved_model_pb2

    for name in ("frozen_inference_graph.pb", "tflite_graph.pb"):
        _rewrite(folder / name, tf.GraphDef())
    _rewrite(folder / "model.ckpt.meta", tf.MetaGraphDef())
    _rewrite(folder / "saved_model" / "saved_model.pb", saved_model_pb2.SavedModel())


def _rewrite(path: Path, message) -> None:
    if not path.exists():
        return
    message.ParseFromString(path.read_bytes())
    own = [message] if hasattr(message, "collection_def") else []
    for meta_graph in getattr(message, "meta_graphs", own):
        _rewrite_collections(meta_graph)
        for node in meta_graph.graph_def.node:
            values = node.attr["value"].tensor.string_val if node.op == "Const" else []
            for at, value in enumerate(values):
                values[at] = _RANDOM.sub(b"_temp_%s/" % (b"0" * 32), value)
    path.write_bytes(message.SerializeToString(deterministic=True))


def _rewrite_collections(meta_graph) -> None:
    """Sorts the maps of loops and branches, which a collection holds as bytes."""
    from tensorflow.core.protobuf import control_flow_pb2

    kinds = {
        "while_context": control_flow_pb2.WhileContextDef,
        "cond_context": control_flow_pb2.CondContextDef,
    }
    for name, kind in kinds.items():
        if name in meta_graph.collection_def:
            values = meta_graph.collection_def[name].bytes_list.value
            for at, value in enumerate(values):
                values[at] = kind.FromString(value).SerializeToString(deterministic=True)


def sort_options(data: bytes) -> bytes:
    """A .tflite file with the options of its custom operators sorted by name.

    TensorFlow's converter writes them as FlexBuffers maps in any order. Options that would change
    their length are left as they are.
    """
    from flatbuffers import flexbuffers

    for graph in tflite_operators.model_of(data).subgraphs:
        for operator in graph.operators:
            options = operator.customOptions
            options = b"" if options is None else bytes(bytearray(options))
            if options and data.count(options) == 1:
                by_name = dict(sorted(flexbuffers.Loads(options).items()))
                rewritten = bytes(flexbuffers.Dumps(by_name))
                if len(rewritten) == len(options):
                    data = data.replace(options, rewritten)
    return data
