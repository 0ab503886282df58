"""Stopping a training: by a signal, or because an AP is enough."""

import signal


class Stopped(Exception):
    """A signal arrived outside of the training steps."""


class Stop:
    """Handles SIGTERM, SIGINT and SIGHUP (unless nohup ignores it): records the signal, so that the step in progress can end.

    Attributes:
      reason: why to stop; "": continue.
      at_once: whether nothing would be lost by stopping in the middle; then the signal raises Stopped.
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
        """Restores the signal handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
