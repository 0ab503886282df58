"""NVIDIA GPUs from nvidia-smi, and whether the installed TensorFlow can use them.

Does not import TensorFlow. The limits are those of the table in docs/gpu.md.
"""

import ctypes
import os
import re
import subprocess
from typing import Iterator, List, NamedTuple, Optional, Tuple

from todus.machine import environment
from todus.machine.environment import Problem

# Compute capabilities. PyPI's tensorflow-gpu 1.15.5 has native code for 3.5, 3.7, 5.2, 6.0, 6.1 and
# 7.0; CUDA 10.0 and cuDNN 7 support up to 7.5.
LEAST, MOST = (3, 5), (7, 5)
_CUDA = ("cudart", "cublas", "cufft", "curand", "cusolver", "cusparse")
LIBRARIES = (*("lib%s.so.10.0" % name for name in _CUDA), "libcudnn.so.7")
LEAST_CUDNN = (7, 4)
GENERATIONS = ((10, "Blackwell"), (9, "Hopper"), (8, "Ampere or Ada"), (7, "Volta or Turing"))
GENERATIONS += ((6, "Pascal"), (5, "Maxwell"), (3, "Kepler"), (2, "Fermi"))
SECONDS = 10  # timeout of nvidia-smi

# Names of Ampere and later GPUs, for drivers whose nvidia-smi has no compute capability.
_TOO_NEW = re.compile(r"\b(A\d{1,4}X?|RTX (3|4|5)0\d0|RTX A\d{4}|[HB]\d{3}|GH200|L4|L40S?)\b")


class Gpu(NamedTuple):
    """A GPU.

    Attributes:
      total, free: bytes of memory.
      capability: the compute capability; None if the driver is too old to report it.
    """

    index: str
    name: str
    driver: str
    total: int
    free: int
    capability: Optional[Tuple[int, int]]

    @property
    def is_too_new(self) -> bool:
        """Whether CUDA 10.0 does not support it."""
        return self.capability > MOST if self.capability else bool(_TOO_NEW.search(self.name))

    @property
    def described(self) -> str:
        """Its name, compute capability and generation, for messages."""
        if not self.capability:
            return "%s, compute capability unknown" % self.name
        names = [" (%s)" % name for least, name in GENERATIONS if self.capability[0] >= least]
        facts = (self.name, *self.capability, (names + [""])[0])
        return "%s, compute capability %d.%d%s" % facts


class Holder(NamedTuple):
    """A process that uses memory of a GPU; `used` is in MiB, or [N/A]."""

    pid: int
    name: str
    used: str


def _query(what: str) -> List[List[str]]:
    """The rows that nvidia-smi prints; none if it fails."""
    command = ["nvidia-smi", "--query-" + what, "--format=csv,noheader,nounits"]
    try:
        output = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = output.decode("utf-8", "replace").splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]


def found() -> List[Gpu]:
    """The GPUs of this machine; none without nvidia-smi."""
    fields = "index,name,driver_version,memory.total,memory.free"
    rows = _query("gpu=%s,compute_cap" % fields) or _query("gpu=" + fields)
    return [_gpu(row) for row in rows if len(row) >= 5]


def _gpu(row: List[str]) -> Gpu:
    match = re.fullmatch(r"(\d+)\.(\d+)", row[5]) if len(row) > 5 else None
    capability = (int(match.group(1)), int(match.group(2))) if match else None
    total, free = (int(cell) << 20 if cell.isdigit() else 0 for cell in row[3:5])
    return Gpu(*row[:3], total, free, capability)


def holders() -> List[Holder]:
    """The processes that use memory of a GPU."""
    rows = _query("compute-apps=pid,process_name,used_memory")
    return [Holder(int(row[0]), *row[1:3]) for row in rows if len(row) >= 3 and row[0].isdigit()]


def libraries() -> Tuple[List[str], Optional[Tuple[int, int]]]:
    """The CUDA 10.0 libraries that cannot be loaded, and the (major, minor) of cuDNN, if loaded."""
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


def problem_of(gpu: Gpu, build: environment.Build) -> Optional[Problem]:
    """Why the TensorFlow `build` cannot use `gpu`; None if it can."""
    name, this = "GPU %s, %s" % (gpu.index, gpu.described), "%s %s" % (build.package, build.version)
    if build.is_nvidia:
        return None
    if not build.cuda:
        remedy = "install CUDA 10.0, then: pip install --no-deps tensorflow-gpu==" + build.version
        if gpu.is_too_new:
            remedy = "NVIDIA's TensorFlow 1.15 can use it"
        return Problem(
            "%s: %s was built without CUDA and uses the CPU" % (name, this),
            remedy + "; see docs/gpu.md",
        )
    if gpu.is_too_new:
        return Problem(
            "%s is newer than CUDA 10.0: %s would hang or compute wrong results" % (name, this),
            "use the CPU with CUDA_VISIBLE_DEVICES=-1, or NVIDIA's TensorFlow 1.15: docs/gpu.md",
        )
    if gpu.capability and gpu.capability < LEAST:
        text = "%s is older than %s supports (%d.%d)" % (name, this, *LEAST)
        return Problem(text, "use the CPU with CUDA_VISIBLE_DEVICES=-1")
    missing, cudnn = libraries()
    if missing:
        remedy = "install CUDA 10.0 and cuDNN 7.6, or set LD_LIBRARY_PATH: docs/gpu.md"
        return Problem("%s: not found: %s" % (name, ", ".join(missing)), remedy)
    if cudnn and cudnn < LEAST_CUDNN:
        text = "%s: found cuDNN %d.%d, need 7.4 to 7.6" % (name, *cudnn)
        return Problem(text, "install cuDNN 7.6: docs/gpu.md")
    return None


def hidden() -> bool:
    """Whether the user disabled the GPUs with CUDA_VISIBLE_DEVICES."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")


def warnings() -> Iterator[str]:
    """What may disturb a training: unusable GPUs, and processes that use their memory."""
    build = environment.tensorflow()
    if not build or hidden() or not (build.cuda or build.is_nvidia):
        return
    listed = found()
    for problem in filter(None, (problem_of(gpu, build) for gpu in listed)):
        yield "%s; %s" % problem
    for holder in holders() if listed else []:
        yield "PID %d (%s) holds %s MiB of a GPU's memory" % holder
