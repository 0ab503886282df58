"""A checkpoint as the graph that becomes a .tflite file, with the detection post-process operator."""

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


def export(
    model: Model,
    prefix: Path,
    max_detections: int = 100,
    regular_nms: bool = True,
    score_threshold: Optional[float] = None,
) -> Path:
    """Writes tflite_graph.pb and .pbtxt, with the detection post-process operator, into model.inference_graph.

    Raises:
      TodusError: not an SSD, or an input of no fixed size.
    """
    from todus.tf import tf

    from object_detection import export_tflite_ssd_graph_lib

    config = checkpoint_graph.config_for(model, prefix, score_threshold)
    if pipeline.architecture(config) != "ssd":
        raise TodusError(
            "%s cannot become TFLite: its second stage crops the first one's boxes, for which TFLite has no operators "
            "(for SSD it has the detection post-process); use ./convert-onnx.sh"
            % pipeline.extractor(config)
        )
    if pipeline.input_size(config) is None:
        raise TodusError(
            "%s has an input of no fixed size; TFLite needs a fixed_shape_resizer in pipeline.config"
            % model.name
        )
    with locks.exclusive(model.inference_graph, "the export of %s" % model.name):
        files.recover_folder(model.inference_graph)
        model.inference_graph.mkdir(parents=True, exist_ok=True)
        with files.replacing_folder(model.inference_graph / "tflite") as new:
            with tf.Graph().as_default(), quiet():
                tf.keras.backend.set_learning_phase(0)
                checkpoint_graph.run_exporter(
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
            for name in FILES:
                os.replace(str(new / name), str(model.inference_graph / name))
        (model.inference_graph / "tflite").rmdir()
        origin = dict(
            checkpoint_graph.origin_of(model, prefix, config),
            max_detections=max_detections,
            nms="regular" if regular_nms else "fast",
        )
        checkpoint_graph.describe(model, model.inference_graph, config, {"tflite_graph": origin})
    return model.tflite_graph


def keep(model: Model, new: Path, prefix: Path, config: pipeline.Config) -> None:
    """A TFLite graph of the same checkpoint outlives a new export of the inference graph."""
    before = artefacts.exported(model.inference_graph).get("tflite_graph")
    if not before or before["checkpoint_sha256"] != files.sha256(str(prefix) + ".index"):
        return
    for name in FILES:
        if (model.inference_graph / name).exists():
            files.link_or_copy(model.inference_graph / name, new / name)
    files.write_json(
        new / "export.json", dict(files.read_json(new / "export.json"), tflite_graph=before)
    )
