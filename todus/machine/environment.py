"""The Python that runs: its packages' versions from their metadata, and what of them cannot work together. Imports no TensorFlow."""

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from todus import paths
from todus.errors import TodusError

TENSORFLOW = (
    "tensorflow",
    "nvidia-tensorflow",
    "tensorflow-gpu",
    "tensorflow-cpu",
    "intel-tensorflow",
)
REQUIREMENTS = ("requirements.txt", "requirements-nodeps.txt")
INSTALL = "make install, or name a Python that has it: PYTHON=/path/to/python"


class Problem(NamedTuple):
    """What is wrong, and what to do."""

    text: str
    remedy: str


class Build(NamedTuple):
    """The TensorFlow that is installed."""

    package: str
    version: str
    cuda: bool  # whether it was built for GPUs

    @property
    def is_nvidias(self) -> bool:
        """NVIDIA's own build, which runs on Ampere and later GPUs."""
        return self.package == "nvidia-tensorflow" or "+nv" in self.version


def pins(folder: Path = paths.REPO) -> Dict[str, str]:
    """package -> version that Todus is tested with, from the requirement files."""
    found = {}
    for name in REQUIREMENTS:
        for match in re.finditer(
            r"^([A-Za-z0-9._-]+)==([^\s;\\]+)",
            (folder / name).read_text(encoding="utf-8"),
            re.MULTILINE,
        ):
            found[match.group(1)] = match.group(2)
    return found


def version(package: str) -> Optional[str]:
    """The version in a package's metadata; None where it is not installed."""
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
    """The same from the names of *.dist-info, for a Python 3.7 without importlib_metadata."""
    wanted = re.sub(r"[-_.]+", "_", package).lower()
    for folder in sys.path:
        for info in Path(folder or ".").glob("*-*.dist-info"):
            name, _, found = info.name[: -len(".dist-info")].partition("-")
            if re.sub(r"[-_.]+", "_", name).lower() == wanted:
                return found
    return None


def tensorflow() -> Optional[Build]:
    """The TensorFlow that an import would find."""
    for package in TENSORFLOW:
        found = version(package)
        if found:
            return Build(package, found, _is_cuda_build())
    return None


def _is_cuda_build() -> bool:
    """What TensorFlow's generated build_info.py says, or 1.13's lack of it."""
    for folder in sys.path:
        for inner in ("tensorflow_core", "tensorflow"):
            path = Path(folder or ".") / inner / "python" / "platform" / "build_info.py"
            if path.is_file():
                return bool(
                    re.search(
                        r"^is_cuda_build\s*=\s*True", path.read_text(encoding="utf-8"), re.MULTILINE
                    )
                )
    return False


def numbers(text: str) -> Tuple[int, ...]:
    """The leading numbers of a version: (1, 15, 5) of 1.15.5+nv23.3."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def problems() -> Iterator[Problem]:
    """What keeps training, evaluation and export from working here, the gravest first; from metadata and file names alone."""
    build, numpy, protobuf = tensorflow(), version("numpy"), version("protobuf")
    needed = {"TensorFlow": bool(build)}
    needed.update(
        {
            module: importlib.util.find_spec(module) is not None
            for module in ("object_detection", "pycocotools", "tf_slim")
        }
    )
    absent = [name for name, there in needed.items() if not there]
    if absent:
        yield Problem("not installed for %s: %s" % (sys.executable, ", ".join(absent)), INSTALL)
    if build and not (1, 13) <= numbers(build.version)[:2] <= (1, 15):
        yield Problem(
            "need TensorFlow 1.13 to 1.15, found %s %s under %s"
            % (build.package, build.version, sys.executable),
            INSTALL,
        )
    if numpy and numbers(numpy) >= (1, 20):
        yield _unfit(
            "numpy", numpy, 'with it TensorFlow 1.15 says "Cannot convert a symbolic Tensor"'
        )
    if (
        protobuf
        and numbers(protobuf) >= (3, 21)
        and os.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION") != "python"
    ):
        yield _unfit(
            "protobuf",
            protobuf,
            'with it the Object Detection API says "Descriptors cannot be created directly"',
        )
    if needed["object_detection"] and not _has_nets():
        yield Problem(
            "No module named 'nets.mobilenet': the Object Detection API's slim code is not linked",
            _link_nets(),
        )


def _unfit(package: str, found: str, why: str) -> Problem:
    return Problem(
        "%s %s: %s" % (package, found, why),
        "%s -m pip install %s==%s" % (sys.executable, package, pins()[package]),
    )


def _has_nets() -> bool:
    try:
        return importlib.util.find_spec("nets.mobilenet") is not None
    except ImportError:
        return False


def _link_nets() -> str:
    site = Path(importlib.util.find_spec("object_detection").origin).parent.parent
    return "make install, or in an environment of your own: ln -s object_detection/nets %s" % (
        site / "nets"
    )


def check() -> None:
    """Raises TodusError for the gravest of `problems`."""
    for problem in problems():
        raise TodusError("%s; run: %s" % problem)


def missing_protos() -> List[str]:
    """The Object Detection API's .proto files that have no compiled form; it cannot be imported then."""
    spec = importlib.util.find_spec("object_detection")
    folder = Path(spec.origin).parent / "protos" if spec and spec.origin else Path("no such folder")
    return sorted(
        path.name
        for path in folder.glob("*.proto")
        if not path.with_name(path.stem + "_pb2.py").exists()
    )
