"""Orders that a seed and the names of the things decide, and nothing else."""

import hashlib


def sort_key(seed: int, *names: object) -> bytes:
    """A key to sort by: sorting by the keys of one seed is a shuffle, the same on every machine."""
    return hashlib.sha256(
        "/".join([str(seed)] + [str(name) for name in names]).encode("utf-8")
    ).digest()
