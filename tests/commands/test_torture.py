"""make torture finds the faults of commands, which here are a few lines of Python."""

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.server import ZOO_PATH
from tests.torture import faults, report, tree, trial
from tests.torture.commands import COMMANDS, Command, named
from tests.torture.faults import Moment
from tests.torture.run import share
from tests.torture.world import World

HEAD = """
SECONDS = 0.4  # the duration of the commands
import os, sys, time
from pathlib import Path
home = Path(os.environ["TODUS_HOME"])
def work(data=b"x" * 200000):
    for _ in range(8):
        time.sleep(SECONDS / 8)
    return data
"""

GOOD = """
from todus import files, locks
from todus.command import run
def main(_):
    with locks.exclusive(home / "it", "it"), files.replacing(home / "out") as part:
        part.write_bytes(work())
sys.exit(run("toy", main, []))
"""
HALF = """
with open(str(home / "out"), "ab") as file:
    for _ in range(8):
        time.sleep(SECONDS / 8); file.write(b"x"); file.flush()
"""
STRAY = """
part = home / (".out.%d" % os.getpid())
part.write_bytes(b"x"); work(); part.rename(home / "out")
"""
TWINS = """
part = home / ".out.part"
part.write_bytes(b"x"); work(); part.rename(home / "out")
"""
LOCKED = """
try:
    os.close(os.open(str(home / "lock"), os.O_CREAT | os.O_EXCL))
except FileExistsError:
    sys.exit("toy: in use")
(home / "out").write_bytes(work()); (home / "lock").unlink()
"""
CLOCK = """
began = time.time()
data = work()
assert 0 <= time.time() - began < 60, "toy: a clock that jumps"
(home / "out").write_bytes(data)
"""
CHILD = """
import subprocess
child = subprocess.Popen(["sleep", "60"])
data = work(); child.kill()
(home / "out").write_bytes(data)
"""
RANDOM = """
(home / "out").write_bytes(os.urandom(10))
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
(home / "out").write_bytes(work())
"""


@pytest.fixture
def disturbed(tmp_path, monkeypatch):
    """disturbed(code, fault) is the Trial of a fault in the middle of a command with that code."""
    monkeypatch.setattr(World, "serve", lambda self: None)
    monkeypatch.setattr("tests.torture.process.GRACE", 0.3)
    # An existing zoo is not drawn again.
    for folder in ("served" + ZOO_PATH, "stages/nothing/home", "stages/nothing/tmp"):
        (tmp_path / "w" / folder).mkdir(parents=True)

    def run(code, fault, share=0.5, **options):
        command = Command("toy", [sys.executable, "-c", HEAD + code], "nothing", 1, **options)
        with World(tmp_path / "w") as world:
            usual = faults.usual_of(world, command)
            return trial.run(world, command, fault, Moment(share, 0.9), usual)

    return run


@pytest.mark.parametrize("fault", [name for name in faults.FAULTS if name != faults.NETWORK])
def test_a_command_that_writes_to_a_temporary_file_and_renames_it_passes(disturbed, fault):
    if fault not in faults.possible_for(COMMANDS[0]):
        pytest.skip("this machine does not allow %s" % fault)
    found = disturbed(GOOD, fault)
    assert not found.problems


BAD = {
    "an incomplete file": (HALF, "kill -9", "changed: home/out"),
    "a stray file": (STRAY, "kill -9", "stray: home/.out"),
    "a lock that is not released": (LOCKED, "kill -9", "run again: exits with 1"),
    "a traceback": (CLOCK, faults.CLOCK, "a traceback"),
    "a child that keeps running": (CHILD, "kill -9", "leaves running: sleep 60"),
    "another exit code": (DEAF, faults.SIGTERM, "exits with 3"),
    "two runs with one temporary file": (TWINS, faults.TWO, "a traceback"),
}


@pytest.mark.parametrize("bad", sorted(BAD))
def test_a_faulty_command_is_found(disturbed, bad):
    code, fault, found = BAD[bad]
    # On a busy machine the middle of the usual run's time may be before the command's first line.
    trials = (disturbed(code, fault, share) for share in (0.5, 0.7, 0.9))
    assert any(found in " ".join(each.problems) for each in trials)


def test_a_command_whose_undisturbed_runs_differ_is_refused(disturbed):
    with pytest.raises(AssertionError, match="two undisturbed runs differ: changed: home/out"):
        disturbed(RANDOM, "kill -9")


def test_a_loose_file_is_compared_by_its_function(disturbed):
    found = disturbed(RANDOM, "kill -9", share=2, loose=(("home/out", len),))
    assert found.problems == [] and found.codes == [0]


def test_differences_name_what_is_missing_stray_and_changed(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "empty").mkdir()
    before = tree.contents(tmp_path)
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_text("other")
    (tmp_path / "d").write_text("d")
    (tmp_path / "empty").rmdir()
    assert tree.differences(before, tree.contents(tmp_path)) == [
        "missing: a",
        "missing: empty/",
        "stray: d",
        "changed: b",
    ]
    assert "d" not in tree.contents(tmp_path, ignored=re.compile("d"))


def test_the_shares_of_all_commands_add_up_to_the_total():
    assert sum(share(command, 200) for command in COMMANDS) == 200
    assert [command.name for command in named("export, model")] == ["export", "model"]
    with pytest.raises(KeyError):
        named("nothing")


@given(st.integers(0, 50), st.integers(1, 40))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_moments_depend_on_the_seed_alone_and_have_every_fault(seed, count):
    command = COMMANDS[0]
    found = trial.moments(command, seed, count)
    assert found == trial.moments(command, seed, count) and len(found) == count
    if count >= len(faults.FAULTS):
        assert {fault for fault, _ in found} == set(faults.possible_for(command))


def test_the_table_counts_the_passed_trials():
    trials = [
        {"fault": "kill -9", "codes": [code], "problems": problems}
        for code, problems in ((-9, []), (0, ["stray: x"]))
    ]
    results = {"toy": {"title": "toy", "seconds": 1.0, "why": "w", "trials": trials}}
    assert "| toy | 1.0 | 1/2 (-9, 0) |" in report.table(results)[-1]
    assert "2 trials" in report.page(results, 0)
