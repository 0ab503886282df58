"""TensorFlow's own distributed runtime: which role TF_CONFIG gives this process, and all roles of a hosts file started and watched.

A hosts file has a line a role: ROLE HOST:PORT [NAME=VALUE ...], with ROLE chief, worker, ps or evaluator (its port is not used). localhost
and this machine's name are started here, others over ssh, in the folder that DIR=/path names there (default: the same as here). Other
NAME=VALUE go into the role's environment, such as CUDA_VISIBLE_DEVICES=1. # begins a comment.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from todus import paths
from todus.errors import TodusError, UsageError
from todus.paths import Model
from todus.training import run_record

ROLES = ("chief", "worker", "ps", "evaluator")
RESTARTS = 5  # of one worker or evaluator
FINISH = b"finish\n"  # on the standard input of an evaluator: score what waits, and end
LIVES_AS_STDIN = (
    "TODUS_LIVES_AS_STDIN"  # set for a process that shall stop when its standard input ends
)


class Role(NamedTuple):
    """One process of a cluster: its task type and its number among those."""

    kind: str
    index: int


@dataclass
class Host:
    """One line of a hosts file."""

    role: Role
    host: str
    port: int
    folder: str = ""
    environment: Dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "%s-%d" % self.role

    @property
    def is_here(self) -> bool:
        return self.host in ("localhost", "127.0.0.1", "::1", socket.gethostname())


def role() -> Optional[Role]:
    """What TF_CONFIG makes of this process; None without one, or with one that has no cluster. Raises UsageError for a wrong one."""
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
        if not config.get("cluster"):
            return None
        kind, index = config["task"]["type"], int(config["task"]["index"])
        members = {
            name: [str(address) for address in addresses]
            for name, addresses in config["cluster"].items()
        }
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise UsageError(
            'TF_CONFIG is not {"cluster": {...}, "task": {"type": ..., "index": ...}} (%s)' % error
        )
    if kind not in ROLES:
        raise UsageError("TF_CONFIG has the task type %s; there is: %s" % (kind, ", ".join(ROLES)))
    if not members.get("chief") or (
        kind != "evaluator" and not 0 <= index < len(members.get(kind, []))
    ):
        raise UsageError("TF_CONFIG's cluster has no chief, or no %s %d" % (kind, index))
    return Role(kind, index)


def server(run_config):
    """Starts this process's TensorFlow server, as RunConfig read it from TF_CONFIG."""
    from todus.tf import tf

    try:
        return tf.train.Server(
            run_config.cluster_spec,
            run_config.task_type,
            run_config.task_id,
            config=tf.ConfigProto(),
        )
    except tf.errors.OpError as error:
        raise TodusError(
            "cannot listen as %s %d (%s); is the port taken?"
            % (run_config.task_type, run_config.task_id, str(error)[:150])
        )


def ended_since(model: Model, moment: str) -> bool:
    """Whether the chief has noted a stop after `moment`, a run_log.now()."""
    try:
        events = run_record.read(model)["events"]
    except TodusError:
        return False
    return bool(events) and bool(events[-1].get("stopped")) and events[-1]["stopped"] >= moment


def stop_with_stdin(finish: Callable[[], None] = lambda: None) -> None:
    """In a process that another one started: SIGTERM for itself when that other one is gone, wherever it ran; finish() when told FINISH."""
    if not os.environ.pop(LIVES_AS_STDIN, ""):
        return

    def wait() -> None:
        while True:
            said = os.read(
                0, len(FINISH)
            )  # not sys.stdin, whose lock a waiting thread would hold when the interpreter ends
            if not said:
                break
            finish()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def read_hosts(path: Path) -> List[Host]:
    """The roles of a hosts file. Raises UsageError with file:line for what is wrong in it."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("--hosts %s cannot be read (%s)" % (path, error))
    hosts: List[Host] = []
    for number, line in enumerate(lines, start=1):
        where = "%s:%d" % (path, number)
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError("%s: %s" % (where, error))
        if words:
            hosts.append(_host(words, hosts, where))
    counts = {kind: sum(1 for host in hosts if host.role.kind == kind) for kind in ROLES}
    if counts["chief"] != 1 or counts["ps"] < 1 or counts["evaluator"] > 1:
        raise UsageError(
            "%s must have one chief, one or more ps, any number of workers and at most one evaluator"
            % path
        )
    return hosts


def _host(words: List[str], before: List[Host], where: str) -> Host:
    address = re.fullmatch(r"\[?([\w.:-]+?)\]?:(\d{1,5})", words[1]) if len(words) > 1 else None
    if words[0] not in ROLES or not address or not 0 < int(address.group(2)) < 65536:
        raise UsageError("%s: not ROLE HOST:PORT with a ROLE of %s" % (where, ", ".join(ROLES)))
    environment = {}
    for word in words[2:]:
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError("%s: %s is not NAME=VALUE" % (where, word))
        environment[name] = value
    host = Host(
        Role(words[0], sum(1 for each in before if each.role.kind == words[0])),
        address.group(1),
        int(address.group(2)),
    )
    host.folder, host.environment = environment.pop("DIR", ""), environment
    if any(
        (each.host, each.port) == (host.host, host.port)
        and "evaluator" not in (each.role.kind, words[0])
        for each in before
    ):
        raise UsageError("%s: %s is there twice" % (where, words[1]))
    return host


def tf_config(hosts: List[Host], task: Role) -> str:
    """TF_CONFIG for one role. The evaluator is no part of the cluster that the others see."""
    members: Dict[str, List[str]] = {}
    for host in hosts:
        if host.role.kind != "evaluator":
            members.setdefault(host.role.kind, []).append("%s:%d" % (host.host, host.port))
    return json.dumps({"cluster": members, "task": {"type": task.kind, "index": task.index}})


def command_of(
    host: Host, hosts: List[Host], model: Model, settings: Dict[str, str]
) -> Tuple[List[str], Dict[str, str]]:
    """The command that starts a role, and its environment's additions."""
    variables = dict(settings, **host.environment)
    variables.update({"TF_CONFIG": tf_config(hosts, host.role), LIVES_AS_STDIN: "1"})
    if host.is_here:
        variables["MODEL_DIR"] = str(model.folder)
        return [sys.executable, "-m", "todus.commands.train"], variables
    folder = host.folder or str(paths.REPO)
    variables["MODEL_DIR"] = os.path.join(folder, "model", model.name)
    assignments = " ".join(
        "%s=%s" % (name, shlex.quote(value)) for name, value in sorted(variables.items())
    )
    remote = "cd %s && %s exec ./train.sh" % (shlex.quote(folder), assignments)
    return [
        "ssh",
        "-o",
        "BatchMode=yes",
        "-o",
        "ServerAliveInterval=15",
        "--",
        host.host,
        remote,
    ], {}


class Launcher:
    """Starts the roles of a hosts file, each with its log under training/, and watches them.

    Args:
      model: a prepared model, at the same place on every host, or below the host's DIR.
      hosts: the roles.
      settings: environment variables that all roles get.
      say: takes lines.
    """

    def __init__(
        self, model: Model, hosts: List[Host], settings: Dict[str, str], say: Callable[[str], None]
    ):
        self._model, self._hosts, self._settings, self._say = model, hosts, settings, say
        self._running: Dict[str, subprocess.Popen] = {}
        self._starts: Dict[str, int] = {}
        self._stop = ""
        self._began = run_record.now()

    def run(self) -> int:
        """Runs until the chief has ended. Returns 0, or raises TodusError when a role is lost for good."""
        self._model.training.mkdir(parents=True, exist_ok=True)
        before = {
            number: signal.signal(number, self._remember)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            for host in sorted(
                self._hosts,
                key=lambda host: ("ps", "chief", "worker", "evaluator").index(host.role.kind),
            ):
                self._start(host)
            return self._watch()
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _remember(self, number, _frame) -> None:
        self._stop = signal.Signals(number).name

    def log_of(self, host: Host) -> Path:
        return self._model.training / ("%s.log" % host.name)

    def _start(self, host: Host) -> None:
        command, variables = command_of(host, self._hosts, self._model, self._settings)
        with self.log_of(host).open("ab") as log:
            self._running[host.name] = subprocess.Popen(
                command,
                env=dict(os.environ, **variables),
                cwd=str(paths.REPO),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._starts[host.name] = self._starts.get(host.name, 0) + 1
        self._say(
            "train: %s on %s:%d, PID %d, log %s"
            % (host.name, host.host, host.port, self._running[host.name].pid, self.log_of(host))
        )

    def _watch(self) -> int:
        while True:
            time.sleep(0.2)
            if self._stop:
                self._say("train: %s: stopping all roles" % self._stop)
                return 0
            for host in self._hosts:
                process = self._running.get(host.name)
                code = process.poll() if process else None
                if code is None:
                    continue
                if host.role.kind == "chief" and code == 0:
                    self._say("train: the chief has ended")
                    return 0
                if code == 0 and (
                    host.role.kind in ("worker", "evaluator")
                    or ended_since(self._model, self._began)
                ):
                    del self._running[host.name]
                    continue
                self._lost(host, code)

    def _lost(self, host: Host, code: int) -> None:
        how = "signal %d" % -code if code < 0 else "exit code %d" % code
        if host.role.kind in ("worker", "evaluator") and self._starts[host.name] <= RESTARTS:
            self._say("train: %s ended with %s; starting it again" % (host.name, how))
            self._start(host)
            return
        raise TodusError(
            "%s on %s ended with %s, all roles are stopped: %s"
            % (host.name, host.host, how, _last_line(self.log_of(host)))
        )

    def _end_all(self) -> None:
        """Ends each role by ending its standard input: workers, then the chief, which saves, the evaluator, the parameter servers."""
        for kind in ("worker", "chief", "evaluator", "ps"):
            group = [
                self._running[host.name]
                for host in self._hosts
                if host.role.kind == kind and host.name in self._running
            ]
            for process in group:
                tell(process, FINISH if kind == "evaluator" and not self._stop else None)
            deadline = time.monotonic() + (600 if kind == "evaluator" and not self._stop else 30)
            for process in group:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def tell(process: subprocess.Popen, line: Optional[bytes]) -> None:
    """A line for a role's standard input, or its end."""
    try:
        if line is None:
            process.stdin.close()
        else:
            process.stdin.write(line)
            process.stdin.flush()
    except OSError:
        pass  # it has ended


def _last_line(path: Path) -> str:
    try:
        lines = [
            line
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.strip()
        ]
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "its log %s is empty" % path
