"""Disk, memory, cores, GPUs and programs."""

import os
import shutil
from typing import Iterator

from todus import paths
from todus.doctor import findings
from todus.doctor.findings import Finding
from todus.machine import environment, gpus
from todus.machine.cores import cores as available_cores

GB = 1e9
LEAST_DISK = 1 * GB  # a slice, its training and its exports
GOOD_DISK = 5 * GB  # a limited COCO of a few classes
LEAST_MEMORY, GOOD_MEMORY = 1.5 * GB, 4 * GB
PROGRAMS = {
    "edgetpu_compiler": "EdgeTPU files",
    "rsync": "./sync.sh",
    "ssh": "./sync.sh and --hosts",
    "ffmpeg": "turning detect's .avi into other formats",
}


def disk() -> Finding:
    """The free space at TODUS_HOME."""
    home = place = paths.home()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(str(place)).free
    text = "%.1f GB free at %s" % (free / GB, home)
    if not os.access(str(place), os.W_OK):
        remedy = "change its permissions, or set TODUS_HOME to a folder of your own"
        return findings.error("disk", "%s is not writable" % home, remedy)
    larger = "free some space, or set TODUS_HOME to a larger disk"
    if free < LEAST_DISK:
        return findings.error("disk", text, larger)
    if free < GOOD_DISK:
        sizes = "a limited COCO takes 1 to 15 GB, the complete one 40"
        return findings.warning("disk", text, "%s: %s" % (sizes, larger))
    return findings.ok("disk", text)


def memory() -> Finding:
    """The free memory."""
    from todus.machine import memory

    free = memory.free_memory()
    text = "%.1f GB of memory free" % (free / GB)
    if free < LEAST_MEMORY:
        remedy = "close other programs; BATCH_SIZE=1 (training) and JOBS=1 (datasets) use the least"
        return findings.warning("memory", text, remedy)
    if free < GOOD_MEMORY:
        remedy = "training may need a smaller BATCH_SIZE; ./train.sh names the one to try"
        return findings.warning("memory", text, remedy)
    return findings.ok("memory", text)


def cores() -> Finding:
    """The number of cores that this process may use."""
    number = findings.number_of(available_cores(), "core")
    return findings.ok("cores", "%s for this process" % number)


def graphics() -> Iterator[Finding]:
    """Each GPU, whether TensorFlow can use it, and the processes that use its memory."""
    listed, build = gpus.found(), environment.tensorflow()
    if not listed:
        text = "no NVIDIA GPU (no nvidia-smi)"
        remedy = "none is needed; docs/gpu.md lists those that work"
        if shutil.which("nvidia-smi"):
            text = "nvidia-smi finds no GPU"
            remedy = "run nvidia-smi: the driver may not be running"
        yield findings.warning("gpu", "%s: training runs on the CPU" % text, remedy)
        return
    for gpu in listed:
        about = "driver %s, %.1f of %.1f GB free" % (gpu.driver, gpu.free / GB, gpu.total / GB)
        problem = gpus.problem_of(gpu, build) if build else None
        if problem:
            yield findings.warning("gpu", "%s; %s" % (problem.text, about), problem.remedy)
        elif build:
            usable = "%s %s can use it" % (build.package, build.version)
            text = "GPU %s, %s, %s; %s" % (gpu.index, gpu.described, about, usable)
            yield findings.ok("gpu", text)
    if gpus.hidden():
        text = "CUDA_VISIBLE_DEVICES=%s hides every GPU" % os.environ["CUDA_VISIBLE_DEVICES"]
        yield findings.info("gpu", text, "unset CUDA_VISIBLE_DEVICES")
    finding = findings.warning if build and (build.cuda or build.is_nvidia) else findings.info
    for holder in gpus.holders():
        text = "PID %d (%s) holds %s MiB of a GPU's memory" % holder
        remedy = "TensorFlow needs all of it: wait for that process, or end it: kill %d"
        yield finding("gpu", text, remedy % holder.pid)


def programs() -> Finding:
    """The optional programs that are not installed."""
    missing = ["%s (%s)" % (name, use) for name, use in PROGRAMS.items() if not shutil.which(name)]
    if missing:
        text = "not installed; each is needed only for the task in brackets: %s"
        return findings.info("programs", text % ", ".join(missing))
    return findings.ok("programs", "%s are installed" % ", ".join(PROGRAMS))
