"""Locks: their holders, and lock files that are not regular files."""

import contextlib
import os
import socket
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


def test_a_lock_names_its_holder_and_is_released_when_the_holder_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "x")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=str(REPO)) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            refused = pytest.raises(TodusError, match="the thing is in use by PID %d" % holder.pid)
            with refused, locks.exclusive(tmp_path / "x", "the thing"):
                pass
        finally:
            holder.kill()
    with locks.exclusive(tmp_path / "x", "the thing"):
        pass
    assert os.listdir(str(tmp_path)) == []


def test_reading_the_holder_of_a_lock_does_not_take_the_lock(tmp_path):
    assert locks.holder(tmp_path / "x") is None
    with locks.exclusive(tmp_path / "x", "it"):
        assert locks.holder(tmp_path / "x")[1:3] == (os.getpid(), socket.gethostname())
    assert locks.holder(tmp_path / "x") is None and os.listdir(str(tmp_path)) == []


def test_shared_locks_exclude_an_exclusive_lock_and_the_reverse(tmp_path):
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
def test_a_lock_file_that_is_not_a_regular_file_is_an_error_and_unchanged(tmp_path, kind):
    path, victim = locks.path_of(tmp_path / "x"), tmp_path / "victim"
    if kind == "FIFO":
        os.mkfifo(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(victim)
        if kind == "symlink":
            victim.write_text("precious")
    refused = pytest.raises(TodusError, match="is not a lock file.*remove it")
    with refused, locks.exclusive(tmp_path / "x", "it"):
        pass
    assert locks.holder(tmp_path / "x") is None
    assert victim.exists() == (kind == "symlink")
    assert kind != "symlink" or victim.read_text() == "precious"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the user")
def test_a_lock_file_of_another_user_can_be_locked():
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


def test_of_a_shared_lock_no_process_is_named_that_has_ended(tmp_path):
    folder = tmp_path / "x"
    with locks.shared(folder, "a training", "used by %s"):
        child = os.fork()
        if child == 0:
            with locks.shared(folder, "another", "used by %s"):
                os._exit(0)
        os.waitpid(child, 0)
        assert "PID %d" % child in locks.path_of(folder).read_text()
        with pytest.raises(TodusError) as caught, locks.exclusive(folder, "it"):
            pass
        assert "PID %d" % child not in str(caught.value)
        assert "another process" in str(caught.value)


def test_of_a_holder_in_a_container_with_this_host_name_the_message_says_so(tmp_path, monkeypatch):
    place = locks.life_of(os.getpid())
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(locks, "life_of", lambda pid: place.replace("pid:[", "pid:[1"))
        stack = contextlib.ExitStack()
        stack.enter_context(locks.exclusive(tmp_path / "x", "it"))
    with stack:
        other = r"in use by PID %d on \S+, in another machine or container than this" % os.getpid()
        with pytest.raises(TodusError, match=other), locks.exclusive(tmp_path / "x", "it"):
            pass
