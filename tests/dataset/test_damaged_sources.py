"""Damaged and hostile input to the sources of a person's own images: each is counted or answered with one clear line."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import own_images as own
from tests.helpers.damage import ENCODINGS, HOSTILE, SNIPPETS, SOURCES, WHOLES, damaged
from todus import paths
from todus.command import run
from todus.dataset.records import verify

edits = st.lists(
    st.one_of(
        st.tuples(st.just("token"), st.integers(0, 400), st.sampled_from(HOSTILE)),
        st.tuples(st.just("cut"), st.integers(0, 4000), st.just("")),
        st.tuples(st.just("byte"), st.integers(0, 4000), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("insert"), st.integers(0, 4000), st.sampled_from(SNIPPETS)),
        st.tuples(st.just("repeat"), st.integers(0, 4000), st.integers(1, 300)),
        st.tuples(st.just("encode"), st.sampled_from(ENCODINGS), st.just("")),
        st.tuples(st.just("whole"), st.sampled_from(WHOLES), st.just("")),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("source", sorted(SOURCES))
@given(changes=edits)
@settings(max_examples=45, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_damage_is_counted_or_one_clear_line(source, changes, monkeypatch, capsys):
    draw, kind, main, arguments = SOURCES[source]
    top = Path(tempfile.mkdtemp(prefix="todus-test-"))
    try:
        victim = draw(top / "in")
        victim.write_bytes(damaged(victim.read_bytes(), changes))
        own.clean_environment(
            monkeypatch, top / "home", NAME="d", MAX_DROPPED="100", OPENIMAGES_URL=str(top / "in")
        )
        monkeypatch.setenv("CATEGORIES", "Car" if kind == "openimages" else "")
        monkeypatch.setenv("SPLITS", "validation")
        before = own.tree(top / "in")
        capsys.readouterr()
        code = run("dataset", main, arguments(top / "in"))
        captured = capsys.readouterr()
        assert own.tree(top / "in") == before
        assert (
            "\x1b" not in captured.out + captured.err and "\x9b" not in captured.out + captured.err
        )
        written = {
            path.relative_to(top).parts[:4]
            for path in top.rglob("*")
            if path.is_file() and path.relative_to(top).parts[0] != "in"
        }
        if code == 0:
            assert written and all(parts[:4] == ("home", "dataset", kind, "d") for parts in written)
            counts, problems = verify.dataset(paths.dataset("%s/d" % kind))
            assert not problems and sum(found.boxes for found in counts.values()) >= 1
        else:
            assert (
                code in (1, 2)
                and captured.err.splitlines()[-1].startswith("dataset: ")
                and not written
            )
    finally:
        shutil.rmtree(str(top))
