"""Python and its packages: versions, and checks of known faults, without TensorFlow."""

import sys
from typing import Iterator

from todus.doctor import findings
from todus.doctor.findings import Finding
from todus.errors import TodusError
from todus.evaluation import self_check
from todus.machine import environment
from todus.text import first_line, shortened

# The packages that TensorFlow requires; NVIDIA's build installs its own versions.
OF_TENSORFLOW = {
    "absl-py",
    "astor",
    "gast",
    "google-pasta",
    "grpcio",
    "h5py",
    "keras-applications",
    "keras-preprocessing",
    "opt-einsum",
    "tensorboard",
    "tensorflow",
    "tensorflow-estimator",
    "termcolor",
    "werkzeug",
    "wheel",
    "wrapt",
}
OPTIONAL = {"onnx", "onnxruntime", "tf2onnx", "tflite-support"}


def python() -> Iterator[Finding]:
    """The version of Python."""
    text = "Python %d.%d.%d at %s" % (*sys.version_info[:3], sys.executable)
    if (3, 7) <= sys.version_info[:2] <= (3, 8):
        yield findings.ok("python", text)
    else:
        text += ": TensorFlow 1.15 has packages for 3.7, NVIDIA's for 3.8"
        remedy = "make install finds or downloads a Python 3.7; or set PYTHON=/path/to/python"
        yield findings.error("python", text, remedy)


def tensorflow() -> Iterator[Finding]:
    """The build of TensorFlow, and what is incompatible with it."""
    build = environment.tensorflow()
    problems = list(environment.problems())
    for problem in problems:
        yield findings.error("packages", *problem)
    if build and not problems:
        kind = "built for GPUs with CUDA 10.0" if build.cuda else "built for the CPU alone"
        if build.is_nvidia:
            kind = "NVIDIA's build"
        text = "%s %s, %s; nets.mobilenet is found" % (build.package, build.version, kind)
        yield findings.ok("tensorflow", text)


def pinned() -> Iterator[Finding]:
    """The installed version of every package of the requirement files."""
    pins, missing, other = environment.pins(), [], []
    build = environment.tensorflow()
    for name, wanted in pins.items():
        if build and build.is_nvidia and name in OF_TENSORFLOW:
            continue
        found = build.version if name == "tensorflow" and build else environment.version(name)
        if found is None:
            missing.append(name)
        elif found.split("+")[0] != wanted:
            other.append("%s %s (%s)" % (name, found, wanted))
    needed = [name for name in missing if name not in OPTIONAL]
    optional = [name for name in missing if name in OPTIONAL]
    remedy = "make install, or in an environment of your own the two pip lines of the README"
    if needed:
        facts = (len(needed), len(pins), shortened(needed, 8))
        yield findings.error("packages", "%d of %d packages are missing: %s" % facts, remedy)
    if optional:
        text = "missing, needed only for conversions: %s" % shortened(optional, 8)
        yield findings.warning("packages", text, remedy)
    if other:
        text = "not the versions that Todus is tested with (in brackets): %s"
        yield findings.warning("packages", text % shortened(other, 8), remedy)
    if not missing and not other:
        text = "%d packages, each of the version in the requirement files" % len(pins)
        yield findings.ok("packages", text)


def protos() -> Iterator[Finding]:
    """Whether the OD API's protos are compiled and compatible with the installed protobuf."""
    if not environment.version("tf-models-research-object-detection"):
        return
    missing = environment.missing_protos()
    if missing:
        text = "%d .proto files of the Object Detection API are not compiled: %s"
        remedy = "make install: PyPI's tf-models-research-object-detection has them compiled"
        yield findings.error("protos", text % (len(missing), shortened(missing, 3)), remedy)
        return
    try:
        from object_detection.protos import pipeline_pb2

        pipeline_pb2.TrainEvalPipelineConfig().SerializeToString()
    except Exception as error:  # the class depends on the version of protobuf
        text = "object_detection.protos cannot be imported (%s: %s)"
        remedy = "make install: it installs protobuf %s" % environment.pins()["protobuf"]
        yield findings.error("protos", text % (type(error).__name__, first_line(error)), remedy)
        return
    text = "the Object Detection API's protos import under protobuf %s"
    yield findings.ok("protos", text % environment.version("protobuf"))


def evaluation() -> Iterator[Finding]:
    """COCOeval on one box."""
    if not environment.version("pycocotools") or not environment.version("numpy"):
        return
    try:
        ap = self_check.coco_toy()
    except TodusError as error:
        text, _, remedy = str(error).partition("; run: ")
        yield findings.error("evaluation", text, remedy)
        return
    text = "COCOeval gives AP %.3f for an exact detection" % ap
    if abs(ap - 1) > 1e-6:
        yield findings.error("evaluation", text, "make install")
    else:
        yield findings.ok("evaluation", text)
