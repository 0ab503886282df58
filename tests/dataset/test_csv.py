"""dataset-csv.sh: boxes in CSV files."""

import pytest

from tests.helpers import own_images as own
from todus import paths
from todus.command import run
from todus.dataset.sources import csv, voc

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command on files below tmp_path; returns exit code, stdout and stderr."""

    def call(*names, **variables):
        own.clean_environment(monkeypatch, tmp_path / "home", **variables)
        code = run("dataset-csv", csv.main, [str(tmp_path / name) for name in names])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def images(root, number=6):
    for index in range(number):
        own.save(root / ("i%d.jpg" % index), index)


def rows(number=6, name="cat"):
    return ["i%d.jpg,40,30,%s,5,6,25,26" % (index, name) for index in range(number)]


def test_several_rows_an_image_become_its_boxes(build, tmp_path):
    images(tmp_path / "in")
    own.write(tmp_path / "boxes.csv", "\n".join([HEADER] + rows() + ["i0.jpg,40,30,dog,1,2,3.5,4"]))
    code, out, _ = build("boxes.csv", "in")
    assert code == 0 and out.startswith("csv/boxes: 6 images, 7 boxes, 2 classes")
    assert own.boxes_of(own.every("csv/boxes")["i0.jpg"]) == [
        ("cat", 5, 6, 25, 26),
        ("dog", 1, 2, 3.5, 4),
    ]


def test_what_dataset_voc_wrote_comes_back_the_same(build, tmp_path, monkeypatch):
    own.voc_folder(tmp_path / "in", 10)
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="first")
    assert voc.main([str(tmp_path / "in")]) == 0
    folder = paths.dataset("voc/first").folder
    code, _, _ = build(folder / "train_labels.csv", folder / "test_labels.csv", "in", NAME="second")
    assert code == 0
    first, second = own.examples("voc/first"), own.examples("csv/second")
    for split in ("train", "val"):
        assert {key: own.boxes_of(found) for key, found in first[split].items()} == {
            key: own.boxes_of(found) for key, found in second[split].items()
        }
        assert (
            folder / ("train_labels.csv" if split == "train" else "test_labels.csv")
        ).read_text() == (
            paths.dataset("csv/second").folder
            / ("train_labels.csv" if split == "train" else "test_labels.csv")
        ).read_text()


@pytest.mark.parametrize(
    "text",
    [
        "ymax,class,xmin,xmax,ymin,filename\n26,cat,5,25,6,i0.jpg\n",
        "\ufeffFilename;Width;Height;Class;XMin;YMin;XMax;YMax\r\ni0.jpg;40;30;cat;5;6;25;26\r\n",
        'filename,width,height,label,xmin,ymin,xmax,ymax\n"some/where/else/i0.jpg",,,cat,5,6,25,26\n\n,,,\n',
        'image,class,xmin,ymin,xmax,ymax,comment\nC:\\pictures\\I0.JPG,cat,5,6,25,26,"hm, yes"\n',
    ],
)
def test_columns_are_found_by_name_whatever_the_dialect(tmp_path, text):
    images(tmp_path, 1)
    table = own.write(tmp_path / "t.csv", text)
    found = csv.read([table], tmp_path)
    assert [labelled.name for labelled in found.images] == ["i0.jpg"]
    assert found.images[0].boxes[0][:5] == ("cat", 5, 6, 25, 26)


def test_excels_unicode_text_is_read(tmp_path):
    images(tmp_path, 1)
    (tmp_path / "t.csv").write_bytes(
        (HEADER.replace(",", "\t") + "\r\ni0.jpg\t40\t30\tkočka\t5\t6\t25\t26\r\n").encode("utf-16")
    )
    assert csv.read([tmp_path / "t.csv"], tmp_path).images[0].boxes[0].name == "kočka"


def test_rows_that_cannot_be_used_are_counted(build, tmp_path):
    images(tmp_path / "in")
    bad = [
        "gone.jpg,40,30,cat,1,2,3,4",
        "i1.jpg,40,30,,1,2,3,4",
        "i2.jpg,40,30,cat,one,2,3,4",
        "i3.jpg,99,30,cat,1,2,3,4",
        "i4.jpg",
    ]
    own.write(tmp_path / "boxes.csv", "\n".join([HEADER] + rows() + bad))
    code, out, _ = build("boxes.csv", "in", MAX_DROPPED="50%")
    assert code == 0 and "csv/boxes: 6 images, 6 boxes" in out
    for line in (
        "row whose image is not in the folder: gone.jpg",
        "1 times: box without a class",
        "1 times: box with a coordinate that is no number",
    ):
        assert line in out


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "has no column filename"),
        (b"a,b,c\n1,2,3\n", "has no column filename, class"),
        (
            "filename,class,xmin,ymin,xmax,ymax\ni0.jpg,caf\u00e9,1,2,3,4".encode("latin-1"),
            "is not UTF-8 text",
        ),
        (b"\0\0\0\0", "is not text"),
        (b'filename,class,xmin,ymin,xmax,ymax\n"' + b"x" * 200000, "field larger"),
    ],
)
def test_what_is_no_such_table_is_one_line(build, tmp_path, data, says):
    images(tmp_path / "in", 1)
    (tmp_path / "boxes.csv").write_bytes(data)
    code, _, err = build("boxes.csv", "in")
    assert code == 1 and says in err and err.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_paths_outside_the_folder_are_not_followed(tmp_path):
    own.save(tmp_path / "secret.jpg", 1)
    images(tmp_path / "in", 1)
    table = own.write(
        tmp_path / "t.csv",
        HEADER
        + "\n../secret.jpg,40,30,cat,1,2,3,4\n%s,40,30,cat,1,2,3,4\n" % (tmp_path / "secret.jpg"),
    )
    found = csv.read([table], tmp_path / "in")
    assert not found.images and len(found.left_out) == 2


def test_several_files_must_say_which_split_they_are(build, tmp_path):
    images(tmp_path / "in")
    for name in ("one.csv", "train.csv"):
        own.write(tmp_path / name, "\n".join([HEADER] + rows()))
    code, _, err = build("one.csv", "train.csv", "in")
    assert code == 1 and "each must begin with train, val or test" in err


def test_a_table_in_each_splits_folder_means_the_images_beside_it(build, tmp_path):
    for seed, split in enumerate(("train", "valid")):
        own.save(tmp_path / "in" / split / "a.jpg", seed)
        own.write(
            tmp_path / "in" / split / "_annotations.csv",
            "%s\na.jpg,40,30,cat,%d,6,25,26\n" % (HEADER, seed),
        )
    code, _, _ = build(
        "in/train/_annotations.csv", "in/valid/_annotations.csv", "in", NAME="folders"
    )
    splits = own.examples("csv/folders")
    assert code == 0 and own.boxes_of(splits["train"]["train/a.jpg"]) == [("cat", 0, 6, 25, 26)]
    assert own.boxes_of(splits["val"]["valid/a.jpg"]) == [("cat", 1, 6, 25, 26)]
