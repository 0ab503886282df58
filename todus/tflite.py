"""tflite_graph.pb to a .tflite file that the interpreter on a device runs."""

import os
import sys
from pathlib import Path
from typing import Dict, Optional

from todus import categories, export, files, pipeline
from todus.errors import TodusError, UsageError
from todus.paths import Model, beside_json

INPUT = "normalized_input_image_tensor"
OUTPUTS = ["TFLite_Detection_PostProcess"] + ["TFLite_Detection_PostProcess:%d" % number for number in (1, 2, 3)]
OUTPUT_NAMES = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"]
FORMATS = ("uint8", "float")


def convert(model: Model, wanted: Optional[str] = None) -> Path:
    """Writes model/MODEL/MODEL.tflite, or MODEL-FORMAT.tflite where `wanted` is not the graph's own format, and its .json.

    Args:
      model: with an exported TFLite graph.
      wanted: one of FORMATS; None is uint8 for a quantization-aware graph, else float.

    Raises:
      TodusError: no TFLite graph, or one that the converter refuses.
    """
    if not model.tflite_graph.exists():
        raise TodusError("%s is missing; run ./export-tflite.sh" % model.tflite_graph)
    exported = files.read_json(model.inference_graph / "export.json")["tflite_graph"]
    own = "uint8" if exported["quantized"] else "float"
    wanted = wanted or own
    if wanted not in FORMATS:
        raise UsageError("FORMAT=%s is unknown; there is: %s" % (wanted, ", ".join(FORMATS)))
    if wanted == "uint8" and own != "uint8":
        raise TodusError("the graph is not quantization-aware; prepare the model with -q and train it, or take FORMAT=float")
    config = pipeline.read(model.exported_pipeline)
    path = model.converted("tflite", "" if wanted == own else wanted)
    data = _converted(model.tflite_graph, config, wanted)
    with files.replacing(path) as part:
        part.write_bytes(data)
    files.write_json(beside_json(path), description(model, config, wanted, exported))
    return path


def _converted(graph: Path, config: pipeline.Config, wanted: str) -> bytes:
    from todus.tf import tf

    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")  # toco_from_protos is found there
    height, width = pipeline.input_size(config)
    converter = tf.lite.TFLiteConverter.from_frozen_graph(str(graph), [INPUT], OUTPUTS, {INPUT: [1, height, width, 3]})
    converter.allow_custom_ops = True
    if wanted == "uint8":
        mean, std = export.normalization(config)
        converter.inference_type = tf.uint8
        converter.quantized_input_stats = {INPUT: (mean[0], std[0])}
    try:
        return converter.convert()
    except Exception as error:  # toco's ConverterError, and whatever its subprocess makes of a graph it does not know
        lines = [line for line in str(error).strip().split("\n") if line.strip()]
        raise TodusError("the converter refused %s (%s); export it again, or try another FORMAT" % (graph, (lines or [""])[-1][:300]))


def description(model: Model, config: pipeline.Config, wanted: str, exported: Dict) -> Dict:
    """What a program on a device has to know of the file."""
    height, width = pipeline.input_size(config)
    mean, std = export.normalization(config)
    return {
        "format": wanted,
        "input": {
            "name": INPUT,
            "shape": [1, height, width, 3],
            "dtype": "uint8" if wanted == "uint8" else "float32",
            "color": "RGB",
            "mean": mean,
            "std": std,
            "note": "feed pixels 0..255 as they are" if wanted == "uint8" else "feed (pixel - mean) / std",
        },
        "outputs": [
            {"name": name, "shape": shape}
            for name, shape in zip(OUTPUT_NAMES, ([1, exported["max_detections"], 4], [1, exported["max_detections"]], [1, exported["max_detections"]], [1]))
        ],
        "labels": export.labels(categories.read_label_map(model.exported_label_map)),
        "labels_note": "detection_classes counts from 0: labels[class]; the label map's id is class + 1",
        "exported": exported,
    }
