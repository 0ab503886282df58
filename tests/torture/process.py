"""A command as a process that can be disturbed, and what becomes of it."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

GRACE = 10.0  # seconds that helpers of a dead command may take to notice


class Ended(NamedTuple):
    """How a command ended."""

    code: Optional[int]  # -N for signal N; None: it had to be killed, for it hung
    said: str  # its stderr
    seconds: float
    left: List[str]  # processes that it left behind, and that were killed


class Process:
    """A command in a session of its own, its stderr in a file."""

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
        """Waits until `moment` seconds after the start; whether the command has ended by then."""
        try:
            self._process.wait(max(0.0, self._began + moment - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            return False

    def end(self, most: float) -> Ended:
        """Waits for the end, at most `most` seconds from the start; nothing of the command runs afterwards."""
        code: Optional[int] = None
        if self.ended_before(most):
            code = self._process.returncode
        else:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        seconds = time.monotonic() - self._began
        deadline = time.monotonic() + GRACE
        while _session(self.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = ["%s (PID %d)" % (_command(pid), pid) for pid in _session(self.pid)]
        for pid in _session(self.pid):
            os.kill(pid, signal.SIGKILL)
        return Ended(code, self._log.read_text(encoding="utf-8", errors="replace"), seconds, left)


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _session(leader: int) -> List[int]:
    """The living processes of a session."""
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
        return (
            Path("/proc/%d/cmdline" % pid)
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")[:80]
        )
    except OSError:
        return "?"
