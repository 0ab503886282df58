"""The memory that is free: of this machine, of its container, of its GPUs."""

from pathlib import Path
from typing import List, Tuple

from todus.machine import environment, gpus


def free_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: what the machine has free, or what is left of its container's limit."""
    free = 4 << 30
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(
                free, max(int((cgroup / limit).read_text()) - int((cgroup / used).read_text()), 0)
            )
        except (OSError, ValueError):
            continue
    return free


def devices() -> List[Tuple[str, int]]:
    """(name, free bytes) of this machine's memory and of each GPU that the installed TensorFlow can use."""
    build = environment.tensorflow()
    usable = [
        gpu for gpu in gpus.found() if build and not gpus.hidden() and not gpus.why_not(gpu, build)
    ]
    return [("this machine", free_memory())] + [(gpu.name, gpu.free) for gpu in usable]


def training_device() -> Tuple[str, int]:
    """(name, free bytes) of where a training would run: the GPU with the most free memory, else this machine."""
    places = devices()
    return max(places[1:], key=lambda place: place[1]) if len(places) > 1 else places[0]
