"""dataset-cvat.sh: CVAT for images 1.1."""

import pytest

from tests.helpers import own_images as own
from todus.dataset.sources import cvat

BOX = '<box label="cat" source="manual" occluded="0" xtl="5" ytl="6" xbr="25" ybr="26" z_order="0">'
BOX += '<attribute name="age">3</attribute></box>'


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command in tmp_path; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return own.runner(cvat.main, tmp_path / "home", monkeypatch, capsys)


def draw(root, number, shapes=BOX, **more):
    """`number` images below images/ and annotations.xml."""
    names = ["i%d.jpg" % index for index in range(number)]
    for index, name in enumerate(names):
        own.save(root / "images" / name, index)
    return own.write(root / "annotations.xml", own.cvat(dict.fromkeys(names, shapes), **more))


@pytest.mark.parametrize("arguments", [["in"], ["in/annotations.xml", "in/images"]])
def test_the_boxes_of_a_file_and_the_order_of_its_labels(build, tmp_path, arguments):
    draw(tmp_path / "in", 5)
    own.save(tmp_path / "in" / "images" / "unlisted.jpg", 99)
    code, out, _ = build(*arguments, NAME="d", KEEP_EMPTY="1")
    assert code == 0 and out.startswith("cvat/d: 5 images, 5 boxes, 1 class\n")
    assert "classes without a box: dog" in out and "image that no XML lists" in out
    assert "mended" not in out
    assert {own.boxes_of(each)[0] for each in own.every("cvat/d").values()} == {
        ("cat", 5, 6, 25, 26)
    }


def test_subsets_are_the_splits(tmp_path):
    tables = []
    for split in ("Train", "Validation"):
        draw(tmp_path / split, 1, image='subset="%s"' % split)
        tables.append(tmp_path / split / "annotations.xml")
    found = cvat.read(cvat.tables_under(tmp_path), tmp_path)
    assert {each.name: each.split for each in found.images} == {
        "Train/images/i0.jpg": "train",
        "Validation/images/i0.jpg": "val",
    }


@pytest.mark.parametrize(
    "shape, corners",
    [
        ('<polygon label="cat" points="4.0,5.0;14.5,5;9,22"/>', (4, 5, 14.5, 22)),
        ('<ellipse label="cat" cx="20" cy="15" rx="8" ry="4"/>', (12, 11, 28, 19)),
        ('<ellipse label="cat" cx="20" cy="15" rx="8" ry="4" rotation="90"/>', (16, 7, 24, 23)),
        ('<mask label="cat" rle="1, 2" left="3" top="4" width="10" height="6"/>', (3, 4, 13, 10)),
        (
            '<box label="cat" rotation="90.0" xtl="10" ytl="10" xbr="30" ybr="14"/>',
            (18, 2, 22, 22),
        ),
        (
            '<cuboid label="cat" xtl1="3" ytl1="4" xbl1="3" ybl1="9" xtr1="7" ytr1="4" xbr1="7"'
            ' ybr1="9" xtl2="9" ytl2="2" xbl2="9" ybl2="8" xtr2="5" ytr2="2" xbr2="5" ybr2="8"/>',
            (3, 2, 9, 9),
        ),
    ],
    ids=["polygon", "ellipse", "rotated ellipse", "mask", "rotated box", "cuboid"],
)
def test_a_shape_with_an_area_becomes_the_box_around_it_and_is_counted(tmp_path, shape, corners):
    found = cvat.read([draw(tmp_path, 1, shape)], tmp_path)
    (box,) = found.images[0].boxes
    assert box[:5] == ("cat", *map(pytest.approx, corners))
    assert list(found.mended.values()) == [1] and not found.images[0].dropped


def test_what_cannot_be_used_is_counted(tmp_path):
    shapes = BOX + '<points label="cat" points="1,2"/><polyline label="cat" points="1,2;3,4"/>'
    shapes += '<box label="" xtl="1" ytl="1" xbr="2" ybr="2"/><tag label="night"/>'
    shapes += (
        '<box label="cat" xtl="1" ytl="1" xbr="x" ybr="2"/><polygon label="cat" points="1,2"/>'
    )
    path = draw(tmp_path, 1, shapes)
    gone = '<image id="8" name="gone.jpg" width="9" height="9"/><image id="9" name="i0.jpg"/>'
    own.write(path, path.read_text().replace("</annotations>", gone + "</annotations>"))
    found = cvat.read([path], tmp_path)
    assert found.images[0].dropped == {
        cvat.NO_AREA: 2,
        "box without a label": 1,
        "box with a coordinate that is not a number": 2,
    }
    reasons = [(each.file, each.reason) for each in found.left_out]
    assert reasons == [("gone.jpg", cvat.NO_FILE), ("i0.jpg", "second annotation of one image")]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is damaged XML"),
        (own.cvat({"i0.jpg": BOX})[:-40], "is damaged XML"),
        ('<annotations><track id="0" label="cat"/></annotations>', 'as "CVAT for images 1.1"'),
        ("<annotation><object/></annotation>", "run ./dataset-voc.sh "),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "entities"),
    ],
    ids=["empty", "cut", "video", "voc", "entity"],
)
def test_a_file_that_is_not_such_xml_is_one_line(build, tmp_path, text, message):
    draw(tmp_path / "in", 3)
    own.write(tmp_path / "in" / "annotations.xml", text)
    code, _, err = build("in/annotations.xml", "in")
    assert code == 1 and message in err and err.count("\n") == 1
    assert not (tmp_path / "home").exists()
