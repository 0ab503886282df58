"""Stopping a training, after a signal or because of an AP."""

import signal


class Stopped(Exception):
    """A signal arrived outside of the training steps."""


class Stop:
    """Records SIGTERM, SIGINT and SIGHUP (unless nohup ignores it); the step in progress can end.

    Attributes:
      reason: why to stop; "": continue.
      at_once: whether a signal raises Stopped, because an immediate stop loses nothing.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.at_once = True
        self._before = {}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def _handle(self, number, _frame) -> None:
        self.reason = "signal %s" % signal.Signals(number).name
        if self.at_once:
            raise Stopped

    def restore(self) -> None:
        """Restores the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
