"""Five hundred damages to every kind of input: one line that names it, an exit code as documented, and nothing else changed.

Every run of the tests takes a sample; TODUS_SLOW=1 takes all, TODUS_TEST_SEED=1000 others.
"""

import os
import re
import signal
import tempfile

import pytest

from tests.helpers import bad_input
from tests.helpers import own_images as own
from tests.helpers.bad_input_kinds import KINDS
from todus import command, variables

LONGEST = 90  # seconds
CASES = bad_input.sampled(
    KINDS, bool(os.environ.get("TODUS_SLOW")), int(os.environ.get("TODUS_TEST_SEED", "0"))
)
SCRIPT_VARIABLES = sorted({row.name for row in variables.TABLE} | {"NMS", "TF_CONFIG"})
FOREIGN = re.compile(
    r"^(\d{4}-\d\d-\d\d |[WEF]\d{4} |.*Warning: |  )"
)  # what libraries say on stderr


class Hang(BaseException):
    """A command took too long."""


def test_the_corpus_is_of_five_hundred_damages():
    assert sum(kind.count for kind in KINDS.values()) == 500
    assert 100 <= len(bad_input.sampled(KINDS, False)) <= 140


@pytest.fixture
def stores(request):
    return lambda name: request.getfixturevalue("%s_home" % name)


@pytest.fixture
def world(tmp_path, monkeypatch, stores):
    """A world whose commands see no variable of the tester's, and whose temporary files lie in a folder that must be empty in the end."""
    for name in SCRIPT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    top = tmp_path / "w"
    (top / "tmp").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(top / "tmp"))
    monkeypatch.setenv("TODUS_HOME", str(top / "home"))
    return bad_input.World(top, monkeypatch, stores)


def alarmed(_number, _frame):
    raise Hang


@pytest.mark.parametrize("kind, seed", CASES)
def test_damage_is_one_line_and_nothing_is_lost(kind, seed, world, capfd):
    struck = KINDS[kind].strike(world, seed)
    before = own.tree(world.top)
    capfd.readouterr()
    handler = signal.signal(signal.SIGALRM, alarmed)
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
        said = [line for line in err.splitlines() if line.strip()]
        assert code in (1, 2) and said[-1].startswith(struck.command + ": ")
        assert (
            sum(line.startswith(struck.command + ": ") and line == said[-1] for line in said) == 1
        )
        assert any(name in err for name in struck.named), said[-1]
        assert not list(world.top.rglob(".*")), "hidden files are left"
