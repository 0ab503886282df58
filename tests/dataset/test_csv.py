"""dataset-csv.sh: boxes in CSV files."""

import pytest

from tests.helpers import own_images as own
from todus import paths
from todus.dataset.build import TABLES
from todus.dataset.sources import csv, voc

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(csv.main, tmp_path / "home", monkeypatch, capsys)


def images(root, number=6):
    for index in range(number):
        own.save(root / ("i%d.jpg" % index), index)


def write_table(path, more=()):
    """A CSV file with a row for each image and the rows `more`."""
    rows = ["i%d.jpg,40,30,cat,5,6,25,26" % index for index in range(6)]
    return own.write(path, "\n".join([HEADER, *rows, *more]))


def test_several_rows_of_an_image_become_its_boxes(build, tmp_path):
    images(tmp_path / "in")
    write_table(tmp_path / "boxes.csv", ["i0.jpg,40,30,dog,1,2,3.5,4"])
    code, out, _ = build("boxes.csv", "in")
    assert code == 0 and out.startswith("csv/boxes: 6 images, 7 boxes, 2 classes")
    boxes = [("cat", 5, 6, 25, 26), ("dog", 1, 2, 3.5, 4)]
    assert own.boxes_of(own.every("csv/boxes")["i0.jpg"]) == boxes


def test_the_csv_files_of_dataset_voc_give_the_same_dataset(build, tmp_path, monkeypatch):
    own.voc_folder(tmp_path / "in", 10)
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="first")
    assert voc.main([str(tmp_path / "in")]) == 0
    first, second = paths.dataset("voc/first"), paths.dataset("csv/second")
    code, _, _ = build(*(first.folder / name for name in TABLES.values()), "in", NAME="second")
    assert code == 0
    before, after = own.examples("voc/first"), own.examples("csv/second")
    for split, name in TABLES.items():
        assert set(before[split]) == set(after[split])
        for key, found in before[split].items():
            assert own.boxes_of(found) == own.boxes_of(after[split][key])
        assert (first.folder / name).read_text() == (second.folder / name).read_text()


@pytest.mark.parametrize(
    "text",
    [
        "ymax,class,xmin,xmax,ymin,filename\n26,cat,5,25,6,i0.jpg\n",
        "\ufeffFilename;Width;Height;Class;XMin;YMin;XMax;YMax\r\ni0.jpg;40;30;cat;5;6;25;26\r\n",
        HEADER.replace("class", "label") + '\n"some/where/else/i0.jpg",,,cat,5,6,25,26\n\n,,,\n',
        'image,class,xmin,ymin,xmax,ymax,comment\nC:\\pictures\\I0.JPG,cat,5,6,25,26,"hm, yes"\n',
    ],
)
def test_columns_are_found_by_name_whatever_the_dialect(tmp_path, text):
    images(tmp_path, 1)
    table = own.write(tmp_path / "t.csv", text)
    found = csv.read([table], tmp_path)
    assert [labelled.name for labelled in found.images] == ["i0.jpg"]
    assert found.images[0].boxes[0][:5] == ("cat", 5, 6, 25, 26)


def test_the_unicode_text_that_excel_saves_is_read(tmp_path):
    images(tmp_path, 1)
    text = (HEADER + "\r\ni0.jpg,40,30,kočka,5,6,25,26\r\n").replace(",", "\t")
    (tmp_path / "t.csv").write_bytes(text.encode("utf-16"))
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
    write_table(tmp_path / "boxes.csv", bad)
    code, out, _ = build("boxes.csv", "in", MAX_DROPPED="50%")
    assert code == 0 and "csv/boxes: 6 images, 6 boxes" in out
    for line in (
        "row whose image is not in the folder: gone.jpg",
        "1 times: box without a class",
        "1 times: box with a coordinate that is not a number",
    ):
        assert line in out


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "has no column filename"),
        (b"a,b,c\n1,2,3\n", "has no column filename, class"),
        (("%s\ni0.jpg,9,9,café,1,2,3,4" % HEADER).encode("latin-1"), "is not UTF-8 text"),
        (b"\0\0\0\0", "is a binary file"),
        (('%s\n"' % HEADER).encode() + b"x" * 200000, "field larger"),
    ],
    ids=["empty", "other columns", "latin-1", "binary", "long field"],
)
def test_a_file_that_is_not_such_a_table_is_one_line(build, tmp_path, data, message):
    images(tmp_path / "in", 1)
    (tmp_path / "boxes.csv").write_bytes(data)
    code, _, err = build("boxes.csv", "in")
    assert code == 1 and message in err and err.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_paths_outside_the_folder_are_not_followed(tmp_path):
    own.save(tmp_path / "secret.jpg", 1)
    images(tmp_path / "in", 1)
    rows = ["%s,40,30,cat,1,2,3,4" % path for path in ("../secret.jpg", tmp_path / "secret.jpg")]
    table = own.write(tmp_path / "t.csv", "\n".join([HEADER, *rows]))
    found = csv.read([table], tmp_path / "in")
    assert not found.images and len([each for each in found.left_out if each.fault]) == 2


def test_the_name_of_each_of_several_files_must_begin_with_its_split(build, tmp_path):
    images(tmp_path / "in")
    for name in ("one.csv", "train.csv"):
        write_table(tmp_path / name)
    code, _, err = build("one.csv", "train.csv", "in")
    assert code == 1 and "its name must begin with train, val or test" in err


def test_a_table_in_each_splits_folder_is_for_the_images_beside_it(build, tmp_path):
    tables = ["in/train/_annotations.csv", "in/valid/_annotations.csv"]
    for seed, table in enumerate(tables):
        own.save((tmp_path / table).with_name("a.jpg"), seed)
        own.write(tmp_path / table, "%s\na.jpg,40,30,cat,%d,6,25,26\n" % (HEADER, seed))
    code, _, _ = build(*tables, "in", NAME="folders")
    splits = own.examples("csv/folders")
    assert code == 0 and own.boxes_of(splits["train"]["train/a.jpg"]) == [("cat", 0, 6, 25, 26)]
    assert own.boxes_of(splits["val"]["valid/a.jpg"]) == [("cat", 1, 6, 25, 26)]


def fractions(corners, size="40,30"):
    """A CSV file with a row for each of the corners, of one image each."""
    return "\n".join([HEADER] + ["i%d.jpg,%s,cat,%s" % (n, size, c) for n, c in enumerate(corners)])


@pytest.mark.parametrize("size", ["40,30", ","], ids=["size", "no size"])
def test_corners_of_a_file_that_are_all_fractions_are_read_as_such(build, tmp_path, size):
    images(tmp_path / "in", 4)
    corners = ["0.25,0.2,0.75,0.8", "0,0,1,1", "0.5,-0.01,1.002,0.5"]
    empty = "\ni3.jpg,%s,,,,,\n" % size
    own.write(tmp_path / "boxes.csv", fractions(corners, size) + empty)
    code, out, _ = build("boxes.csv", "in", KEEP_EMPTY="1")
    found = own.every("csv/boxes")
    assert code == 0 and own.boxes_of(found["i0.jpg"]) == [("cat", 10, 6, 30, 24)]
    assert own.boxes_of(found["i1.jpg"]) == [("cat", 0, 0, 40, 30)]
    assert own.boxes_of(found["i2.jpg"]) == [("cat", 20, 0, 40, 15)]
    assert own.boxes_of(found["i3.jpg"]) == []
    assert "mended 3 times: box whose corners are fractions of its image" in out


def test_a_file_with_one_corner_in_pixels_is_in_pixels(build, tmp_path):
    images(tmp_path / "in", 2)
    own.write(tmp_path / "boxes.csv", fractions(["0.25,0.2,0.75,0.8", "5,6,25,26"]))
    code, out, _ = build("boxes.csv", "in")
    assert code == 0 and "fractions" not in out
    assert own.boxes_of(own.every("csv/boxes")["i0.jpg"]) == [("cat", 0.25, 0.2, 0.75, 0.8)]


def test_corners_that_may_be_pixels_or_fractions_are_refused(build, tmp_path):
    images(tmp_path / "in", 2)
    own.write(tmp_path / "boxes.csv", fractions(["0,0,1,1", "0,0,1,1"]))
    code, _, err = build("boxes.csv", "in")
    assert code == 1 and err.count("\n") == 1
    assert "boxes.csv has only 0 and 1 as corners, pixels or fractions of an image" in err


@pytest.mark.parametrize(
    "header, row",
    [
        ("image_id,label,x_min,y_min,x_max,y_max", "i0,cat,5,6,25,26"),
        ("Image Name,Class Name,X1,Y1,X2,Y2,split", "i0.jpg,cat,5,6,25,26,train"),
        ("img_path,category,left,top,right,bottom", "data/i0.jpg,cat,5,6,25,26"),
        ("filename,image,class,xmin,ymin,xmax,ymax,name", "i0.jpg,7,cat,5,6,25,26,x"),
    ],
)
def test_columns_are_found_by_their_usual_other_names(tmp_path, header, row):
    images(tmp_path, 1)
    table = own.write(tmp_path / "t.csv", "%s\n%s\n" % (header, row))
    found = csv.read([table], tmp_path)
    assert [each.boxes[0][:5] for each in found.images] == [("cat", 5, 6, 25, 26)]


def test_a_file_of_roboflow_without_a_header_has_every_row(tmp_path):
    images(tmp_path, 3)
    rows = ["i0.jpg,5,6,25,26,cat", "i1.jpg,,,,,", "i2.jpg,1,2,3,4,dog"]
    found = csv.read([own.write(tmp_path / "_annotations.csv", "\n".join(rows))], tmp_path)
    names = {each.name: [box.name for box in each.boxes] for each in found.images}
    assert names == {"i0.jpg": ["cat"], "i1.jpg": [], "i2.jpg": ["dog"]} and not found.left_out


def test_images_without_a_row_are_counted_and_kept_by_keep_empty(build, tmp_path):
    images(tmp_path / "in", 9)
    for folder in ("one", "two"):
        own.save(tmp_path / "in" / folder / "twice.jpg", 20)
    write_table(tmp_path / "boxes.csv", ["twice.jpg,40,30,cat,5,6,25,26"])
    code, out, _ = build("boxes.csv", "in", MAX_DROPPED="20%")
    assert code == 0 and out.startswith("csv/boxes: 6 images")
    line = "left out 3 times: image without a row (KEEP_EMPTY=1 keeps such images): i6.jpg, i7.jpg"
    assert line in out
    doubtful = "left out 2 times: image whose rows may be those of another: one/twice.jpg"
    assert doubtful in out
    code, out, _ = build("boxes.csv", "in", MAX_DROPPED="20%", KEEP_EMPTY="1")
    assert code == 0 and out.startswith("csv/boxes: 9 images, 6 boxes") and doubtful in out
    assert own.boxes_of(own.every("csv/boxes")["i7.jpg"]) == []
