"""A dataset is not rebuilt under its readers."""

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
    with access.reading(dataset, "training of ssd"), access.reading(
        dataset, "training of another"
    ), pytest.raises(TodusError, match=refusal):
        build(home)
    build(home)
    assert not files.beside(dataset.folder, "lock").exists()


def test_a_dataset_that_is_built_is_not_read(home):
    dataset = build(home)
    with access.building(dataset), pytest.raises(
        TodusError, match="being built by PID %d" % os.getpid()
    ), access.reading(dataset):
        pass


def test_the_last_of_several_readers_gives_the_lock_back(home):
    dataset = build(home)
    with access.reading(dataset):
        with access.reading(dataset):
            pass
        with pytest.raises(TodusError, match="in use"), access.building(dataset):
            pass
    with access.building(dataset):
        pass


def test_a_reader_that_was_killed_holds_nothing(home):
    dataset = build(home)
    path = files.beside(dataset.folder, "lock")
    path.write_text("PID 1 on elsewhere")
    build(home)
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(TodusError, match="in use"):
            build(home)
