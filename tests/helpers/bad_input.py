"""Damages by the hundred: what may happen to a file or a variable, and what is done with each kind of input after it.

A kind is a function that lays out a small world below a folder, damages one thing in it by a seed, and says which command is then run.
The generators of dataset/test_damaged_sources.py and model/test_damaged_models.py do the damage to texts and archives.
"""

import random
import shutil
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from tests.helpers.damage import ENCODINGS, HOSTILE, SNIPPETS, WHOLES, damaged

RAW = "dataset/mscoco/raw-data"
LIMITED = "dataset/mscoco/limited"
NOWHERE = "http://127.0.0.1:9"  # where nobody answers

Main = Callable[[List[str]], int]


class Struck(NamedTuple):
    """What is run on a damaged input.

    Attributes:
      command: its name, which begins its messages.
      main, argv: what is called.
      named: when it fails, one of these is in what it says: a file, a variable.
      made: paths below the world that it may make or change when it ends well.
      touched: those that it may change in any case: a damaged download is removed, a trainer keeps its books.
    """

    command: str
    main: Main
    argv: List[str]
    named: Tuple[str, ...]
    made: Tuple[str, ...] = ()
    touched: Tuple[str, ...] = ()


class Kind(NamedTuple):
    """A kind of input: how many damages of 500 are its, how many of those are in every run of the tests, and what strikes."""

    count: int
    sample: int
    strike: Callable[["World", int], Struck]


class World:
    """Where one damage happens.

    Attributes:
      top: an empty folder; home and given below it are TODUS_HOME and what a person brings.
      stores: finished homes to take files from, by name.
    """

    def __init__(self, top: Path, monkeypatch, stores: Callable[[str], Path]):
        self.top, self.home, self.given = top, top / "home", top / "in"
        self._stores, self._patch = stores, monkeypatch
        self.home.mkdir()
        self.given.mkdir()

    def variables(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(name, value)

    def replace(self, target, name: str, value) -> None:
        self._patch.setattr(target, name, value)

    def take(self, store: str, *paths: str) -> None:
        """Copies files and folders of a finished home into this one."""
        source = self._stores(store)
        for path in paths:
            target = self.home / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if (source / path).is_dir():
                shutil.copytree(str(source / path), str(target))
            else:
                shutil.copy2(str(source / path), str(target))


def edits(seed: int) -> List[Tuple]:
    """One to four changes of a text, for test_own_damage.damaged."""
    chance = random.Random(seed)
    makers = (
        lambda: ("token", chance.randrange(400), chance.choice(HOSTILE)),
        lambda: ("token", chance.randrange(400), chance.choice(HOSTILE)),
        lambda: ("cut", chance.randrange(4000), ""),
        lambda: (
            "byte",
            chance.randrange(4000),
            bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5))),
        ),
        lambda: ("insert", chance.randrange(4000), chance.choice(SNIPPETS)),
        lambda: ("repeat", chance.randrange(4000), chance.randrange(1, 300)),
        lambda: ("encode", chance.choice(ENCODINGS), ""),
        lambda: ("whole", chance.choice(WHOLES), ""),
    )
    return [chance.choice(makers)() for _ in range(chance.choice((1, 1, 1, 2, 4)))]


def spoil(path: Path, seed: int) -> Path:
    """Damages a text file in place."""
    return rewritten(path, damaged(path.read_bytes(), edits(seed)))


def rewritten(path: Path, data: bytes) -> Path:
    path.unlink()
    path.write_bytes(data)
    return path


def broken(data: bytes, seed: int) -> bytes:
    """Binary data after an accident: cut, bits flipped, a hole of zeros, doubled, another file, nothing."""
    chance = random.Random(seed)
    at = chance.randrange(len(data))
    kind = seed % 8
    if kind == 0:
        return data[:at]
    if kind == 1:
        flipped = bytearray(data)
        for _ in range(chance.randrange(1, 40)):
            flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(flipped)
    if kind == 2:
        hole = min(len(data) - at, chance.randrange(1, 5000))
        return data[:at] + bytes(hole) + data[at + hole :]
    if kind == 3:
        return data + data[:at]
    if kind == 4:
        return data[at:]
    if kind == 5:
        return chance.choice(
            WHOLES
            + [
                b"PK\x03\x04" + bytes(100),
                b"\x89PNG\r\n\x1a\n",
                b"GIF89a" + bytes(20),
                b"BM" + bytes(60),
            ]
        )
    if kind == 6:
        return bytes(chance.randrange(256) for _ in range(min(len(data), 3000)))
    return data[:at] + data[at + chance.randrange(1, 50) :]


def spoil_bytes(path: Path, seed: int) -> Path:
    """Damages a binary file in place."""
    return rewritten(path, broken(path.read_bytes(), seed))


# A JSON value in the place of another: what a program wrote that is not this one.
WRONG = [
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "",
    "x",
    "\x1b[2J\n\u202e",
    "../../etc/passwd",
    [],
    {},
    [None],
    {"a": None},
    [[1]],
    "9" * 300,
]


def swapped(value, seed: int):
    """A JSON value with one value somewhere inside exchanged, a key lost or one renamed."""
    chance = random.Random(seed)
    places = list(_places(value))
    holder, key = chance.choice(places) if places else (None, None)
    if holder is None or chance.random() < 0.06:
        return chance.choice(WRONG)
    if isinstance(holder, dict) and chance.random() < 0.3:
        held = holder.pop(key)
        if chance.random() < 0.3:
            holder[key + " "] = held
    else:
        holder[key] = chance.choice(WRONG)
    return value


def _places(value):
    for key, inside in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield value, key
        yield from _places(inside)


def spoil_json(path: Path, seed: int) -> Path:
    """Damages a JSON file in place: every other seed its structure, else its text."""
    import json

    if seed % 2:
        return spoil(path, seed)
    value = swapped(json.loads(path.read_text(encoding="utf-8")), seed)
    return rewritten(path, json.dumps(value).encode("utf-8"))


def sampled(kinds: Dict[str, Kind], whole: bool, first: int = 0) -> List[Tuple[str, int]]:
    """(kind, seed) of every damage, or of the sample that is in every run; `first` is added to the seeds, for other damages."""
    chosen = []
    for name, kind in kinds.items():
        count = kind.count if whole else kind.sample
        chosen += (
            [(name, first + kind.count * number // count) for number in range(count)]
            if count
            else []
        )
    return chosen


def outside(tree: Dict[str, bytes], paths: Sequence[str]) -> Dict[str, bytes]:
    """Of own_images.tree's files those that are not below `paths`."""
    return {
        name: data
        for name, data in tree.items()
        if not any(name == path or name.startswith(path + "/") for path in paths)
    }
