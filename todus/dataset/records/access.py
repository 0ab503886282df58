"""Locks a dataset for one build, or for any number of readers, such as a training run."""

import contextlib
from pathlib import Path
from typing import ContextManager, Iterator, Set

from todus import files, locks
from todus.paths import Dataset

_held: Set[Path] = set()


@contextlib.contextmanager
def building(dataset: Dataset) -> Iterator[None]:
    """Locks the dataset for a build; may be nested. Removes temporary folders of a killed build.

    Raises TodusError with the PID of the process that builds or reads it.
    """
    if dataset.folder in _held:
        yield
        return
    with locks.exclusive(dataset.folder, str(dataset.folder)):
        _held.add(dataset.folder)
        try:
            files.recover_folder(dataset.folder)
            yield
        finally:
            _held.discard(dataset.folder)


def reading(dataset: Dataset, who: str = "a command") -> ContextManager[None]:
    """Locks the dataset for reading: other readers may read it, no process can rebuild it.

    Args:
      dataset: what is read.
      who: the reader, such as "training of NAME", for the message of a refused build, which adds
        the PID and the host.

    Raises:
      TodusError: the dataset is being built.
    """
    refusal = "%s is being built by %%s: wait until it ends, and run this again" % dataset.folder
    return locks.shared(dataset.folder, who, refusal)
