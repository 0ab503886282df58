"""The proof after a cut: the limited file gives the same as the uncut one in a runtime."""

import importlib.util
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from todus import command, files
from todus.errors import TodusError
from todus.slicing.check import RUNTIMES

_PACKAGES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime", "graph": "tensorflow"}
_SECONDS = 900  # of silence, after which the runtime counts as hung


def python_for(kind: str) -> Optional[str]:
    """The Python with the best runtime for the files: this one, or an environment of the clone."""
    for name in RUNTIMES[kind]:
        if _has(name):
            return sys.executable
        for folder in (".runtimes", ".venv"):
            python = command.REPO / folder / "bin" / "python"
            package = "lib/python3*/site-packages/" + name.split(".")[0]
            if python.exists() and any((command.REPO / folder).glob(package)):
                return str(python)
    return None


def _has(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # of the package that it is in
        return False


def compare(
    spec: Dict[str, Any], before: Dict[str, bytes], after: Dict[str, bytes]
) -> Optional[Dict[str, Any]]:
    """Compares the files in a process of their own.

    Args:
      spec: as for check.compare, without before and after.
      before, after: name -> content of the files.

    Returns:
      As check.compare; None where there is no runtime.

    Raises:
      TodusError: the results differ, or the runtime refuses a file.
    """
    python = python_for(spec["kind"])
    if python is None:
        return None
    with tempfile.TemporaryDirectory(prefix="todus-slice-") as folder:
        spec = dict(spec)
        for side, contents in (("before", before), ("after", after)):
            spec[side] = {}
            for name, content in contents.items():
                path = Path(folder) / ("%s-%s" % (side, name))
                path.write_bytes(content)
                spec[side][name] = str(path)
                if "ends" in spec:
                    files.write_json(str(path) + ".json", spec["ends"][name])
        path = Path(folder) / "spec.json"
        files.write_json(path, spec)
        answer, code = _run(python, path)
    if answer is None:
        what = "the runtime ended with code %d on the file or its limited copy; nothing is written"
        raise TodusError(what % code)
    if answer.get("missing") == "PIL":
        text = "--check with an image needs Pillow; run: %s pillow"
        raise TodusError(text % pip_install(python))
    if "error" in answer:
        raise TodusError("the runtime refuses the file or its limited copy: %s" % answer["error"])
    if "different" in answer:
        raise TodusError("the limited copy is not the same: %s" % answer["different"])
    return answer


def _run(python: str, path: Path) -> Tuple[Optional[Dict[str, Any]], int]:
    """The answer of the check and its exit code; no answer where it crashed or hung."""
    code = "from todus.slicing import check; check.main(%r)" % str(path)
    try:
        done = subprocess.run(
            [python, "-c", code],
            cwd=str(command.REPO),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise TodusError("the runtime did not answer for %d minutes" % (_SECONDS // 60))
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        return json.loads(lines[-1]), done.returncode
    except (IndexError, ValueError):
        return None, done.returncode


def pip_install(python: str) -> str:
    """The command that installs a package for a Python.

    The environments of `make slice` and `make runtimes` have a wheel of pip instead of pip.
    """
    environment = Path(python).parent.parent
    wheels = [*environment.glob("pip-*.whl"), *environment.glob("pip/pip-*.whl")]
    pip = shlex.quote(str(wheels[0] / "pip")) if wheels else "-m pip"
    return "%s %s install" % (shlex.quote(python), pip)


def sentences(result: Optional[Dict[str, Any]], kind: str) -> List[str]:
    """What the proof shows, for the user."""
    if result is None:
        install = "%s %s" % (pip_install(sys.executable), _PACKAGES[kind])
        return ["not compared with the uncut file: no runtime here; to compare: " + install]
    inputs = "%d images of noise" % result["noise"]
    if result["photos"]:
        inputs += " and %d photo%s" % (result["photos"], "s" if result["photos"] > 1 else "")
    lines = []
    if "difference" in result:
        text = "%s, %s: raw scores and boxes of the kept classes differ by %.3g"
        lines.append(text % (result["runtime"], inputs, result["difference"]))
    if "moved" in result:
        text = "%s, %s: %d of %d scores lie above their thresholds, %d changed sides"
        found = (result["above"], result["scores"], result["moved"])
        lines.append(text % ((result["runtime"], inputs) + found))
    if result["threads"]:
        threads = " and ".join(map(str, result["threads"])) + " thread"
        threads += "s" if len(result["threads"]) > 1 else ""
        whose = "the limited file" if result["fast"] else "the kept classes"
        text = "detections of %s: %d compared, the same with %s"
        lines.append(text % (whose, result["detections"], threads))
    text = "%s, 1 thread: %s ms before, %s ms after"
    times = ("%.*f" % (0 if each > 100 else 1, each) for each in result["milliseconds"])
    lines.append(text % ((result["runtime"],) + tuple(times)))
    return lines
