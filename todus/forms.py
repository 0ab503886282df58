"""The table of forms in which a model is stored.

A new form is a row here, a module in todus/export/ that makes it, a script that calls the module,
and, if a runtime here runs it, a detector in todus/detection/.
"""

import importlib
import re
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Tuple

from todus.errors import UsageError


class Form(NamedTuple):
    """A row of the table.

    Attributes:
      name: the value of --format.
      title: the name in tables and messages.
      file: its path below the model's folder; {model} stands for the model's name.
      command: the command that makes it from a checkpoint; {model} as above.
      device: where it runs.
      made_from: the name of the form that it is converted from; "" for a checkpoint or the zoo.
      detector: module:Class in todus/detection/ that runs it; "" if no runtime here does.
      exporter: module in todus/export/ with run(model, say), for python -m todus.commands.convert.
    """

    name: str
    title: str
    file: str
    command: str
    device: str = "TensorFlow"
    made_from: str = ""
    detector: str = ""
    exporter: str = ""

    def path(self, folder: Path) -> Path:
        """The path of this form for the model in `folder`; it need not exist."""
        return folder / self.file.format(model=folder.name)


# The values of FORMAT; each is a form tflite-FORMAT, beside the graph's own format.
TFLITE_FORMATS = ("uint8", "float", "float16", "dynamic", "int8", "dummy")

# The values of LAYOUT beside todus and tensorrt, and where their files run.
ONNX_LAYOUTS = {
    "detectnet": "jetson-inference",
    "detection_output": "OpenVINO, Frigate",
    "yolonas": "Frigate",
    "raw": "ONNX Runtime, OpenVINO",
    "opencv": "OpenCV",
}

_EXPORT, _EXPORT_TFLITE = "./export.sh", "./export-tflite.sh"
_PB = "frozen_inference_graph.pb"
_CHECKPOINT = "todus.detection.checkpoint:Checkpoint"
_FROZEN = "todus.detection.frozen_graph:FrozenGraph"
_SAVED = "todus.detection.saved_model:SavedModel"


def _tflite(format_: str, fast: bool) -> Form:
    """A TFLite file in a format ("" for the graph's own), with regular or fast NMS."""
    ending = ("-" + format_ if format_ else "") + ("-fast" if fast else "")
    command = "%s./export-tflite.sh && %s./convert-tflite.sh" % (
        "TFLITE_NMS=fast " if fast else "",
        "FORMAT=%s " % format_ if format_ else "",
    )
    return Form(
        "tflite" + ending,
        "TFLite",
        "{model}%s.tflite" % ending,
        command,
        "phones, Coral, Raspberry Pi",
        "tflite_graph",
        # Made-up ranges detect nothing.
        "" if format_ == "dummy" else "todus.detection.tflite:TFLite",
        "todus.export.tflite",
    )


def _onnx(layout: str, device: str) -> Form:
    """An ONNX file in a layout that no detector here reads."""
    return Form(
        "onnx-" + layout,
        "ONNX, " + layout,
        "{model}-%s.onnx" % layout,
        "./export.sh && LAYOUT=%s ./convert-onnx.sh" % layout,
        device,
        "frozen_graph",
        exporter="todus.export.onnx",
    )


FORMS = [
    Form("zoo", "zoo model", "pretrained/" + _PB, "python -m model", detector=_FROZEN),
    Form("checkpoint", "checkpoint", "training", "./train.sh", detector=_CHECKPOINT),
    Form("frozen_graph", "frozen graph", "inference-graph/" + _PB, _EXPORT, detector=_FROZEN),
    Form("saved_model", "SavedModel", "inference-graph/saved_model", _EXPORT, detector=_SAVED),
    Form("tflite_graph", "TFLite graph", "inference-graph/tflite_graph.pb", _EXPORT_TFLITE, "none"),
    *(_tflite(format_, fast) for fast in (False, True) for format_ in ("",) + TFLITE_FORMATS),
    Form(
        "onnx",
        "ONNX",
        "{model}.onnx",
        "./export.sh && ./convert-onnx.sh",
        "ONNX Runtime",
        "frozen_graph",
        "todus.detection.onnx:Onnx",
        "todus.export.onnx",
    ),
    *(_onnx(layout, device) for layout, device in ONNX_LAYOUTS.items()),
    Form(
        "onnx-tensorrt",
        "ONNX for TensorRT",
        "{model}-tensorrt.onnx",
        "./export-tflite.sh && LAYOUT=tensorrt ./convert-onnx.sh",
        "TensorRT 8 and newer",
        "tflite_graph",
        exporter="todus.export.onnx",
    ),
    Form(
        "uff",
        "UFF",
        "{model}.uff",
        "./export.sh && python -m convert_uff -m {model} -i",
        "TensorRT 5 to 8.6, Jetson Nano",
        "frozen_graph",
    ),
]


def find(name: str) -> Form:
    """The form with this name. Raises UsageError, which lists the runnable ones, if unknown."""
    for form in FORMS:
        if form.name == name:
            return form
    raise UsageError("unknown form %s; choose from %s" % (name, names()))


def converters() -> Tuple[str, ...]:
    """The scripts that convert a graph to a form, sorted, without .sh."""
    commands = " ".join(form.command for form in FORMS)
    return tuple(sorted(set(re.findall(r"\./(convert-[\w-]+)\.sh", commands))))


def runnable() -> List[Form]:
    """The forms that a detector here runs."""
    return [form for form in FORMS if form.detector]


def names() -> str:
    """The values of --format, for help and messages."""
    plain = [form.name for form in runnable() if "-" not in form.name]
    return "%s; and variants such as tflite-float16" % ", ".join(plain)


def of_file(file: str, model: str) -> Optional[Form]:
    """The form whose file, for the model named `model`, has this path; None if there is none."""
    return next((form for form in FORMS if form.file.format(model=model) == file), None)


def loaded(reference: str) -> Any:
    """Imports "module" or "module:Name", and returns the module or the object."""
    module, _, name = reference.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found
