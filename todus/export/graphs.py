"""A checkpoint to the graphs that devices start from: the inference graph with its SavedModel, and the TFLite graph."""

import os
import shutil
from pathlib import Path
from typing import Dict, Optional, Sequence

from todus import __version__, categories, files, locks
from todus.detection.checkpoint import quantizes
from todus.detection.frozen_graph import read_graph
from todus.errors import TodusError, UsageError
from todus.export import batch_norm_folding, reproducible
from todus.machine.silence import quiet
from todus.model import artefacts, checkpoints, pipeline, prepared
from todus.paths import Model

INPUT_TYPES = ("image_tensor", "encoded_image_string_tensor", "tf_example")


_TFLITE_FILES = ("tflite_graph.pb", "tflite_graph.pbtxt")


def _config_for(model: Model, prefix: Path, score_threshold: Optional[float]) -> pipeline.Config:
    config = prepared.resolved(model)
    if score_threshold is not None:
        pipeline.non_max_suppression(config).score_threshold = score_threshold
    if pipeline.is_quantized(config) and not quantizes(config, prefix):
        config.ClearField("graph_rewriter")
    return config


def export_inference_graph(
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
        raise UsageError("INPUT_TYPE=%s is unknown; there is: %s" % (input_type, ", ".join(INPUT_TYPES)))
    if input_shape and input_type != "image_tensor":
        raise UsageError("INPUT_SHAPE and BATCH are for INPUT_TYPE=image_tensor; %s takes any number of images of any size" % input_type)
    config = _config_for(model, prefix, score_threshold)
    with locks.exclusive(model.inference_graph, "the export of %s" % model.name), files.replacing_folder(model.inference_graph) as new:
        with tf.Graph().as_default(), quiet():
            tf.keras.backend.set_learning_phase(0)
            _export(exporter.export_inference_graph, input_type, config, str(prefix), str(new), input_shape)
            _write_saved_model(new, input_type)
            _fold(new / "frozen_inference_graph.pb")
            reproducible.settle(new)
        origin = dict(_origin(model, prefix, config), input_type=input_type, input_shape=list(input_shape or [None, None, None, 3]))
        _describe(model, new, config, {"inference_graph": origin})
        _keep_tflite_graph(model, new, prefix, config)
    return model.frozen_graph


def export_tflite_graph(
    model: Model, prefix: Path, max_detections: int = 100, regular_nms: bool = True, score_threshold: Optional[float] = None
) -> Path:
    """Writes tflite_graph.pb and .pbtxt, with the detection post-process operator, into model.inference_graph.

    Raises:
      TodusError: not an SSD, or an input of no fixed size.
    """
    from todus.tf import tf

    from object_detection import export_tflite_ssd_graph_lib

    config = _config_for(model, prefix, score_threshold)
    if pipeline.architecture(config) != "ssd":
        raise TodusError(
            "%s cannot become TFLite: its second stage crops the first one's boxes, for which TFLite has no operators "
            "(for SSD it has the detection post-process); use ./convert-onnx.sh" % pipeline.extractor(config)
        )
    if pipeline.input_size(config) is None:
        raise TodusError("%s has an input of no fixed size; TFLite needs a fixed_shape_resizer in pipeline.config" % model.name)
    with locks.exclusive(model.inference_graph, "the export of %s" % model.name):
        files.recover_folder(model.inference_graph)
        model.inference_graph.mkdir(parents=True, exist_ok=True)
        with files.replacing_folder(model.inference_graph / "tflite") as new:
            with tf.Graph().as_default(), quiet():
                tf.keras.backend.set_learning_phase(0)
                _export(
                    export_tflite_ssd_graph_lib.export_tflite_graph,
                    config,
                    str(prefix),
                    str(new),
                    add_postprocessing_op=True,
                    max_detections=max_detections,
                    max_classes_per_detection=1,
                    detections_per_class=max_detections,
                    use_regular_nms=regular_nms,
                )
            reproducible.settle(new)
            for name in _TFLITE_FILES:
                os.replace(str(new / name), str(model.inference_graph / name))
        (model.inference_graph / "tflite").rmdir()
        origin = dict(_origin(model, prefix, config), max_detections=max_detections, nms="regular" if regular_nms else "fast")
        _describe(model, model.inference_graph, config, {"tflite_graph": origin})
    return model.tflite_graph


def _export(function, *arguments, **options) -> None:
    """Calls an exporter of the OD API; a checkpoint that does not fit its config becomes one line."""
    from todus.tf import tf

    try:
        function(*arguments, **options)
    except (tf.errors.OpError, ValueError) as error:
        line = (str(error).strip().split("\n") or [""])[0][:200]
        raise TodusError("the checkpoint cannot be exported with pipeline.config (%s); was the model prepared again since?" % line)


def _fold(path: Path) -> None:
    graph_def = read_graph(path)
    batch_norm_folding.fold_batch_norms(graph_def)
    path.write_bytes(graph_def.SerializeToString())


def _write_saved_model(folder: Path, input_type: str) -> None:
    """saved_model/ with the variables as variables, from the graph and model.ckpt that the exporter just made; the exporter's own holds
    them frozen."""
    from todus.tf import tf

    graph = tf.get_default_graph()
    outputs = [op for op in graph.get_operations() if op.name.startswith(("detection_", "num_detections", "raw_detection_"))]
    outputs = {op.name: op.outputs[0] for op in outputs if op.type == "Identity" and "/" not in op.name}
    with tf.Session() as session:
        tf.train.Saver().restore(session, str(folder / "model.ckpt"))
        shutil.rmtree(str(folder / "saved_model"))
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder / "saved_model"))
        signature = tf.saved_model.signature_def_utils.predict_signature_def(
            {"inputs": graph.get_tensor_by_name(input_type + ":0")}, outputs
        )
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.tag_constants.SERVING], signature_def_map={"serving_default": signature}, clear_devices=True
        )
        builder.save()


def not_quantized_because(model: Model, prefix: Path, config: pipeline.Config) -> Optional[str]:
    """Why a checkpoint of a quantization-aware model cannot become uint8, with the step that it needs; None where it can."""
    delay = config.graph_rewriter.quantization.delay
    step = checkpoints.step_of(prefix)
    if quantizes(config, prefix):
        return None
    if not pipeline.is_quantized(config):
        return "it was not trained quantization-aware; prepare the model with -q and train it"
    name = "the slice" if prefix.parent.name == "limited" else "%s, at step %d," % (prefix.name, step)
    return "%s has no trained ranges: fake quantization begins at step %d; train beyond it: NUM_TRAIN_STEPS=%d ./train.sh" % (
        name,
        delay,
        max(2 * delay, delay + 500),
    )


def _origin(model: Model, prefix: Path, config: pipeline.Config) -> Dict:
    return {
        "not_quantized_because": not_quantized_because(model, prefix, prepared.resolved(model)),
        "checkpoint": "pretrained" if prefix.parent.name == "limited" else prefix.name,
        "checkpoint_sha256": files.sha256(str(prefix) + ".index"),
        "step": checkpoints.step_of(prefix),
        "quantized": pipeline.is_quantized(config),
        "score_threshold": pipeline.non_max_suppression(config).score_threshold,
        "todus": __version__,
    }


def _describe(model: Model, folder: Path, config: pipeline.Config, origin: Dict) -> None:
    """Puts the config, the label map, labels.txt and what was exported from what beside the graphs."""
    names = categories.read_label_map(model.limited_label_map)
    pipeline.write(folder / "pipeline.config", config)
    categories.write_label_map(folder / "label_map.pbtxt", names)
    files.write_text(folder / "labels.txt", "\n".join(categories.labels(names)) + "\n")
    files.write_json(folder / "export.json", dict(artefacts.exported(folder), **origin))


def _keep_tflite_graph(model: Model, new: Path, prefix: Path, config: pipeline.Config) -> None:
    """A TFLite graph of the same checkpoint outlives a new export of the inference graph."""
    before = artefacts.exported(model.inference_graph).get("tflite_graph")
    if not before or before["checkpoint_sha256"] != files.sha256(str(prefix) + ".index"):
        return
    for name in _TFLITE_FILES:
        if (model.inference_graph / name).exists():
            os.link(str(model.inference_graph / name), str(new / name))
    files.write_json(new / "export.json", dict(files.read_json(new / "export.json"), tflite_graph=before))
