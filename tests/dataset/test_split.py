"""Which image goes to train, val or test: drawn by its content or group, and kept by a rebuild."""

import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import own_images as own
from tests.helpers.places import REAL
from todus import files, paths
from todus.commands import preview, verify
from todus.dataset.records import reader
from todus.dataset.sources import merge, voc
from todus.dataset.split import Candidate, Shares, assign_splits
from todus.errors import TodusError
from todus.training import split_changes

RACCOONS = REAL / "voc" / "raccoon"


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs dataset-voc.sh, on tmp_path/in by default; returns exit code, stdout and stderr."""
    call = own.runner(voc.main, tmp_path / "home", monkeypatch, capsys)
    return lambda root=tmp_path / "in", **variables: call(root, **variables)


def sides(name):
    """SHA-256 of an image's file -> its split."""
    splits = own.examples(name)
    return {found.sha256: split for split in splits for found in splits[split].values()}


def moved(before, after):
    """The number of images of both that are in different splits."""
    return sum(before[key] != after[key] for key in before.keys() & after.keys())


USUAL = Shares(0.2)


def drawn(keys, shares=USUAL, **known):
    """key -> split of images with these contents."""
    candidates = [Candidate("", key, recorded=known.get(key, "")) for key in keys]
    found = assign_splits(candidates, shares)
    return {key: to.split for key, to in zip(keys, found)}


contents = st.sets(st.integers(0, 10**9), min_size=40, max_size=90)


@given(st.integers(), st.sampled_from([1, 10, 100]), st.integers(0, 99), st.sampled_from([0, 0.2]))
def test_images_that_come_or_go_move_no_other(start, number, seed, test):
    more = ["image %d" % each for each in range(start, start + 200)]
    fewer, shares = more[number:], Shares(0.3, test, seed)
    small, large = drawn(fewer, shares), drawn(more, shares)
    assert small == {key: large[key] for key in fewer}


@given(contents, st.sampled_from(["train", "val", "test"]), st.integers(0, 39))
def test_a_recorded_split_is_kept(keys, split, place):
    names = ["k%d" % each for each in sorted(keys)]
    known = {names[place]: split}
    assert drawn(names, Shares(0.5), **known)[names[place]] == split


def test_the_shares_and_the_seed_decide_and_a_larger_share_only_adds():
    keys = ["image %d" % number for number in range(5000)]
    first, second = drawn(keys), drawn(keys, Shares(0.2, seed=1))
    with_test, larger = drawn(keys, Shares(0.2, 0.1)), drawn(keys, Shares(0.3))
    for found, val, test in ((first, 0.2, 0), (with_test, 0.2, 0.1), (larger, 0.3, 0)):
        share = Counter(found.values())
        assert abs(share["val"] / 5000 - val) < 0.02 and abs(share["test"] / 5000 - test) < 0.02
    assert first != second == drawn(keys, Shares(0.2, seed=1))
    assert all(larger[key] == "val" for key in keys if first[key] == "val")
    assert all(with_test[key] == "val" for key in keys if first[key] == "val")


@pytest.mark.parametrize("number", range(2, 8))
@pytest.mark.parametrize("test", [0.0, 0.1])
def test_each_split_has_an_image_where_there_are_enough(number, test):
    keys = ["few %d" % each for each in range(number)]
    for seed in range(8):
        shares = Shares(0.1, test, seed)
        if number < len(shares.splits):
            with pytest.raises(TodusError, match="2 images cannot be split into"):
                drawn(keys, shares)
        else:
            assert set(drawn(keys, shares).values()) == set(shares.splits)
    with pytest.raises(TodusError, match="one image cannot be split into train and val"):
        drawn(keys[:1])


@pytest.mark.skipif(not RACCOONS.is_dir(), reason="the real raccoon images are not here")
def test_real_images_that_come_or_go_move_no_other(build, tmp_path):
    stems = sorted(path.stem for path in RACCOONS.rglob("*.xml"))
    found = {path.stem: [] for path in RACCOONS.rglob("*.xml")}
    for path in RACCOONS.rglob("*.*"):
        found.get(path.stem, []).append(path)
    before = {}
    for number in (90, 91, 100, 200, 100, 99, 89):
        shutil.rmtree(str(tmp_path / "in"), ignore_errors=True)
        (tmp_path / "in").mkdir()
        for path in (path for stem in stems[:number] for path in found[stem]):
            shutil.copy(str(path), str(tmp_path / "in"))
        # As a rebuild, and as a dataset of its own.
        for name in ("r", "r%d" % number):
            code, out, err = build(NAME=name, SEED="3")
            assert code == 0, err
            assert name != "r" or not before or "images that changed splits: 0\n" in out
            after = sides("voc/" + name)
            assert moved(before, after) == 0
        before = after


def test_a_rebuild_keeps_the_splits_until_a_variable_of_them_changes(build, tmp_path):
    own.voc_folder(tmp_path / "in", 30)
    build(NAME="kept")
    dataset, first = paths.dataset("voc/kept"), sides("voc/kept")
    own.annotate(own.save(tmp_path / "in" / "more.jpg", 77), [("cat", 1, 2, 9, 9)])
    (dataset.folder / "splits.json").write_text("damaged")
    out = build(NAME="kept")[1]
    assert "images that changed splits: 0\n" in out and moved(first, sides("voc/kept")) == 0
    assert dataset.manifest.stat().st_size < 20000
    code, out, _ = build(NAME="kept", SEED="5")
    changed = moved(first, sides("voc/kept"))
    assert code == 0 and changed and "images that changed splits: %d (SEED was 0)" % changed in out


def test_a_dataset_without_recorded_splits_keeps_those_of_its_records(build, tmp_path):
    own.voc_folder(tmp_path / "in", 30)
    own.annotate(own.save(tmp_path / "in" / "gif.gif", 88, format="GIF"), [("cat", 1, 2, 9, 9)])
    build(NAME="old", SEED="4")
    first, dataset = sides("voc/old"), paths.dataset("voc/old")
    manifest = files.read_json(dataset.manifest)
    for later in ("group", "test"):
        del manifest["settings"][later]
    manifest["settings"]["seed"] = 0  # as if another rule had drawn the splits
    files.write_json(dataset.manifest, manifest)
    for later in ("splits.json", "source.json"):
        (dataset.folder / later).unlink()
    assert "is up to date" in build(NAME="old")[1]
    own.annotate(own.save(tmp_path / "in" / "more.jpg", 77), [("cat", 1, 2, 9, 9)])
    out = build(NAME="old")[1]
    assert "images that changed splits: 0\n" in out and moved(first, sides("voc/old")) == 0
    assert moved(first, sides("voc/old")) == 0 and len(sides("voc/old")) == 32


def test_a_class_with_an_uneven_share_is_named_with_a_seed_that_is_better(build, tmp_path):
    own.voc_folder(tmp_path / "in", 40)
    found = {}
    for seed in range(6):
        code, out, _ = build(NAME="s%d" % seed, SEED=str(seed))
        lines = [line for line in out.splitlines() if line.startswith("uneven split")]
        splits = own.examples("voc/s%d" % seed)
        texts = Counter(each.class_texts[0] for each in splits["val"].values())
        uneven = [name for name in ("cat", "dog") if abs(texts[name] / 20 - 0.2) > 0.051]
        assert code == 0 and bool(lines) == bool(uneven)
        assert all("%d%% of %s in val" % (5 * texts[n], n) in lines[0] for n in uneven)
        found[seed] = (lines, len(uneven))
    worst = max(found, key=lambda seed: found[seed][1])
    better = found[worst][0][0].split("SEED=")[1].split()[0]
    out = build(NAME="s%d" % worst, SEED=better)[1]
    assert "uneven split" not in out


def augmented(root, numbers, copies=3, folder_of=lambda number, copy: ""):
    """`copies` images of each number, named as Roboflow names augmented copies."""
    for number in numbers:
        for copy in range(copies):
            name = "i%02d_jpg.rf.%032x.jpg" % (number, 1000 * number + copy)
            image = own.save(root / folder_of(number, copy) / name, 1000 * number + copy)
            own.annotate(image, [("cat", 5, 6, 25, 26)])


def stems_of(name, cut):
    """split -> the starts of its images' names."""
    return {
        split: {each.file_name[:cut] for each in found.values()}
        for split, found in own.examples(name).items()
    }


def test_augmented_copies_go_to_one_split(build, tmp_path):
    augmented(tmp_path / "in", range(20))
    assert build(NAME="rf", VAL="0.4")[0] == 0
    found = stems_of("voc/rf", 3)
    assert not found["train"] & found["val"] and len(found["train"] | found["val"]) == 20


@pytest.mark.parametrize("pattern", [r"(.+)_frame", r"^clip\d+", r"^(?:(clip\d+)|x)_"])
def test_group_names_the_files_that_go_to_one_split(build, tmp_path, pattern):
    for number in range(48):
        name = "clip%02d_frame%d.jpg" % (number // 4, number)
        own.annotate(own.save(tmp_path / "in" / name, number), [("cat", 5, 6, 25, 26)])
    own.annotate(own.save(tmp_path / "in" / "alone.jpg", 99), [("cat", 5, 6, 25, 26)])
    assert build(NAME="g", GROUP=pattern, VAL="0.4")[0] == 0
    found = stems_of("voc/g", 6)
    assert not found["train"] & found["val"] and len(own.every("voc/g")) == 49


@pytest.mark.parametrize("pattern", ["(", "*", "a{9999999999999}", "(?P<a"])
def test_a_group_that_is_no_regular_expression_is_wrong_usage(build, tmp_path, pattern):
    own.voc_folder(tmp_path / "in", 4)
    code, _, err = build(GROUP=pattern)
    assert code == 2 and err.count("\n") == 1 and "GROUP=%s: give a regular" % pattern in err


def test_augmented_copies_of_val_images_in_a_given_train_folder_are_left_out(build, tmp_path):
    def folder_of(number, copy):
        return "valid" if number in (0, 1) and copy == 0 else "train"

    augmented(tmp_path / "in", range(6), folder_of=folder_of)
    code, out, _ = build(NAME="given")
    found = stems_of("voc/given", 3)
    assert code == 0 and found == {"train": {"i02", "i03", "i04", "i05"}, "val": {"i00", "i01"}}
    assert "left out 4 times: augmented copy of an image of another split: train/i00" in out


def test_groups_in_several_of_the_sources_splits_are_counted_and_kept(build, tmp_path):
    for number in range(12):
        folder = "val" if number in (0, 5) else "train"
        name = "clip%d_%02d.jpg" % (number // 4, number)
        own.annotate(own.save(tmp_path / "in" / folder / name, number), [("cat", 5, 6, 25, 26)])
    code, out, _ = build(NAME="clips", GROUP=r"clip\d")
    assert code == 0 and len(own.every("voc/clips")) == 12
    assert "groups in several of the source's splits: 2, of 8 images; AP is too high" in out


def test_a_group_recorded_in_several_splits_goes_to_train(build, tmp_path):
    augmented(tmp_path / "in", range(12))
    build(NAME="old", GROUP="$^", VAL="0.5")
    before, dataset = sides("voc/old"), paths.dataset("voc/old")
    manifest = files.read_json(dataset.manifest)
    del manifest["settings"]["group"], manifest["settings"]["test"]  # before there were groups
    files.write_json(dataset.manifest, manifest)
    augmented(tmp_path / "in", [12])
    out = build(NAME="old", VAL="0.5")[1]
    after, found = sides("voc/old"), stems_of("voc/old", 3)
    assert not found["train"] & found["val"]
    assert all(after[key] == "train" for key in before if before[key] == "train")
    changed = moved(before, after)
    assert changed and "images that changed splits: %d\n" % changed in out


def test_a_third_split_has_records_counts_and_a_place_in_every_command(build, tmp_path, capsys):
    own.voc_folder(tmp_path / "in", 30)
    code, out, _ = build(NAME="three", VAL="0.3", TEST="0.3")
    dataset = paths.dataset("voc/three")
    assert code == 0 and "test images" in out.splitlines()[1]
    examples = list(reader.read_examples(dataset, "test"))
    entry = reader.read_manifest(dataset)["splits"]["test"]
    assert examples and entry["images"] == len(examples) and dataset.shards("test")
    assert verify.main(["voc/three"]) == 0 and preview.main(["voc/three"]) == 0
    out = capsys.readouterr().out
    assert out.count("test: %d images" % len(examples)) == 2
    tables = {path.name: path for path in dataset.folder.glob("*.csv")}
    assert set(tables) == {"train_labels.csv", "val_labels.csv", "test_labels.csv"}
    assert len(tables["test_labels.csv"].read_text().splitlines()) == 1 + len(examples)


def test_a_test_folder_or_list_beside_val_is_a_third_split(build, tmp_path):
    for seed, split in enumerate(("train", "valid", "test")):
        image = own.save(tmp_path / "in" / split / "a.jpg", seed)
        own.annotate(image, [("cat", 1, 2, 23, 24)])
    assert build(NAME="folders")[0] == 0
    assert {split: set(found) for split, found in own.examples("voc/folders").items()} == {
        "train": {"train/a.jpg"},
        "val": {"valid/a.jpg"},
        "test": {"test/a.jpg"},
    }
    root = own.voc_folder(tmp_path / "lists", 3)
    for index, split in enumerate(("train", "val", "test")):
        own.write(root / "ImageSets" / "Main" / (split + ".txt"), "i%02d\n" % index)
    assert build(root, NAME="lists")[0] == 0
    found = own.examples("voc/lists")
    assert [set(found[split]) for split in ("train", "val", "test")] == [
        {"i00.jpg"},
        {"i01.jpg"},
        {"i02.jpg"},
    ]


def test_a_merge_keeps_the_test_images_of_its_datasets(build, tmp_path, monkeypatch, capsys):
    build(own.voc_folder(tmp_path / "a", 20), NAME="a", VAL="0.3", TEST="0.3")
    for seed in range(100, 108):
        image = own.save(tmp_path / "b" / ("%d.jpg" % seed), seed)
        own.annotate(image, [("cat", 1, 2, 23, 24)])
    build(tmp_path / "b", NAME="b")
    call = own.runner(merge.main, tmp_path / "home", monkeypatch, capsys)
    assert call("voc/a", "voc/b", NAME="ab")[0] == 0
    assert len(own.examples("merged/ab")["test"]) == len(own.examples("voc/a")["test"]) > 0


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"VAL": "0.6", "TEST": "0.5"}, "VAL=0.6 and TEST=0.5 leave no image for train"),
        ({"TEST": "1"}, "TEST=1: give a number from 0 to 0.9"),
        ({"TEST": "-1"}, "TEST=-1: give a number from 0 to 0.9"),
    ],
)
def test_shares_that_leave_no_train_are_wrong_usage(build, tmp_path, variables, message):
    own.voc_folder(tmp_path / "in", 4)
    code, _, err = build(**variables)
    assert code == 2 and message in err and err.count("\n") == 1


def test_records_of_a_split_that_is_not_there_name_what_to_type(build, tmp_path):
    own.voc_folder(tmp_path / "in", 8)
    build(NAME="two")
    with pytest.raises(TodusError, match="has no test records; build it again with TEST=0.1"):
        list(reader.read_examples(paths.dataset("voc/two"), "test"))


def test_another_folder_does_not_replace_a_dataset_unless_asked(build, tmp_path):
    one, two = own.voc_folder(tmp_path / "one", 6), own.voc_folder(tmp_path / "two", 8)
    build(one, NAME="d")
    before = own.tree(paths.dataset("voc/d").folder)
    code, _, err = build(two, NAME="d")
    assert code == 2 and err.count("\n") == 1
    assert "dataset voc/d is made from %s, not from %s; set another NAME" % (one, two) in err
    assert own.tree(paths.dataset("voc/d").folder) == before
    assert build(two, NAME="d", REPLACE="1")[0] == 0 and len(own.every("voc/d")) == 8
    assert build(one, NAME="d")[0] == 2


def test_a_moved_folder_is_the_same_source(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6)
    build(NAME="d")
    (tmp_path / "in").rename(tmp_path / "moved")
    assert "is up to date" in build(tmp_path / "moved", NAME="d")[1]
    own.annotate(own.save(tmp_path / "moved" / "more.jpg", 77), [("cat", 1, 2, 9, 9)])
    code, out, _ = build(tmp_path / "moved", NAME="d")
    assert code == 0 and "images that changed splits: 0\n" in out
    (tmp_path / "moved").rename(tmp_path / "again")
    assert build(tmp_path / "again", NAME="d", RENAME="cat=lion")[0] == 0


def test_a_training_that_goes_on_says_how_many_images_changed_splits(build, tmp_path):
    own.voc_folder(tmp_path / "in", 20)
    build()
    dataset, model = paths.dataset("voc/in"), paths.model("m")
    model.training.mkdir(parents=True)
    assert split_changes.record(model, dataset, 0) == []
    assert split_changes.record(model, dataset, 5) == []
    own.annotate(own.save(tmp_path / "in" / "more.jpg", 99), [("cat", 5, 6, 25, 26)])
    build()
    text = "images that changed splits since the last start: %d"
    assert split_changes.record(model, dataset, 5) == [text % 0]
    before = sides("voc/in")
    build(SEED="3")
    number = moved(before, sides("voc/in"))
    first, second = split_changes.record(model, dataset, 5)
    assert number > 0 and first == text % number
    assert second.endswith("the AP on val is too high; train from the start")
