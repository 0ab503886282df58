"""dataset-merge.sh: several datasets in one."""

import pytest

from tests.helpers import own_images as own
from todus import categories, paths
from todus.command import run
from todus.commands import verify
from todus.dataset.annotations import Box
from todus.dataset.sources import merge, voc


@pytest.fixture
def made(tmp_path, monkeypatch, capsys):
    """Makes voc/NAME of a folder that `fill` draws; then runs merges."""

    class Maker:
        def voc(self, name, fill, **variables):
            own.clean_environment(monkeypatch, tmp_path / "home", NAME=name, **variables)
            fill(tmp_path / name)
            assert run("dataset-voc", voc.main, [str(tmp_path / name)]) == 0
            capsys.readouterr()

        def merge(self, *names, **variables):
            own.clean_environment(monkeypatch, tmp_path / "home", **variables)
            code = run("dataset-merge", merge.main, list(names))
            captured = capsys.readouterr()
            return code, captured.out, captured.err

    return Maker()


def drawn(seed, name, number=6, split=None):
    """A filler: images of seeds seed.. with one box each."""

    def fill(root):
        for index in range(number):
            folder = root / split(index) if split else root
            own.save(folder / ("%s%d.jpg" % (name, index)), seed + index)
            own.write(
                folder / ("%s%d.xml" % (name, index)), own.xml("", (40, 30), [(name, 5, 6, 25, 26)])
            )

    return fill


def test_classes_of_both_have_one_label_map_the_first_ones_first(made):
    made.voc("a", drawn(0, "zebra"))
    made.voc("b", drawn(100, "ant"))
    code, out, err = made.merge("voc/a", "voc/b", NAME="ab")
    assert code == 0 and "merged/ab: 12 images, 12 boxes, 2 classes" in out
    assert categories.read_label_map(paths.dataset("merged/ab").label_map) == {1: "zebra", 2: "ant"}
    found = own.every("merged/ab")
    assert set(found) == {"voc/a/zebra%d.jpg" % n for n in range(6)} | {
        "voc/b/ant%d.jpg" % n for n in range(6)
    }
    assert own.boxes_of(found["voc/b/ant3.jpg"]) == [("ant", 5, 6, 25, 26)] and found[
        "voc/b/ant3.jpg"
    ].classes.tolist() == [2]
    assert "note: only voc/a labels zebra" in err
    assert verify.main(["merged/ab"]) == 0


def test_names_that_differ_in_case_or_underscores_are_one_class(made):
    made.voc("a", drawn(0, "polar_bear"))
    made.voc("b", drawn(100, "Polar bear"))
    made.merge("voc/a", "voc/b", NAME="ab")
    assert categories.read_label_map(paths.dataset("merged/ab").label_map) == {1: "polar_bear"}


def test_an_image_of_both_is_there_once_with_the_boxes_of_both(made):
    made.voc("a", drawn(0, "cat", split=lambda n: "train" if n < 4 else "val"))
    made.voc("b", drawn(0, "dog", split=lambda n: "train" if n > 0 else "val"))
    code, out, _ = made.merge("voc/a", "voc/b", NAME="ab")
    splits = own.examples("merged/ab")
    assert code == 0 and set(splits["val"]) == {
        "voc/a/train/cat0.jpg",
        "voc/a/val/cat4.jpg",
        "voc/a/val/cat5.jpg",
    }
    assert len(splits["train"]) == 3
    assert all(found.class_texts == ["cat", "dog"] for found in own.every("merged/ab").values())
    assert "image of one dataset's train in another's val or test, kept there" in out


def test_one_thing_that_both_drew_is_one_box():
    one = Box(1, 10, 10, 50, 50, 1600)
    assert merge.same_object(one, Box(1, 11, 10, 50, 52, 1600))
    assert not merge.same_object(one, Box(2, 10, 10, 50, 50, 1600)) and not merge.same_object(
        one, Box(1, 30, 10, 70, 50, 1600)
    )


def test_the_second_merge_has_nothing_to_do_until_a_dataset_changes(made, tmp_path):
    made.voc("a", drawn(0, "cat"))
    made.voc("b", drawn(100, "dog"))
    made.merge("voc/a", "voc/b", NAME="ab")
    before = own.tree(paths.dataset("merged/ab").folder)
    assert "up to date" in made.merge("voc/a", "voc/b", NAME="ab")[1]
    made.voc("b", drawn(200, "dog"))
    assert "up to date" not in made.merge("voc/a", "voc/b", NAME="ab")[1]
    assert own.tree(paths.dataset("merged/ab").folder) != before


def test_categories_and_rename_apply(made):
    made.voc("a", drawn(0, "cat"))
    made.voc("b", drawn(100, "dog"))
    made.merge("voc/a", "voc/b", NAME="ab", RENAME="dog=animal, cat=animal")
    assert categories.read_label_map(paths.dataset("merged/ab").label_map) == {1: "animal"}


@pytest.mark.parametrize(
    "names, says",
    [
        (["voc/a"], "name two datasets"),
        (["voc/a", "voc/none"], "no dataset at"),
        (["voc/a", "voc/a"], "name two"),
    ],
)
def test_what_cannot_be_merged_is_one_line(made, names, says):
    made.voc("a", drawn(0, "cat"))
    code, _, err = made.merge(*names)
    assert code in (1, 2) and says in err and err.count("\n") == 1


def test_a_damaged_record_is_named_and_nothing_is_written(made):
    made.voc("a", drawn(0, "cat"))
    made.voc("b", drawn(100, "dog"))
    shard = paths.dataset("voc/b").shards("train")[0]
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(bytes(data))
    code, _, err = made.merge("voc/a", "voc/b", NAME="ab")
    assert (
        code == 1
        and shard.name in err
        and "offset 0" in err
        and not paths.dataset("merged/ab").folder.exists()
    )
