"""Converts tflite_graph.pb to a .tflite file."""

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
from todus.detection import frozen_graph
from todus.detection.detector import DETECTIONS
from todus.detection.resizer import Resizer
from todus.errors import TodusError, UsageError
from todus.export import (
    pixel_input,
    reproducible,
    tflite_calibration,
    tflite_metadata,
    tflite_operators,
    tflite_quantization,
)
from todus.model import artefacts, normalization, pipeline
from todus.paths import Model
from todus.slicing import post_process, tflite_file

INPUT = "normalized_input_image_tensor"
OUTPUTS = ["TFLite_Detection_PostProcess" + suffix for suffix in ("", ":1", ":2", ":3")]
NEEDS = ()  # packages beside TensorFlow
CALIBRATION = 100

_NOTES = {
    "uint8": "feed pixels 0..255 as they are",
    "int8": "feed pixels 0..255 minus 128",
    "float32": "feed (pixel - mean) / std",
}

Say = Callable[[str], None]


def run(model: Model, say: Say) -> List[str]:
    """Runs ./convert-tflite.sh: converts by the environment's settings.

    Returns the lines to print: the file, and the next command.
    """
    if not shutil.which("toco_from_protos"):
        what = "toco_from_protos, which comes with TensorFlow, is not on PATH"
        raise TodusError(what + "; run: source .venv/bin/activate")
    wanted = variables.value("FORMAT", "convert-tflite")
    calibration = variables.value("CALIBRATION", "convert-tflite")
    dtype = variables.value("INPUT_DTYPE", "convert-tflite")
    path, about = convert(model, wanted, calibration, say, dtype)
    for line in _notes(about):
        say(line)
    form = path.stem.replace(model.name, "tflite", 1)
    made = "%s  %.1f MB, %s" % (path, path.stat().st_size / 1e6, about["format"])
    return [made, "next: python -m eval -m %s --format %s" % (model.name, form)]


def _notes(about: Dict[str, Any]) -> Iterator[str]:
    """The operators in the file, and those of them that an EdgeTPU maps, for the user."""
    graph = about["graph"]
    counts = ["%d %s" % (count, name) for name, count in sorted(graph["operators"].items())]
    total = sum(graph["operators"].values())
    yield "%d operators (%s), %d tensors" % (total, ", ".join(counts), graph["tensors"])
    yield "input: %(dtype)s, %(note)s" % about["input"]
    yield about["labels_note"]
    compiled, edgetpu = about.get("edgetpu_compiler"), graph["edgetpu"]
    if compiled:
        line = "edgetpu_compiler wrote %(file)s: %(mapped)s operators mapped, %(cpu)s on the CPU"
        yield line % compiled
        rows = [row for row in compiled["operators"] if not row["status"].startswith("Mapped")]
    else:
        line = "an EdgeTPU compiler would map %(mapped)d operators and leave %(cpu)d on the CPU"
        yield line % edgetpu
        rows = [dict(row, status=row["reason"]) for row in edgetpu["left_on_cpu"]]
    for status in sorted({row["status"] for row in rows}):
        alike = ["%(count)d %(operator)s" % row for row in rows if row["status"] == status]
        yield "  on the CPU: %s: %s" % (", ".join(alike), status)


def convert(
    model: Model,
    wanted: Optional[str] = None,
    calibration: int = CALIBRATION,
    say: Say = lambda line: None,
    dtype: Optional[str] = None,
) -> Tuple[Path, Dict]:
    """Writes model/MODEL/MODEL.tflite, or MODEL-FORMAT.tflite, and its .json.

    The name has no FORMAT where that is the graph's own, and ends in -fast where the graph was
    exported with fast non-max suppression.

    Args:
      model: with an exported TFLite graph.
      wanted: one of forms.TFLITE_FORMATS; None is uint8 for a quantization-aware graph, else float.
        float16 halves the file; dynamic has 8-bit weights and float activations; int8 is quantized
        after training, with ranges from images; dummy is uint8 with the range 0 to 6 everywhere,
        for measuring speed only.
      calibration: the number of images for int8.
      say: called with warnings for the user.
      dtype: of the input of int8; None is uint8, whose values are pixels. The other formats have
        one type.

    Returns:
      The file's path and the content of its .json.

    Raises:
      TodusError: no TFLite graph, one without the ranges that the format needs, or one that the
        converter refuses.
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
    dtype = _input_dtype(wanted or own, dtype)
    if pipeline.input_size(config) is None:
        what = "%s has an input of no fixed size; run ./export-tflite.sh again"
        raise TodusError(what % model.exported_pipeline)
    wanted = wanted or own
    if wanted == "dummy":
        use = "the file measures the speed of 8 bits, its detections are worthless"
        say("FORMAT=dummy: every range is 0 to 6; " + use)
    variants = ([] if wanted == own else [wanted]) + (["fast"] if exported["nms"] == "fast" else [])
    path = model.file_of("-".join(["tflite"] + variants))
    images, source = [], ""
    if wanted == "int8":
        images, source = tflite_calibration.images(model, found.labels, calibration)
    mean, std = normalization.normalization(config)
    with files.scratch(path) as folder:
        data = _converted(model.tflite_graph, config, (wanted, dtype), images, folder)
        data = reproducible.sort_options(_with_every_class(data))
        packed = tflite_metadata.pack(data, model.name, list(found.labels), mean, std, folder)
        with files.replacing(path) as part:
            part.write_bytes(packed)
    about = description(config, wanted, exported, found, dtype)
    about["graph"] = tflite_operators.report(data).as_dict()
    if images:
        about.update(calibration_images=len(images), calibration_source=source)
    if wanted in ("uint8", "int8", "dummy"):
        compiled = tflite_operators.compile_for_edgetpu(path)
        if compiled:
            about["edgetpu_compiler"] = compiled
    return path, artefacts.write(model, path, model.tflite_graph, found, about)


def _with_every_class(data: bytes) -> bytes:
    """The file with what makes its runtime report all classes with any number of threads."""
    content = tflite_file.read(data)
    return tflite_file.packed(content) if post_process.add_lost_class(content) else data


def _check(model: Model, wanted: Optional[str], own: str, exported: Dict) -> None:
    """Raises TodusError where the graph cannot become `wanted`."""
    if own == "float" and (
        wanted == "uint8" or (not wanted and pipeline.is_quantized(pipeline.read(model.pipeline)))
    ):
        reason = exported.get("not_quantized_because") or "prepare the model with -q and train it"
        others = "or take FORMAT=float, or FORMAT=int8, which needs no training"
        facts = (model.tflite_graph, reason, others)
        raise TodusError("%s cannot become uint8: %s; then export again; %s" % facts)
    if own == "uint8" and wanted in ("float16", "dynamic", "int8", "dummy"):
        what = "%s is quantization-aware: it has its own 8-bit ranges; take FORMAT=uint8 or float"
        raise TodusError(what % model.tflite_graph)


def _input_dtype(wanted: str, dtype: Optional[str]) -> str:
    """The type of the input. Raises UsageError for one that the format does not have."""
    if wanted == "int8":
        return dtype or tflite_quantization.INPUTS[0]
    only = "uint8" if wanted in ("uint8", "dummy") else "float32"
    if dtype not in (None, only):
        what = "INPUT_DTYPE=%s needs FORMAT=int8; the input of %s is %s"
        raise UsageError(what % (dtype, wanted, only))
    return only


def _converted(
    graph: Path,
    config: pipeline.Config,
    form: Tuple[str, str],
    images: List[np.ndarray],
    folder: Path,
) -> bytes:
    """The .tflite file in a `form`: FORMAT and the type of the input."""
    frozen_graph.read_graph(graph)
    # toco_from_protos lies beside the interpreter.
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    os.environ["PATH"] = path
    wanted, dtype = form
    try:
        # The converter leaves a temporary file behind.
        with _temporary_files_in(folder):
            mean, std = normalization.normalization(config)
            if dtype != "float32" and len(set(zip(mean, std))) > 1:
                has_ranges = wanted != "int8"
                target = folder / graph.name
                graph = pixel_input.write(graph, target, INPUT, mean, std, has_ranges)
                mean, std = [0.0], [1.0]
            data = _converter(graph, config, wanted, (mean[0], std[0])).convert()
            if wanted == "int8":
                resize = Resizer(pipeline.input_size(config))
                pixels = [resize(image) for image in images]
                values = tflite_calibration.values(pixels, mean, std)
                data = tflite_quantization.quantize(data, values, dtype)
            return data
    # toco's ConverterError, and other errors of its subprocess.
    except Exception as error:
        lines = [line for line in str(error).strip().split("\n") if line.strip()]
        what = "the converter refused %s (%s); export it again, or try another FORMAT"
        raise TodusError(what % (graph, (lines or [""])[-1][:300]))


def _converter(graph: Path, config: pipeline.Config, wanted: str, pixels: Tuple[float, float]):
    """TensorFlow's converter; an 8-bit input is (pixel - mean) / std for `pixels`, the two."""
    from todus.tf import tf

    height, width = pipeline.input_size(config)
    shapes = {INPUT: [1, height, width, 3]}
    converter = tf.lite.TFLiteConverter.from_frozen_graph(str(graph), [INPUT], OUTPUTS, shapes)
    converter.allow_custom_ops = True
    if wanted in ("uint8", "dummy"):
        converter.inference_type = tf.uint8
        converter.quantized_input_stats = {INPUT: pixels}
    if wanted == "dummy":
        converter.default_ranges_stats = (0, 6)
    if wanted in ("float16", "dynamic"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if wanted == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Makes tempfile use `folder`, by a name without characters that a shell interprets.

    TensorFlow's converter puts the names of its temporary files into a shell's command.
    """
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
    config: pipeline.Config, wanted: str, exported: Dict, found: artefacts.Identity, dtype: str
) -> Dict:
    """What a program on a device needs to know of the file."""
    height, width = pipeline.input_size(config)
    mean, std = normalization.normalization(config)
    count = exported["max_detections"]
    shapes = zip(DETECTIONS, ([1, count, 4], [1, count], [1, count], [1]))
    return {
        "format": wanted,
        "input": {
            "name": INPUT,
            "shape": [1, height, width, 3],
            "dtype": dtype,
            "color": "RGB",
            "mean": mean,
            "std": std,
            "note": _NOTES[dtype],
        },
        "outputs": [{"name": name, "shape": shape} for name, shape in shapes],
        "labels": list(found.labels),
        "labels_note": tflite_metadata.LABELS_NOTE,
        "exported": exported,
    }
