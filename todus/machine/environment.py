"""The installed packages and their incompatibilities, from metadata, without importing them."""

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from todus import paths
from todus.errors import TodusError

TENSORFLOW = ("tensorflow", "nvidia-tensorflow", "tensorflow-gpu", "tensorflow-cpu")
TENSORFLOW += ("intel-tensorflow",)
REQUIREMENTS = ("requirements.txt", "requirements-nodeps.txt")
INSTALL = "make install, or name a Python that has it: PYTHON=/path/to/python"


class Problem(NamedTuple):
    """What is wrong, and what to type."""

    text: str
    remedy: str


class Build(NamedTuple):
    """The installed TensorFlow; `cuda` is whether it was built for GPUs."""

    package: str
    version: str
    cuda: bool

    @property
    def is_nvidia(self) -> bool:
        """Whether this is NVIDIA's build, which runs on Ampere and later GPUs."""
        return self.package == "nvidia-tensorflow" or "+nv" in self.version


def pins(folder: Path = paths.REPO) -> Dict[str, str]:
    """package -> version that Todus is tested with, from the requirement files."""
    texts = [(folder / name).read_text(encoding="utf-8") for name in REQUIREMENTS]
    return dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", "\n".join(texts)))


def version(package: str) -> Optional[str]:
    """The version in a package's metadata; None if it is not installed."""
    try:
        import importlib.metadata as metadata
    except ImportError:
        try:
            import importlib_metadata as metadata
        except ImportError:
            return _version_by_name(package)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _version_by_name(package: str) -> Optional[str]:
    """`version` from the name of *.dist-info, for a Python 3.7 without importlib_metadata."""
    wanted = re.sub(r"[-_.]+", "_", package).lower()
    for folder in sys.path:
        for info in Path(folder or ".").glob("*-*.dist-info"):
            name, _, found = info.name[: -len(".dist-info")].partition("-")
            if re.sub(r"[-_.]+", "_", name).lower() == wanted:
                return found
    return None


def tensorflow() -> Optional[Build]:
    """The installed TensorFlow; None if there is none."""
    for package in TENSORFLOW:
        found = version(package)
        if found:
            return Build(package, found, _is_cuda_build())
    return None


def _is_cuda_build() -> bool:
    """The value in TensorFlow's generated build_info.py, which 1.13 does not have."""
    for folder in sys.path:
        for inner in ("tensorflow_core", "tensorflow"):
            path = Path(folder or ".") / inner / "python" / "platform" / "build_info.py"
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                return bool(re.search(r"(?m)^is_cuda_build\s*=\s*True", text))
    return False


def numbers(text: str) -> Tuple[int, ...]:
    """The leading numbers of a version: (1, 15, 5) for 1.15.5+nv23.3."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def problems() -> Iterator[Problem]:
    """What prevents training, evaluation and export, the most serious first."""
    build, numpy, protobuf = tensorflow(), version("numpy") or "", version("protobuf") or ""
    modules = ("object_detection", "pycocotools", "tf_slim")
    missing = [] if build else ["TensorFlow"]
    missing += [module for module in modules if not importlib.util.find_spec(module)]
    if missing:
        yield Problem("not installed for %s: %s" % (sys.executable, ", ".join(missing)), INSTALL)
    if build and not (1, 13) <= numbers(build.version)[:2] <= (1, 15):
        found = (build.package, build.version, sys.executable)
        yield Problem("need TensorFlow 1.13 to 1.15, found %s %s under %s" % found, INSTALL)
    if numbers(numpy) >= (1, 20):
        error = 'TensorFlow 1.15 fails with "Cannot convert a symbolic Tensor"'
        yield _incompatible("numpy", numpy, error)
    implementation = os.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
    if numbers(protobuf) >= (3, 21) and implementation != "python":
        error = 'the Object Detection API fails with "Descriptors cannot be created directly"'
        yield _incompatible("protobuf", protobuf, error)
    if "object_detection" not in missing and not _has_nets():
        site = Path(importlib.util.find_spec("object_detection").origin).parent.parent
        yield Problem(
            "No module named 'nets.mobilenet': the Object Detection API's slim code is not linked",
            "make install, or in your own environment: ln -s object_detection/nets %s/nets" % site,
        )


def _incompatible(package: str, found: str, error: str) -> Problem:
    pip = "%s -m pip install %s==%s" % (sys.executable, package, pins()[package])
    return Problem("%s %s: %s" % (package, found, error), pip)


def _has_nets() -> bool:
    try:
        return importlib.util.find_spec("nets.mobilenet") is not None
    except ImportError:
        return False


def check() -> None:
    """Raises TodusError for the first of `problems`."""
    for problem in problems():
        raise TodusError("%s; run: %s" % problem)


def missing_protos() -> List[str]:
    """The Object Detection API's .proto files that are not compiled, sorted."""
    spec = importlib.util.find_spec("object_detection")
    if not spec or not spec.origin:
        return []
    protos = sorted(Path(spec.origin).parent.glob("protos/*.proto"))
    return [path.name for path in protos if not path.with_name(path.stem + "_pb2.py").exists()]
