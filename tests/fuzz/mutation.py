"""Damages an input by a seed, where no fuzzer finds its own damages."""

import json
import random
import re
from typing import Sequence

from tests.helpers import bad_input
from tests.helpers.damage import HOSTILE, damaged, damaged_text


def mutated(seeds: Sequence[bytes], seed: int, is_json: bool = False) -> bytes:
    """One of the valid inputs with one to four damages."""
    chance = random.Random(seed)
    data = chance.choice(seeds)
    if is_json and chance.random() < 0.6:
        for _ in range(chance.choice((1, 1, 2))):
            value = bad_input.swapped(json.loads(data), chance.randrange(1 << 30))
            data = json.dumps(value).encode("utf-8")
        return data
    is_text = not re.search(rb"[\x00-\x08\x80-\xff]", data[:1000])
    for _ in range(chance.choice((1, 1, 2, 3))):
        number = chance.randrange(1 << 30)
        if is_text and chance.random() < 0.7 and data:
            data = _text(data, chance, number)
        elif chance.random() < 0.5 and data:
            data = bad_input.broken(data, number)
        elif chance.random() < 0.5 and data:
            data = _byte(data, chance)
        else:
            data = damaged(data, bad_input.edits(number))
    return data


def _text(data: bytes, chance: random.Random, seed: int) -> bytes:
    """`data` with a word or a line replaced, moved, repeated or left out, or as `damaged_text`."""
    if chance.random() < 0.3:
        return damaged_text(data.decode("utf-8", "replace"), seed).encode("utf-8")
    pattern = rb"(\n)" if chance.random() < 0.3 else rb"([^\w.+-]+)"
    words = re.split(pattern, data)
    place, other = (2 * chance.randrange((len(words) + 1) // 2) for _ in range(2))
    kind = chance.randrange(5)
    if kind == 0:
        words[place] = chance.choice(HOSTILE).encode("utf-8")
    elif kind == 1:
        words[place], words[other] = words[other], words[place]
    elif kind == 2:
        words[place] = words[other]
    elif kind == 3:
        del words[place : place + 2]
    else:
        words[place:place] = words[other : other + 2] * chance.choice((1, 2, 50))
    return b"".join(words)


def _byte(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few bytes, or a number of two to eight bytes, of an extreme value."""
    at = chance.randrange(len(data))
    size = chance.choice((1, 1, 2, 4, 8))
    number = chance.choice((0, 1, 0x7F, 0xFF)).to_bytes(1, "big")
    value = chance.choice((number + bytes(size - 1), bytes(size - 1) + number, number * size))
    return data[:at] + value + data[at + size :]
