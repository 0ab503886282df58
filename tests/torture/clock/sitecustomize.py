"""A clock that jumps: so many seconds after the process has begun, time.time() is off by TORTURE_SHIFT seconds for good."""

import os
import time

_real, _began = time.time, time.monotonic()
_moment, _shift = (
    float(os.environ.get("TORTURE_MOMENT", "inf")),
    float(os.environ.get("TORTURE_SHIFT", "0")),
)


def _time() -> float:
    return _real() + (_shift if time.monotonic() - _began >= _moment else 0.0)


time.time = _time
