"""dataset-complete.sh and dataset-limited.sh against a loopback server of a drawn COCO."""

import json
import os
import shutil
import zipfile

import pytest

from demo.server import Fault, Server
from tests.helpers.datasets import RARE, contents
from todus import paths
from todus.dataset.records import reader, verify
from todus.dataset.sources import coco
from todus.errors import TodusError, UsageError

pytest_plugins = ["tests.helpers.coco_site"]


def raw_data(home):
    return home / "dataset" / "mscoco" / "raw-data"


def split(dataset, name="train"):
    """A split's entry in dataset.json."""
    return reader.read_manifest(dataset)["splits"][name]


def truth(drawn, split_name):
    """The annotations that are served."""
    with zipfile.ZipFile(str(drawn / "annotations" / "annotations_trainval2017.zip")) as archive:
        return json.loads(archive.read("annotations/instances_%s2017.json" % split_name).decode())


def test_limited_holds_the_wanted_classes_and_nothing_else(make, drawn):
    dataset = make()
    listed = reader.read_manifest(dataset)["categories"]
    classes = [(each["id"], each["name"], each["source_id"]) for each in listed]
    assert classes == [(1, "circle", 1), (2, "four point star", 14)]
    for name in ("train", "val"):
        wanted = [
            each for each in truth(drawn, name)["annotations"] if each["category_id"] in (1, 14)
        ]
        found = list(reader.read_examples(dataset, name))
        assert {each.source_id for each in found} == {str(each["image_id"]) for each in wanted}
        classes = [identity for each in found for identity in each.classes.tolist()]
        assert len(classes) == len(wanted) == split(dataset, name)["boxes"]
        assert set(classes) <= {1, 2}
        assert split(dataset, name)["negatives"] == 0
    assert verify.dataset(dataset)[1] == []


def test_complete_holds_everything_under_cocos_ids(make, drawn):
    dataset = make("complete")
    document = truth(drawn, "train")
    listed, served = reader.read_manifest(dataset)["categories"], document["categories"]
    assert [(each["id"], each["name"]) for each in listed] == [
        (each["id"], each["name"]) for each in sorted(served, key=lambda each: each["id"])
    ]
    assert split(dataset)["images"] == len(document["images"])
    assert split(dataset)["boxes"] == len(document["annotations"])
    assert split(dataset)["negatives"] > 0
    assert verify.dataset(dataset)[1] == []


def test_the_order_of_the_classes_makes_no_difference(make, home):
    one = contents(make(CATEGORIES="four_point_star circle"))
    make(CATEGORIES="bolt")
    (home / "classes.txt").write_text("circle\nfour point star\n")
    assert contents(make(CATEGORIES="@%s" % (home / "classes.txt"))) == one


def test_another_name_makes_a_dataset_beside_the_first(make):
    before = contents(make())
    other = make(NAME="animals", CATEGORIES=RARE)
    assert contents(paths.mscoco_dataset("limited")) == before
    assert reader.read_manifest(other)["name"] == "animals"


def rare_images(drawn):
    """File names of the train images that have a box of the class RARE, in order."""
    boxes = truth(drawn, "train")["annotations"]
    return sorted({"%012d.jpg" % box["image_id"] for box in boxes if box["category_id"] == 22})


def test_few_images_come_one_by_one_and_many_as_a_zip(make, site, drawn):
    make(CATEGORIES=RARE)

    def requested(folder):
        return {path for path in site.requests if path.startswith(folder)}

    singles = requested("/train2017/")
    assert singles == {"/train2017/" + name for name in rare_images(drawn)}
    assert not requested("/zips/")
    make("complete")
    size = (drawn / "zips" / "train2017.zip").stat().st_size
    assert site.bytes_sent["/zips/train2017.zip"] == size
    assert requested("/train2017/") == singles


def test_single_images_and_zip_give_the_same_bytes(make, home, drawn):
    single = contents(make(CATEGORIES=RARE))
    shutil.rmtree(str(home / "dataset"))
    raw = raw_data(home)
    raw.mkdir(parents=True)
    shutil.copy(str(drawn / "zips" / "train2017.zip"), str(raw))
    shutil.copytree(str(drawn / "val2017"), str(raw / "val2017"))
    assert contents(make(CATEGORIES=RARE)) == single


def test_a_build_from_raw_data_alone_needs_no_network(make, home, site, drawn, monkeypatch):
    expected = contents(make())
    shutil.rmtree(str(home / "dataset" / "mscoco" / "limited"))
    monkeypatch.setenv("COCO_URL", "http://127.0.0.1:9")
    before = sum(site.requests.values())
    assert contents(make()) == expected
    assert sum(site.requests.values()) == before


def test_a_second_run_says_that_it_is_up_to_date(make, site, capsys):
    dataset = make()
    before, requests = os.stat(str(dataset.manifest)), sum(site.requests.values())
    capsys.readouterr()
    make()
    out, err = capsys.readouterr()
    assert "limited is up to date" in err
    assert out == "next: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited\n"
    assert os.stat(str(dataset.manifest)) == before
    assert sum(site.requests.values()) == requests


@pytest.mark.parametrize(
    "change",
    ["SEED=1", "NEGATIVES=2", "SHARDS=2", "SPLITS=val", "MAX_IMAGES=2", "CATEGORIES=" + RARE],
)
def test_other_settings_build_it_again(make, change):
    expected = contents(make())
    assert contents(make(**dict([change.split("=")]))) != expected
    assert contents(make()) == expected


def test_a_shard_that_was_removed_or_cut_is_built_again(make):
    dataset = make()
    expected = contents(dataset)
    dataset.shards("val")[0].unlink()
    assert contents(make()) == expected
    dataset.shards("train")[0].write_bytes(b"")
    assert contents(make()) == expected


def test_other_annotations_build_it_again(make, home):
    dataset = make()
    path = raw_data(home) / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text())
    document["annotations"] = [each for each in document["annotations"] if each["category_id"] != 1]
    path.write_text(json.dumps(document))
    make()
    assert split(dataset, "val")["per_category"]["circle"] == {"images": 0, "boxes": 0}


def test_a_dataset_whose_raw_images_were_removed_is_up_to_date(make, home, site):
    dataset = make(KEEP_RAW="0")
    left = {path.name for path in raw_data(home).iterdir()}
    assert left == {"annotations", "annotations_trainval2017.zip"}
    requests = sum(site.requests.values())
    make(KEEP_RAW="0")
    assert sum(site.requests.values()) == requests
    assert contents(dataset) == contents(make(KEEP_RAW="1"))


def test_max_images_and_negatives_limit_the_images_of_a_split(make):
    dataset = make(MAX_IMAGES="train=5 val=2", NEGATIVES="3")
    train, val = split(dataset), split(dataset, "val")
    assert (train["images"], train["negatives"]) == (5, 0)
    assert (val["images"], val["negatives"]) == (5, 3)
    dataset = make(NEGATIVES="all")
    assert split(dataset, "val")["images"] == 24
    assert split(dataset)["negatives"] == 0


def test_stats_only_prints_and_stops(make, site, capsys, drawn):
    make(STATS_ONLY="1")
    lines = capsys.readouterr().out.splitlines()
    first_words = [line.split()[0] for line in lines[1:]]
    assert first_words == ["circle", "four", "without", "all", "train:", "val:"]
    assert "to fetch" in lines[-1]
    assert not [path for path in site.requests if path.endswith(".jpg") and site.bytes_sent[path]]
    assert not paths.mscoco_dataset("limited").folder.exists()


def test_the_bytes_to_fetch_are_printed(make, site, capsys):
    make("complete", STATS_ONLY="1")
    size = site.file("/zips/train2017.zip").stat().st_size
    line = "train: to fetch: train2017.zip, about %d kB" % round(size / 1e3)
    assert line in capsys.readouterr().out


def test_too_little_disk_stops_before_the_images(make, site, monkeypatch):
    make(STATS_ONLY="1")
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TodusError, match="1 kB free and this needs about .*TODUS_HOME"):
        make()
    assert not [path for path in site.requests if path.endswith(".jpg") and site.bytes_sent[path]]


def test_masks_are_written_only_with_include_masks(make):
    found = next(reader.read_examples(make(INCLUDE_MASKS="1"), "train"))
    assert len(found.masks) == len(found.boxes) > 0
    assert not next(reader.read_examples(make(), "train")).masks


def test_testdev_has_images_and_no_boxes(make, home, drawn, tmp_path, site):
    document = dict(truth(drawn, "val"))
    del document["annotations"]
    root = tmp_path / "more"
    (root / "annotations").mkdir(parents=True)
    text = json.dumps(document).replace("val2017", "test2017")
    with zipfile.ZipFile(str(root / "annotations" / "image_info_test2017.zip"), "w") as archive:
        archive.writestr("annotations/image_info_test-dev2017.json", text)
    shutil.copytree(str(drawn / "val2017"), str(root / "test2017"))
    with Server(root) as server:
        dataset = make("complete", SPLITS="testdev", COCO_URL=server.url)
    testdev = split(dataset, "testdev")
    assert (testdev["images"], testdev["boxes"]) == (24, 0)
    assert [path.name for path in dataset.shards("testdev")] == ["testdev.record-00000-of-00001"]


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"CATEGORIES": "circel"}, 'no class "circel" in COCO; did you mean circle'),
        ({"SPLITS": "test"}, "SPLITS=test: give some of train val testdev"),
        ({"SPLITS": "testdev"}, "testdev, which has no boxes"),
        ({"MAX_IMAGES": "few"}, "MAX_IMAGES=few: give a number"),
        ({"MAX_IMAGES": "all"}, "MAX_IMAGES=all: give a number"),
        ({"NEGATIVES": "tain=3"}, "NEGATIVES=tain=3"),
        ({"MAX_MISSING": "much"}, "MAX_MISSING=much"),
        ({"COCO_URL": "cocodataset.org"}, "COCO_URL=cocodataset.org: give a web address"),
        ({"NAME": "raw-data"}, "NAME=raw-data"),
        ({"NAME": "../x"}, "NAME=../x"),
        ({"VERIFY": "yes"}, "VERIFY=yes: give structure or decode"),
    ],
    ids=str,
)
def test_an_invalid_value_is_refused(make, variables, message):
    with pytest.raises(UsageError, match=message):
        make(**variables)
    assert not paths.mscoco_dataset("limited").folder.exists()


def test_an_unknown_class_of_coco_is_refused_before_any_download(make, monkeypatch):
    monkeypatch.delenv("COCO_URL")
    monkeypatch.setattr(
        coco.coco_raw_data.RawData, "fetch_annotations", lambda *_: pytest.fail("downloads")
    )
    with pytest.raises(UsageError, match='no class "hose" in COCO; did you mean (horse|mouse)'):
        make(CATEGORIES="hose")


def test_a_missing_image_is_counted_listed_and_tried_again(make, site, drawn):
    whole = contents(make(CATEGORIES=RARE))
    names = rare_images(drawn)
    shutil.rmtree(str(paths.home() / "dataset"))
    site.faults.append(Fault("/train2017/" + names[0], status=404))
    message = "1 files are missing, more than MAX_MISSING allows: %s" % names[0]
    with pytest.raises(TodusError, match=message):
        make(CATEGORIES=RARE)
    dataset = make(CATEGORIES=RARE, MAX_MISSING="50%")
    assert split(dataset)["missing"] == [names[0]]
    assert split(dataset)["dropped"] == {coco.MISSING: 1}
    assert split(dataset)["images"] == len(names) - 1
    before = contents(dataset)
    assert contents(make(CATEGORIES=RARE, MAX_MISSING="50%")) == before
    site.faults.clear()
    assert contents(make(CATEGORIES=RARE)) == whole


def test_an_image_that_was_damaged_on_disk_is_fetched_again(make, home):
    dataset = make(CATEGORIES=RARE)
    expected = contents(dataset)
    images = sorted((raw_data(home) / "train2017").iterdir())
    assert len(images) >= 3
    for path, damage in zip(images, (b"", b"\xff\xd8\xff", bytes(5000))):
        path.write_bytes(damage)
    shutil.rmtree(str(dataset.folder))
    assert contents(make(CATEGORIES=RARE)) == expected


def test_annotations_that_are_cut_short_are_named_in_the_error(make, home):
    make(STATS_ONLY="1")
    path = raw_data(home) / "annotations" / "instances_train2017.json"
    path.write_bytes(path.read_bytes()[:5000])
    message = "instances_train2017.json is not complete COCO JSON.*remove it and run"
    with pytest.raises(TodusError, match=message):
        make()
