"""The inputs of the commands: a miniature COCO and zoo on loopback, and a home for each stage."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Dict, Iterable, List, Mapping, Optional

from demo import shapes
from demo.server import ZOO_PATH, Server
from tests.helpers import own_images
from tests.torture import tree
from tests.torture.commands import MODEL, REPO, Command, named
from tests.torture.process import Process
from todus.errors import TodusError

# stage -> the stage before it, and the commands from there to it
STAGES = {
    "nothing": ("", ()),
    "dataset": ("nothing", ("dataset-limited",)),
    "model": ("dataset", ("model",)),
    "graphs": ("model", ("export", "export-tflite")),
    "files": ("graphs", ("convert-tflite",)),
    "own": ("nothing", ("dataset-voc",)),
    "grown": ("own", ("model-keep",)),
}
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "USER", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH")


class World:
    """A context manager that runs the loopback server.

    `folder` has stages/STAGE, and "a trial" for the current trial's copy of one of them, so that
    all trials run at the same path. `more` is added to the environment of every command.
    """

    def __init__(self, folder: Path, more: Mapping[str, str] = MappingProxyType({})):
        self.folder = folder.resolve()
        self._more = more
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
        self.stop_server()
        self.unmount()

    def _draw(self) -> None:
        zoo = self._served / ZOO_PATH.strip("/")
        if zoo.is_dir():
            return
        shapes.write(self._served, train=40, val=24)
        zoo.mkdir(parents=True)
        archive = REPO / "demo" / "zoo" / "ssd_mobilenet_v1_shapes.tar.gz"
        shutil.copy(str(archive), str(zoo / (MODEL + ".tar.gz")))

    def serve(self) -> None:
        """Starts the server, at the same port as before."""
        self._server = Server(self._served, port=self._port)
        self._server.__enter__()
        self._port = int(self._server.url.rsplit(":", 1)[1])

    def stop_server(self) -> None:
        """Closes open connections; new ones are refused."""
        if self._server:
            self._server.__exit__()
            self._server = None

    def environment(self, command: Command) -> Dict[str, str]:
        """The environment variables of a command on trial/."""
        url, home = "http://127.0.0.1:%d" % self._port, self.trial / "home"
        variables = {name: os.environ[name] for name in KEPT if name in os.environ}
        variables.update(
            PYTHON=sys.executable,
            PYTHONPATH=str(REPO),
            PYTHONDONTWRITEBYTECODE="1",
            TF_CPP_MIN_LOG_LEVEL="3",
            TODUS_HOME=str(home),
            TMPDIR=str(self.trial / "tmp"),
            MODEL_DIR=str(home / "model" / MODEL),
            RETRIES="2",
            RETRY_WAIT="0.05",
            TIMEOUT="5",
        )
        for pair in command.variables.split():
            name, value = pair.split("=", 1)
            variables[name] = value.format(url=url, zoo=url + ZOO_PATH, trial=self.trial)
        variables.update(self._more)
        return variables

    def argv(self, command: Command) -> List[str]:
        return [word.format(trial=self.trial) for word in command.argv]

    def stage(self, name: str) -> Path:
        """The folder of a stage, made by the first call. Raises TodusError when that fails."""
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
            _draw_images(self.trial, sorted((self._served / "val2017").glob("*.jpg"))[:12])
        for each in leading:
            (command,) = named(each)
            log = self.folder / "stderr.log"
            done = Process(self.argv(command), self.environment(command), REPO, log).end(3600)
            if done.code != 0:
                raise TodusError("%s fails undisturbed: %s" % (each, done.stderr.strip()[-500:]))
        part = folder.with_name(name + ".part")
        tree.copy(self.trial, part)
        part.rename(folder)
        return folder

    def reset(self, command: Command) -> None:
        """Makes trial/ a copy of the stage that the command runs on."""
        tree.copy(self.stage(command.start), self.trial)

    def mount(self, size: int) -> bool:
        """Mounts a disk of `size` bytes at trial/; returns False where that is not allowed."""
        self.trial.mkdir(parents=True, exist_ok=True)
        if os.geteuid() or not shutil.which("mount"):
            return False
        command = ["mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", str(self.trial)]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    def resize(self, size: int) -> None:
        """Changes the size of the mounted disk, in bytes."""
        subprocess.run(["mount", "-o", "remount,size=%d" % size, str(self.trial)], check=True)

    def unmount(self) -> None:
        with contextlib.suppress(OSError):
            if os.path.ismount(str(self.trial)):
                subprocess.run(["umount", "-l", str(self.trial)], check=False)


def _draw_images(folder: Path, pictures: Iterable[Path]) -> None:
    """The user's images: voc/, yolo/ and coco/ with boxes; pictures/ for a detector."""
    own_images.voc_folder(folder / "voc", 60)
    own_images.write(folder / "yolo" / "classes.txt", "cat\ndog\n")
    described = []
    for index in range(60):
        name = "i%02d.jpg" % index
        own_images.save(folder / "yolo" / "images" / name, index)
        label = folder / "yolo" / "labels" / name
        own_images.write(label.with_suffix(".txt"), "%d 0.4 0.5 0.5 0.6\n" % (index % 2))
        own_images.save(folder / "coco" / "images" / name, index)
        described.append({"id": index, "file_name": name, "width": 40, "height": 30})
    path = folder / "coco" / "annotations" / "instances_train.json"
    boxes = [(index, index % 2 + 1) for index in range(60)]
    own_images.coco_json(path, described, {1: "cat", 2: "dog"}, boxes)
    (folder / "pictures").mkdir()
    for path in pictures:
        shutil.copy(str(path), str(folder / "pictures"))
