"""Damages files and environment variables, and describes the commands that are run on them.

A kind of input is a function that writes a small World, damages one thing in it by a seed, and
returns the command to run. tests/helpers/damage.py damages texts and archives.
"""

import json
import random
import shutil
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from tests.helpers.damage import ENCODINGS, HOSTILE, SNIPPETS, WHOLES, damaged

RAW = "dataset/mscoco/raw-data"
LIMITED = "dataset/mscoco/limited"
NOWHERE = "http://127.0.0.1:9"  # no server

HOSTS = """chief localhost:2222
worker localhost:2223 CUDA_VISIBLE_DEVICES=1
ps 'localhost':2224  # a comment
worker host:2225 DIR="/a b"
"""

Main = Callable[[List[str]], int]


class Struck(NamedTuple):
    """The command to run on a damaged input.

    Attributes:
      command: its name, which begins its messages.
      main, argv: the function to call and its arguments.
      named: the error message has one of these: a file or a variable.
      made: paths below the world that the command may make or change if it succeeds.
      touched: paths that it may change in any case, such as a damaged download.
    """

    command: str
    main: Main
    argv: List[str]
    named: Tuple[str, ...]
    made: Tuple[str, ...] = ()
    touched: Tuple[str, ...] = ()


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
      count: its share of the 500 damages.
      sample: how many of them every run of the tests has.
      strike: writes a world, damages it by a seed and returns the command.
    """

    count: int
    sample: int
    strike: Callable[["World", int], Struck]


class World:
    """The folders of one test.

    Attributes:
      top: the folder of all; `home` below it is TODUS_HOME, `given` has the user's files.
      stores: name -> a folder of files to take.
    """

    def __init__(self, top: Path, monkeypatch, stores: Callable[[str], Path]):
        self.top, self.home, self.given = top, top / "home", top / "in"
        self.stores, self._patch = stores, monkeypatch
        self.home.mkdir()
        self.given.mkdir()

    def variables(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(name, value)

    def replace(self, target, name: str, value) -> None:
        self._patch.setattr(target, name, value)

    def take(self, store: str, *paths: str) -> None:
        """Copies files and folders of the home named `store` into this one."""
        source = self.stores(store)
        for path in paths:
            target = self.home / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if (source / path).is_dir():
                shutil.copytree(str(source / path), str(target))
            else:
                shutil.copy2(str(source / path), str(target))


def edits(seed: int) -> List[Tuple]:
    """One to four changes of a text, for `damaged`."""
    chance = random.Random(seed)

    def some_bytes() -> bytes:
        return bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5)))

    makers = (
        lambda: ("token", chance.randrange(400), chance.choice(HOSTILE)),
        lambda: ("token", chance.randrange(400), chance.choice(HOSTILE)),
        lambda: ("cut", chance.randrange(4000), ""),
        lambda: ("byte", chance.randrange(4000), some_bytes()),
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
    """Damaged binary data: cut, bits flipped, zeros, repeated, or the start of another file."""
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
        headers = [b"PK\x03\x04" + bytes(100), b"\x89PNG\r\n\x1a\n"]
        headers += [b"GIF89a" + bytes(20), b"BM" + bytes(60)]
        return chance.choice(WHOLES + headers)
    if kind == 6:
        return bytes(chance.randrange(256) for _ in range(min(len(data), 3000)))
    return data[:at] + data[at + chance.randrange(1, 50) :]


def spoil_bytes(path: Path, seed: int) -> Path:
    """Damages a binary file in place."""
    return rewritten(path, broken(path.read_bytes(), seed))


# JSON values that replace another one.
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
    "9" * 300,
]
WRONG += [[], {}, [None], {"a": None}, [[1]]]


def swapped(value, seed: int):
    """A JSON value with one value inside replaced, or one key removed or renamed."""
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
    if isinstance(value, (dict, list)):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(inside)


def damaged_json(value, seed: int) -> str:
    """JSON text: for even seeds of a swapped value, for odd seeds with damaged text."""
    if seed % 2:
        data = damaged(json.dumps(value).encode("utf-8"), edits(seed))
        return data.decode("utf-8", "replace").replace("\0", "")
    return json.dumps(swapped(value, seed))


def spoil_json(path: Path, seed: int) -> Path:
    """Damages a JSON file in place: for even seeds a value, for odd seeds the text."""
    if seed % 2:
        return spoil(path, seed)
    value = swapped(json.loads(path.read_text(encoding="utf-8")), seed)
    return rewritten(path, json.dumps(value).encode("utf-8"))


def sampled(kinds: Dict[str, Kind], whole: bool, first: int = 0) -> List[Tuple[str, int]]:
    """(kind, seed) of every damage, or of a sample; `first` is added to the seeds."""
    chosen = []
    for name, kind in kinds.items():
        count = kind.count if whole else kind.sample
        chosen += [(name, first + kind.count * number // count) for number in range(count)]
    return chosen


def outside(tree: Dict[str, bytes], paths: Sequence[str]) -> Dict[str, bytes]:
    """The files of own_images.tree that are not below `paths`."""
    below = tuple(path + "/" for path in paths)
    return {
        name: data
        for name, data in tree.items()
        if name not in paths and not name.startswith(below)
    }
