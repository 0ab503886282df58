"""Who may touch a dataset: one build alone, or any number of readers, such as a running training."""

import contextlib
from pathlib import Path
from typing import ContextManager, Iterator, Set

from todus import files, locks
from todus.paths import Dataset

_held: Set[Path] = set()


@contextlib.contextmanager
def building(dataset: Dataset) -> Iterator[None]:
    """Holds the dataset for a build; may be nested. Clears what a killed build left.

    Raises TodusError with the holder's PID when another process builds or reads it.
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
    """Holds the dataset for reading, beside other readers: it is not rebuilt meanwhile.

    Args:
      dataset: what is read.
      who: what a refused build says holds it, such as "training of NAME"; the PID and the host are added.

    Raises:
      TodusError: a build has it.
    """
    return locks.shared(dataset.folder, who, "%s is being built by %%s: wait until it ends, and run this again" % dataset.folder)
