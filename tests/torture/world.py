"""What the commands are run on: a drawn COCO and a miniature zoo on loopback, and homes at each stage of the way."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

from demo.server import ZOO_PATH, Server
from tests.helpers import own_images
from tests.torture import tree
from tests.torture.commands import COMMANDS, MODEL, REPO, Command
from todus.errors import TodusError

# stage -> the stage before it, and the commands that lead from there.
STAGES = {
    "nothing": ("", ()),
    "dataset": ("nothing", ("dataset-limited",)),
    "model": ("dataset", ("model",)),
    "graphs": ("model", ("export", "export-tflite")),
}
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "USER", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH")


class World:
    """A working folder with stages/STAGE, and trial/, where each trial has its copy of one of them, always at the same path.

    Use as a context manager: the loopback server runs meanwhile.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.trial = self.folder / "a trial"
        self._served = self.folder / "served"
        self._server: Optional[Server] = None
        self._port = 0

    def __enter__(self) -> "World":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._draw()
        self.serve()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self.unmount()

    def _draw(self) -> None:
        zoo = self._served / ZOO_PATH.strip("/")
        if zoo.is_dir():
            return
        draw = [
            sys.executable,
            "-m",
            "demo.shapes",
            str(self._served),
            "--train",
            "40",
            "--val",
            "24",
        ]
        subprocess.run(
            draw,
            check=True,
            cwd=str(REPO),
            stdout=subprocess.DEVNULL,
            env=dict(os.environ, PYTHONPATH=str(REPO)),
        )
        zoo.mkdir(parents=True)
        shutil.copy(
            str(REPO / "demo" / "zoo" / "ssd_mobilenet_v1_shapes.tar.gz"),
            str(zoo / (MODEL + ".tar.gz")),
        )

    def serve(self) -> None:
        """Starts the server, at the same port as before."""
        self._server = Server(self._served, port=self._port)
        self._server.__enter__()
        self._port = int(self._server.url.rsplit(":", 1)[1])

    def hang_up(self) -> None:
        """The network is gone: open connections end, new ones are refused."""
        if self._server:
            self._server.__exit__()
            self._server = None

    def environment(self, command: Command) -> Dict[str, str]:
        variables = {name: os.environ[name] for name in KEPT if name in os.environ}
        variables.update(
            PYTHON=sys.executable,
            PYTHONPATH=str(REPO),
            PYTHONDONTWRITEBYTECODE="1",
            TF_CPP_MIN_LOG_LEVEL="3",
        )
        variables.update(TODUS_HOME=str(self.trial / "home"), TMPDIR=str(self.trial / "tmp"))
        variables.update(
            MODEL_DIR=str(self.trial / "home" / "model" / MODEL),
            RETRIES="2",
            RETRY_WAIT="0.05",
            TIMEOUT="5",
        )
        url = "http://127.0.0.1:%d" % self._port
        variables.update(
            {
                name: value.format(url=url, zoo=url + ZOO_PATH)
                for name, value in command.variables.items()
            }
        )
        return variables

    def argv(self, command: Command) -> List[str]:
        return [word.format(trial=self.trial) for word in command.argv]

    def stage(self, name: str) -> Path:
        """The folder of a stage, made when it is first asked for."""
        folder = self.folder / "stages" / name
        if folder.is_dir():
            return folder
        before, leading = STAGES[name]
        if before:
            tree.copy(self.stage(before), self.trial)
        else:
            shutil.rmtree(str(self.trial), ignore_errors=True)
            for inside in ("home", "tmp"):
                (self.trial / inside).mkdir(parents=True)
            own_images.voc_folder(self.trial / "voc", 60)
        for each in leading:
            command = next(command for command in COMMANDS if command.name == each)
            done = subprocess.run(
                self.argv(command),
                env=self.environment(command),
                cwd=str(REPO),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            if done.returncode:
                raise TodusError(
                    "%s failed undisturbed: %s"
                    % (each, done.stderr.decode("utf-8", "replace").strip()[-500:])
                )
        part = folder.with_name(name + ".part")
        tree.copy(self.trial, part)
        part.rename(folder)
        return folder

    def reset(self, command: Command) -> None:
        """trial/ becomes what the command begins from."""
        start = self.stage(command.start)
        tree.copy(start, self.trial)

    def mount(self, size: int) -> bool:
        """Puts a disk of so many bytes under trial/; False where that is not allowed."""
        self.trial.mkdir(parents=True, exist_ok=True)
        if os.geteuid() or not shutil.which("mount"):
            return False
        command = ["mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", str(self.trial)]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    def resize(self, size: int) -> None:
        """That disk has so many bytes from now on."""
        subprocess.run(["mount", "-o", "remount,size=%d" % size, str(self.trial)], check=True)

    def unmount(self) -> None:
        with contextlib.suppress(OSError):
            if os.path.ismount(str(self.trial)):
                subprocess.run(["umount", "-l", str(self.trial)], check=False)
