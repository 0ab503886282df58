"""Bounds what a server can send without an end: lines, and bytes that arrive slowly.

http.client reads informational answers (100 Continue), chunk sizes and trailers for as long as they
come, and a timeout of a socket is that of one byte.
"""

import http.client
import io
import time
from typing import Any, Optional

MOST_LINES = 1000  # in a row, without a byte of the body between them
MANY_LINES = 50000  # in all; beyond them a chunk has to have LEAST_CHUNK bytes on average
LEAST_CHUNK = 16
LEAST_SPEED = 500  # bytes a second, measured over SLOW_SECONDS
SLOW_SECONDS = 120.0


class Endless(Exception):
    """The answer has no end; the message says in which way."""


class Answer(http.client.HTTPResponse):
    """An answer whose lines and speed are bounded; for HTTPConnection.response_class."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.fp = _Lines(_Timed(self.fp.detach()))


class _Timed(io.RawIOBase):
    """The bytes of a socket. Raises Endless after SLOW_SECONDS below LEAST_SPEED."""

    def __init__(self, raw: io.RawIOBase):
        super().__init__()
        self._raw, self._bytes, self.total = raw, 0, 0
        self._since: Optional[float] = None  # the first byte may take as long as TIMEOUT

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> Optional[int]:
        number = self._raw.readinto(buffer)
        now = time.monotonic()
        if self._since is None:
            self._since = now
        self._bytes += number or 0
        self.total += number or 0
        seconds = now - self._since
        if seconds > SLOW_SECONDS:
            if number and self._bytes < LEAST_SPEED * seconds:
                raise Endless("fewer than %d bytes a second arrive" % LEAST_SPEED)
            self._since, self._bytes = now, 0
        return number

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Lines(io.BufferedReader):
    """The stream of an answer. Raises Endless after MOST_LINES lines and nothing else."""

    _lines = _all_lines = 0

    def readline(self, *arguments: Any) -> bytes:
        self._lines += 1
        self._all_lines += 1
        if self._lines > MOST_LINES:
            raise Endless("the server sends headers without end")
        if self._all_lines > MANY_LINES and self.raw.total < LEAST_CHUNK * self._all_lines:
            raise Endless("the server sends chunks of a few bytes")
        return super().readline(*arguments)

    def read(self, *arguments: Any) -> bytes:
        self._lines = 0
        return super().read(*arguments)

    def read1(self, *arguments: Any) -> bytes:
        self._lines = 0
        return super().read1(*arguments)

    def readinto(self, buffer: Any) -> int:
        self._lines = 0
        return super().readinto(buffer)
