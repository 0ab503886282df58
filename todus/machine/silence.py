"""Silence for libraries that print to the process's stdout and stderr, from C++ as well."""

import contextlib
import os
import sys
from typing import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    _flush()
    saved = [os.dup(number) for number in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    os.close(null)
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
