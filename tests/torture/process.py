"""A command as a process of its own session, and its result."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

GRACE = 10.0  # seconds that child processes of a killed command may take to exit


class Ended(NamedTuple):
    """The result of a command.

    Attributes:
      code: exit code, -N for signal N; None when it hung and was killed.
      left: its processes that were still running, and were killed.
    """

    code: Optional[int]
    stderr: str
    seconds: float
    left: List[str]


class Process:
    """A running command, in a session of its own, with its stderr in the file `log`."""

    def __init__(self, argv: List[str], environment: Dict[str, str], folder: Path, log: Path):
        self._log = log
        self._began = time.monotonic()
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                argv,
                env=environment,
                cwd=str(folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
                preexec_fn=_default_signals,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended_before(self, moment: float) -> bool:
        """Waits until `moment` seconds after the start; returns whether the command has ended."""
        try:
            self._process.wait(max(0.0, self._began + moment - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            return False

    def end(self, timeout: float) -> Ended:
        """Waits until `timeout` seconds after the start, then kills what still runs."""
        in_time = self.ended_before(timeout)
        if not in_time:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        code = self._process.returncode if in_time else None
        seconds = time.monotonic() - self._began
        deadline = time.monotonic() + GRACE
        while _session(self.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = ["%s (PID %d)" % (_command(pid), pid) for pid in _session(self.pid)]
        for pid in _session(self.pid):
            os.kill(pid, signal.SIGKILL)
        stderr = self._log.read_text(encoding="utf-8", errors="replace")
        return Ended(code, stderr, seconds, left)


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _session(leader: int) -> List[int]:
    """PIDs of a session's running processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                facts = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(facts[3]) == leader and facts[0] not in "ZX":
                found.append(int(entry.name))
    return found


def _command(pid: int) -> str:
    try:
        words = Path("/proc/%d/cmdline" % pid).read_bytes().replace(b"\0", b" ")
        return words.decode("utf-8", "replace")[:80]
    except OSError:
        return "?"
