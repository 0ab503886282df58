"""NEGATIVES=DIR: pictures without any of the classes, added to every kind of dataset."""

import shutil

import pytest

from tests.helpers import own_images as own
from todus import paths
from todus.dataset.records import reader, verify
from todus.dataset.sources import merge, voc

pytest_plugins = ["tests.helpers.coco_site"]


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs dataset-voc.sh on tmp_path/in; returns exit code, stdout and stderr."""
    call = own.runner(voc.main, tmp_path / "home", monkeypatch, capsys)
    return lambda **variables: call(tmp_path / "in", **variables)


@pytest.fixture
def pictures(tmp_path):
    """A folder of 20 pictures."""
    for index in range(20):
        own.save(tmp_path / "empty" / "cam" / ("p%02d.jpg" % index), 1000 + index)
    return tmp_path / "empty"


def negatives(name):
    """Source id -> split of the images without a box."""
    splits = own.examples(name)
    return {
        key: split
        for split, found in splits.items()
        for key, each in found.items()
        if not len(each.classes)
    }


def test_pictures_become_images_without_a_box_in_train_and_val(build, tmp_path, pictures):
    own.voc_folder(tmp_path / "in")
    code, out, _ = build(NEGATIVES=str(pictures))
    assert code == 0 and "(no box)" in out
    found = negatives("voc/in")
    assert set(found) == {"negatives:cam/p%02d.jpg" % index for index in range(20)}
    assert set(found.values()) == {"train", "val"}
    assert verify.dataset(paths.dataset("voc/in"))[1] == []


def test_a_picture_that_is_added_moves_no_other_and_the_same_ones_build_nothing(
    build, tmp_path, pictures
):
    own.voc_folder(tmp_path / "in")
    build(NEGATIVES=str(pictures))
    before = negatives("voc/in")
    assert "nothing to do" in build(NEGATIVES=str(pictures))[1]
    own.save(pictures / "another.jpg", 2000)
    assert "images that changed splits: 0" in build(NEGATIVES=str(pictures))[1]
    after = negatives("voc/in")
    assert len(after) == 21 and before.items() <= after.items()


def test_the_sources_own_splits_stay_and_the_pictures_are_divided(build, tmp_path, pictures):
    for index in range(6):
        split = "train" if index < 4 else "test"
        own.annotate(
            own.save(tmp_path / "in" / split / ("i%d.jpg" % index), index), [("a", 1, 1, 9, 9)]
        )
    code, out, _ = build(NEGATIVES=str(pictures))
    assert code == 0 and sorted(set(negatives("voc/in").values())) == ["train", "val"]
    splits = reader.read_manifest(paths.dataset("voc/in"))["splits"]
    boxed = {name: entry["images"] - entry["negatives"] for name, entry in splits.items()}
    assert boxed == {"train": 4, "val": 2}


def test_a_copy_of_an_image_of_the_dataset_and_a_damaged_picture_are_left_out(
    build, tmp_path, pictures
):
    own.voc_folder(tmp_path / "in")
    shutil.copy(str(tmp_path / "in" / "i00.jpg"), str(pictures / "copy.jpg"))
    shutil.copy(str(pictures / "cam" / "p01.jpg"), str(pictures / "twice.jpg"))
    (pictures / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    _, out, _ = build(NEGATIVES=str(pictures))
    assert "image of NEGATIVES that is in the dataset already: negatives:copy.jpg" in out
    assert "left out 1 times: copy of another image, counted once: negatives:cam/p01.jpg" in out
    assert "negatives:damaged.jpg" in out
    assert len(negatives("voc/in")) == 20


def test_the_frames_of_a_video_stay_in_one_split(build, tmp_path, pictures):
    own.voc_folder(tmp_path / "in")
    build(NEGATIVES=str(pictures), GROUP="^(p.)")
    found = negatives("voc/in")
    for video in ("p0", "p1"):
        assert len({split for key, split in found.items() if "/" + video in key}) == 1


def test_a_folder_without_a_picture_is_an_error_of_one_line(build, tmp_path):
    own.voc_folder(tmp_path / "in")
    (tmp_path / "none").mkdir()
    code, _, err = build(NEGATIVES=str(tmp_path / "none"))
    assert (code, err.count("\n")) == (1, 1) and "no image under NEGATIVES=" in err


def test_limited_coco_takes_them_beside_the_images_of_its_classes(make, pictures):
    plain = reader.read_manifest(make())["splits"]
    dataset = make(NEGATIVES=str(pictures))
    splits = reader.read_manifest(dataset)["splits"]
    assert {name: entry["boxes"] for name, entry in splits.items()} == {
        name: entry["boxes"] for name, entry in plain.items()
    }
    assert sum(entry["negatives"] for entry in splits.values()) == 20
    assert verify.dataset(dataset)[1] == []


def test_one_dataset_can_be_merged_with_pictures(build, tmp_path, pictures, monkeypatch, capsys):
    own.voc_folder(tmp_path / "in")
    build()
    call = own.runner(merge.main, tmp_path / "home", monkeypatch, capsys)
    assert call("voc/in", NAME="more")[0] == 2
    assert call("voc/in", NAME="more", NEGATIVES=str(pictures))[0] == 0
    assert len(negatives("merged/more")) == 20
