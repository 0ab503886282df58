"""Five hundred damaged inputs: the command names the input in one line and changes no file.

Every run takes a sample of them; TODUS_SLOW=1 takes all, TODUS_TEST_SEED=1000 takes others.
"""

import os
import signal
import tempfile

import pytest

from tests.helpers import bad_input
from tests.helpers import own_images as own
from tests.helpers.bad_input_kinds import KINDS
from todus import command, variables

LONGEST = 90  # seconds
ALL, FIRST = bool(os.environ.get("TODUS_SLOW")), int(os.environ.get("TODUS_TEST_SEED", "0"))
SCRIPT_VARIABLES = sorted({row.name for row in variables.TABLE} | {"NMS", "TF_CONFIG"})


class TimeOut(BaseException):
    """Derives from BaseException, so that no command catches it."""


def test_there_are_five_hundred_damages_and_a_sample_of_each_kind():
    assert sum(kind.count for kind in KINDS.values()) == 500
    assert 100 <= len(bad_input.sampled(KINDS, False)) <= 140


@pytest.fixture
def world(tmp_path, monkeypatch, request):
    """A World without the user's variables, and with a folder for temporary files."""
    for name in SCRIPT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    top = tmp_path / "w"
    (top / "tmp").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(top / "tmp"))
    monkeypatch.setenv("TODUS_HOME", str(top / "home"))
    return bad_input.World(top, monkeypatch, lambda name: request.getfixturevalue(name + "_home"))


def time_out(_number, _frame):
    raise TimeOut


@pytest.mark.parametrize("kind, seed", bad_input.sampled(KINDS, ALL, FIRST))
def test_a_damaged_input_gives_one_error_line_and_changes_no_file(kind, seed, world, capfd):
    struck = KINDS[kind].strike(world, seed)
    before = own.tree(world.top)
    capfd.readouterr()
    handler = signal.signal(signal.SIGALRM, time_out)
    signal.alarm(LONGEST)
    try:
        code = command.run(struck.command, struck.main, struck.argv)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    out, err = capfd.readouterr()
    free = struck.touched + (() if code else struck.made)
    assert bad_input.outside(own.tree(world.top), free) == bad_input.outside(before, free)
    assert "Traceback" not in err and "\x1b" not in out + err and "\x9b" not in out + err
    if code:
        lines = [line for line in err.splitlines() if line.strip()]
        assert code in (1, 2) and lines[-1].startswith(struck.command + ": ")
        assert lines.count(lines[-1]) == 1
        assert any(name in err for name in struck.named), lines[-1]
        assert not list(world.top.rglob(".*")), "hidden files are left"
