"""A checkpoint as the OD API exports it for inference: frozen graph, SavedModel, checkpoint."""

import shutil
from pathlib import Path
from typing import Optional, Sequence

from todus import files, locks
from todus.detection.frozen_graph import read_graph
from todus.errors import UsageError
from todus.export import batch_norm_folding, checkpoint_graph, reproducible, tflite_graph
from todus.machine.silence import quiet
from todus.paths import Model

INPUT_TYPES = ("image_tensor", "encoded_image_string_tensor", "tf_example")


def export(
    model: Model,
    prefix: Path,
    input_type: str = "image_tensor",
    input_shape: Optional[Sequence[Optional[int]]] = None,
    score_threshold: Optional[float] = None,
) -> Path:
    """Fills model.inference_graph from a checkpoint; an earlier export is replaced whole.

    Args:
      model: a prepared model.
      prefix: the checkpoint.
      input_type: one of INPUT_TYPES.
      input_shape: [batch, height, width, 3] of image_tensor, with None for what stays free; None is all free.
      score_threshold: of non-max suppression; None keeps the config's.

    Returns:
      The frozen graph's path.
    """
    from todus.tf import tf

    from object_detection import exporter

    if input_type not in INPUT_TYPES:
        raise UsageError(
            "INPUT_TYPE=%s is unknown; there is: %s" % (input_type, ", ".join(INPUT_TYPES))
        )
    if input_shape and input_type != "image_tensor":
        raise UsageError(
            "INPUT_SHAPE and BATCH are for INPUT_TYPE=image_tensor; %s takes any number of images of any size"
            % input_type
        )
    config = checkpoint_graph.config_for(model, prefix, score_threshold)
    with locks.exclusive(
        model.inference_graph, "the export of %s" % model.name
    ), files.replacing_folder(model.inference_graph) as new:
        with tf.Graph().as_default(), quiet():
            tf.keras.backend.set_learning_phase(0)
            checkpoint_graph.run_exporter(
                exporter.export_inference_graph,
                input_type,
                config,
                str(prefix),
                str(new),
                input_shape,
            )
            _write_saved_model(new, input_type)
            _fold(new / "frozen_inference_graph.pb")
            reproducible.settle(new)
        origin = dict(
            checkpoint_graph.origin_of(model, prefix, config),
            input_type=input_type,
            input_shape=list(input_shape or [None, None, None, 3]),
        )
        checkpoint_graph.describe(model, new, config, {"inference_graph": origin})
        tflite_graph.keep(model, new, prefix, config)
    return model.frozen_graph


def _fold(path: Path) -> None:
    graph_def = read_graph(path)
    batch_norm_folding.fold_batch_norms(graph_def)
    path.write_bytes(graph_def.SerializeToString())


def _write_saved_model(folder: Path, input_type: str) -> None:
    """saved_model/ with the variables as variables, from the graph and model.ckpt that the exporter just made; the exporter's own holds
    them frozen."""
    from todus.tf import tf

    graph = tf.get_default_graph()
    outputs = [
        op
        for op in graph.get_operations()
        if op.name.startswith(("detection_", "num_detections", "raw_detection_"))
    ]
    outputs = {
        op.name: op.outputs[0] for op in outputs if op.type == "Identity" and "/" not in op.name
    }
    with tf.Session() as session:
        tf.train.Saver().restore(session, str(folder / "model.ckpt"))
        shutil.rmtree(str(folder / "saved_model"))
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder / "saved_model"))
        signature = tf.saved_model.signature_def_utils.predict_signature_def(
            {"inputs": graph.get_tensor_by_name(input_type + ":0")}, outputs
        )
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.tag_constants.SERVING],
            signature_def_map={"serving_default": signature},
            clear_devices=True,
        )
        builder.save()
