"""Free memory of the machine, its container and its GPUs."""

import contextlib
from pathlib import Path
from typing import List, Tuple

from todus.machine import environment, gpus


def free_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Free bytes of the machine, or of its container if less; 4 GiB if unknown."""
    free = 4 << 30
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) << 10
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            left = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
            free = min(free, max(left, 0))
    return free


def devices() -> List[Tuple[str, int]]:
    """(name, free bytes) of this machine and of each GPU that the installed TensorFlow can use."""
    build = environment.tensorflow()
    listed = gpus.found() if build and not gpus.hidden() else []
    usable = [(gpu.name, gpu.free) for gpu in listed if not gpus.problem_of(gpu, build)]
    return [("this machine", free_memory())] + usable


def training_device() -> Tuple[str, int]:
    """(name, free bytes) of the GPU with the most free memory, or of this machine without one."""
    machine, *usable = devices()
    return max(usable, key=lambda gpu: gpu[1], default=machine)
