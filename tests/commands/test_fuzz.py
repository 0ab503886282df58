"""make fuzz: parsers take their valid inputs and survive damaged ones; what fails is found."""

from collections import Counter

import pytest

from tests.fuzz import damages, targets
from tests.fuzz.mutation import mutated
from tests.helpers import bad_input
from todus.errors import TodusError

COSTLY = {"graph": 2, "http": 6, "http-many": 10, "tflite": 6, "tar": 10, "part.json": 10}
INCOMPLETE = ("graph.pb", "frozen graph")  # no detector is as small as these


@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_a_parser_takes_its_valid_input_and_survives_damaged_ones(name, tmp_path):
    fuzzed = targets.Fuzzed(name, tmp_path)
    assert fuzzed.run(fuzzed.seeds[0], refused=name in INCOMPLETE) == ""
    for seed in range(COSTLY.get(name, 30)):
        data = mutated(fuzzed.seeds, seed, targets.TARGETS[name].is_json)
        assert fuzzed.run(data) == "", "seed %d" % seed


def test_the_valid_inputs_are_small(tmp_path):
    size = 0
    for number, name in enumerate(targets.TARGETS):
        size += sum(map(len, targets.Fuzzed(name, tmp_path / str(number)).seeds))
    assert size < 100000


def outside(path):
    (path.parent.parent / "x").write_text("")


FAULTS = {
    "KeyError": lambda path: {}["x"],
    "Outside": outside,
    "TimeOut": lambda path: [None for _ in iter(int, 1)],
    "MemoryError": lambda path: bytearray(1 << 62),
}


def draw(folder):
    (folder / "x").write_bytes(b"x")
    return folder / "x"


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_faulty_parser_is_found(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "SECONDS", 0.05)
    monkeypatch.setitem(targets.TARGETS, "faulty", targets.Target(draw, FAULTS[kind]))
    assert targets.Fuzzed("faulty", tmp_path).run(b"y").startswith(kind + " at ?: ")


def test_the_damages_of_a_seed_are_the_same_and_of_every_kind():
    planned = list(damages.plan(1000, 3))
    assert planned == list(damages.plan(1000, 3)) and len(set(planned)) == 1000
    assert {title for title, _ in planned} == set(damages.KINDS)


def refuse(_argv):
    raise TodusError("no")


def change(_argv):
    open("in/given", "w").close()
    refuse(None)


def escape(_argv):
    open("../x", "w").close()


MAINS = {
    "refused": refuse,
    "accepted": lambda argv: 0,
    "traceback": lambda argv: {}["x"],
    "hang": lambda argv: [None for _ in iter(int, 1)],
    "outside": escape,
    "changed": change,
    "other": lambda argv: 1,
}


@pytest.mark.parametrize("result", sorted(MAINS))
def test_what_a_command_does_with_a_damage_is_told(result, tmp_path, monkeypatch):
    def strike(world, seed):
        (world.given / "given").write_text("%d" % seed)
        return bad_input.Struck("toy", MAINS[result], [], ())

    monkeypatch.setattr(damages, "SECONDS", 0.05)
    monkeypatch.setitem(damages.KINDS, "toys", damages.Damaged(1, strike))
    found = damages.attempt("toys", 1, tmp_path, {})
    assert found["result"] == result, found
    assert "| toys | 1 |" in damages.table({"toys": Counter(damages=1)})[-2]
