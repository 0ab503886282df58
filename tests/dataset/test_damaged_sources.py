"""Damaged and hostile files of the user's own images are counted, or end in a one-line error."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import own_images as own
from tests.helpers.damage import ENCODINGS, HOSTILE, SNIPPETS, SOURCES, WHOLES, damaged
from todus import paths
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
def test_damage_is_counted_or_ends_in_a_one_line_error(source, changes, monkeypatch, capsys):
    draw, kind, main, arguments = SOURCES[source]
    with tempfile.TemporaryDirectory(prefix="todus-test-") as name:
        top, root = Path(name), Path(name) / "in"
        path = draw(root)
        path.write_bytes(damaged(path.read_bytes(), changes))
        before = own.tree(root)
        variables = {"NAME": "d", "MAX_DROPPED": "100", "SPLITS": "validation"}
        variables["CATEGORIES"] = "Car" if kind == "openimages" else ""
        build = own.runner(main, top / "home", monkeypatch, capsys)
        code, out, err = build(*arguments(root), OPENIMAGES_URL=str(root), **variables)
        assert own.tree(root) == before
        assert "\x1b" not in out + err and "\x9b" not in out + err
        written = {Path(each).parts[:4] for each in own.tree(top) if Path(each).parts[0] != "in"}
        if code == 0:
            assert written == {("home", "dataset", kind, "d")}
            counts, problems = verify.dataset(paths.dataset("%s/d" % kind))
            assert not problems and sum(found.boxes for found in counts.values()) >= 1
        else:
            assert code in (1, 2) and not written
            assert err.splitlines()[-1].startswith("dataset: ")
