"""Holds the checkpoints that a command reads: a training may remove them meanwhile (KEEP, best/).

The links are in a folder of training/, together with run.json and pipeline.config of the run.
"""

import atexit
import contextlib
import functools
from pathlib import Path

from todus import files
from todus.model import artefacts, checkpoint_files, checkpoints
from todus.paths import Model

_TRIES = 20  # choices of a checkpoint of which training removed a file before it was linked
_OF_THE_RUN = ("run.json", "pipeline.config")


def choose(model: Model, prefix: str = "") -> Path:
    """As checkpoints.choose; a checkpoint of the model's training is held until the process ends.

    Raises:
      UsageError, TodusError: as checkpoints.choose.
    """
    for _ in range(_TRIES):
        chosen = checkpoints.choose(model, prefix)
        with contextlib.suppress(FileNotFoundError):
            return _hold(model, chosen)
    return chosen  # it is incomplete, and the check of its files says what is missing


def _hold(model: Model, prefix: Path) -> Path:
    """The path of links to a checkpoint below training/, or copies; another path is returned.

    Raises FileNotFoundError where one of its files is missing.
    """
    if model.training not in prefix.parents:
        return prefix
    try:
        held = _folder(model.training) / prefix.relative_to(model.training)
        held.parent.mkdir(exist_ok=True)
        for name in _OF_THE_RUN:
            with contextlib.suppress(FileNotFoundError):
                files.link_or_copy(
                    artefacts.run_folder(prefix) / name, artefacts.run_folder(held) / name
                )
        values = [path.name for path in prefix.parent.glob(prefix.name + ".data-*")]
        for name in (values or [prefix.name + ".data"]) + [prefix.name + ".index"]:
            files.link_or_copy(prefix.with_name(name), held.with_name(name))
    except FileNotFoundError:
        raise
    except OSError:  # a read-only or full disk
        return prefix
    return held


@functools.lru_cache(maxsize=None)
def _folder(training: Path) -> Path:
    """The folder of this process for links, which is removed when it ends."""
    stack = contextlib.ExitStack()
    folder = stack.enter_context(files.scratch(training / checkpoint_files.HELD))
    atexit.register(stack.close)
    return folder
