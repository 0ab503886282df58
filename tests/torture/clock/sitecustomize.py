"""Shifts time.time() by TORTURE_SHIFT seconds, TORTURE_MOMENT seconds after the process started."""

import os
import time

_real, _began = time.time, time.monotonic()
_moment = float(os.environ.get("TORTURE_MOMENT", "inf"))
_shift = float(os.environ.get("TORTURE_SHIFT", "0"))


def _time() -> float:
    return _real() + (_shift if time.monotonic() - _began >= _moment else 0.0)


time.time = _time
