"""TensorFlow 1.15, imported quietly: `from todus.tf import tf`, inside functions that touch a graph, since the import takes seconds."""

import atexit
import contextlib
import logging
import os
import sys
import warnings

from todus.errors import TodusError


def _load():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", category)
    logging.basicConfig(
        level=logging.ERROR, format="%(message)s"
    )  # else lvis, which the OD API imports, lets every warning through
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
    return tf


def _tolerate_missing_sources() -> None:
    """AutoGraph removes the temporary files that it wrote when the process ends, and complains where their folder went before."""
    try:
        from tensorflow.python.autograph.pyct import compiler
    except ImportError:  # another 1.x has it elsewhere
        return

    class AtExit:
        @staticmethod
        def register(function) -> None:
            atexit.register(_unless_gone, function)

    compiler.atexit = AtExit


def _unless_gone(function) -> None:
    with contextlib.suppress(FileNotFoundError):
        function()


def __getattr__(name: str):
    """The module's `tf`, loaded when it is first asked for (PEP 562)."""
    if name != "tf":
        raise AttributeError("module %s has no attribute %s" % (__name__, name))
    globals()["tf"] = loaded = _load()
    return loaded
