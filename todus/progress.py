"""How far a long piece of work is: a bar on a terminal, a line a minute in a log."""

import sys
import threading
import time
from typing import Optional

from todus.command import say
from todus.text import duration, megabytes

SECONDS_A_LINE = 60.0


class Progress:
    """Counts what many threads do. A context manager.

    Args:
      label: what it is about.
      total: how much there is to do, None where nobody knows.
      done: how much of it is there from before.
      unit: "B" for bytes, else what is counted, such as "images".
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
        return tqdm.tqdm(
            desc=self.label,
            total=self.total,
            initial=self.done,
            dynamic_ncols=True,
            leave=False,
            file=sys.stderr,
            **scale,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, number: int) -> int:
        """Counts `number` more, and returns it."""
        with self._mutex:
            self.done += number
            if self._bar is not None:
                self._bar.update(number)
            elif time.monotonic() >= self._next:
                self._next = time.monotonic() + SECONDS_A_LINE
                say(self.line())
        return number

    def set(self, done: int, total: Optional[int]) -> None:
        """What is there and to do turned out differently: a download starts again, or its size is known now."""
        with self._mutex:
            self._from += done - self.done
            self.done, self.total = done, total
            if self._bar is not None:
                self._bar.n, self._bar.total = done, total
                self._bar.refresh()

    def note(self, text: str) -> None:
        """Says something without breaking the bar."""
        if self._bar is not None:
            self._bar.clear()
            say(text)
            self._bar.refresh()
        else:
            say(text)

    def line(self) -> str:
        rate = (self.done - self._from) / max(time.monotonic() - self._start, 1e-9)
        show = megabytes if self.unit == "B" else lambda number: "%d %s" % (number, self.unit)
        if not self.total:
            return "%s: %s, %s/s" % (self.label, show(self.done), show(rate))
        left = (self.total - self.done) / rate if rate > 0 else 0
        share = 100 * self.done // self.total
        return "%s: %s of %s, %d%%, %s/s, %s left" % (
            self.label,
            show(self.done),
            show(self.total),
            share,
            show(rate),
            duration(left),
        )
