"""Trainings in the background: start, status, stop and log."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List, Optional

from todus import locks
from todus.errors import TodusError
from todus.model import checkpoints
from todus.paths import Model
from todus.text import duration, has_control_characters, one_line
from todus.training import metrics, processes, run_record

LOG_BYTES = 5 << 20
LOGS_KEPT = 3
LOG = "TODUS_TRAIN_LOG"  # environment variable: the log that the background trainer rotates
GPU_QUERY = "--query-gpu=index,name,utilization.gpu,memory.used,memory.total"


def log_path(model: Model) -> Path:
    return model.training / "train.log"


def running(model: Model) -> Optional[locks.Holder]:
    """The process that trains this model, None without one."""
    return locks.holder(model.training, exclusive=True)


def start(model: Model, arguments: List[str], say: Callable[[str], None]) -> int:
    """Starts a detached todus.commands.train, which continues after logout.

    Returns the PID. Raises TodusError when another process trains this model, or when the trainer
    fails at once, with the trainer's message.
    """
    holder = running(model)
    if holder:
        raise TodusError(
            "the training of %s is in use by %s; see ./train.sh --status"
            % (model.name, holder.named or "another process")
        )
    model.training.mkdir(parents=True, exist_ok=True)
    log = log_path(model)
    offset = log.stat().st_size if log.exists() else 0
    variables = {"MODEL_DIR": str(model.folder), "BACKGROUND": "0", LOG: str(log)}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with log.open("ab") as file:
            process = processes.start(
                processes.TRAIN + arguments,
                variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
    finally:
        signal.signal(signal.SIGHUP, before)
    _wait_until_running(model, process, log, offset)
    process.returncode = 0  # else Popen warns that the process still runs
    script = "MODEL_DIR=%s ./train.sh" % shlex.quote(str(model.folder))
    say("train: %s trains in the background, PID %d, log %s" % (model.name, process.pid, log))
    for name in ("log", "status", "stop"):
        say("%-7s %s --%s" % (name + ":", script, name))
    return process.pid


def _wait_until_running(model: Model, process: subprocess.Popen, log: Path, offset: int) -> None:
    """Waits at most 30 seconds; what the trainer logs begins at byte `offset`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        code = process.poll()
        if code:
            message = re.sub(r"^train: ", "", processes.last_line(log, offset))
            raise TodusError(message or "the trainer ended with exit code %d; see %s" % (code, log))
        if code == 0 or running(model):
            return
        time.sleep(0.1)


def stop(model: Model, say: Callable[[str], None], patience: float = 120.0) -> bool:
    """Sends SIGTERM to the trainer, which saves a checkpoint, and waits until it has ended.

    Returns whether a training was running. Raises TodusError when it runs on another host, or has
    not ended after `patience` seconds.
    """
    holder = _signalled(model)
    if not holder:
        say("train: no training of %s is running" % model.name)
        return False
    say("train: sent SIGTERM to PID %d; it saves a checkpoint and stops" % holder.pid)
    deadline = time.monotonic() + patience
    while running(model) == holder:
        if time.monotonic() > deadline:
            raise TodusError(
                "PID %d has not stopped in %d s; see %s" % (holder.pid, patience, log_path(model))
            )
        time.sleep(0.1)
    newest = checkpoints.latest(model)
    saved = " at step %d, %s" % (newest[0], newest[1].name) if newest else ", nothing is saved yet"
    say("train: stopped%s" % saved)
    return True


def _signalled(model: Model) -> Optional[locks.Holder]:
    """Sends SIGTERM to the process that trains a model, and returns it; None without one.

    A trainer writes its name just after it has taken the lock: until then the file names another.
    """
    deadline = time.monotonic() + 1
    while True:
        holder = running(model)
        if not holder or processes.signal_holder(holder, signal.SIGTERM):
            return holder
        if time.monotonic() > deadline:
            raise TodusError(
                "the training of %s runs on %s as PID %d, in another machine or container than "
                "this; there, run: ./train.sh --stop" % (model.name, holder.host, holder.pid)
            )
        time.sleep(0.1)


def follow(model: Model, show: Callable[[str], None], lines: int = 40) -> None:
    """Shows the last lines of train.log, then each new one, until the trainer ends.

    Raises TodusError when there is no log.
    """
    path = log_path(model)
    if not path.exists():
        raise TodusError("%s does not exist; run ./train.sh --background first" % path)
    file = path.open("r", encoding="utf-8", errors="replace")
    try:
        for line in file.readlines()[-lines:]:
            show(_clean(line))
        while True:
            alive = running(model) is not None
            for line in file:
                show(_clean(line))
            if not alive:
                return
            if path.exists() and not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.close()  # the log was rotated
                file = path.open("r", encoding="utf-8", errors="replace")
                continue
            time.sleep(0.3)
    finally:
        file.close()


def _clean(line: str) -> str:
    """A line of the log without terminal escapes."""
    line = line.rstrip("\n")
    return one_line(line) if has_control_characters(line) else line


def rotate_log(limit: int = LOG_BYTES) -> bool:
    """In a background trainer, renames a log of more than `limit` bytes and writes to a new one.

    train.log becomes train.log.1, train.log.1 becomes train.log.2, up to LOGS_KEPT. Returns
    whether the log was rotated.
    """
    path = Path(os.environ.get(LOG, ""))
    try:
        return bool(os.environ.get(LOG)) and path.stat().st_size >= limit and _rotate(path)
    except OSError:  # a full disk, or a log that was removed: the training goes on
        return False


def _rotate(path: Path) -> bool:
    for number in range(LOGS_KEPT - 1, 0, -1):
        older = path.with_name("%s.%d" % (path.name, number))
        if older.exists():
            older.replace(path.with_name("%s.%d" % (path.name, number + 1)))
    path.replace(path.with_name(path.name + ".1"))
    handle = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    return True


def status(model: Model) -> List[str]:
    """Lines with the state, step, speed, newest checkpoint, AP and memory of a training."""
    holder, newest, now = running(model), checkpoints.latest(model), run_record.status(model)
    lines = [_state(model, holder)]
    if now:
        text = "step      %d of %d" % (now["step"], now["num_steps"])
        text += "   loss %.4f" % now["loss"] if now.get("loss") is not None else ""
        if now.get("learning_rate") is not None:
            text += "   learning rate %.4g" % now["learning_rate"]
        lines.append(text)
        if holder and now.get("steps_per_second"):
            ago = max(0.0, time.time() - now["time"])
            left = duration(max(0.0, now["seconds_left"] - ago))
            values = (now["steps_per_second"], left, ago)
            lines.append("speed     %.2f steps/s   %s left   %d s ago" % values)
    lines.append("saved     %s" % (newest[1].name if newest else "nothing yet"))
    lines += _scores(model)
    lines += _usage(holder.pid) if holder and holder.is_here else []
    return [_clean(line) for line in lines]


def _state(model: Model, holder: Optional[locks.Holder]) -> str:
    events = run_record.read(model)["events"]
    last = events[-1] if events else {}
    if holder:
        since = " since %s" % last["started"] if last.get("started") else ""
        return "running   %s, %s%s" % (model.name, holder.named or "another process", since)
    if not events:
        return "idle      %s was never trained" % model.name
    if "started" in last:
        trainer = (model.name, last.get("pid"), last.get("host"))
        return "idle      %s: the last trainer (PID %s on %s) was killed" % trainer
    when = " at %s" % last["stopped"] if last.get("stopped") else ""
    return "idle      %s: %s%s" % (model.name, last["reason"], when)


def _scores(model: Model) -> List[str]:
    rows = metrics.read(model)
    if not rows:
        return []
    last, top = rows[-1], metrics.kept(model)
    ap = "-" if last["ap"] is None else "%.4f" % last["ap"]
    train = "   train AP %.4f" % last["train_ap"] if last["train_ap"] is not None else ""
    lines = ["AP        %s at step %d%s" % (ap, last["step"], train)]
    if top:
        lines.append("best AP   %.4f at step %d" % (top["ap"], top["step"]))
    zero = [row for row in metrics.comparable(rows, top or last) if row["step"] == 0]
    if zero and zero[0]["ap"] is not None:
        lines.append("the slice %.4f" % zero[0]["ap"])
    warning = metrics.overfitting(rows)
    return lines + (["warning   " + warning] if warning else [])


def _usage(pid: int) -> List[str]:
    """Lines with the memory of a process of this machine, and with its GPUs."""
    import psutil

    lines = []
    with contextlib.suppress(psutil.Error):
        lines.append("memory    %.1f GB" % (psutil.Process(pid).memory_info().rss / 1e9))
    query = ["nvidia-smi", GPU_QUERY, "--format=csv,noheader"]
    try:
        found = subprocess.check_output(query, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return lines + ["GPU       none"]
    gpus = found.decode("utf-8", "replace").splitlines()
    return lines + ["GPU       %s" % line.strip() for line in gpus]
