"""Exports a checkpoint with the OD API: frozen graph, SavedModel, checkpoint."""

import contextlib
from pathlib import Path
from typing import Iterator, Optional, Sequence

from todus import files, locks
from todus.detection.frozen_graph import parsed
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
    """Exports a checkpoint to model.inference_graph; the folder is replaced.

    Args:
      model: a prepared model.
      prefix: the checkpoint.
      input_type: one of INPUT_TYPES.
      input_shape: [batch, height, width, 3] of image_tensor, with None for a free dimension; None
        leaves batch, height and width free.
      score_threshold: of non-max suppression; None keeps the config's.

    Returns:
      The frozen graph's path.
    """
    from todus.tf import tf

    from object_detection import exporter

    if input_type not in INPUT_TYPES:
        known = ", ".join(INPUT_TYPES)
        raise UsageError("INPUT_TYPE=%s is unknown; there is: %s" % (input_type, known))
    if input_shape and input_type != "image_tensor":
        what = "INPUT_SHAPE and BATCH are for INPUT_TYPE=image_tensor"
        raise UsageError("%s; %s takes any number of images of any size" % (what, input_type))
    config = checkpoint_graph.config_for(model, prefix, score_threshold)
    lock = locks.exclusive(model.inference_graph, "the export of %s" % model.name)
    with lock, files.replacing_folder(model.inference_graph) as new:
        with tf.Graph().as_default(), quiet():
            tf.keras.backend.set_learning_phase(0)
            weights = checkpoint_graph.weights_of(model, prefix, config)
            with weights as start, _without_unused_parts(exporter):
                arguments = (input_type, config, str(start), str(new), input_shape)
                checkpoint_graph.run_exporter(exporter.export_inference_graph, *arguments)
            _write_saved_model(new, input_type)
            _fold(new / "frozen_inference_graph.pb")
            reproducible.rewrite_graphs(new)
        origin = checkpoint_graph.origin_of(model, prefix, config)
        origin["input_type"] = input_type
        origin["input_shape"] = list(input_shape or [None, None, None, 3])
        checkpoint_graph.describe(model, new, config, {"inference_graph": origin})
        tflite_graph.carry_over(model, new, prefix)
    return model.frozen_graph


@contextlib.contextmanager
def _without_unused_parts(exporter) -> Iterator[None]:
    """Makes the exporter skip its profile, which nobody sees, and its SavedModel of constants."""
    names = ("profile_inference_graph", "write_saved_model")
    before = {name: getattr(exporter, name) for name in names}
    for name in names:
        setattr(exporter, name, lambda *_arguments: None)
    try:
        yield
    finally:
        for name in names:
            setattr(exporter, name, before[name])


def _fold(path: Path) -> None:
    graph_def = parsed(path)
    batch_norm_folding.fold_batch_norms(graph_def)
    path.write_bytes(graph_def.SerializeToString())


def _write_saved_model(folder: Path, input_type: str) -> None:
    """Writes saved_model/ with its weights as variables, so that it can be trained on.

    The current graph and FOLDER/model.ckpt are those that the exporter made.
    """
    from todus.tf import tf

    graph = tf.get_default_graph()
    prefixes = ("detection_", "num_detections", "raw_detection_")
    outputs = {
        op.name: op.outputs[0]
        for op in graph.get_operations()
        if op.name.startswith(prefixes) and op.type == "Identity" and "/" not in op.name
    }
    inputs = {"inputs": graph.get_tensor_by_name(input_type + ":0")}
    signature = tf.saved_model.signature_def_utils.predict_signature_def(inputs, outputs)
    with tf.Session() as session:
        tf.train.Saver().restore(session, str(folder / "model.ckpt"))
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder / "saved_model"))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.tag_constants.SERVING],
            signature_def_map={"serving_default": signature},
            clear_devices=True,
        )
        builder.save()
