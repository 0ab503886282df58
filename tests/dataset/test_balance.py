"""BALANCE and WEIGHTS: train images that have further records."""

import pytest

from tests.helpers import datasets
from tests.helpers import own_images as own
from todus import paths
from todus.commands import preview, verify
from todus.dataset import balance
from todus.dataset.annotations import Box, Image
from todus.dataset.records import example, reader, shards, tfrecord
from todus.dataset.records.verify import dataset as problems_of
from todus.dataset.sources import merge, voc
from todus.training import eval_sample


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs dataset-voc.sh in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(voc.main, tmp_path / "home", monkeypatch, capsys)


def rare_folder(root, common=30, rare=2):
    """Train images of a cat, `rare` of them with a dog too, and two val images of both."""
    for index in range(common + 2):
        split = "train" if index < common else "val"
        image = own.save(root / split / ("i%02d.jpg" % index), index)
        names = ["cat", "dog"] if index < rare or split == "val" else ["cat"]
        own.annotate(image, [(name, 5, 6, 25, 26) for name in names])
    return root


def records_of(name):
    """source_id -> number of records in train."""
    found = {}
    for path in paths.dataset(name).shards("train"):
        for record in tfrecord.scan(path):
            key = example.decode(record.data).source_id
            found[key] = found.get(key, 0) + 1
    return found


def test_images_of_rare_classes_have_more_records_and_count_once(build, tmp_path, capsys):
    rare_folder(tmp_path / "in")
    code, out, _ = build("in", NAME="plain")
    assert code == 0 and "further" not in out
    code, out, _ = build("in", NAME="d", BALANCE="1")
    # f(dog) = 2 / 30 and t = 1 / 2: a factor of 2.7
    assert code == 0 and out.startswith("voc/d: 32 images, 36 boxes, 2 classes\n")
    assert "of these images: dog 2." in out or "of these images: dog 3.0" in out
    found, plain = records_of("voc/d"), records_of("voc/plain")
    assert set(plain.values()) == {1} and set(found) == set(plain)
    assert {key for key, number in found.items() if number > 1} == {
        "train/i00.jpg",
        "train/i01.jpg",
    }
    assert {found["train/i00.jpg"], found["train/i01.jpg"]} <= {2, 3}
    train = reader.read_manifest(paths.dataset("voc/d"))["splits"]["train"]
    before = reader.read_manifest(paths.dataset("voc/plain"))["splits"]["train"]
    assert train["repeats"] == sum(found.values()) - 30 == train["repeats_of"]["dog"]
    assert all(train[key] == before[key] for key in ("images", "boxes", "per_category"))
    assert train["shards"][0]["examples"] == sum(found.values())
    assert len(own.examples("voc/d")["train"]) == 30
    assert verify.main(["voc/d"]) == 0 and preview.main(["voc/d"]) == 0
    out = capsys.readouterr().out
    assert "train: 30 images, 32 boxes, 0 negatives, %d repeats" % train["repeats"] in out
    assert "train: 30 images, %d further records for BALANCE" % train["repeats"] in out
    sample = eval_sample.of(paths.Model(tmp_path / "m"), paths.dataset("voc/d"), "train", 1)
    identities = [each.source_id for each in reader.read_examples(sample, "train")]
    assert len(identities) == len(set(identities)) == 2
    assert "nothing to do" in build("in", NAME="d", BALANCE="1")[1]
    assert "BALANCE=0.05 repeats no image" in build("in", NAME="d", BALANCE="0.05")[1]


def test_factors_are_those_of_lvis():
    cats = [Image(n, "", 9, 9, [Box(1, 0, 0, 1, 1, 1)]) for n in range(9999)]
    both = Image("both", "", 9, 9, [Box(1, 0, 0, 1, 1, 1), Box(2, 0, 0, 1, 1, 1)])
    empty = Image("none", "", 9, 9, [])
    found = balance.factors([*cats, both, empty], [1, 2], balance.threshold(1, 1203))
    assert set(found[:9999]) == {1.0} and found[-1] == 1.0
    assert found[9999] == pytest.approx((0.001 * 10001) ** 0.5)
    assert balance.threshold(0.01, 3) == 0.01 and balance.threshold(1, 4) == 0.25


def test_a_repeat_without_its_image_and_a_wrong_number_are_faults(home):
    options = shards.Options(balance=0.99)
    train = datasets.annotated(home / "images", 12)
    made = datasets.build(home, options=options, splits={"train": train})
    (path,) = made.shards("train")
    found = [(each.data, example.decode(each.data)) for each in tfrecord.scan(path)]
    repeated = next(one.source_id for _, one in found if one.repeat)
    with path.open("wb") as file:
        writer = tfrecord.Writer(file)
        for data, one in found:
            if one.repeat or one.source_id != repeated:
                writer.write(data)
    assert "train repeats image %s, which it does not hold" % repeated in problems_of(made)[1]
    with path.open("wb") as file:
        writer = tfrecord.Writer(file)
        for data, one in found:
            if not one.repeat:
                writer.write(data)
    assert any("holds 0 repeats, dataset.json lists" in each for each in problems_of(made)[1])


def test_weights_of_merged_datasets_are_ratios_of_records(build, tmp_path, monkeypatch, capsys):
    for name, seed in (("a", 0), ("b", 50)):
        for index in range(6):
            split = "train" if index < 5 else "val"
            image = own.save(tmp_path / name / split / ("i%d.jpg" % index), seed + index)
            own.annotate(image, [(name, 5, 6, 25, 26)])
        assert build(name)[0] == 0
    merged = own.runner(merge.main, tmp_path / "home", monkeypatch, capsys)
    code, out, _ = merged("voc/a", "voc/b", NAME="ab", WEIGHTS="voc/a=0.5 voc/b=1.5")
    assert code == 0 and out.count("merged/ab: 12 images, 12 boxes, 2 classes\n") == 1
    found = records_of("merged/ab")
    assert {key[:5]: number for key, number in found.items()} == {"voc/a": 1, "voc/b": 3}
    assert verify.main(["merged/ab"]) == 0
    code, out, _ = merged("voc/a", "voc/b", NAME="ab", WEIGHTS="voc/a=0.5 voc/b=1.5")
    assert "nothing to do" in out
    code, _, err = merged("voc/a", "voc/b", NAME="ab", WEIGHTS="a=2")
    assert code == 2 and 'set WEIGHTS="voc/a=1 voc/b=1"' in err
    code, out, _ = merged("merged/ab", "voc/b", NAME="again")
    assert code == 0 and set(records_of("merged/again").values()) == {1}
