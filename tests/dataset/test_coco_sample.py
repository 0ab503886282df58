"""Some of COCO's val images for a model without a dataset."""

import pytest

from todus import paths
from todus.dataset.image_files import decode
from todus.dataset.sources import coco_sample
from todus.errors import TodusError

pytest_plugins = ["tests.helpers.coco_site"]


def test_images_of_the_classes_are_fetched_and_used_again(site, monkeypatch):
    images = coco_sample.fetch(["circle", "no such class"], 4)
    assert len(images) == 4 and decode(images[0]).shape[2] == 3
    assert len(list((paths.raw_data() / "val2017").glob("*.jpg"))) == 4
    monkeypatch.setattr("todus.fetching.many.download_many", None)
    assert coco_sample.fetch(["circle"], 4) == images


def test_classes_that_the_server_does_not_have_are_named(site):
    with pytest.raises(TodusError, match="no class raccoon or fox; set COCO_URL"):
        coco_sample.fetch(["raccoon", "fox"], 4)
    assert not (paths.raw_data() / "val2017").exists()
