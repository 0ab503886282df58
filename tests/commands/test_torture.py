"""The torture tells a command that can be disturbed from one that cannot. Its commands here are a few lines of Python; see make torture."""

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torture import faults, report, tree, trial
from tests.torture.commands import COMMANDS, Command, named
from tests.torture.faults import Moment
from tests.torture.run import share
from tests.torture.world import World

SECONDS = 0.4  # that the commands take
HEAD = (
    """
import os, sys, time
from pathlib import Path
home = Path(os.environ["TODUS_HOME"])
def work(data=b"x" * 200000):
    for _ in range(8):
        time.sleep(%g / 8)
    return data
"""
    % SECONDS
)

GOOD = """
from todus import files, locks
from todus.command import run
def main(_):
    with locks.exclusive(home / "it", "it"), files.replacing(home / "out") as part:
        part.write_bytes(work())
sys.exit(run("toy", main, []))
"""
HALF = (
    """
with open(str(home / "out"), "ab") as file:
    for _ in range(8):
        time.sleep(%g / 8); file.write(b"x"); file.flush()
"""
    % SECONDS
)
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
    """disturbed(code, fault) is the Trial of one fault in the middle of a command of such code."""
    monkeypatch.setattr(World, "_draw", lambda self: None)
    monkeypatch.setattr(World, "serve", lambda self: None)
    monkeypatch.setattr("tests.torture.process.GRACE", 0.3)

    def run(code, fault, share=0.5, **options):
        command = Command("toy", [sys.executable, "-c", HEAD + code], "nothing", 1, **options)
        with World(tmp_path / "w") as world:
            start = tmp_path / "w" / "stages" / "nothing"
            for inside in ("home", "tmp"):
                (start / inside).mkdir(parents=True, exist_ok=True)
            usual = faults.usual_of(world, command)
            return trial.run(world, command, fault, Moment(share, 0.9), usual)

    return run


@pytest.mark.parametrize("fault", [name for name in faults.FAULTS if name != faults.NETWORK])
def test_a_command_that_writes_beside_and_renames_is_well(disturbed, fault):
    if fault not in faults.that_concern(COMMANDS[0]):
        pytest.skip("this machine does not allow %s" % fault)
    found = disturbed(GOOD, fault)
    assert not found.problems


BAD = {
    "half a file": (HALF, "kill -9", "another: home/out"),
    "a stray file": (STRAY, "kill -9", "stray: home/.out"),
    "a lock that stays": (LOCKED, "kill -9", "run again: ends with 1"),
    "a traceback": (CLOCK, faults.CLOCK, "a traceback"),
    "a child that lives on": (CHILD, "kill -9", "leaves running: sleep 60"),
    "another exit code": (DEAF, faults.SIGTERM, "ends with 3"),
    "two that spoil each other": (TWINS, faults.TWO, "a traceback"),
}


@pytest.mark.parametrize("bad", sorted(BAD))
def test_a_planted_fault_is_found(disturbed, bad):
    code, fault, found = BAD[bad]
    assert found in " ".join(disturbed(code, fault).problems)


def test_a_command_whose_runs_differ_is_no_measure(disturbed):
    with pytest.raises(AssertionError, match="two undisturbed runs differ: another: home/out"):
        disturbed(RANDOM, "kill -9")


def test_what_is_loose_is_compared_by_its_meaning(disturbed):
    found = disturbed(RANDOM, "kill -9", share=2, loose=(("home/out", len),))
    assert found.problems == [] and found.codes == [0]


def test_differences_name_what_is_missing_stray_and_another(tmp_path):
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
        "another: b",
    ]
    assert "d" not in tree.contents(tmp_path, ignored=re.compile("d"))


def test_the_shares_of_all_commands_are_two_hundred():
    assert sum(share(command, list(COMMANDS), 200) for command in COMMANDS) == 200
    assert [command.name for command in named("export, model")] == ["export", "model"]
    with pytest.raises(KeyError):
        named("nothing")


@given(st.integers(0, 50), st.integers(1, 40))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_moments_are_the_same_for_a_seed_and_of_every_fault(seed, count):
    command = COMMANDS[0]
    found = trial.moments(command, seed, count)
    assert found == trial.moments(command, seed, count) and len(found) == count
    if count >= len(faults.FAULTS):
        assert {fault for fault, _ in found} == set(faults.that_concern(command))


def test_the_table_counts_what_was_well():
    trials = [
        {"fault": "kill -9", "codes": [code], "problems": problems}
        for code, problems in ((-9, []), (0, ["stray: x"]))
    ]
    results = {"toy": {"title": "toy", "seconds": 1.0, "why": "w", "trials": trials}}
    assert "| toy | 1.0 | 1/2 (-9, 0) |" in report.table(results)[-1]
    assert "2 moments" in report.page(results, 0)
