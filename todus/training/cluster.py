"""TensorFlow's distributed runtime: this process's role from TF_CONFIG, and a cluster's launcher.

A hosts file has one line for each role: ROLE HOST:PORT [NAME=VALUE ...]. ROLE is chief, worker,
ps or evaluator (its port is not used). Roles on localhost or this machine's name are started here,
others over ssh, in the same folder as here, or in the one that DIR=/path names. Other NAME=VALUE
are environment variables of the role, such as CUDA_VISIBLE_DEVICES=1. # begins a comment.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from todus import paths
from todus.errors import TodusError, UsageError
from todus.paths import Model
from todus.training import processes, run_record

ROLES = ("chief", "worker", "ps", "evaluator")
RESTARTS = 5  # of one worker or evaluator
SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "--"]


class Role(NamedTuple):
    """One process of a cluster: its task type and its index among the tasks of that type."""

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
    """The role that TF_CONFIG gives this process; None where it is not set or has no cluster.

    Raises UsageError for a TF_CONFIG that is not valid.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
        if not config.get("cluster"):
            return None
        kind, index = config["task"]["type"], int(config["task"]["index"])
        members = {name: len(list(addresses)) for name, addresses in config["cluster"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise UsageError(
            'TF_CONFIG is not {"cluster": {...}, "task": {"type": ..., "index": ...}} (%s)' % error
        )
    if kind not in ROLES:
        raise UsageError(
            "TF_CONFIG has the task type %s; use one of: %s" % (kind, ", ".join(ROLES))
        )
    if not members.get("chief") or (kind != "evaluator" and not 0 <= index < members.get(kind, 0)):
        raise UsageError("TF_CONFIG's cluster has no chief, or no %s %d" % (kind, index))
    return Role(kind, index)


def server(run_config):
    """Starts the TensorFlow server of this process, as `run_config` has read it from TF_CONFIG."""
    from todus.tf import tf

    kind, index = run_config.task_type, run_config.task_id
    try:
        return tf.train.Server(run_config.cluster_spec, kind, index, config=tf.ConfigProto())
    except tf.errors.OpError as error:
        raise TodusError(
            "cannot listen as %s %d (%s); is the port in use?" % (kind, index, str(error)[:150])
        )


def ended_since(model: Model, moment: str) -> bool:
    """Whether the chief has recorded a stop after `moment`, a run_record.now()."""
    try:
        events = run_record.read(model)["events"]
    except TodusError:
        return False
    return bool(events) and (events[-1].get("stopped") or "") >= moment


def read_hosts(path: Path) -> List[Host]:
    """The roles of a hosts file. Raises UsageError with file:line for a line that is not valid."""
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
    kinds = [host.role.kind for host in hosts]
    if kinds.count("chief") != 1 or "ps" not in kinds or kinds.count("evaluator") > 1:
        raise UsageError(
            "%s must have one chief, at least one ps, any number of workers "
            "and at most one evaluator" % path
        )
    return hosts


def _host(words: List[str], before: List[Host], where: str) -> Host:
    kind = words[0]
    address = re.fullmatch(r"\[?([\w.:-]+?)\]?:(\d{1,5})", words[1]) if len(words) > 1 else None
    if kind not in ROLES or not address or not 0 < int(address.group(2)) < 65536:
        raise UsageError("%s: not ROLE HOST:PORT with a ROLE of %s" % (where, ", ".join(ROLES)))
    name, port = address.group(1), int(address.group(2))
    environment = {}
    for word in words[2:]:
        variable, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", variable):
            raise UsageError("%s: %s is not NAME=VALUE" % (where, word))
        environment[variable] = value
    taken = {(each.host, each.port) for each in before if each.role.kind != "evaluator"}
    if kind != "evaluator" and (name, port) in taken:
        raise UsageError("%s: %s occurs twice" % (where, words[1]))
    role = Role(kind, sum(each.role.kind == kind for each in before))
    return Host(role, name, port, environment.pop("DIR", ""), environment)


def tf_config(hosts: List[Host], task: Role) -> str:
    """TF_CONFIG for one role. The evaluator is not a member of the cluster that others see."""
    members: Dict[str, List[str]] = {}
    for host in hosts:
        if host.role.kind != "evaluator":
            members.setdefault(host.role.kind, []).append("%s:%d" % (host.host, host.port))
    return json.dumps({"cluster": members, "task": {"type": task.kind, "index": task.index}})


def command_of(
    host: Host, hosts: List[Host], model: Model, settings: Dict[str, str]
) -> Tuple[List[str], Dict[str, str]]:
    """The command that starts a role, and the variables to add to the environment here."""
    variables = dict(settings, **host.environment)
    variables.update({"TF_CONFIG": tf_config(hosts, host.role), processes.LIVES_AS_STDIN: "1"})
    if host.is_here:
        variables["MODEL_DIR"] = str(model.folder)
        return processes.TRAIN, variables
    folder = host.folder or str(paths.REPO)
    variables["MODEL_DIR"] = os.path.join(folder, "model", model.name)
    assignments = ["%s=%s" % (name, shlex.quote(variables[name])) for name in sorted(variables)]
    remote = "cd %s && %s exec ./train.sh" % (shlex.quote(folder), " ".join(assignments))
    return SSH + [host.host, remote], {}


@dataclass
class Launcher:
    """Starts the roles of a hosts file, each with its log in training/, and watches them.

    The prepared model is in the same folder on every host, or below the host's DIR. `settings` are
    environment variables of all roles.
    """

    model: Model
    hosts: List[Host]
    settings: Dict[str, str]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self._running: Dict[str, subprocess.Popen] = {}
        self._starts: Dict[str, int] = {}
        self._stop = ""
        self._began = run_record.now()

    def run(self) -> int:
        """Runs until the chief has ended or a signal arrives; returns 0.

        Raises TodusError when a role has failed and is not restarted.
        """
        self.model.training.mkdir(parents=True, exist_ok=True)
        before = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            for kind in ("ps", "chief", "worker", "evaluator"):
                for host in self._of_kind(kind):
                    self._start(host)
            return self._watch()
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number, _frame) -> None:
        self._stop = signal.Signals(number).name

    def _of_kind(self, kind: str) -> List[Host]:
        return [host for host in self.hosts if host.role.kind == kind]

    def _log_of(self, host: Host) -> Path:
        return self.model.training / ("%s.log" % host.name)

    def _start(self, host: Host) -> None:
        command, variables = command_of(host, self.hosts, self.model, self.settings)
        with self._log_of(host).open("ab") as log:
            process = processes.start(
                command, variables, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        self._running[host.name] = process
        self._starts[host.name] = self._starts.get(host.name, 0) + 1
        self.say(
            "train: %s on %s:%d, PID %d, log %s"
            % (host.name, host.host, host.port, process.pid, self._log_of(host))
        )

    def _watch(self) -> int:
        while True:
            time.sleep(0.2)
            if self._stop:
                self.say("train: %s: stopping all roles" % self._stop)
                return 0
            for host in self.hosts:
                process = self._running.get(host.name)
                code = process.poll() if process else None
                if code == 0 and host.role.kind == "chief":
                    self.say("train: the chief has ended")
                    return 0
                if code == 0 and (host.role.kind != "ps" or ended_since(self.model, self._began)):
                    del self._running[host.name]
                elif code is not None:
                    self._restart(host, code)

    def _restart(self, host: Host, code: int) -> None:
        """Starts a worker or an evaluator again; raises TodusError for other roles."""
        how = "signal %d" % -code if code < 0 else "exit code %d" % code
        if host.role.kind in ("worker", "evaluator") and self._starts[host.name] <= RESTARTS:
            self.say("train: %s ended with %s; starting it again" % (host.name, how))
            self._start(host)
            return
        log = self._log_of(host)
        last = processes.last_line(log)[:300] or "its log %s is empty" % log
        raise TodusError(
            "%s on %s ended with %s, all roles are stopped: %s" % (host.name, host.host, how, last)
        )

    def _end_all(self) -> None:
        """Ends each role by closing its standard input.

        First the workers, then the chief, which saves a checkpoint, the evaluator, which scores
        the pending checkpoints unless a signal has arrived, and the parameter servers.
        """
        for kind in ("worker", "chief", "evaluator", "ps"):
            finishes = kind == "evaluator" and not self._stop
            names = [host.name for host in self._of_kind(kind) if host.name in self._running]
            for name in names:
                processes.send(self._running[name], processes.FINISH if finishes else None)
            deadline = time.monotonic() + (600 if finishes else 30)
            for name in names:
                processes.wait_or_kill(self._running[name], deadline - time.monotonic())
