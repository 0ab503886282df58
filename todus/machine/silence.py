"""Hides what libraries, also in C++, print to stdout and stderr."""

import contextlib
import os
import sys
from typing import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Redirects file descriptors 1 and 2 to /dev/null inside the block."""
    _flush()
    saved = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "wb") as null:
        for number in (1, 2):
            os.dup2(null.fileno(), number)
    try:
        yield
    finally:
        _flush()
        for number, before in zip((1, 2), saved):
            os.dup2(before, number)
            os.close(before)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
