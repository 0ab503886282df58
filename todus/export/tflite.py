"""tflite_graph.pb to a .tflite file that the interpreter on a device runs."""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

from todus import files, forms, variables
from todus.dataset.records import reader
from todus.detection import frozen_graph
from todus.detection.detector import DETECTIONS
from todus.errors import TodusError, UsageError
from todus.export import reproducible, tflite_metadata, tflite_operators
from todus.model import artefacts, normalization, pipeline, prepared
from todus.paths import Model

INPUT = "normalized_input_image_tensor"
OUTPUTS = ["TFLite_Detection_PostProcess"] + [
    "TFLite_Detection_PostProcess:%d" % number for number in (1, 2, 3)
]
NEEDS = ()  # packages beside TensorFlow
CALIBRATION = 100

Say = Callable[[str], None]


def run(model: Model, say: Say) -> List[str]:
    """./convert-tflite.sh: converts as the environment says; returns what was made and the next command."""
    if not shutil.which("toco_from_protos"):
        raise TodusError(
            "toco_from_protos, which comes with TensorFlow, is not on PATH; run: source .venv/bin/activate"
        )
    wanted, calibration = (
        variables.value(name, "convert-tflite") for name in ("FORMAT", "CALIBRATION")
    )
    path, about = convert(model, wanted, calibration, say)
    for line in _notes(about):
        say(line)
    form = path.stem.replace(model.name, "tflite", 1)
    made = "%s  %.1f MB, %s" % (path, path.stat().st_size / 1e6, about["format"])
    return [made, "next: python -m eval -m %s --format %s" % (model.name, form)]


def _notes(about: Dict[str, Any]) -> Iterator[str]:
    """What is in the file, and what of it an EdgeTPU takes."""
    graph = about["graph"]
    counted = ", ".join(
        "%d %s" % (count, name) for name, count in sorted(graph["operators"].items())
    )
    yield "%d operators (%s), %d tensors" % (
        sum(graph["operators"].values()),
        counted,
        graph["tensors"],
    )
    yield about["labels_note"]
    compiled, edgetpu = about.get("edgetpu_compiler"), graph["edgetpu"]
    if compiled:
        yield "edgetpu_compiler wrote %s: %s operators mapped, %s on the CPU" % (
            compiled["file"],
            compiled["mapped"],
            compiled["cpu"],
        )
        left = [
            (row["count"], row["operator"], row["status"])
            for row in compiled["operators"]
            if not row["status"].startswith("Mapped")
        ]
    else:
        yield "an EdgeTPU compiler would map %d operators and leave %d on the CPU" % (
            edgetpu["mapped"],
            edgetpu["cpu"],
        )
        left = [
            (row["count"], row["operator"], row["reason"]) for row in edgetpu["left_on_cpu"][:6]
        ]
    for row in left:
        yield "  on the CPU: %d %s: %s" % row


def convert(
    model: Model,
    wanted: Optional[str] = None,
    calibration: int = CALIBRATION,
    say: Say = lambda line: None,
) -> Tuple[Path, Dict]:
    """Writes model/MODEL/MODEL.tflite, or MODEL-FORMAT.tflite where `wanted` is not the graph's own format, and its .json.

    The name has -fast at its end where the graph was exported with fast non-max suppression.

    Args:
      model: with an exported TFLite graph.
      wanted: one of forms.TFLITE_FORMATS; None is uint8 for a quantization-aware graph, else float. float16 halves the file; dynamic has
        8-bit weights and float activations; int8 is quantized after training, with the ranges that images of the dataset's train
        records show; dummy is uint8 with ranges of 0 to 6 everywhere, good for measuring speed alone.
      calibration: how many images int8 looks at.
      say: called with what a person has to know.

    Returns:
      The file's path and what is in its .json.

    Raises:
      TodusError: no TFLite graph, one without the ranges that the format needs, or one that the converter refuses.
    """
    found = artefacts.graph_of(model, "tflite_graph")
    if wanted and wanted not in forms.TFLITE_FORMATS:
        raise UsageError(
            "FORMAT=%s is unknown; there is: %s" % (wanted, ", ".join(forms.TFLITE_FORMATS))
        )
    exported = artefacts.tflite_graph(model)
    config = pipeline.read(model.exported_pipeline)
    own = "uint8" if exported["quantized"] else "float"
    _check(model, wanted, own, exported)
    if pipeline.input_size(config) is None:
        raise TodusError(
            "%s has an input of no fixed size; run ./export-tflite.sh again"
            % model.exported_pipeline
        )
    wanted = wanted or own
    if wanted == "dummy":
        say(
            "FORMAT=dummy: every range is taken as 0 to 6; the file shows the speed of 8 bits, what it detects is worthless"
        )
    variants = ([] if wanted == own else [wanted]) + (["fast"] if exported["nms"] == "fast" else [])
    path = model.file_of("-".join(["tflite"] + variants))
    height, width = pipeline.input_size(config)
    images = (
        calibration_images(model, (height, width), config, calibration)
        if wanted == "int8"
        else None
    )
    mean, std = normalization.normalization(config)
    with files.scratch(path) as folder:
        data = reproducible.settle_options(
            _converted(model.tflite_graph, config, wanted, images, folder)
        )
        packed = tflite_metadata.pack(data, model.name, list(found.labels), mean, std, folder)
        with files.replacing(path) as part:
            part.write_bytes(packed)
    about = description(config, wanted, exported, found)
    about["graph"] = tflite_operators.report(data).as_dict()
    if images is not None:
        about["calibration_images"] = len(images)
    compiled = (
        tflite_operators.compile_for_edgetpu(path) if wanted in ("uint8", "int8", "dummy") else None
    )
    if compiled:
        about["edgetpu_compiler"] = compiled
    return path, artefacts.write(model, path, model.tflite_graph, found, about)


def _check(model: Model, wanted: Optional[str], own: str, exported: Dict) -> None:
    """Raises TodusError where the graph cannot become `wanted`."""
    reason = exported.get("not_quantized_because") or "prepare the model with -q and train it"
    if own == "float" and (
        wanted == "uint8" or (not wanted and pipeline.is_quantized(pipeline.read(model.pipeline)))
    ):
        raise TodusError(
            "%s cannot become uint8: %s; then export again; or take FORMAT=float, or FORMAT=int8, which needs no training"
            % (model.tflite_graph, reason)
        )
    if own == "uint8" and wanted in ("float16", "dynamic", "int8", "dummy"):
        raise TodusError(
            "%s is quantization-aware: it has its own 8-bit ranges; take FORMAT=uint8 or float"
            % model.tflite_graph
        )


def calibration_images(
    model: Model, size: Tuple[int, int], config: pipeline.Config, count: int
) -> List[np.ndarray]:
    """Normalised float32 [1, height, width, 3] images, spread evenly over the train records of the model's dataset."""
    from todus.dataset.image_files import decode
    from todus.detection.resizer import Resizer
    from todus.evaluation.average_precision import examples_of

    dataset = prepared.dataset_of(model)
    mean, std = (np.asarray(values, np.float32) for values in normalization.normalization(config))
    total = reader.read_manifest(dataset)["splits"].get("train", {}).get("images", 0)
    step, resize = max(1, total // count), Resizer(size)
    chosen = (
        example
        for number, example in enumerate(examples_of(dataset, "train", None))
        if number % step == 0
    )
    return [
        ((resize(decode(example.encoded)) - mean) / std)[np.newaxis]
        for example, _ in zip(chosen, range(count))
    ]


def _converted(
    graph: Path,
    config: pipeline.Config,
    wanted: str,
    images: Optional[List[np.ndarray]],
    folder: Path,
) -> bytes:
    frozen_graph.read_graph(graph)
    os.environ["PATH"] = (
        os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    )  # toco_from_protos is found there
    try:
        with _temporary_files_in(folder):  # the converter leaves one of its own behind
            return _converter(graph, config, wanted, images).convert()
    except Exception as error:  # toco's ConverterError, and whatever its subprocess makes of a graph it does not know
        lines = [line for line in str(error).strip().split("\n") if line.strip()]
        raise TodusError(
            "the converter refused %s (%s); export it again, or try another FORMAT"
            % (graph, (lines or [""])[-1][:300])
        )


def _converter(
    graph: Path, config: pipeline.Config, wanted: str, images: Optional[List[np.ndarray]]
):
    from todus.tf import tf

    height, width = pipeline.input_size(config)
    converter = tf.lite.TFLiteConverter.from_frozen_graph(
        str(graph), [INPUT], OUTPUTS, {INPUT: [1, height, width, 3]}
    )
    converter.allow_custom_ops = True
    if wanted in ("uint8", "dummy"):
        mean, std = normalization.normalization(config)
        converter.inference_type = tf.uint8
        converter.quantized_input_stats = {INPUT: (mean[0], std[0])}
    if wanted == "dummy":
        converter.default_ranges_stats = (0, 6)
    if wanted in ("float16", "dynamic", "int8"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if wanted == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if wanted == "int8":
        converter.representative_dataset = lambda: ([image] for image in images)
    return converter


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Has tempfile use the folder, by a name that TensorFlow may paste into a shell's command, as its converter does with these names."""
    handle = os.open(str(folder), os.O_RDONLY)
    plain = "/proc/%d/fd/%d" % (os.getpid(), handle)
    if not os.path.isdir(plain):
        plain = str(folder) if re.fullmatch(r"[\w./+-]+", str(folder)) else tempfile.gettempdir()
    try:
        with files.temporary_files_in(plain):
            yield
    finally:
        os.close(handle)


def description(
    config: pipeline.Config, wanted: str, exported: Dict, found: artefacts.Identity
) -> Dict:
    """What a program on a device has to know of the file."""
    height, width = pipeline.input_size(config)
    mean, std = normalization.normalization(config)
    return {
        "format": wanted,
        "input": {
            "name": INPUT,
            "shape": [1, height, width, 3],
            "dtype": "uint8" if wanted in ("uint8", "dummy") else "float32",
            "color": "RGB",
            "mean": mean,
            "std": std,
            "note": "feed pixels 0..255 as they are"
            if wanted in ("uint8", "dummy")
            else "feed (pixel - mean) / std",
        },
        "outputs": [
            {"name": name, "shape": shape}
            for name, shape in zip(
                DETECTIONS,
                (
                    [1, exported["max_detections"], 4],
                    [1, exported["max_detections"]],
                    [1, exported["max_detections"]],
                    [1],
                ),
            )
        ],
        "labels": list(found.labels),
        "labels_note": tflite_metadata.LABELS_NOTE,
        "exported": exported,
    }
