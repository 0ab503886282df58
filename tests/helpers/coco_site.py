"""Fixtures: a loopback COCO and what is built from it."""

import pytest

from demo.server import Server
from tests.helpers.datasets import CLASSES
from todus import paths
from todus.dataset.sources import coco


@pytest.fixture
def site(drawn, home, monkeypatch):
    """A served miniature COCO, and an empty TODUS_HOME to work in."""
    for name in (
        "SPLITS",
        "NEGATIVES",
        "MAX_IMAGES",
        "SEED",
        "SHARDS",
        "JOBS",
        "STATS_ONLY",
        "KEEP_RAW",
        "MAX_MISSING",
        "MAX_DROPPED",
        "VERIFY",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "CATEGORIES": CLASSES,
        "RETRIES": "4",
        "RETRY_WAIT": "0.01",
        "TIMEOUT": "1",
        "NAME": "",
    }.items():
        monkeypatch.setenv(name, value)
    with Server(drawn) as server:
        monkeypatch.setenv("COCO_URL", server.url)
        yield server


@pytest.fixture
def make(site, monkeypatch):
    """make("limited", MAX_IMAGES="3") builds and returns the dataset; the variables are unset again."""

    def build(kind="limited", **variables):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            coco.main([kind])
            return paths.mscoco_dataset(variables.get("NAME") or kind)

    return build
