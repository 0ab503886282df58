"""The forms in which a model lies under model/NAME, a row each, of plain strings that are resolved on use.

A new form is one row here, a module in todus/export/ that makes it (and a script that calls it), and, where a runtime here runs it, a
detector in todus/detection/. eval, detect, benchmark, report, doctor and their help read this table.
"""

import importlib
import re
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Tuple

from todus.errors import UsageError


class Form(NamedTuple):
    """A row of the table.

    Attributes:
      name: what --format takes.
      title: as a person reads it.
      file: below the model's folder; {model} stands for the model's name.
      made_from: the name of the form that it is converted from, "" where it comes from a checkpoint or from the zoo.
      command: makes it from a checkpoint; {model} as above.
      detector: module:Class in todus/detection/ that runs it, "" where nothing here does.
      exporter: module in todus/export/ with run(model, say), which python -m todus.commands.convert calls.
      device: where it runs.
    """

    name: str
    title: str
    file: str
    made_from: str
    command: str
    detector: str
    exporter: str
    device: str

    def path(self, folder: Path) -> Path:
        """The form's file of the model in `folder`, whether it is there or not."""
        return folder / self.file.format(model=folder.name)


# What FORMAT of ./convert-tflite.sh takes; each that is not the graph's own is a form tflite-FORMAT.
TFLITE_FORMATS = ("uint8", "float", "float16", "dynamic", "int8", "dummy")

_EXPORT, _EXPORT_TFLITE = "./export.sh", "./export-tflite.sh"
_CHECKPOINT = "todus.detection.checkpoint:Checkpoint"
_FROZEN = "todus.detection.frozen_graph:FrozenGraph"
_TFLITE = "todus.detection.tflite:TFLite"


def _tflite(kind: str, fast: bool) -> Form:
    """A TFLite file: NAME.tflite in the graph's own format, else NAME-FORMAT.tflite; -fast at the end with fast non-max suppression."""
    ending = "".join("-" + word for word in (kind, "fast" if fast else "") if word)
    command = "%s%s && %s./convert-tflite.sh" % (
        "TFLITE_NMS=fast " if fast else "",
        _EXPORT_TFLITE,
        "FORMAT=%s " % kind if kind else "",
    )
    detector = "" if kind == "dummy" else _TFLITE  # made-up ranges detect nothing
    file = "{model}%s.tflite" % ending
    return Form(
        "tflite" + ending,
        "TFLite",
        file,
        "tflite_graph",
        command,
        detector,
        "todus.export.tflite",
        "phones, Coral, Raspberry Pi",
    )


FORMS = [
    Form(
        "zoo",
        "zoo model",
        "pretrained/frozen_inference_graph.pb",
        "",
        "python -m model",
        _FROZEN,
        "",
        "TensorFlow",
    ),
    Form("checkpoint", "checkpoint", "training", "", "./train.sh", _CHECKPOINT, "", "TensorFlow"),
    Form(
        "frozen_graph",
        "frozen graph",
        "inference-graph/frozen_inference_graph.pb",
        "",
        _EXPORT,
        _FROZEN,
        "",
        "TensorFlow",
    ),
    Form(
        "saved_model",
        "SavedModel",
        "inference-graph/saved_model",
        "",
        _EXPORT,
        "todus.detection.saved_model:SavedModel",
        "",
        "TensorFlow",
    ),
    Form(
        "tflite_graph",
        "TFLite graph",
        "inference-graph/tflite_graph.pb",
        "",
        _EXPORT_TFLITE,
        "",
        "",
        "none",
    ),
    *(_tflite(kind, fast) for fast in (False, True) for kind in ("",) + TFLITE_FORMATS),
    Form(
        "onnx",
        "ONNX",
        "{model}.onnx",
        "frozen_graph",
        "./export.sh && ./convert-onnx.sh",
        "todus.detection.onnx:Onnx",
        "todus.export.onnx",
        "ONNX Runtime",
    ),
    Form(
        "onnx-tensorrt",
        "ONNX for TensorRT",
        "{model}-tensorrt.onnx",
        "tflite_graph",
        "./export-tflite.sh && LAYOUT=tensorrt ./convert-onnx.sh",
        "",
        "todus.export.onnx",
        "TensorRT 8 and newer",
    ),
    Form(
        "uff",
        "UFF",
        "{model}.uff",
        "frozen_graph",
        "./export.sh && python -m convert_uff -m {model} -i",
        "",
        "",
        "TensorRT 5 to 8, Jetson Nano",
    ),
]


def find(name: str) -> Form:
    """The form of that name. Raises UsageError, with those that a detector here runs, for an unknown one."""
    for form in FORMS:
        if form.name == name:
            return form
    raise UsageError("no form %s; there is: %s" % (name, names()))


def converters() -> Tuple[str, ...]:
    """The scripts that convert a graph to a form, without .sh."""
    return tuple(
        sorted(
            {
                name
                for form in FORMS
                for name in re.findall(r"\./(convert-[\w-]+)\.sh", form.command)
            }
        )
    )


def runnable() -> List[Form]:
    """The forms that a detector here runs."""
    return [form for form in FORMS if form.detector]


def names() -> str:
    """What --format takes, for help and messages: variants of a form are told by one of them."""
    plain = [form.name for form in runnable() if "-" not in form.name]
    return "%s; and variants such as tflite-float16" % ", ".join(plain)


def of_file(file: str, model: str) -> Optional[Form]:
    """The form whose file, of a model of that name, is called so; None where there is none."""
    return next((form for form in FORMS if form.file.format(model=model) == file), None)


def loaded(reference: str) -> Any:
    """The module, or with module:Name what is called so in it."""
    module, _, name = reference.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found
