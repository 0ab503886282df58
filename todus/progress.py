"""The progress of long work: a bar on a terminal, a line per minute in a log."""

import sys
import threading
import time
from typing import Callable, Optional

from todus.command import say
from todus.text import duration, megabytes

SECONDS_A_LINE = 60.0
SECONDS_A_TICK = 10.0


class Ticker:
    """Says every ten seconds how many images are done, and the time left.

    Args:
      text: takes both numbers: "eval: %d of %d images".
      total: how many there are.
      say: takes each line.
    """

    def __init__(self, text: str, total: int, say: Callable[[str], None] = say):
        self._text, self._total, self._say = text, total, say
        self._began = self._said = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said >= SECONDS_A_TICK:
            self._said = now
            left = duration(max(0, self._total - done) * (now - self._began) / done)
            self._say((self._text + ", %s left") % (done, self._total, left))


class Progress:
    """Counts the work of several threads, and shows it. A context manager.

    Args:
      label: begins the line.
      total: how much there is to do; None if unknown.
      done: how much was already done before.
      unit: "B" for bytes, otherwise what is counted, such as "images".
    """

    def __init__(self, label: str, total: Optional[int], done: int = 0, unit: str = "B"):
        self.label, self.total, self.done, self.unit = label, total, done, unit
        self._from, self._start = done, time.monotonic()
        self._next = self._start + SECONDS_A_LINE
        self._mutex = threading.Lock()
        self._bar = self._make_bar() if sys.stderr.isatty() else None

    def _make_bar(self):
        import tqdm

        tqdm.tqdm.monitor_interval = 0
        scale = {"unit": "B", "unit_scale": True} if self.unit == "B" else {"unit": " " + self.unit}
        place = {"dynamic_ncols": True, "leave": False, "file": sys.stderr}
        return tqdm.tqdm(desc=self.label, total=self.total, initial=self.done, **scale, **place)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, number: int) -> int:
        """Adds `number` to the count, and returns it."""
        with self._mutex:
            self.done += number
            if self._bar is not None:
                self._bar.update(number)
            elif time.monotonic() >= self._next:
                self._next = time.monotonic() + SECONDS_A_LINE
                say(self.line())
        return number

    def set(self, done: int, total: Optional[int]) -> None:
        """Sets both counts, as when a download restarts or its size becomes known."""
        with self._mutex:
            self._from += done - self.done
            self.done, self.total = done, total
            if self._bar is not None:
                self._bar.n, self._bar.total = done, total
                self._bar.refresh()

    def note(self, text: str) -> None:
        """Prints a message above the bar."""
        if self._bar is not None:
            self._bar.clear()
        say(text)
        if self._bar is not None:
            self._bar.refresh()

    def line(self) -> str:
        """The counts, rate per second and remaining time, as one line of a log."""
        rate = (self.done - self._from) / max(time.monotonic() - self._start, 1e-9)
        show = megabytes if self.unit == "B" else lambda number: "%d %s" % (number, self.unit)
        if not self.total:
            return "%s: %s, %s/s" % (self.label, show(self.done), show(rate))
        left = duration((self.total - self.done) / rate if rate > 0 else 0)
        counts = "%s of %s, %d%%" % (
            show(self.done),
            show(self.total),
            100 * self.done // self.total,
        )
        return "%s: %s, %s/s, %s left" % (self.label, counts, show(rate), left)
