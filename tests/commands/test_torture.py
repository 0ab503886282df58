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
from tests.torture.run import applies, main, share
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
NAMING = """
from todus import locks
me = "PID %d on this" % os.getpid()
try:
    os.close(os.open(str(home / "lock"), os.O_CREAT | os.O_EXCL))
except FileExistsError:
    sys.exit("toy: in use by PID 2 on this")
(home / "out").write_bytes(work()); (home / "lock").unlink()
"""
SIGNALLING = """
import signal
pid = home / "pid"
if sys.argv[1:] == ["--stop"]:
    try:
        os.kill(int(pid.read_text()), signal.SIGTERM)
    except (OSError, ValueError):
        pass
    sys.exit(0)
pid.write_text(str(os.getpid()))
(home / "out").write_bytes(work()); pid.unlink()
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
    if fault not in possible():
        pytest.skip("this machine does not allow %s" % fault)
    found = disturbed(GOOD, fault)
    assert not found.problems


def possible():
    containers = [faults.CONTAINERS] * faults.containers_are_possible()
    return faults.possible_for(COMMANDS[0]) + containers


BAD = {
    "an incomplete file": (HALF, "kill -9", "changed: home/out"),
    "a stray file": (STRAY, "kill -9", "stray: home/.out"),
    "a lock that is not released": (LOCKED, "kill -9", "run again: exits with 1"),
    "a traceback": (CLOCK, faults.CLOCK, "a traceback"),
    "a child that keeps running": (CHILD, "kill -9", "leaves running: sleep 60"),
    "another exit code": (DEAF, faults.SIGTERM, "exits with 3"),
    "two runs with one temporary file": (TWINS, faults.TWO, "a traceback"),
    "a PID of another container in a message": (NAMING, faults.CONTAINERS, "in use by PID 2 on"),
    "a signal to a process of another container": (
        SIGNALLING,
        faults.CONTAINERS,
        "ended an innocent process",
    ),
}


@pytest.mark.parametrize("bad", sorted(BAD))
def test_a_faulty_command_is_found(disturbed, bad):
    code, fault, found = BAD[bad]
    if fault not in possible():
        pytest.skip("this machine does not allow %s" % fault)
    asks = ("--stop",) if "--stop" in code else ()
    # On a busy machine the middle of the usual run's time may be before the command's first line,
    # and the processes of a second container start late.
    shares = (0, 0.3, 0.6) if fault == faults.CONTAINERS else (0.5, 0.7, 0.9)
    trials = (disturbed(code, fault, share, asks=asks) for share in shares)
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


@pytest.mark.parametrize("total", [50, 200, 250])
def test_the_shares_of_all_commands_add_up_to_the_total(total):
    assert sum(share(command, total) for command in COMMANDS) == total
    assert [command.name for command in named("export, model")] == ["export", "model"]
    with pytest.raises(KeyError):
        named("nothing")


def test_a_row_is_titled_by_what_the_user_types():
    titles = {command.name: command.title for command in COMMANDS}
    assert titles["eval-errors"] == "./eval.sh --errors" and titles["slice"] == "make slice"
    assert titles["model-keep"] == "python -m model --keep" and titles["export"] == "./export.sh"
    assert len(set(titles.values())) == len(COMMANDS)


def test_a_command_gets_paths_with_spaces_and_the_variables_of_the_run(tmp_path):
    (command,) = named("slice")
    found = World(tmp_path, {"JOBS": "1"}).environment(command)
    assert found["FILE"].startswith(str(tmp_path / "a trial" / "home")) and found["JOBS"] == "1"


def test_commands_that_do_not_obey_jobs_are_not_run_for_it_and_its_results_are_kept_apart():
    one, (voc, slice_) = report.Setting(jobs=1), named("dataset-voc slice")
    assert applies(one, voc) and not applies(one, slice_) and applies(report.Setting(), slice_)
    assert len({setting.file for setting in report.SETTINGS}) == len(report.SETTINGS)


def test_without_the_right_to_make_namespaces_containers_are_skipped(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(faults, "containers_are_possible", lambda: False)
    for name, value in (("CONTAINERS", "1"), ("WORK", str(tmp_path / "w")), ("COMMANDS", "slice")):
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("torture: skipped: CONTAINERS=1 needs unshare")
    assert not (tmp_path / "w").exists()


@given(st.integers(0, 50), st.integers(1, 40))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_moments_depend_on_the_seed_alone_and_have_every_fault(seed, count):
    command = COMMANDS[0]
    found = trial.moments(command, seed, count)
    assert found == trial.moments(command, seed, count) and len(found) == count
    if count >= len(faults.FAULTS):
        assert {fault for fault, _ in found} == set(faults.possible_for(command))
    (command,) = named("train-keep")
    first = [fault for fault, _ in trial.moments(command, seed, count)][: command.kills]
    assert set(first) <= {faults.KILL}


def test_the_table_counts_the_passed_trials():
    trials = [
        {"fault": "kill -9", "codes": [code], "problems": problems}
        for code, problems in ((-9, []), (0, ["stray: x"]))
    ]
    toy = {"title": "toy", "seconds": 1.0, "seed": 7, "why": "w", "trials": trials}
    assert report.table({"toy": toy}) == [
        "| command | s | kill -9 |",
        "|---|---|---|",
        "| toy | 1.0 | 1/2 (-9, 0) |",
    ]
    page = report.page({report.Setting(): {"toy": toy}, report.Setting(jobs=1): {"toy": toy}})
    assert "2 trials, seed 7, " in page and "2 trials with `JOBS=1`, seed 7, " in page
    assert page.count("* toy: w") == 1
