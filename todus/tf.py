"""Imports TensorFlow 1.15 without its warnings.

Use `from todus.tf import tf` inside functions that need a graph: the import takes seconds.
"""

import atexit
import contextlib
import gc
import logging
import os
import sys
import warnings

from todus.errors import TodusError


def _load():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", category)
    # Otherwise lvis, which the OD API imports, configures logging to print every warning.
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        import tensorflow.compat.v1 as tf
    except ImportError as error:
        raise TodusError(
            "TensorFlow cannot be imported by %s (%s); run: make install" % (sys.executable, error)
        )
    if not tf.__version__.startswith("1.1"):
        raise TodusError(
            "need TensorFlow 1.13 to 1.15, found %s under %s; run: make install"
            % (tf.__version__, sys.executable)
        )
    tf.logging.set_verbosity(tf.logging.ERROR)
    logging.getLogger("tensorflow").propagate = False
    try:
        import object_detection.protos.pipeline_pb2  # noqa: F401
    except ImportError as error:
        raise TodusError(
            "the Object Detection API cannot be imported by %s (%s); run: make install"
            % (sys.executable, error)
        )
    _tolerate_missing_sources()
    _skip_deprecation_checks()
    # Imported modules stay: without their objects, garbage collections take a tenth less time in
    # all that builds graphs.
    gc.freeze()
    return tf


def _tolerate_missing_sources() -> None:
    """Makes AutoGraph ignore, when the process ends, temporary files that are already removed."""
    try:
        from tensorflow.python.autograph.pyct import compiler
    except ImportError:  # other versions have no such module
        return

    class AtExit:
        @staticmethod
        def register(function) -> None:
            atexit.register(_call_unless_removed, function)

    compiler.atexit = AtExit


def _skip_deprecation_checks() -> None:
    """Turns off deprecation warnings: they are hidden already, and finding them takes seconds."""
    from tensorflow.python.util import deprecation

    deprecation._PRINT_DEPRECATION_WARNINGS = False


def _call_unless_removed(function) -> None:
    with contextlib.suppress(FileNotFoundError):
        function()


def __getattr__(name: str):
    """Loads `tf` on first use (PEP 562)."""
    if name != "tf":
        raise AttributeError("module %s has no attribute %s" % (__name__, name))
    globals()["tf"] = loaded = _load()
    return loaded
