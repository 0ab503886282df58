"""Exports a checkpoint as the graph that ./convert-tflite.sh converts."""

import os
from pathlib import Path
from typing import Optional

from todus import files, locks
from todus.errors import TodusError
from todus.export import checkpoint_graph, reproducible
from todus.machine.silence import quiet
from todus.model import artefacts, pipeline
from todus.paths import Model

FILES = ("tflite_graph.pb", "tflite_graph.pbtxt")
MAX_DETECTIONS = 100


def export(
    model: Model,
    prefix: Path,
    max_detections: Optional[int] = None,
    regular_nms: bool = True,
    score_threshold: Optional[float] = None,
) -> Path:
    """Writes tflite_graph.pb and .pbtxt into model.inference_graph.

    Args:
      model: a prepared model.
      prefix: the checkpoint.
      max_detections: of the detection post-process operator; None takes the config's limits of an
        image and of a class, 100 where it has none.
      regular_nms: suppress within each class; False is the operator's fast mode.
      score_threshold: of non-max suppression; None keeps the config's.

    Raises:
      TodusError: not an SSD, or an input of no fixed size.
    """
    from todus.tf import tf

    from object_detection import export_tflite_ssd_graph_lib

    config = checkpoint_graph.config_for(model, prefix, score_threshold)
    if pipeline.architecture(config) != "ssd":
        what = (
            "%s cannot become TFLite: its second stage crops the first one's boxes, for which "
            "TFLite has no operators; use ./convert-onnx.sh"
        )
        raise TodusError(what % pipeline.extractor(config))
    if pipeline.input_size(config) is None:
        remedy = "TFLite needs a fixed_shape_resizer in pipeline.config"
        raise TodusError("%s has an input of no fixed size; %s" % (model.name, remedy))
    suppression = pipeline.non_max_suppression(config)
    per_class = max_detections or suppression.max_detections_per_class or MAX_DETECTIONS
    max_detections = max_detections or suppression.max_total_detections or MAX_DETECTIONS
    with locks.exclusive(model.inference_graph, "the export of %s" % model.name):
        files.recover_folder(model.inference_graph)
        model.inference_graph.mkdir(parents=True, exist_ok=True)
        with files.replacing_folder(model.inference_graph / "tflite") as new:
            weights = checkpoint_graph.weights_of(model, prefix, config)
            with tf.Graph().as_default(), quiet(), weights as start:
                tf.keras.backend.set_learning_phase(0)
                checkpoint_graph.run_exporter(
                    export_tflite_ssd_graph_lib.export_tflite_graph,
                    config,
                    str(start),
                    str(new),
                    add_postprocessing_op=True,
                    max_detections=max_detections,
                    max_classes_per_detection=1,
                    detections_per_class=min(per_class, max_detections),
                    use_regular_nms=regular_nms,
                )
            reproducible.rewrite_graphs(new)
            for name in FILES:
                os.replace(str(new / name), str(model.inference_graph / name))
        (model.inference_graph / "tflite").rmdir()
        origin = checkpoint_graph.origin_of(model, prefix, config)
        origin["max_detections"] = max_detections
        origin["nms"] = "regular" if regular_nms else "fast"
        checkpoint_graph.describe(model, model.inference_graph, config, {"tflite_graph": origin})
    return model.tflite_graph


def carry_over(model: Model, new: Path, prefix: Path) -> None:
    """Copies the TFLite graph of the same checkpoint to a new export of the inference graph."""
    before = artefacts.exported(model.inference_graph).get("tflite_graph")
    if not before or before["checkpoint_sha256"] != files.sha256(str(prefix) + ".index"):
        return
    for name in FILES:
        if (model.inference_graph / name).exists():
            files.link_or_copy(model.inference_graph / name, new / name)
    origins = dict(files.read_json(new / "export.json"), tflite_graph=before)
    files.write_json(new / "export.json", origins)
