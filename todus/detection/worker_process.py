"""The other end of todus.detection.worker: models that run in a process of another Python."""

import os
import queue
import select
import signal
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus.detection import worker
from todus.errors import TodusError
from todus.text import first_line, one_line

# Seconds without a byte after which a worker hangs. One image of the largest zoo model takes a
# Raspberry Pi about a minute, and OpenVINO compiles that model in some minutes.
SILENCE = 900.0
SCRIPT = Path(__file__).resolve().with_name("worker.py")


_WORKERS: "weakref.WeakSet[Worker]" = weakref.WeakSet()


class Stopped(Exception):
    """The worker ended or hangs; the text says how, without the model's path."""


class Opened(NamedTuple):
    """What runs a model, for all of its workers.

    Attributes:
      python: of the workers, with the runtime.
      runtime: a name of worker.OPENERS.
      title: for messages: "LiteRT".
      path: the model's file.
      threads: of each worker; None is the runtime's default.
      silence: seconds, as SILENCE.
    """

    python: str
    runtime: str
    title: str
    path: Path
    threads: Optional[int] = None
    silence: float = SILENCE


class Worker:
    """A process that runs one model. It is started at once, and ends with this object or process.

    Not thread-safe.

    Attributes:
      processor: seconds of processor that it had used at its last answer.
    """

    def __init__(self, opened: Opened):
        self._opened = opened
        self._doing = "opened"
        theirs, requests = os.pipe()
        answers, theirs_too = os.pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this object
        command = [opened.python, "-I", str(SCRIPT), str(theirs), str(theirs_too)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(theirs, theirs_too),
            )
        except OSError as error:
            os.close(requests)
            os.close(answers)
            text = "%s cannot be started (%s); run: make runtimes"
            raise TodusError(text % (opened.python, error.strerror or error))
        finally:
            os.close(theirs)
            os.close(theirs_too)
        os.set_blocking(requests, False)
        self._requests, self._answers = requests, answers
        self.end = weakref.finalize(self, _end, self._process, requests, answers)
        self.processor = 0.0
        _WORKERS.add(self)
        self._about: Optional[Dict[str, Any]] = None
        header = {
            "runtime": opened.runtime,
            "path": os.path.abspath(str(opened.path)),
            "threads": opened.threads,
        }
        self._guarded(lambda: worker.send(self._write, header))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def about(self) -> Dict[str, Any]:
        """The model's "inputs" and "outputs" as worker.tensor, and the runtime's "version".

        Raises TodusError where the runtime cannot take the model.
        """
        if self._about is None:
            header, _ = self._guarded(lambda: worker.receive(self._read))
            if "error" in header:
                raise TodusError(_refusal(self._opened, header["error"]))
            self._about, self._doing = header, "ran"
        return self._about

    @property
    def title(self) -> str:
        """The runtime with its version: "LiteRT 2.3.0"."""
        return "%s %s" % (self._opened.title, self.about["version"])

    def run(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """The outputs for the inputs, both in the order of `about`."""
        assert self.about

        def exchange() -> Tuple[Dict, List[np.ndarray]]:
            worker.send(self._write, {}, arrays)
            return worker.receive(self._read)

        header, found = self._guarded(exchange)
        if "error" in header:
            raise TodusError(_refusal(self._opened, header["error"]))
        self.processor = header["processor"]
        return found

    def _guarded(self, exchange: Callable[[], Any]) -> Any:
        try:
            return exchange()
        except (EOFError, BrokenPipeError):
            how = _exit_of(self._process)
        except Stopped as stopped:
            how = str(stopped)
        self.end()
        text = "the %s process %s while it %s %s%s; run this again, or with --runtime venv"
        facts = (self._opened.title, how, self._doing, self._opened.path, self._last_words())
        raise TodusError(text % facts)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode("utf-8", "replace").strip().split("\n")
        return " (%s)" % one_line(lines[-1])[:200] if lines[-1] else ""

    def _wait(self, pipe: int, events: int) -> None:
        poll = select.poll()
        poll.register(pipe, events)
        if not poll.poll(self._opened.silence * 1000):
            raise Stopped("was silent for %g s" % self._opened.silence)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._requests, select.POLLOUT)
            rest = rest[os.write(self._requests, rest) :]

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(self._answers, select.POLLIN)
            part = os.read(self._answers, size - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def processor() -> float:
    """Seconds of processor that the workers of this process had used at their last answers."""
    return sum(each.processor for each in _WORKERS)


def _end(process: subprocess.Popen, *pipes: int) -> None:
    for pipe in pipes:
        os.close(pipe)
    process.kill()
    process.wait()


def _exit_of(process: subprocess.Popen) -> str:
    """How the process ended; the end of its pipes comes shortly before its own."""
    deadline = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    code = process.returncode
    if code is None:
        return "closed its pipes"
    if code >= 0:
        return "ended with exit code %d" % code
    try:
        return "was terminated by %s" % signal.Signals(-code).name
    except ValueError:
        return "was terminated by signal %d" % -code


def _refusal(opened: Opened, error: str) -> str:
    """The message for a model that the runtime does not take."""
    lines = [line for line in error.strip().split("\n") if line.strip()] or [""]
    # OpenVINO begins with the places in its source; the reason is in the last line.
    reason = lines[-1] if opened.runtime == "openvino" else lines[0]
    reason = first_line(one_line(reason)).rstrip(".")
    text = "%s cannot run %s (%s); %s"
    remedy = "convert it again, or use --runtime venv"
    if "No module named" in reason:
        remedy = "run: make runtimes"
    elif "edgetpu-custom-op" in error:
        remedy = "it is compiled for the Edge TPU; use the file that it was compiled from"
    return text % (opened.title, opened.path, reason, remedy)


class Interpreter:
    """A .tflite file in a worker, with the methods of tf.lite.Interpreter that TFLite calls."""

    def __init__(self, opened: Opened):
        self._worker = Worker(opened)
        self._inputs: Dict[int, np.ndarray] = {}
        self._found: List[np.ndarray] = []

    @property
    def title(self) -> str:
        return self._worker.title

    def get_input_details(self) -> List[Dict[str, Any]]:
        return _details(self._worker.about["inputs"])

    def get_output_details(self) -> List[Dict[str, Any]]:
        return _details(self._worker.about["outputs"])

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        self._inputs[index] = value

    def invoke(self) -> None:
        self._found = self._worker.run([self._inputs[index] for index in sorted(self._inputs)])

    def get_tensor(self, index: int) -> np.ndarray:
        return self._found[index]


def _details(tensors: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    return [
        dict(each, index=number, dtype=np.dtype(each["dtype"]).type, shape=np.array(each["shape"]))
        for number, each in enumerate(tensors)
    ]


class Node(NamedTuple):
    """As onnxruntime.NodeArg: an input or output of a session."""

    name: str
    shape: List[Optional[int]]


class Session:
    """An .onnx file in workers, with the methods of onnxruntime.InferenceSession that Onnx calls.

    As many threads as there are workers may call `run` at once.
    """

    def __init__(self, opened: Opened, workers: int):
        self._free: queue.Queue = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(Worker(opened))
        self._about = self._free.queue[0].about

    @property
    def title(self) -> str:
        return self._free.queue[0].title

    def get_inputs(self) -> List[Node]:
        return [Node(each["name"], each["shape"]) for each in self._about["inputs"]]

    def get_outputs(self) -> List[Node]:
        return [Node(each["name"], each["shape"]) for each in self._about["outputs"]]

    def run(self, names: Sequence[str], feed: Dict[str, np.ndarray]) -> List[np.ndarray]:
        """The outputs of these names for name -> input."""
        free = self._free.get()
        try:
            found = free.run([feed[each["name"]] for each in self._about["inputs"]])
        finally:
            self._free.put(free)
        order = [each["name"] for each in self._about["outputs"]]
        return [found[order.index(name)] for name in names]
