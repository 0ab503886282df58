"""The processes that a training starts, their logs, and how they are stopped."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from todus import locks, paths

TRAIN = [sys.executable, "-m", "todus.commands.train"]
FINISH = b"finish\n"  # on an evaluator's standard input: score the pending checkpoints, then end
# The environment variable of a process that ends when its standard input is closed.
LIVES_AS_STDIN = "TODUS_LIVES_AS_STDIN"
# Of Linux, the same on every architecture that TensorFlow has packages for.
_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434


def start(command: List[str], variables: Dict[str, str], **streams) -> subprocess.Popen:
    """Starts a process in a session of its own, in the repository's folder.

    Args:
      command: program and arguments.
      variables: added to this process's environment.
      **streams: stdin, stdout and stderr of subprocess.Popen.
    """
    environment = dict(os.environ, **variables)
    return subprocess.Popen(
        command, env=environment, cwd=str(paths.REPO), start_new_session=True, **streams
    )


def send(process: subprocess.Popen, line: Optional[bytes]) -> None:
    """Writes a line to a process's standard input; None closes it."""
    try:
        if line is None:
            process.stdin.close()
        else:
            process.stdin.write(line)
            process.stdin.flush()
    except OSError:
        pass  # the process has ended


def wait_or_kill(process: subprocess.Popen, seconds: float) -> None:
    """Waits until a process ends; kills it after `seconds`."""
    try:
        process.wait(max(0.1, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def signal_holder(holder: locks.Holder, number: int) -> bool:
    """Sends a signal to the holder of a lock; returns whether its process was still there.

    A pidfd (Linux 5.3) refers to one process: its PID cannot get another one between check and
    signal.
    """
    handle = _system_call(_PIDFD_OPEN, holder.pid, 0)
    if handle < 0:  # an older kernel, or the process has ended
        if not holder.is_here:
            return False
        os.kill(holder.pid, number)
        return True
    try:
        if not holder.is_here:
            return False
        if _system_call(_PIDFD_SEND_SIGNAL, handle, number, None, 0) < 0:
            error = ctypes.get_errno()
            if error == errno.ESRCH:
                return False
            raise OSError(error, os.strerror(error))
        return True
    finally:
        os.close(handle)


def _system_call(number: int, *arguments: Any) -> int:
    """The result of a call that Python 3.7 lacks; -1 where the system has none such."""
    try:
        return ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    except (AttributeError, OSError):
        return -1


def stop_with_stdin(finish: Callable[[], None] = lambda: None) -> None:
    """Sends SIGTERM to this process when its standard input is closed; calls finish() at FINISH.

    Does nothing unless LIVES_AS_STDIN is set. It also works when the parent process is killed or
    the ssh connection is lost.
    """
    if not os.environ.pop(LIVES_AS_STDIN, ""):
        return

    def wait() -> None:
        # Not sys.stdin: a thread that waits in it holds its lock when the interpreter exits.
        while os.read(0, len(FINISH)):
            finish()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def last_line(log: Path, offset: int = 0) -> str:
    """The last line of a log that is not blank, from byte `offset` on; "" without one."""
    data = log.read_bytes()[offset:] if log.exists() else b""
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
