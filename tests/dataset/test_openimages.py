"""dataset-openimages.sh: classes of Open Images from a server, a folder, or an OIDv4_ToolKit tree."""

import csv
import json

import pytest

from demo.server import Fault, Server
from tests.helpers import own_images as own
from tests.helpers.places import REAL
from todus import categories, paths
from todus.command import run
from todus.dataset.sources import openimages, openimages_classes, openimages_rows, openimages_site
from todus.errors import TodusError, UsageError

HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
CAR, BUS, VEHICLE, BEAR, CAT = "/m/0k4j", "/m/01bjv", "/m/07yv9", "/m/0633h", "/m/01yrx"
TREE = {
    "LabelName": "/m/0bl9f",
    "Subcategory": [
        {
            "LabelName": VEHICLE,
            "Subcategory": [
                {"LabelName": CAR, "Part": [{"LabelName": "/m/083wq"}]},
                {"LabelName": BUS},
            ],
        },
        {"LabelName": CAT},
    ],
}
BOXES = {
    "train": "v6/oidv6-train-annotations-bbox.csv",
    "validation": "v5/validation-annotations-bbox.csv",
    "test": "v5/test-annotations-bbox.csv",
}


def row(image, label, corners=(0.25, 0.75, 0.2, 0.8), flags="0,0,0,0,0"):
    return "%s,xclick,%s,1,%s,%s" % (
        image,
        label,
        ",".join(str(corner) for corner in corners),
        flags,
    )


def draw(root, split, rows, table=None):
    """A box file, and an image for every id in it."""
    own.write(root / (table or BOXES[split]), "\n".join([HEADER] + rows) + "\n")
    for image in {line.split(",")[0] for line in rows}:
        own.save(root / split / (image + ".jpg"), int(image[-4:], 16))


@pytest.fixture
def mini(tmp_path):
    """A drawn Open Images: train ids 0001.., validation 1001.., test 2001.."""
    root = tmp_path / "served"
    labels = [CAR, BUS, VEHICLE, BEAR, CAT]
    draw(
        root,
        "train",
        [row("%016x" % (n + 1), labels[n % 5]) for n in range(20)]
        + [row("%016x" % 1, BEAR, flags="0,1,1,0,0")],
    )
    draw(root, "validation", [row("%016x" % (n + 0x1001), labels[n % 5]) for n in range(10)])
    draw(
        root,
        "test",
        [row("%016x" % (n + 0x2001), labels[n % 5], flags="0,0,0,1,0") for n in range(5)],
    )
    own.write(root / openimages_site.HIERARCHY, json.dumps(TREE))
    return root


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    def call(*arguments, **variables):
        own.clean_environment(monkeypatch, tmp_path / "home", **variables)
        monkeypatch.setenv("RETRY_WAIT", "0.01")
        monkeypatch.setenv("RETRIES", "3")
        code = run("dataset-openimages", openimages.main, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def names(dataset):
    return categories.read_label_map(paths.dataset(dataset).label_map)


def test_only_the_images_with_a_wanted_class_are_fetched(build, mini):
    with Server(mini) as server:
        code, out, _ = build(CATEGORIES="Polar_bear, Car", OPENIMAGES_URL=server.url)
        fetched = {path for path in server.requests if path.endswith(".jpg")}
    assert code == 0 and out.splitlines()[-1].endswith("-d openimages/polar-bear-car")
    splits = own.examples("openimages/polar-bear-car")
    assert set(splits["train"]) == {"train/%016x" % (n + 1) for n in range(20) if n % 5 in (0, 3)}
    assert set(splits["val"]) == {
        "validation/%016x" % (n + 0x1001) for n in range(10) if n % 5 in (0, 3)
    }
    assert fetched == {"/%s.jpg" % name for split in splits.values() for name in split}
    assert names("openimages/polar-bear-car") == {1: "Polar bear", 2: "Car"}


def test_a_group_becomes_a_crowd_and_corners_are_fractions(build, mini):
    build(CATEGORIES="Car,Polar bear", NAME="g", OPENIMAGES_URL=str(mini))
    found = own.every("openimages/g")["train/%016x" % 1]
    assert dict(zip(found.class_texts, found.is_crowd.tolist())) == {
        "Car": False,
        "Polar bear": True,
    }
    assert dict(zip(found.class_texts, found.truncated.tolist())) == {
        "Car": False,
        "Polar bear": True,
    }
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


def test_a_second_run_fetches_nothing_and_a_cut_one_goes_on(build, mini):
    with Server(mini, [Fault("/train/%016x.jpg" % 6, status=503)]) as server:
        assert build(CATEGORIES="Car", NAME="r", OPENIMAGES_URL=server.url)[0] == 1
        assert not paths.dataset("openimages/r").folder.exists()
        server.faults.clear()
        assert build(CATEGORIES="Car", NAME="r", OPENIMAGES_URL=server.url)[0] == 0
        assert all(
            count == 1
            for path, count in server.requests.items()
            if not path.endswith("%016x.jpg" % 6)
        )
        before = len(server.log)
        assert (
            "is up to date" in build(CATEGORIES="Car", NAME="r", OPENIMAGES_URL=server.url)[1]
            and len(server.log) == before
        )


def test_missing_images_are_listed_and_too_many_fail(build, mini):
    with Server(mini, [Fault("/train/%016x.jpg" % 1, status=404)]) as server:
        code, _, err = build(CATEGORIES="Car", NAME="m", OPENIMAGES_URL=server.url)
        assert code == 1 and "MAX_MISSING" in err
        code, out, err = build(
            CATEGORIES="Car", NAME="m", OPENIMAGES_URL=server.url, MAX_MISSING="20%"
        )
    assert code == 0, err
    assert "not to be had: the server does not have it: train/%016x" % 1 in out


def test_max_images_keeps_the_classes_shares_and_depends_on_the_seed_alone(build, mini):
    boxes = {
        "%04x" % n: openimages_rows._BOX.pack(0 if n < 80 else 1, 0, 0, 1, 0, 1) for n in range(100)
    }
    chosen = openimages.sample(boxes, 10, seed=1)
    assert sum(int(image, 16) < 80 for image in chosen) in (7, 8) and len(chosen) == 10
    assert chosen == openimages.sample(boxes, 10, seed=1) != openimages.sample(boxes, 10, seed=2)
    build(CATEGORIES="Car Cat", NAME="s", MAX_IMAGES="2", OPENIMAGES_URL=str(mini))
    assert {split: len(found) for split, found in own.examples("openimages/s").items()} == {
        "train": 2,
        "val": 2,
    }


def test_expand_brings_the_classes_below(build, mini):
    build(CATEGORIES="Vehicle", NAME="one", EXPAND="1", OPENIMAGES_URL=str(mini))
    assert names("openimages/one") == {1: "Vehicle"} and len(own.every("openimages/one")) == 18
    build(CATEGORIES="Vehicle", NAME="own", EXPAND="classes", OPENIMAGES_URL=str(mini))
    assert sorted(names("openimages/own").values()) == ["Bus", "Car", "Vehicle"]
    build(CATEGORIES="Vehicle Bus", NAME="two", EXPAND="1", OPENIMAGES_URL=str(mini))
    texts = [found.class_texts for found in own.every("openimages/two").values()]
    assert texts.count(["Bus"]) == 6 and texts.count(["Vehicle"]) == 12


def test_exclude_leaves_out_flagged_boxes(build, mini):
    code, out, _ = build(
        CATEGORIES="Car",
        NAME="e",
        EXCLUDE="depiction",
        SPLITS="train,test",
        OPENIMAGES_URL=str(mini),
    )
    assert code == 0 and "test: 1 box left out for EXCLUDE" in out
    assert len(own.every("openimages/e")) == 4


def test_one_split_alone_is_divided_by_val(build, mini):
    build(CATEGORIES="all", NAME="v", SPLITS="validation", OPENIMAGES_URL=str(mini))
    assert {split: len(found) for split, found in own.examples("openimages/v").items()} == {
        "train": 8,
        "val": 2,
    }


@pytest.mark.parametrize(
    "variables, says",
    [
        ({}, "set CATEGORIES"),
        ({"CATEGORIES": "Polr_bear"}, "did you mean Polar bear"),
        ({"CATEGORIES": "/m/nothing"}, "no class with the label /m/nothing"),
        ({"CATEGORIES": "Car", "SPLITS": "dev"}, "SPLITS=dev: give some of train validation test"),
        ({"CATEGORIES": "Car", "EXCLUDE": "ugly"}, "EXCLUDE=ugly: give some of occluded"),
        (
            {"CATEGORIES": "Car", "OPENIMAGES_VERSION": "8"},
            "OPENIMAGES_VERSION=8: give 4 or 5 or 6 or 7",
        ),
    ],
)
def test_wrong_variables_are_usage_errors(build, variables, says):
    code, _, err = build(**variables)
    assert code == 2 and says in err and err.count("\n") == 1


def test_a_web_page_in_place_of_the_box_file_never_becomes_a_dataset(build, mini):
    with Server(mini, [Fault("/v6/*", page=True)]) as server:
        code, _, err = build(CATEGORIES="Car", OPENIMAGES_URL=server.url)
    assert code == 1 and "web page" in err and not list(paths.home().rglob("*.csv"))


def test_names_underscores_and_labels_are_one():
    assert openimages_classes.choose(
        'Polar_bear "Polar bear" polar-bear /m/0633h'
    ) == openimages_classes.choose("/m/0633h")
    assert list(openimages_classes.choose("Traffic light, Person").values()) == [
        "Traffic light",
        "Person",
    ]
    with pytest.raises(UsageError, match="Dog"):
        openimages_classes.choose("Dgo")


def test_damaged_rows_are_counted_and_columns_are_found_by_name(tmp_path):
    lines = [
        "XMax,XMin,YMin,YMax,LabelName,ImageID,IsGroupOf",
        "0.5,0.1,0.2,0.9,%s,aa,1" % CAR,
        "x,0.1,0.2,0.9,%s,aa,0" % CAR,
    ]
    lines += [
        "0.5,0.1,0.2,nan,%s,aa,0" % CAR,
        "0.5,0.1",
        "0.5,0.1,0.2,0.9,%s" % CAR,
        "1e300,0.1,0.2,0.9,%s,bb,0" % CAR,
        "0.5,0.1,0.2,0.9,%s,../x,0" % CAR,
        "",
        "\xff\xfe,,,,,",
    ]
    path = own.write(tmp_path / "rows.csv", "\n".join(lines))
    found = openimages_rows.read(path, {CAR: 3})
    assert (
        list(found.boxes) == ["aa"]
        and len(found.boxes["aa"]) == 19
        and sum(found.dropped.values()) == 5
    )
    box = openimages_rows.named_boxes(found.boxes["aa"], {3: "Car"})[0]
    assert (
        box[:5]
        == ("Car", pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.5), pytest.approx(0.9))
        and box.is_crowd
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"a,b\n", b"\0" * 100000, b"ImageID,LabelName,XMin,XMax,YMin,YMax\n" + b"x" * 200000],
)
def test_what_is_no_box_file_is_one_error(tmp_path, data):
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(TodusError, match="box file|no text file"):
        openimages_rows.read(path, {CAR: 1})


def toolkit_tree(root, tables=True):
    """What OIDv4_ToolKit leaves: images by class, labels in pixels (a second run appended them again), and its box files."""
    images = {"train": range(1, 9), "validation": range(0x11, 0x15)}
    for split, numbers in images.items():
        lines = []
        for number in numbers:
            folder = root / "OID" / "Dataset" / split / ("Polar bear" if number % 2 else "Car_Bus")
            name, label = ("Polar bear", BEAR) if number % 2 else ("Car", CAR)
            own.save(folder / ("%016x.jpg" % number), number)
            own.write(
                folder / "Label" / ("%016x.txt" % number), ("%s 10.0 6.0 30.0 24.0\n" % name) * 2
            )
            lines += [row("%016x" % number, label), row("%016x" % number, CAT)]
        if tables:
            own.write(
                root / "OID" / "csv_folder" / ("%s-annotations-bbox.csv" % split),
                "\n".join([HEADER] + lines),
            )


@pytest.mark.parametrize("tables", [True, False])
def test_an_oidv4_toolkit_tree_is_read(build, tmp_path, tables):
    toolkit_tree(tmp_path, tables)
    code, out, _ = build(tmp_path / "OID", NAME="kit")
    assert code == 0 and "openimages/kit: 12 images, 12 boxes, 2 classes" in out
    splits = own.examples("openimages/kit")
    assert len(splits["train"]) == 8 and len(splits["val"]) == 4
    assert own.boxes_of(splits["train"]["train/%016x" % 1]) == [("Polar bear", 10, 6, 30, 24)]
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
    found = openimages_rows.read(
        REAL / "openimages" / "train-annotations-bbox.excerpt.csv", openimages_classes.mids()
    )
    assert (
        len(found.boxes) == 121
        and sum(len(openimages_rows.classes(boxes)) for boxes in found.boxes.values()) == 300
        and not found.dropped
    )
