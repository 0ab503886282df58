"""A training beyond the session that started it: start, status, stop, log."""

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

from todus import locks, paths
from todus.errors import TodusError
from todus.model import checkpoints
from todus.paths import Model
from todus.text import duration
from todus.training import metrics, run_record

LOG_BYTES = 5 << 20
LOGS_KEPT = 3
LOG = "TODUS_TRAIN_LOG"  # names, to the background trainer, the log that it writes to and rotates


def log_path(model: Model) -> Path:
    return model.training / "train.log"


def running(model: Model) -> Optional[locks.Holder]:
    """The process that trains this model, None where there is none."""
    return locks.holder(model.training)


def start(model: Model, arguments: List[str], say: Callable[[str], None]) -> int:
    """Starts a detached trainer, which survives the logout, and waits until it has begun.

    Args:
      model: a prepared model.
      arguments: of todus.commands.train.
      say: takes lines.

    Raises:
      TodusError: another one trains this model, or the trainer ended at once; the message is the trainer's.
    """
    holder = running(model)
    if holder:
        raise TodusError(
            "the training of %s is in use by PID %d on %s; see ./train.sh --status"
            % (model.name, holder.pid, holder.host)
        )
    model.training.mkdir(parents=True, exist_ok=True)
    log = log_path(model)
    environment = dict(os.environ, MODEL_DIR=str(model.folder), BACKGROUND="0")
    environment[LOG] = str(log)
    began = log.stat().st_size if log.exists() else 0
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "todus.commands.train"] + arguments,
                env=environment,
                cwd=str(paths.REPO),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
    finally:
        signal.signal(signal.SIGHUP, before)
    _wait_for_begin(model, process, log, began)
    pid = process.pid
    process.returncode = 0  # it is not waited for
    script = "MODEL_DIR=%s ./train.sh" % shlex.quote(str(model.folder))
    say("train: %s trains in the background, PID %d, log %s" % (model.name, pid, log))
    say("follow: %s --log" % script)
    say("ask:    %s --status" % script)
    say("stop:   %s --stop" % script)
    return pid


def _wait_for_begin(model: Model, process: subprocess.Popen, log: Path, began: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            with log.open("rb") as file:
                file.seek(min(began, log.stat().st_size))
                lines = [
                    line
                    for line in file.read().decode("utf-8", "replace").splitlines()
                    if line.strip()
                ]
            if code:
                said = re.sub(r"^train: ", "", lines[-1]) if lines else ""
                raise TodusError(
                    said or "the trainer ended with exit code %d; see %s" % (code, log)
                )
            return
        if running(model):
            return
        time.sleep(0.1)


def stop(model: Model, say: Callable[[str], None], patience: float = 120.0) -> bool:
    """Asks the trainer to save and end, and waits for it; returns whether there was one.

    Raises TodusError when it runs on another host, or does not end.
    """
    holder = running(model)
    if not holder:
        say("train: no training of %s is running" % model.name)
        return False
    if not holder.is_here or not holder.pid:
        raise TodusError(
            "the training of %s runs on %s as PID %d; stop it there"
            % (model.name, holder.host, holder.pid)
        )
    os.kill(holder.pid, signal.SIGTERM)
    say("train: asked PID %d to save and stop" % holder.pid)
    deadline = time.monotonic() + patience
    while running(model) == holder:
        if time.monotonic() > deadline:
            raise TodusError(
                "PID %d has not stopped in %d s; see %s" % (holder.pid, patience, log_path(model))
            )
        time.sleep(0.1)
    newest = checkpoints.latest(model)
    say(
        "train: stopped%s"
        % (" at step %d, %s" % (newest[0], newest[1].name) if newest else ", nothing was saved yet")
    )
    return True


def follow(model: Model, show: Callable[[str], None], lines: int = 40) -> None:
    """Shows the end of train.log and what comes to it, over rotations, until the trainer ends."""
    path = log_path(model)
    if not path.exists():
        raise TodusError("no %s; ./train.sh --background makes it" % path)
    file = path.open("r", encoding="utf-8", errors="replace")
    try:
        for line in file.readlines()[-lines:]:
            show(line.rstrip("\n"))
        while True:
            alive = running(model) is not None
            for line in file:
                show(line.rstrip("\n"))
            if not alive:
                return
            if path.exists() and not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.close()
                file = path.open("r", encoding="utf-8", errors="replace")
                continue
            time.sleep(0.3)
    finally:
        file.close()


def rotate_log(limit: int = LOG_BYTES) -> bool:
    """In a background trainer: a log past `limit` bytes becomes train.log.1, that one train.log.2 ...; output goes on in a new one."""
    path = Path(os.environ.get(LOG, ""))
    if not os.environ.get(LOG) or not path.exists() or path.stat().st_size < limit:
        return False
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
    """Lines on where the training of a model is."""
    holder = running(model)
    lines = [_state(model, holder)]
    newest = checkpoints.latest(model)
    now = run_record.status(model)
    if now:
        text = "step      %d of %d" % (now["step"], now["num_steps"])
        text += "   loss %.4f" % now["loss"] if now.get("loss") is not None else ""
        if now.get("learning_rate") is not None:
            text += "   learning rate %.4g" % now["learning_rate"]
        lines.append(text)
        if holder and now.get("steps_per_second"):
            ago = max(0.0, time.time() - now["time"])
            left = max(0.0, now["seconds_left"] - ago)
            lines.append(
                "speed     %.2f steps/s   %s left   %d s ago"
                % (now["steps_per_second"], duration(left), ago)
            )
    lines.append("saved     %s" % (newest[1].name if newest else "nothing yet"))
    lines += _scores(model)
    if holder and holder.is_here:
        lines += _usage(holder.pid)
    return lines


def _state(model: Model, holder: Optional[locks.Holder]) -> str:
    events = run_record.read(model)["events"]
    last = events[-1] if events else {}
    if holder:
        since = " since %s" % last["started"] if last.get("started") else ""
        return "running   %s, PID %d on %s%s" % (model.name, holder.pid, holder.host, since)
    if not events:
        return "idle      %s was never trained" % model.name
    if "started" in last:
        return "idle      %s: the last trainer (PID %s on %s) was killed" % (
            model.name,
            last.get("pid"),
            last.get("host"),
        )
    return "idle      %s: %s%s" % (
        model.name,
        last["reason"],
        " at %s" % last["stopped"] if last.get("stopped") else "",
    )


def _scores(model: Model) -> List[str]:
    rows = metrics.read(model)
    if not rows:
        return []
    last, top = rows[-1], metrics.best(rows)
    train = "   train AP %.4f" % last["train_ap"] if last["train_ap"] is not None else ""
    lines = ["AP        %s at step %d%s" % (_number(last["ap"]), last["step"], train)]
    if top:
        lines.append(
            "best AP   %.4f at step %d%s"
            % (top["ap"], top["step"], "" if top["step"] else ", the slice")
        )
    return lines + (["warning   " + metrics.overfitting(rows)] if metrics.overfitting(rows) else [])


def _number(value: Optional[float]) -> str:
    return "-" if value is None else "%.4f" % value


def _usage(pid: int) -> List[str]:
    """Lines on the memory of a process of this machine, and on its GPUs."""
    import psutil

    lines = []
    with contextlib.suppress(psutil.Error):
        lines.append("memory    %.1f GB" % (psutil.Process(pid).memory_info().rss / 1e9))
    query = [
        "nvidia-smi",
        "--query-gpu=index,name,utilization.gpu,memory.used,memory.total",
        "--format=csv,noheader",
    ]
    try:
        found = subprocess.run(
            query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return lines + ["GPU       none"]
    return lines + [
        "GPU       %s" % line.strip()
        for line in found.stdout.decode("utf-8", "replace").splitlines()
    ]
