"""Graph files whose bytes depend on what they hold alone: protobuf writes maps in any order, TensorFlow a random name into a SavedModel."""

import re
from pathlib import Path

from todus.export import tflite_operators

_RANDOM = re.compile(
    rb"_temp_[0-9a-f]{32}/"
)  # the folder for half-saved shards, which only saving would use


def settle(folder: Path) -> None:
    """Rewrites the graphs of an export, in place, so that the same model gives the same bytes; what they compute is untouched."""
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
    for meta_graph in getattr(
        message, "meta_graphs", [message] if hasattr(message, "collection_def") else []
    ):
        _settle_collections(meta_graph)
        for node in meta_graph.graph_def.node:
            values = node.attr["value"].tensor.string_val if node.op == "Const" else []
            for at, value in enumerate(values):
                values[at] = _RANDOM.sub(b"_temp_%s/" % (b"0" * 32), value)
    path.write_bytes(message.SerializeToString(deterministic=True))


def _settle_collections(meta_graph) -> None:
    """A collection holds messages as bytes, and those of loops and branches hold maps."""
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


def settle_options(data: bytes) -> bytes:
    """A .tflite file with the options of its custom operators in the order of their names, where TensorFlow's converter has them in any.

    They are FlexBuffers maps; one that would not keep its length is left as it is.
    """
    from flatbuffers import flexbuffers

    for graph in tflite_operators.model_of(data).subgraphs:
        for operator in graph.operators:
            options = bytes(
                bytearray(operator.customOptions if operator.customOptions is not None else ())
            )
            if options and data.count(options) == 1:
                sorted_options = bytes(
                    flexbuffers.Dumps(dict(sorted(flexbuffers.Loads(options).items())))
                )
                data = (
                    data.replace(options, sorted_options)
                    if len(sorted_options) == len(options)
                    else data
                )
    return data
