"""Orders that depend on a seed and on names alone."""

import hashlib


def sort_key(seed: int, *names: object) -> bytes:
    """Sorting by this key is a shuffle that is the same on every machine for one seed."""
    return hashlib.sha256(
        "/".join(map(str, (seed, *names))).encode("utf-8", "surrogateescape")
    ).digest()


def fraction(seed: int, *names: object) -> float:
    """A number from 0 to below 1 that depends on the seed and the names alone."""
    return int.from_bytes(sort_key(seed, *names)[:8], "big") / 2**64
