"""NVIDIA GPUs as nvidia-smi tells of them, and whether the TensorFlow that is installed can use them. Imports no TensorFlow.

docs/gpu.md has the table that the limits here come from.
"""

import ctypes
import os
import re
import shutil
import subprocess
from typing import Iterator, List, NamedTuple, Optional, Tuple

from todus.machine import environment

# Of PyPI's tensorflow-gpu 1.15.5: native code for 3.5, 3.7, 5.2, 6.0, 6.1 and 7.0; CUDA 10.0 and cuDNN 7 know GPUs up to 7.5.
LEAST, MOST = (3, 5), (7, 5)
LIBRARIES = tuple(
    "lib%s.so.10.0" % name
    for name in ("cudart", "cublas", "cufft", "curand", "cusolver", "cusparse")
) + ("libcudnn.so.7",)
LEAST_CUDNN = (7, 4)
GENERATIONS = (
    (12, "Blackwell"),
    (10, "Blackwell"),
    (9, "Hopper"),
    (8, "Ampere or Ada"),
    (7, "Volta or Turing"),
    (6, "Pascal"),
)
GENERATIONS += ((5, "Maxwell"), (3, "Kepler"), (2, "Fermi"))
SECONDS = 10

# For drivers whose nvidia-smi does not tell the compute capability: names of Ampere and later.
_LATE = re.compile(r"\b(A\d{1,4}X?|RTX (3|4|5)0\d0|RTX A\d{4}|[HB]\d{3}|GH200|L4|L40S?)\b")


class Gpu(NamedTuple):
    """One GPU."""

    index: str
    name: str
    driver: str
    total: int  # bytes of memory
    free: int
    capability: Optional[Tuple[int, int]]  # None where the driver is too old to say

    @property
    def is_late(self) -> bool:
        """Whether it is later than what CUDA 10.0 knows."""
        return self.capability > MOST if self.capability else bool(_LATE.search(self.name))

    @property
    def described(self) -> str:
        if not self.capability:
            return "%s, compute capability unknown" % self.name
        word = next((word for least, word in GENERATIONS if self.capability[0] >= least), "")
        return "%s, compute capability %d.%d%s" % (
            self.name,
            *self.capability,
            " (%s)" % word if word else "",
        )


class Holder(NamedTuple):
    """A process that has memory of a GPU."""

    pid: int
    name: str
    used: str  # MiB, or [N/A]


def _ask(what: str) -> Optional[List[List[str]]]:
    """Rows of nvidia-smi's answer; None where it has none."""
    command = ["nvidia-smi", "--query-" + what, "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = found.stdout.decode("utf-8", "replace").splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]


def found() -> List[Gpu]:
    """The GPUs of this machine; none without nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return []
    fields = "index,name,driver_version,memory.total,memory.free"
    rows = _ask("gpu=%s,compute_cap" % fields) or _ask("gpu=" + fields) or []
    return [_gpu(row) for row in rows if len(row) >= 5]


def _gpu(row: List[str]) -> Gpu:
    match = re.fullmatch(r"(\d+)\.(\d+)", row[5]) if len(row) > 5 else None
    total, free = (int(cell) << 20 if cell.isdigit() else 0 for cell in row[3:5])
    return Gpu(
        row[0],
        row[1],
        row[2],
        total,
        free,
        (int(match.group(1)), int(match.group(2))) if match else None,
    )


def holders() -> List[Holder]:
    """The processes that have memory of a GPU."""
    rows = _ask("compute-apps=pid,process_name,used_memory") or []
    return [
        Holder(int(row[0]), row[1], row[2]) for row in rows if len(row) >= 3 and row[0].isdigit()
    ]


def libraries() -> Tuple[List[str], Optional[Tuple[int, int]]]:
    """CUDA 10.0's libraries that the loader does not find, and cuDNN's (major, minor) where it is found."""
    missing, cudnn = [], None
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            missing.append(name)
            continue
        if name.startswith("libcudnn"):
            library.cudnnGetVersion.restype = ctypes.c_size_t
            number = library.cudnnGetVersion()
            cudnn = (number // 1000, number % 1000 // 100)
    return missing, cudnn


def why_not(gpu: Gpu, build: environment.Build) -> Optional[environment.Problem]:
    """Why this TensorFlow cannot use this GPU; None where it can."""
    name, this = "GPU %s, %s" % (gpu.index, gpu.described), "%s %s" % (build.package, build.version)
    if build.is_nvidias:
        return None
    if not build.cuda:
        other = "tensorflow-gpu==%s in its place, with CUDA 10.0" % build.version
        advice = (
            "NVIDIA's own TensorFlow 1.15 can use it"
            if gpu.is_late
            else "pip install --no-deps " + other
        )
        return environment.Problem(
            "%s: %s was built without CUDA and trains on the CPU" % (name, this),
            advice + ": docs/gpu.md",
        )
    if gpu.is_late:
        return environment.Problem(
            "%s is later than CUDA 10.0: %s would hang or compute nonsense on it" % (name, this),
            "CUDA_VISIBLE_DEVICES=-1 keeps to the CPU; NVIDIA's own TensorFlow 1.15 can use it: docs/gpu.md",
        )
    if gpu.capability and gpu.capability < LEAST:
        return environment.Problem(
            "%s is older than %s was built for (%d.%d)" % ((name, this) + LEAST),
            "CUDA_VISIBLE_DEVICES=-1 keeps to the CPU",
        )
    missing, cudnn = libraries()
    if missing:
        where = "install CUDA 10.0 and cuDNN 7.6, or let LD_LIBRARY_PATH name theirs: docs/gpu.md"
        return environment.Problem("%s: not found: %s" % (name, ", ".join(missing)), where)
    if cudnn and cudnn < LEAST_CUDNN:
        return environment.Problem(
            "%s: cuDNN %d.%d is found, 7.4 to 7.6 expected" % ((name,) + cudnn),
            "install cuDNN 7.6: docs/gpu.md",
        )
    return None


def hidden() -> bool:
    """Whether the person keeps TensorFlow from the GPUs."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")


def doubts() -> Iterator[str]:
    """Before a training: a GPU on which this TensorFlow would hang or fail, and memory of it that others hold."""
    build = environment.tensorflow()
    if not build or hidden() or not (build.cuda or build.is_nvidias):
        return
    listed = found()
    for gpu in listed:
        problem = why_not(gpu, build)
        if problem:
            yield "%s; %s" % problem
    for holder in holders() if listed else []:
        yield "PID %d (%s) holds %s MiB of a GPU's memory" % holder
