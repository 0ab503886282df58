"""Locks: who holds one, and what may lie in the place of its file."""

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from tests.helpers.places import REPO
from todus import locks
from todus.errors import TodusError

HOLD = """import sys, time
from todus import locks
with locks.exclusive(sys.argv[1], "the thing"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "x")], stdout=subprocess.PIPE, cwd=str(REPO)
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(
            TodusError, match=r"the thing is in use by PID %d on " % holder.pid
        ), locks.exclusive(tmp_path / "x", "the thing"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locks.exclusive(tmp_path / "x", "the thing"):
        pass
    assert os.listdir(str(tmp_path)) == []


def test_asking_who_holds_a_lock_neither_takes_it_nor_waits(tmp_path):
    assert locks.holder(tmp_path / "x") is None
    with locks.exclusive(tmp_path / "x", "it"):
        assert locks.holder(tmp_path / "x")[1:] == (os.getpid(), locks.socket.gethostname())
    assert locks.holder(tmp_path / "x") is None and os.listdir(str(tmp_path)) == []


def test_those_who_share_a_lock_keep_out_who_wants_it_alone(tmp_path):
    path = tmp_path / "x"
    refused = pytest.raises(TodusError, match=r"it is in use by two \(PID %d on " % os.getpid())
    with locks.shared(path, "one", "built by %s"), locks.shared(
        path, "two", "built by %s"
    ), refused, locks.exclusive(path, "it"):
        pass
    refused = pytest.raises(TodusError, match="built by PID %d" % os.getpid())
    with locks.exclusive(path, "it"), refused, locks.shared(path, "one", "built by %s"):
        pass


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "FIFO", "folder"])
def test_what_is_no_lock_file_is_refused_and_left_alone(tmp_path, kind):
    path, victim = locks.path_of(tmp_path / "x"), tmp_path / "victim"
    if kind == "FIFO":
        os.mkfifo(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(victim)
        if kind == "symlink":
            victim.write_text("precious")
    with pytest.raises(TodusError, match="is not a lock file.*remove it"), locks.exclusive(
        tmp_path / "x", "it"
    ):
        pass
    assert locks.holder(tmp_path / "x") is None
    assert not victim.exists() or victim.read_text() == "precious"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_the_lock_of_another_user_holds_too():
    with tempfile.TemporaryDirectory(prefix="todus-test-") as name:
        os.chmod(name, 0o777)
        path = locks.path_of(os.path.join(name, "x"))
        path.write_text("")
        path.chmod(0o644)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setuid(65534)
                with locks.exclusive(os.path.join(name, "x"), "it"):
                    code = 0 if locks.holder(os.path.join(name, "x")) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
