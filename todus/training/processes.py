"""The processes that a training starts, their logs, and how they are stopped."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable, Dict, List, Optional

from todus import paths

TRAIN = [sys.executable, "-m", "todus.commands.train"]
FINISH = b"finish\n"  # on an evaluator's standard input: score the pending checkpoints, then end
# The environment variable of a process that ends when its standard input is closed.
LIVES_AS_STDIN = "TODUS_LIVES_AS_STDIN"


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
