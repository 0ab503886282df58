"""Python and its packages: versions, and probes of what breaks in practice. No TensorFlow."""

import sys
from typing import Iterator, List

from todus.doctor.findings import Finding
from todus.errors import TodusError
from todus.evaluation import self_check
from todus.machine import environment

# What TensorFlow brings with it: NVIDIA's build has its own.
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
}
OF_TENSORFLOW |= {
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
    version = "%d.%d.%d" % sys.version_info[:3]
    if (3, 7) <= sys.version_info[:2] <= (3, 8):
        yield Finding("ok", "python", "Python %s at %s" % (version, sys.executable))
        return
    text = "Python %s at %s: TensorFlow 1.15 has packages for 3.7, NVIDIA's for 3.8" % (
        version,
        sys.executable,
    )
    yield Finding(
        "error",
        "python",
        text,
        "make install finds or fetches a Python 3.7; or PYTHON=/path/to/python",
    )


def tensorflow() -> Iterator[Finding]:
    """The build and what does not go together with it."""
    build = environment.tensorflow()
    problems = list(environment.problems())
    for problem in problems:
        yield Finding("error", "packages", *problem)
    if build and not problems:
        kind = (
            "NVIDIA's build"
            if build.is_nvidias
            else "built for GPUs with CUDA 10.0"
            if build.cuda
            else "built for the CPU alone"
        )
        yield Finding(
            "ok",
            "tensorflow",
            "%s %s, %s; nets.mobilenet is found" % (build.package, build.version, kind),
        )


def pinned() -> Iterator[Finding]:
    """Every package of the requirement files against its metadata."""
    pins, missing, other = environment.pins(), [], []
    build = environment.tensorflow()
    for name, wanted in pins.items():
        if build and build.is_nvidias and name in OF_TENSORFLOW:
            continue
        found = build.version if name == "tensorflow" and build else environment.version(name)
        if found is None:
            missing.append(name)
        elif found.split("+")[0] != wanted:
            other.append("%s %s (%s)" % (name, found, wanted))
    needed = [name for name in missing if name not in OPTIONAL]
    again = "make install, or in an environment of your own the two pip lines of the README"
    if needed:
        yield Finding(
            "error",
            "packages",
            "%d of %d packages are missing: %s" % (len(needed), len(pins), listed(needed)),
            again,
        )
    if len(missing) > len(needed):
        yield Finding(
            "warning",
            "packages",
            "missing, for conversions: %s" % listed([name for name in missing if name in OPTIONAL]),
            again,
        )
    if other:
        text = "other versions than those that Todus is tested with (in brackets): %s" % listed(
            other
        )
        yield Finding("warning", "packages", text, again)
    if not missing and not other:
        yield Finding(
            "ok",
            "packages",
            "%d packages, each of the version in the requirement files" % len(pins),
        )


def listed(names: List[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (" and %d more" % rest if rest > 0 else "")


def protos() -> Iterator[Finding]:
    """Whether the Object Detection API's protos are compiled and fit the protobuf that is installed."""
    if not environment.version("tf-models-research-object-detection"):
        return
    missing = environment.missing_protos()
    if missing:
        text = "%d .proto files of the Object Detection API are not compiled: %s" % (
            len(missing),
            listed(missing, 3),
        )
        yield Finding(
            "error",
            "protos",
            text,
            "make install: PyPI's tf-models-research-object-detection has them compiled",
        )
        return
    try:
        from object_detection.protos import pipeline_pb2

        pipeline_pb2.TrainEvalPipelineConfig().SerializeToString()
    except Exception as error:  # a protobuf that does not fit raises errors of many kinds
        text = "object_detection.protos cannot be imported (%s: %s)" % (
            type(error).__name__,
            str(error).split("\n")[0],
        )
        yield Finding(
            "error",
            "protos",
            text,
            "make install: protobuf %s goes with them" % environment.pins()["protobuf"],
        )
        return
    yield Finding(
        "ok",
        "protos",
        "the Object Detection API's protos import under protobuf %s"
        % environment.version("protobuf"),
    )


def evaluation() -> Iterator[Finding]:
    if not environment.version("pycocotools") or not environment.version("numpy"):
        return
    try:
        ap = self_check.coco_toy()
    except TodusError as error:
        text, _, remedy = str(error).partition("; run: ")
        yield Finding("error", "evaluation", text, remedy)
        return
    if abs(ap - 1) > 1e-6:
        yield Finding(
            "error",
            "evaluation",
            "COCOeval gives AP %.3f for a box that is found exactly" % ap,
            "make install",
        )
    else:
        yield Finding("ok", "evaluation", "COCOeval gives AP 1.0 for a box that is found exactly")
