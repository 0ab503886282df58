"""dataset-openimages.sh: classes of Open Images from a server, a folder, or a downloaded tree."""

import csv
import functools
import json

import pytest

from demo.server import Fault, Server
from tests.helpers import own_images as own
from tests.helpers.places import REAL
from todus import paths
from todus.dataset.sources import openimages, openimages_classes, openimages_rows, openimages_site
from todus.errors import TodusError, UsageError

HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)
CAR, BUS, VEHICLE, BEAR, CAT = "/m/0k4j", "/m/01bjv", "/m/07yv9", "/m/0633h", "/m/01yrx"
CARS = {"LabelName": CAR, "Part": [{"LabelName": "/m/083wq"}]}
VEHICLES = {"LabelName": VEHICLE, "Subcategory": [CARS, {"LabelName": BUS}]}
HIERARCHY = {"LabelName": "/m/0bl9f", "Subcategory": [VEHICLES, {"LabelName": CAT}]}
BOXES = {
    "train": "v6/oidv6-train-annotations-bbox.csv",
    "validation": "v5/validation-annotations-bbox.csv",
    "test": "v5/test-annotations-bbox.csv",
}


def row(number, label, flags="0,0,0,0,0"):
    """A row of a box file, for the image whose id is the number in hexadecimal."""
    return "%016x,xclick,%s,1,0.25,0.75,0.2,0.8,%s" % (number, label, flags)


@pytest.fixture
def mini(tmp_path):
    """A drawn Open Images: train ids 1.., validation 1001.., test 2001.., each with an image."""
    root = tmp_path / "served"
    labels = [CAR, BUS, VEHICLE, BEAR, CAT]
    rows = {
        "train": [row(n + 1, labels[n % 5]) for n in range(20)] + [row(1, BEAR, "0,1,1,0,0")],
        "validation": [row(n + 0x1001, labels[n % 5]) for n in range(10)],
        "test": [row(n + 0x2001, labels[n % 5], "0,0,0,1,0") for n in range(5)],
    }
    for split, listed in rows.items():
        own.write(root / BOXES[split], "\n".join([HEADER, *listed]) + "\n")
        for image in {line.split(",")[0] for line in listed}:
            own.save(root / split / (image + ".jpg"), int(image, 16))
    own.write(root / openimages_site.HIERARCHY, json.dumps(HIERARCHY))
    return root


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    call = own.runner(openimages.main, tmp_path / "home", monkeypatch, capsys)
    return functools.partial(call, RETRY_WAIT="0.01", RETRIES="3")


def counts(name):
    """split -> number of images of a dataset."""
    return {split: len(found) for split, found in own.examples(name).items()}


def test_only_the_images_with_a_wanted_class_are_fetched(build, mini):
    with Server(mini) as server:
        code, out, _ = build(CATEGORIES="Polar_bear, Car", OPENIMAGES_URL=server.url)
        fetched = {path for path in server.requests if path.endswith(".jpg")}
    assert code == 0 and out.splitlines()[-1].endswith("-d openimages/polar-bear-car")
    splits = own.examples("openimages/polar-bear-car")
    numbers = [n for n in range(20) if n % 5 in (0, 3)]
    assert set(splits["train"]) == {"train/%016x" % (n + 1) for n in numbers}
    assert set(splits["val"]) == {"validation/%016x" % (n + 0x1001) for n in numbers if n < 10}
    assert fetched == {"/%s.jpg" % name for split in splits.values() for name in split}
    assert own.label_map("openimages/polar-bear-car") == {1: "Polar bear", 2: "Car"}


def test_a_group_becomes_a_crowd_and_corners_are_fractions(build, mini):
    build(CATEGORIES="Car,Polar bear", NAME="g", OPENIMAGES_URL=str(mini))
    found = own.every("openimages/g")["train/%016x" % 1]
    expected = {"Car": False, "Polar bear": True}
    assert dict(zip(found.class_texts, found.is_crowd.tolist())) == expected
    assert dict(zip(found.class_texts, found.truncated.tolist())) == expected
    assert found.boxes[0].tolist() == pytest.approx([0.2, 0.25, 0.8, 0.75])


def test_a_folder_is_read_in_place(build, mini):
    before = own.tree(mini)
    code, _, _ = build(CATEGORIES="Cat", NAME="c", OPENIMAGES_URL="file://%s" % mini)
    assert code == 0 and own.tree(mini) == before and len(own.every("openimages/c")) == 6
    assert not (paths.home() / "dataset/openimages/raw-data").exists()


def test_stats_only_fetches_no_image(build, mini):
    with Server(mini) as server:
        code, out, _ = build(CATEGORIES="Car", STATS_ONLY="1", OPENIMAGES_URL=server.url)
        assert code == 0 and not any(path.endswith(".jpg") for path in server.requests)
    assert out.splitlines()[1].split() == ["Car", "4", "4", "2", "2"]
    assert not list(paths.home().rglob("dataset.json"))


def test_a_second_run_fetches_nothing_and_a_failed_one_is_resumed(build, mini):
    failing = "/train/%016x.jpg" % 6
    with Server(mini, [Fault(failing, status=503)]) as server:
        variables = {"CATEGORIES": "Car", "NAME": "r", "OPENIMAGES_URL": server.url}
        assert build(**variables)[0] == 1
        assert not paths.dataset("openimages/r").folder.exists()
        server.faults.clear()
        assert build(**variables)[0] == 0
        assert {count for path, count in server.requests.items() if path != failing} == {1}
        before = len(server.log)
        assert "is up to date" in build(**variables)[1]
        assert len(server.log) == before


def test_missing_images_are_listed_and_too_many_fail(build, mini):
    with Server(mini, [Fault("/train/%016x.jpg" % 1, status=404)]) as server:
        variables = {"CATEGORIES": "Car", "NAME": "m", "OPENIMAGES_URL": server.url}
        code, _, err = build(**variables)
        assert code == 1 and "MAX_MISSING" in err
        code, out, err = build(**variables, MAX_MISSING="20%")
    assert code == 0, err
    assert "image not downloaded: the server does not have it: train/%016x" % 1 in out


def test_max_images_keeps_the_classes_shares_and_depends_on_the_seed_alone(build, mini, tmp_path):
    rows = [row(n, CAR if n < 80 else CAT) for n in range(100)]
    path = own.write(tmp_path / "rows.csv", "\n".join([HEADER, *rows]))
    boxes = openimages_rows.read(path, {CAR: 0, CAT: 1}).boxes
    chosen = openimages.sample(boxes, 10, seed=1)
    assert sum(int(image, 16) < 80 for image in chosen) in (7, 8) and len(chosen) == 10
    assert chosen == openimages.sample(boxes, 10, seed=1) != openimages.sample(boxes, 10, seed=2)
    build(CATEGORIES="Car Cat", NAME="s", MAX_IMAGES="2", OPENIMAGES_URL=str(mini))
    assert counts("openimages/s") == {"train": 2, "val": 2}


def test_expand_adds_the_subclasses(build, mini):
    build(CATEGORIES="Vehicle", NAME="one", EXPAND="1", OPENIMAGES_URL=str(mini))
    assert (
        own.label_map("openimages/one") == {1: "Vehicle"} and len(own.every("openimages/one")) == 18
    )
    build(CATEGORIES="Vehicle", NAME="own", EXPAND="classes", OPENIMAGES_URL=str(mini))
    assert sorted(own.label_map("openimages/own").values()) == ["Bus", "Car", "Vehicle"]
    build(CATEGORIES="Vehicle Bus", NAME="two", EXPAND="1", OPENIMAGES_URL=str(mini))
    texts = [found.class_texts for found in own.every("openimages/two").values()]
    assert texts.count(["Bus"]) == 6 and texts.count(["Vehicle"]) == 12


def test_exclude_leaves_out_flagged_boxes(build, mini):
    variables = {"CATEGORIES": "Car", "NAME": "e", "OPENIMAGES_URL": str(mini)}
    code, out, _ = build(EXCLUDE="depiction", SPLITS="train,test", **variables)
    assert code == 0 and "test: 1 box left out for EXCLUDE" in out
    assert len(own.every("openimages/e")) == 4


def test_test_beside_validation_is_a_third_split(build, mini):
    code, out, _ = build(
        CATEGORIES="Car", NAME="t", SPLITS="train,validation,test", OPENIMAGES_URL=str(mini)
    )
    assert (
        code == 0
        and "test images" in out
        and set(counts("openimages/t"))
        == {
            "train",
            "val",
            "test",
        }
    )


def test_one_split_alone_is_divided_by_val(build, mini):
    build(CATEGORIES="all", NAME="v", SPLITS="validation", OPENIMAGES_URL=str(mini))
    found = counts("openimages/v")
    assert set(found) == {"train", "val"} and sum(found.values()) == 10 and all(found.values())


@pytest.mark.parametrize(
    "variables, message",
    [
        ({}, "set CATEGORIES"),
        ({"CATEGORIES": "Polr_bear"}, "did you mean Polar bear"),
        ({"CATEGORIES": "/m/nothing"}, "no class of Open Images has the label /m/nothing"),
        ({"CATEGORIES": "Car", "SPLITS": "dev"}, "SPLITS=dev: give some of train validation test"),
        ({"CATEGORIES": "Car", "EXCLUDE": "ugly"}, "EXCLUDE=ugly: give some of occluded"),
        (
            {"CATEGORIES": "Car", "OPENIMAGES_VERSION": "8"},
            "OPENIMAGES_VERSION=8: give 4 or 5 or 6 or 7",
        ),
    ],
)
def test_wrong_variables_are_usage_errors(build, variables, message):
    code, _, err = build(**variables)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_web_page_in_place_of_the_box_file_never_becomes_a_dataset(build, mini):
    with Server(mini, [Fault("/v6/*", page=True)]) as server:
        code, _, err = build(CATEGORIES="Car", OPENIMAGES_URL=server.url)
    assert code == 1 and "web page" in err and not list(paths.home().rglob("*.csv"))


def test_a_class_is_chosen_by_its_name_in_any_spelling_or_its_label():
    bear = openimages_classes.choose("/m/0633h")
    assert openimages_classes.choose('Polar_bear "Polar bear" polar-bear /m/0633h') == bear
    two = openimages_classes.choose("Traffic light, Person")
    assert list(two.values()) == ["Traffic light", "Person"]
    with pytest.raises(UsageError, match="Dog"):
        openimages_classes.choose("Dgo")


def test_damaged_rows_are_counted_and_columns_are_found_by_name(tmp_path):
    lines = [
        "XMax,XMin,YMin,YMax,LabelName,ImageID,IsGroupOf",
        "0.5,0.1,0.2,0.9,CAR,aa,1",
        "x,0.1,0.2,0.9,CAR,aa,0",
        "0.5,0.1,0.2,nan,CAR,aa,0",
        "0.5,0.1",
        "0.5,0.1,0.2,0.9,CAR",
        "1e300,0.1,0.2,0.9,CAR,bb,0",
        "0.5,0.1,0.2,0.9,CAR,../x,0",
        "",
        "\xff\xfe,,,,,",
    ]
    path = own.write(tmp_path / "rows.csv", "\n".join(lines).replace("CAR", CAR))
    found = openimages_rows.read(path, {CAR: 3})
    assert list(found.boxes) == ["aa"] and sum(found.dropped.values()) == 5
    (box,) = openimages_rows.named_boxes(found.boxes["aa"], {3: "Car"})
    assert box.name == "Car" and box.is_crowd
    assert box[1:5] == pytest.approx((0.1, 0.2, 0.5, 0.9))


@pytest.mark.parametrize(
    "data",
    [b"", b"a,b\n", b"\0" * 100000, b"ImageID,LabelName,XMin,XMax,YMin,YMax\n" + b"x" * 200000],
    ids=["empty", "other columns", "binary", "long line"],
)
def test_a_file_that_is_not_a_box_file_is_an_error(tmp_path, data):
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(TodusError, match="not a (box|text) file"):
        openimages_rows.read(path, {CAR: 1})


def toolkit_tree(root, tables=True):
    """A tree as OIDv4_ToolKit writes it: images by class, labels in pixels, and box files.

    Each label is there twice, as after a second run.
    """
    images = {"train": range(1, 9), "validation": range(0x11, 0x15)}
    for split, numbers in images.items():
        lines = [HEADER]
        for number in numbers:
            folder, name, label = "Car_Bus", "Car", CAR
            if number % 2:
                folder, name, label = "Polar bear", "Polar bear", BEAR
            image = root / "OID" / "Dataset" / split / folder / ("%016x.jpg" % number)
            own.save(image, number)
            text = "%s 10.0 6.0 30.0 24.0\n" % name
            own.write(image.parent / "Label" / (image.stem + ".txt"), text * 2)
            lines += [row(number, label), row(number, CAT)]
        if tables:
            path = root / "OID" / "csv_folder" / ("%s-annotations-bbox.csv" % split)
            own.write(path, "\n".join(lines))


@pytest.mark.parametrize("tables", [True, False])
def test_an_oidv4_toolkit_tree_is_read(build, tmp_path, tables):
    toolkit_tree(tmp_path, tables)
    code, out, _ = build(tmp_path / "OID", NAME="kit")
    assert code == 0 and "openimages/kit: 12 images, 12 boxes, 2 classes" in out
    assert counts("openimages/kit") == {"train": 8, "val": 4}
    first = own.every("openimages/kit")["train/%016x" % 1]
    assert own.boxes_of(first) == [("Polar bear", 10, 6, 30, 24)]
    code, _, _ = build(tmp_path / "OID", NAME="kit", CATEGORIES="Car")
    assert code == 0 and len(own.every("openimages/kit")) == 6


@pytest.mark.skipif(
    not (REAL / "openimages").is_dir(), reason="the real Open Images files are not here"
)
def test_the_real_class_list_and_rows():
    with (REAL / "openimages" / "class-descriptions-boxable.csv").open(encoding="utf-8") as file:
        listed = [tuple(line) for line in csv.reader(file)]
    assert [name for _, name in listed] == list(openimages_classes.known().values())
    assert [label for label, _ in listed] == list(openimages_classes.mids())
    path = REAL / "openimages" / "train-annotations-bbox.excerpt.csv"
    found = openimages_rows.read(path, openimages_classes.mids())
    boxes = sum(len(openimages_rows.class_numbers(packed)) for packed in found.boxes.values())
    assert len(found.boxes) == 121 and boxes == 300 and not found.dropped
