"""The runtimes of .runtimes, which make runtimes installs, and which of them runs a form."""

from typing import Any, Callable, List, NamedTuple, Optional

from todus import forms
from todus.detection import worker_process
from todus.errors import TodusError, UsageError
from todus.machine.cores import cores
from todus.paths import REPO

FOLDER = REPO / ".runtimes"
VENV = "venv"  # the value of --runtime for the packages of .venv


class Runtime(NamedTuple):
    """A row of the table.

    Attributes:
      name: the value of --runtime.
      title: for messages.
      ending: of the files that it runs.
    """

    name: str
    title: str
    ending: str


# The first that runs a form is its default.
RUNTIMES = (
    Runtime("litert", "LiteRT", ".tflite"),
    Runtime("onnxruntime", "ONNX Runtime", ".onnx"),
    Runtime("openvino", "OpenVINO", ".onnx"),
)


def names() -> str:
    """The values of --runtime, for help and messages."""
    return ", ".join([row.name for row in RUNTIMES] + [VENV])


def installed() -> bool:
    """Whether `make runtimes` has finished here."""
    return (FOLDER / ".installed").exists()


def of_form(form: str) -> List[Runtime]:
    """The runtimes that run the form of this name, the default first."""
    row = forms.find(form)
    return [each for each in RUNTIMES if row.detector and row.file.endswith(each.ending)]


def choose(wanted: Optional[str], form: str, strict: bool = True) -> Optional[Runtime]:
    """The runtime for a form; None is that of .venv.

    Args:
      wanted: as --runtime; None is the form's default where .runtimes is installed.
      form: the name of a row in todus.forms.
      strict: whether a runtime that does not run the form is an error; else the default does.

    Raises:
      UsageError: no such runtime, or it does not run the form.
      TodusError: .runtimes is not installed.
    """
    able = of_form(form)
    if wanted == VENV or wanted is None and not (able and installed()):
        return None
    if wanted is None:
        return able[0]
    row = next((each for each in RUNTIMES if each.name == wanted), None)
    if row is None:
        raise UsageError("--runtime %s is unknown; choose from %s" % (wanted, names()))
    if row not in able and not strict:
        return choose(None, form)
    if row not in able:
        text = "--runtime %s runs %s files, not the form %s; add --format %s, or omit --runtime"
        raise UsageError(text % (wanted, row.ending, form, row.ending[1:]))
    if not installed():
        text = "--runtime %s needs %s, which is not installed; run: make -C %s runtimes"
        raise TodusError(text % (wanted, row.title, REPO))
    return row


def opener(runtime: Runtime, threads: Optional[int]) -> Callable[..., Any]:
    """open(path) -> the model in workers, as worker_process.Interpreter or Session.

    Args:
      runtime: from `choose`.
      threads: of each worker; with 1, a Session has a worker for each core.
    """

    def open_(path):
        python = str(FOLDER / "bin" / "python")
        opened = worker_process.Opened(python, runtime.name, runtime.title, path, threads)
        if runtime.ending == ".tflite":
            return worker_process.Interpreter(opened)
        return worker_process.Session(opened, cores() if threads == 1 else 1)

    return open_


def advice(form: str, title: str) -> str:
    """A line on what `make runtimes` would bring for the form; "" for nothing that matters.

    Args:
      form: the name of a row in todus.forms.
      title: of the form as in catalogue.Present, with the format: "TFLite int8".
    """
    eight_bits = form.startswith("tflite") and title.split(",")[0].endswith(" int8")
    if installed() or not eight_bits:
        return ""
    text = "%s runs in TensorFlow 1.15's interpreter, seconds an image; LiteRT takes milliseconds: "
    return text % title + "run make -C %s runtimes" % REPO
