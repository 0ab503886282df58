"""The locks of a dataset that is built or read."""

import fcntl
import os

import pytest

from tests.helpers.datasets import build
from todus import files
from todus.dataset.records import access
from todus.errors import TodusError


def test_a_dataset_that_is_read_is_not_rebuilt(home):
    dataset = build(home)
    refusal = r"in use by training of .* \(PID %d on .*wait until it ends" % os.getpid()
    reader, other = (access.reading(dataset, "training of %s" % name) for name in ("ssd", "other"))
    with reader, other, pytest.raises(TodusError, match=refusal):
        build(home)
    build(home)
    assert not files.beside(dataset.folder, "lock").exists()


def test_a_dataset_that_is_built_is_not_read(home):
    dataset = build(home)
    refusal = pytest.raises(TodusError, match="being built by PID %d" % os.getpid())
    with access.building(dataset), refusal, access.reading(dataset):
        pass


def test_the_lock_is_released_when_the_last_reader_ends(home):
    dataset = build(home)
    with access.reading(dataset):
        with access.reading(dataset):
            pass
        with pytest.raises(TodusError, match="in use"), access.building(dataset):
            pass
    with access.building(dataset):
        pass


def test_a_lock_file_that_no_process_locks_is_ignored(home):
    dataset = build(home)
    path = files.beside(dataset.folder, "lock")
    path.write_text("PID 1 on elsewhere")
    build(home)
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(TodusError, match="in use"):
            build(home)
