"""Fixtures: a loopback server of a drawn COCO, and datasets made from it."""

import pytest

from demo.server import Server
from tests.helpers.datasets import CLASSES
from tests.helpers.own_images import clean_environment
from todus import paths
from todus.dataset.sources import coco


@pytest.fixture
def site(drawn, home, monkeypatch):
    """A server of the drawn COCO, an empty TODUS_HOME, and an environment with defaults."""
    retries = {"RETRIES": "4", "RETRY_WAIT": "0.01", "TIMEOUT": "1"}
    clean_environment(monkeypatch, home, CATEGORIES=CLASSES, JOBS="0", **retries)
    with Server(drawn) as server:
        monkeypatch.setenv("COCO_URL", server.url)
        yield server


@pytest.fixture
def make(site, monkeypatch):
    """make("limited", MAX_IMAGES="3") makes a dataset with these variables and returns it."""

    def build(kind="limited", **variables):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            coco.main([kind])
            return paths.mscoco_dataset(variables.get("NAME") or kind)

    return build
