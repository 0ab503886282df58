"""Disk, memory, cores, GPUs and programs."""

import os
import shutil
from typing import Iterator

from todus import paths
from todus.doctor.findings import Finding
from todus.machine import environment, gpus

GB = 1e9
LEAST_DISK, GOOD_DISK = (
    1 * GB,
    5 * GB,
)  # a slice, its training and its exports; a limited COCO of a few classes
LEAST_MEMORY, GOOD_MEMORY = 1.5 * GB, 4 * GB
PROGRAMS = {
    "edgetpu_compiler": "EdgeTPU files",
    "rsync": "./sync.sh",
    "ssh": "./sync.sh and --hosts",
    "ffmpeg": "turning detect's .avi into other formats",
}


def disk() -> Finding:
    home = paths.home()
    place = home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(str(place)).free
    text = "%.1f GB free at %s" % (free / GB, home)
    if not os.access(str(place), os.W_OK):
        return Finding(
            "error",
            "disk",
            "%s cannot be written" % home,
            "give yourself the right to it, or set TODUS_HOME to a place of your own",
        )
    if free < LEAST_DISK:
        return Finding("error", "disk", text, "free some, or set TODUS_HOME to a larger disk")
    if free < GOOD_DISK:
        return Finding(
            "warning",
            "disk",
            text,
            "a limited COCO takes 1 to 15 GB, all of it 40: free some, or set TODUS_HOME to a larger disk",
        )
    return Finding("ok", "disk", text)


def memory() -> Finding:
    from todus.machine import memory

    free = memory.free_memory()
    text = "%.1f GB of memory free" % (free / GB)
    if free < LEAST_MEMORY:
        return Finding(
            "warning",
            "memory",
            text,
            "close other programs; BATCH_SIZE=1 trains with the least, JOBS=1 builds datasets with the least",
        )
    if free < GOOD_MEMORY:
        return Finding(
            "warning",
            "memory",
            text,
            "a smaller BATCH_SIZE may be needed; ./train.sh names the one to try",
        )
    return Finding("ok", "memory", text)


def cores() -> Finding:
    number = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return Finding(
        "ok", "cores", "%d core%s for this process" % (number, "" if number == 1 else "s")
    )


def graphics() -> Iterator[Finding]:
    """Each GPU, whether TensorFlow can use it, and who holds its memory."""
    listed, build = gpus.found(), environment.tensorflow()
    if not listed:
        has = bool(shutil.which("nvidia-smi"))
        text = "nvidia-smi finds no GPU" if has else "no NVIDIA GPU (no nvidia-smi)"
        remedy = (
            "its driver may not be running: nvidia-smi says more"
            if has
            else "none is needed; docs/gpu.md says which would work"
        )
        yield Finding("warning", "gpu", "%s: training runs on the CPU" % text, remedy)
        return
    for gpu in listed:
        about = "driver %s, %.1f of %.1f GB free" % (gpu.driver, gpu.free / GB, gpu.total / GB)
        problem = gpus.why_not(gpu, build) if build else None
        if problem:
            yield Finding("warning", "gpu", "%s; %s" % (problem.text, about), problem.remedy)
        elif build:
            yield Finding(
                "ok",
                "gpu",
                "GPU %s, %s, %s; %s %s can use it"
                % (gpu.index, gpu.described, about, build.package, build.version),
            )
    if gpus.hidden():
        yield Finding(
            "info",
            "gpu",
            "CUDA_VISIBLE_DEVICES=%s hides every GPU" % os.environ["CUDA_VISIBLE_DEVICES"],
            "unset CUDA_VISIBLE_DEVICES",
        )
    level = "warning" if build and (build.cuda or build.is_nvidias) else "info"
    for holder in gpus.holders():
        text = "PID %d (%s) holds %s MiB of a GPU's memory" % holder
        yield Finding(
            level,
            "gpu",
            text,
            "TensorFlow wants all of it: wait for that process, or end it: kill %d" % holder.pid,
        )


def programs() -> Finding:
    missing = ["%s (%s)" % (name, use) for name, use in PROGRAMS.items() if not shutil.which(name)]
    if missing:
        return Finding(
            "info",
            "programs",
            "not installed, needed only for what stands in brackets: %s" % ", ".join(missing),
        )
    return Finding("ok", "programs", "%s are installed" % ", ".join(PROGRAMS))
