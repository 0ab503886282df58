"""dataset-merge.sh: several datasets in one."""

import pytest

from tests.helpers import own_images as own
from todus import paths
from todus.commands import verify
from todus.dataset.annotations import Box, same_object
from todus.dataset.sources import merge, voc


@pytest.fixture
def make(tmp_path, monkeypatch, capsys):
    """make(NAME, ...) makes voc/NAME of the images that `draw` draws with the other arguments."""
    call = own.runner(voc.main, tmp_path / "home", monkeypatch, capsys)

    def build(name, *arguments, **keys):
        assert call(draw(tmp_path / name, *arguments, **keys), NAME=name)[0] == 0

    return build


@pytest.fixture
def merged(tmp_path, monkeypatch, capsys):
    """Runs the command; returns exit code, stdout and stderr."""
    return own.runner(merge.main, tmp_path / "home", monkeypatch, capsys)


def draw(root, seed, name, split_of=lambda index: ""):
    """Six images, of the seeds from `seed` on, with one box each of the class `name`."""
    for index in range(6):
        image = own.save(root / split_of(index) / ("%s%d.jpg" % (name, index)), seed + index)
        own.annotate(image, [(name, 5, 6, 25, 26)])
    return root


def test_classes_of_both_have_one_label_map_the_first_ones_first(make, merged):
    make("a", 0, "zebra")
    make("b", 100, "ant")
    code, out, err = merged("voc/a", "voc/b", NAME="ab")
    assert code == 0 and "merged/ab: 12 images, 12 boxes, 2 classes" in out
    assert own.label_map("merged/ab") == {1: "zebra", 2: "ant"}
    found = own.every("merged/ab")
    names = ("voc/a/zebra%d.jpg", "voc/b/ant%d.jpg")
    assert set(found) == {name % index for name in names for index in range(6)}
    ant = found["voc/b/ant3.jpg"]
    assert own.boxes_of(ant) == [("ant", 5, 6, 25, 26)] and ant.classes.tolist() == [2]
    assert "note: only voc/a labels zebra" in err
    assert verify.main(["merged/ab"]) == 0


def test_names_that_differ_in_case_or_underscores_are_one_class(make, merged):
    make("a", 0, "polar_bear")
    make("b", 100, "Polar bear")
    merged("voc/a", "voc/b", NAME="ab")
    assert own.label_map("merged/ab") == {1: "polar_bear"}


def test_an_image_of_both_is_there_once_with_the_boxes_of_both(make, merged):
    make("a", 0, "cat", lambda index: "train" if index < 4 else "val")
    make("b", 0, "dog", lambda index: "train" if index > 0 else "val")
    code, out, _ = merged("voc/a", "voc/b", NAME="ab")
    splits = own.examples("merged/ab")
    in_val = {"voc/a/train/cat0.jpg", "voc/a/val/cat4.jpg", "voc/a/val/cat5.jpg"}
    assert code == 0 and set(splits["val"]) == in_val
    assert len(splits["train"]) == 3
    assert all(found.class_texts == ["cat", "dog"] for found in own.every("merged/ab").values())
    assert "image in different splits, kept in val or test: 3 times" in out


def test_boxes_of_one_class_that_nearly_agree_are_one_object():
    one = Box(1, 10, 10, 50, 50, 1600)
    assert same_object(one, Box(1, 11, 10, 50, 52, 1600))
    assert not same_object(one, Box(2, 10, 10, 50, 50, 1600))
    assert not same_object(one, Box(1, 30, 10, 70, 50, 1600))


def test_the_second_merge_has_nothing_to_do_until_a_dataset_changes(make, merged):
    make("a", 0, "cat")
    make("b", 100, "dog")
    merged("voc/a", "voc/b", NAME="ab")
    before = own.tree(paths.dataset("merged/ab").folder)
    assert "up to date" in merged("voc/a", "voc/b", NAME="ab")[1]
    make("b", 200, "dog")
    assert "up to date" not in merged("voc/a", "voc/b", NAME="ab")[1]
    assert own.tree(paths.dataset("merged/ab").folder) != before


def test_categories_and_rename_apply(make, merged):
    make("a", 0, "cat")
    make("b", 100, "dog")
    merged("voc/a", "voc/b", NAME="renamed", RENAME="dog=animal, cat=animal")
    assert own.label_map("merged/renamed") == {1: "animal"}
    merged("voc/a", "voc/b", NAME="dogs", CATEGORIES="dog")
    assert own.label_map("merged/dogs") == {1: "dog"}


@pytest.mark.parametrize(
    "names, message",
    [
        (["voc/a"], "name two datasets"),
        (["voc/a", "voc/none"], "no dataset at"),
        (["voc/a", "voc/a"], "name two"),
    ],
)
def test_datasets_that_cannot_be_merged_are_one_line(make, merged, names, message):
    make("a", 0, "cat")
    code, _, err = merged(*names)
    assert code in (1, 2) and message in err and err.count("\n") == 1


def test_a_damaged_record_is_named_and_nothing_is_written(make, merged):
    make("a", 0, "cat")
    make("b", 100, "dog")
    shard = paths.dataset("voc/b").shards("train")[0]
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(bytes(data))
    code, _, err = merged("voc/a", "voc/b", NAME="ab")
    assert code == 1 and shard.name in err and "offset 0" in err
    assert not paths.dataset("merged/ab").folder.exists()
