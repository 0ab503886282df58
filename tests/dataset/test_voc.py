"""dataset-voc.sh: folders of images and Pascal VOC XML."""

import json
import os

import PIL.Image
import pytest
from PIL import Image

from tests.helpers import own_images as own
from tests.helpers.places import REAL
from todus import paths
from todus.commands import verify
from todus.dataset.box_fitting import NamedBox
from todus.dataset.sources import voc


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command, on tmp_path/in by default; returns exit code, stdout and stderr."""
    call = own.runner(voc.main, tmp_path / "home", monkeypatch, capsys)
    return lambda root=tmp_path / "in", **variables: call(root, **variables)


def read(root, **keys):
    """Name -> image of what the reader found, and the whole source."""
    found = voc.read(root, **keys)
    return {labelled.name: labelled for labelled in found.images}, found


def test_one_folder_becomes_a_dataset_with_counts_and_the_next_command(build, tmp_path):
    own.voc_folder(tmp_path / "in")
    code, out, _ = build(NAME="pets")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "voc/pets: 10 images, 10 boxes, 2 classes"
    assert lines[-1] == "next: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d voc/pets"
    splits = own.examples("voc/pets")
    assert set(splits) == {"train", "val"} and all(splits.values())
    assert own.boxes_of(own.every("voc/pets")["i03.jpg"]) == [("dog", 5, 6, 25, 26)]
    assert own.label_map("voc/pets") == {1: "cat", 2: "dog"}


def test_file_names_that_are_not_utf_8_are_kept(build, tmp_path):
    root = own.voc_folder(tmp_path / "in", 8)
    for path in root.glob("i03.*"):
        name = os.fsencode(str(path)).replace(b"i03", b"\xff\xfe")
        os.rename(os.fsencode(str(path)), name)
    for _ in range(2):  # the second reads the first one's notes
        code, out, err = build(NAME="pets")
        assert code == 0, err
    assert len(own.every("voc/pets")) == 8
    assert verify.main(["voc/pets"]) == 0


def test_the_usual_csv_files_are_written_too(build, tmp_path):
    own.voc_folder(tmp_path / "in")
    build(NAME="pets")
    folder = paths.dataset("voc/pets").folder
    tables = [folder / name for name in ("train_labels.csv", "test_labels.csv")]
    lines = [line for table in tables for line in table.read_text().splitlines()]
    assert lines[0] == "filename,width,height,class,xmin,ymin,xmax,ymax"
    assert "i03.jpg,40,30,dog,5,6,25,26" in lines and len(lines) == 12


@pytest.mark.parametrize(
    "image, annotation",
    [
        ("a.jpg", "a.xml"),
        ("images/a.jpg", "annotations/a.xml"),
        ("JPEGImages/a.jpg", "Annotations/a.xml"),
        ("IMAGES/A.JPG", "annotations/a.XML"),
    ],
)
def test_layouts_are_recognised_in_any_case(tmp_path, image, annotation):
    own.save(tmp_path / image, 1, format="JPEG")
    own.write(tmp_path / annotation, own.xml("a.jpg", (40, 30), [("cat", 1, 2, 3, 4)]))
    images, found = read(tmp_path)
    assert list(images) == [image] and not found.left_out
    assert images[image].boxes == [NamedBox("cat", 1, 2, 3, 4)]


def test_image_sets_give_the_split(build, tmp_path):
    own.voc_folder(tmp_path / "in" / "JPEGImages")
    main = tmp_path / "in" / "ImageSets" / "Main"
    own.write(main / "train.txt", "i00\ni01\ni02\n")
    own.write(main / "val.txt", "i03.jpg\ni04  1\n")
    own.write(main / "cat_train.txt", "i09 1\n")
    code, out, _ = build(NAME="sets")
    splits = own.examples("voc/sets")
    assert code == 0 and set(splits["train"]) == {"JPEGImages/i0%d.jpg" % n for n in (0, 1, 2)}
    assert set(splits["val"]) == {"JPEGImages/i0%d.jpg" % n for n in (3, 4)}
    assert "left out 5 times: image in none of the source's splits" in out


def test_train_and_test_folders_give_the_split_and_equal_names_stay_apart(build, tmp_path):
    for seed, split in enumerate(("train", "test")):
        image = own.save(tmp_path / "in" / split / "a.jpg", seed)
        own.annotate(image, [("cat", seed, 2, 23, 24)])
    assert build(NAME="given")[0] == 0
    splits = own.examples("voc/given")
    assert own.boxes_of(splits["train"]["train/a.jpg"]) == [("cat", 0, 2, 23, 24)]
    assert own.boxes_of(splits["val"]["test/a.jpg"]) == [("cat", 1, 2, 23, 24)]


def test_everything_is_read_by_tag_and_parts_are_not_objects(tmp_path):
    own.save(tmp_path / "a.jpg", 1)
    text = """<annotation>
      <object>
        <bndbox><ymax>9</ymax><xmax>8</xmax><ymin>2</ymin><xmin>1</xmin></bndbox>
        <difficult>1</difficult>
        <part><name>head</name>
          <bndbox><xmin>0</xmin><ymin>0</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part>
        <truncated>1</truncated><name> person </name>
      </object><!-- a comment -->
      <group><object><name>dog</name>
        <bndbox><xmin>3</xmin><ymin>4</ymin><xmax>5.5</xmax><ymax>6</ymax></bndbox>
      </object></group></annotation>"""
    own.write(tmp_path / "a.xml", text)
    person = NamedBox("person", 1, 2, 8, 9, difficult=True, truncated=True)
    assert read(tmp_path)[0]["a.jpg"].boxes == [person, NamedBox("dog", 3, 4, 5.5, 6)]


def test_an_annotation_with_another_filename_belongs_to_the_image_with_its_stem(tmp_path):
    own.save(tmp_path / "new1.jpg", 1)
    own.save(tmp_path / "new2.jpg", 2)
    for name, filename in (("new1", "new2.jpg"), ("new2", "C:\\old\\IMG_1.JPG")):
        text = own.xml(filename, (40, 30), [(name, 1, 2, 3, 4)])
        own.write(tmp_path / (name + ".xml"), text)
    images, found = read(tmp_path)
    assert [images[name + ".jpg"].boxes[0].name for name in ("new1", "new2")] == ["new1", "new2"]
    assert not found.left_out


def test_images_without_xml_are_listed_and_kept_with_keep_empty(tmp_path):
    own.voc_folder(tmp_path, 2)
    own.save(tmp_path / "bare.png", 7)
    own.annotate(tmp_path / "lost.jpg", [("cat", 1, 2, 3, 4)])
    _, found = read(tmp_path)
    assert [(gone.file, gone.reason, gone.fault) for gone in found.left_out] == [
        ("lost.xml", "XML without image", True),
        ("bare.png", voc.NO_ANNOTATION, False),
    ]
    assert read(tmp_path, keep_empty=True)[0]["bare.png"].boxes == []


@pytest.mark.parametrize(
    "files",
    [
        {"a.jpg": None, "a.xml": "<annotation>"},
        {"images/a.jpg": None, "annotations/a.xml": "<annotation>"},
        {"a.jpg": None, "A.xml": "<html></html>"},
        {"a.jpg": None, "a.png": None, "a.xml": own.xml("a.png", (40, 30), [("cat", 1, 2, 9, 9)])},
        {"a.jpg": None, "a.png": None, "a.xml": own.xml("", (40, 30), [("cat", 1, 2, 9, 9)])},
        {"a.jpg": None, "a.png": None, "b.xml": own.xml("a.png", (40, 30), [("cat", 1, 2, 9, 9)])},
        {
            "x/a.jpg": None,
            "y/a.jpg": None,
            "b.xml": own.xml("a.jpg", (4, 3), [("cat", 1, 2, 3, 3)]),
        },
    ],
    ids=["cut", "in folders", "html", "stem", "two of a stem", "filename", "two of a filename"],
)
def test_an_image_that_an_unusable_or_other_annotation_may_describe_is_no_negative(tmp_path, files):
    own.voc_folder(tmp_path / "in", 2)
    own.save(tmp_path / "in" / "bare.jpg", 7)
    for seed, (name, text) in enumerate(files.items()):
        if text is None:
            own.save(tmp_path / "in" / name, 50 + seed)
        else:
            own.write(tmp_path / "in" / name, text)
    images, found = read(tmp_path / "in", keep_empty=True)
    assert [name for name, labelled in images.items() if not labelled.boxes] == ["bare.jpg"]
    assert "a.jpg" in str(found.left_out)


def test_a_box_that_occurs_twice_in_an_image_counts_once(build, tmp_path):
    own.voc_folder(tmp_path / "in", 4)
    boxes = [("cat", 5, 6, 25, 26), ("Cat", 5, 6, 25, 26), ("cat", 25, 26, 5, 6)]
    own.annotate(tmp_path / "in" / "i00.jpg", [*boxes, ("dog", 5, 6, 25, 26)])
    code, out, _ = build(NAME="twice")
    kept = [("cat", 5, 6, 25, 26), ("dog", 5, 6, 25, 26)]
    found = [(text.lower(), *box) for text, *box in own.boxes_of(own.every("voc/twice")["i00.jpg"])]
    assert code == 0 and found == kept
    assert "mended 2 times: box that occurs twice in its image, counted once" in out


def test_negatives_are_in_the_records_with_keep_empty(build, tmp_path):
    own.voc_folder(tmp_path / "in", 8)
    own.save(tmp_path / "in" / "bare.jpg", 99)
    assert build(NAME="n", KEEP_EMPTY="1")[0] == 0
    assert len(own.every("voc/n")["bare.jpg"].boxes) == 0
    assert build(NAME="n")[0] == 0
    assert "bare.jpg" not in own.every("voc/n")


def test_swapped_negative_outside_and_empty_boxes_are_mended_or_left_out_and_counted(
    build, tmp_path
):
    own.voc_folder(tmp_path / "in", 6)
    boxes = [
        ("cat", 25, 26, 5, 6),
        ("cat", -9, 3, 10, 12),
        ("cat", 50, 2, 60, 9),
        ("cat", 7, 7, 7, 9),
        ("cat", "nan", 2, 3, 4),
        ("cat", 1, 1, "9e999", 4),
    ]
    own.annotate(tmp_path / "in" / "i00.jpg", boxes)
    code, out, _ = build(NAME="odd", MAX_DROPPED="60")
    assert code == 0
    kept = [("cat", 0, 3, 10, 12), ("cat", 5, 6, 25, 26)]
    assert own.boxes_of(own.every("voc/odd")["i00.jpg"]) == kept
    for line in (
        "mended 1 times: box with swapped corners",
        "mended 1 times: box clipped to its image",
        "left out 1 times: box outside the image",
        "left out 1 times: box without area",
        "left out 2 times: box with a coordinate that is not a number",
    ):
        assert line in out


def test_more_unusable_than_max_dropped_fails_and_leaves_nothing(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6)
    for number in (0, 1):
        own.write(tmp_path / "in" / ("i0%d.xml" % number), "<annotation>")
    code, _, err = build(NAME="odd")
    message = "2 of 6 images or annotation files cannot be used, more than MAX_DROPPED=5%"
    assert code == 1 and message in err.splitlines()[-1]
    assert not paths.dataset("voc/odd").folder.exists()
    assert build(NAME="odd", MAX_DROPPED="34%")[0] == 0


def test_width_and_height_that_are_not_the_images_are_scaled_or_refused(build, tmp_path):
    root = own.voc_folder(tmp_path / "in", 20)
    own.annotate(root / "i00.jpg", [("cat", 10, 12, 50, 52)], (80, 60))
    own.annotate(root / "i01.jpg", [("dog", 1, 2, 3, 4)], (40, 90))
    own.annotate(root / "i02.jpg", [("cat", 1, 2, 13, 14)], (0, 0))
    code, out, _ = build(NAME="sizes")
    assert code == 0
    found = own.every("voc/sizes")
    assert own.boxes_of(found["i00.jpg"]) == [("cat", 5, 6, 25, 26)]
    assert own.boxes_of(found["i02.jpg"]) == [("cat", 1, 2, 13, 14)]
    assert "i01.jpg" not in found
    assert "annotation's width and height are not the image's: i01.jpg" in out


def test_copies_of_an_image_count_once_with_the_boxes_of_all(build, tmp_path):
    for index in range(12):
        image = own.save(tmp_path / "in" / ("i%02d.jpg" % index), index // 3)
        dog = ("dog", 5 * index % 15, 2, 5 * index % 15 + 4, 14)
        own.annotate(image, [("cat", 1 + index % 3, 2, 20, 14), dog])
    code, out, _ = build(NAME="copies", VAL="0.4")
    found = own.every("voc/copies")
    assert code == 0 and set(found) == {"i00.jpg", "i03.jpg", "i06.jpg", "i09.jpg"}
    assert len({each.sha256 for each in found.values()}) == 4
    dogs = [("dog", xmin, 2, xmin + 4, 14) for xmin in (0, 5, 10)]
    assert own.boxes_of(found["i00.jpg"]) == [("cat", 1, 2, 20, 14), *dogs]
    assert "left out 8 times: copy of another image, counted once: i" in out


def test_a_copy_of_a_test_image_in_a_given_train_folder_is_left_out(build, tmp_path):
    own.voc_folder(tmp_path / "in" / "train", 4)
    own.voc_folder(tmp_path / "in" / "test", 1)
    code, out, _ = build(NAME="given")
    assert code == 0 and "copy of an image of another split: train/i00.jpg" in out
    kept = {"train/i01.jpg", "train/i02.jpg", "train/i03.jpg"}
    assert set(own.examples("voc/given")["train"]) == kept


def test_rename_joins_classes_and_categories_limit_them(build, tmp_path):
    own.voc_folder(tmp_path / "in", 12, ("License plate", "plate", "truck", "Plate"))
    code, out, _ = build(NAME="r", RENAME="license plate=plate", CATEGORIES="plate")
    assert code == 0 and "voc/r: 9 images, 9 boxes, 1 class" in out
    texts = {text for found in own.every("voc/r").values() for text in found.class_texts}
    assert texts == {"plate"}
    assert "left out 3 times: image without a box of CATEGORIES" in out


def test_an_unknown_category_is_answered_with_the_nearest(build, tmp_path):
    own.voc_folder(tmp_path / "in", 4, ("raccoon", "badger"))
    code, _, err = build(CATEGORIES="racoon")
    assert code == 2 and 'no class "racoon" in the annotations; did you mean raccoon' in err


def test_label_map_imposes_ids_and_unlisted_classes_stop(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6)
    path, item = tmp_path / "map.pbtxt", "item { id: %d name: '%s' }\n"
    own.write(path, item % (7, "dog") + item % (3, "cat") + item % (5, "cow"))
    code, out, _ = build(NAME="m", LABEL_MAP=str(path))
    assert code == 0 and "classes without a box: cow" in out
    found = own.every("voc/m").values()
    pairs = {pair for each in found for pair in zip(each.class_texts, each.classes)}
    assert pairs == {("cat", 3), ("dog", 7)}
    own.write(path, item % (7, "dogs") + item % (3, "cat"))
    code, _, err = build(NAME="m2", LABEL_MAP=str(path))
    assert code == 2 and "class dog (3 boxes) is not in LABEL_MAP" in err
    assert 'RENAME="dog=dogs"' in err


def test_the_second_build_has_nothing_to_do_until_a_file_changes(build, tmp_path):
    own.voc_folder(tmp_path / "in")
    build(NAME="same")
    before = own.tree(paths.dataset("voc/same").folder)
    assert "voc/same is up to date; nothing to do" in build(NAME="same")[1]
    own.annotate(tmp_path / "in" / "i00.jpg", [("cat", 5, 6, 25, 27)])
    assert "up to date" not in build(NAME="same")[1]
    assert own.tree(paths.dataset("voc/same").folder) != before


def test_a_moved_folder_and_other_processes_give_the_same_bytes(build, tmp_path):
    own.voc_folder(tmp_path / "in")
    build(NAME="one")
    dataset = paths.dataset("voc/one")
    first = own.tree(dataset.folder)
    (tmp_path / "in").rename(tmp_path / "moved here")
    dataset.manifest.unlink()
    build(tmp_path / "moved here", NAME="one", JOBS="2")
    second = own.tree(dataset.folder)
    assert b"moved here" in second.pop("source.json") and first.pop("source.json")
    assert second == first


def test_hostile_names_reach_neither_terminal_nor_file_system(build, tmp_path):
    own.voc_folder(tmp_path / "in", 8, ("\x9b31mred;$(id)", "../../etc"))
    text = own.xml("../../../../etc/passwd", (40, 30), [("a&lt;b&gt;\nc", 5, 6, 25, 26)])
    own.write(tmp_path / "in" / "i00.xml", text)
    code, out, err = build(NAME="h")
    assert code == 0 and "\x9b" not in out + err
    assert {path.parent.parent.name for path in (tmp_path / "home").rglob("*.record-*")} == {"voc"}


DOCTYPE = '<?xml version="1.0"?><!DOCTYPE l [%s]>'


@pytest.mark.parametrize(
    "text",
    [
        DOCTYPE % '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">' + "<annotation>&b;</annotation>",
        DOCTYPE % '<!ENTITY x SYSTEM "file:///etc/passwd">'
        + "<annotation><object><name>&x;</name></object></annotation>",
        '<?xml version="1.0" encoding="klingon"?><annotation/>',
        "<html></html>",
        "",
        "\x00\x00",
        "<annotation>" + "<object>" * 5000,
    ],
    ids=["entities", "file entity", "encoding", "html", "empty", "zeros", "deep"],
)
def test_hostile_xml_is_left_out_with_a_reason(tmp_path, text):
    own.voc_folder(tmp_path, 1)
    own.save(tmp_path / "bad.jpg", 5)
    own.write(tmp_path / "bad.xml", text)
    _, found = read(tmp_path)
    faults = [(gone.file, bool(gone.reason)) for gone in found.left_out if gone.fault]
    assert faults == [("bad.xml", True)]


def test_a_folder_without_xml_is_one_line_that_names_what_to_give(build, tmp_path):
    own.save(tmp_path / "in" / "a.jpg", 1)
    code, _, err = build()
    assert code == 1 and err.count("\n") == 1
    assert "(1 images); name the folder that holds images and Pascal VOC annotations" in err


def test_an_image_whose_boxes_are_all_unusable_is_not_a_negative(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6)
    own.annotate(tmp_path / "in" / "i00.jpg", [("cat", 50, 50, 60, 60)])
    assert build(NAME="f", KEEP_EMPTY="1", MAX_DROPPED="50")[0] == 0
    assert "i00.jpg" not in own.every("voc/f")


@pytest.mark.skipif(
    not (REAL / "voc" / "raccoon").is_dir(), reason="the real raccoon images are not here"
)
def test_the_real_raccoons(build):
    code, out, _ = build(REAL / "voc" / "raccoon", JOBS="2")
    assert code == 0 and out.startswith("voc/raccoon: 196 images, 213 boxes, 1 class")
    manifest = json.loads(paths.dataset("voc/raccoon").manifest.read_text())
    train, val = (manifest["splits"][name]["images"] for name in ("train", "val"))
    assert train + val == 196 and 28 <= val <= 52
    assert verify.main(["voc/raccoon"]) == 0


def test_hostile_file_names_are_shown_without_their_escapes(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6)
    own.save(tmp_path / "in" / "\x1b[31m\nred.jpg", 50)
    own.write(tmp_path / "in" / "\x1b[2J.xml", "<annotation>")
    code, out, err = build(NAME="h", MAX_DROPPED="50")
    assert code == 0 and "\x1b" not in out + err and "red.jpg" in out


def test_images_of_every_kind_are_stored_so_that_training_decodes_them(build, tmp_path):
    root = own.voc_folder(tmp_path / "in", 5)
    tags = Image.Exif()
    tags[0x0112] = 6
    kinds = {
        "png.jpg": {"format": "PNG"},
        "gif.gif": {"format": "GIF"},
        "turned.jpg": {"exif": tags},
        "stored.jpg": {"exif": tags},
    }
    for seed, (name, options) in enumerate(kinds.items()):
        image = own.save(root / name, 50 + seed, **options)
        own.annotate(image, [("cat", 5, 6, 25, 26)])
    own.annotate(root / "turned.jpg", [("cat", 4, 5, 24, 35)], (30, 40))
    code, out, _ = build(NAME="kinds")
    found = own.every("voc/kinds")
    assert code == 0 and [found[name].format for name in kinds] == ["png", "jpeg", "jpeg", "jpeg"]
    for name in ("png.jpg", "stored.jpg"):
        assert found[name].encoded == (root / name).read_bytes()
    assert (found["turned.jpg"].width, found["turned.jpg"].height) == (30, 40)
    assert own.boxes_of(found["turned.jpg"]) == [("cat", 4, 5, 24, 35)]
    assert own.boxes_of(found["stored.jpg"]) == [("cat", 5, 6, 25, 26)]
    assert "mended 1 times: image converted: turned upright" in out
    assert "image converted: GIF to JPEG, palette to RGB" in out
    assert [path.name for path in paths.dataset("voc/kinds").folder.parent.iterdir()] == ["kinds"]


def test_a_pipe_is_named_and_not_waited_for(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6)
    for name in ("i03.jpg", "i04.xml", "more.jpg"):
        path = tmp_path / "in" / name
        if path.exists():
            path.unlink()
        os.mkfifo(str(path))
    code, out, _ = build(tmp_path / "in", MAX_DROPPED="50%")
    assert code == 0 and "image is a pipe or a device, not a file: i03.jpg\n" in out
    assert "XML that is a pipe, a device or missing, not a file: i04.xml\n" in out


def test_heic_is_named_and_a_converted_copy_beside_it_is_used(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (tmp_path / "in" / "i03.jpg").rename(tmp_path / "in" / "i03.HEIC")
    for name in ("i03.HEIC", "i04.heic"):
        (tmp_path / "in" / name).write_bytes(heic)
    code, out, _ = build(tmp_path / "in", MAX_DROPPED="50%")
    assert code == 0 and out.startswith("voc/in: 5 images, 5 boxes, 2 classes\n")
    line = "left out 1 times: image is HEIC, which TensorFlow cannot read (convert it to JPEG): "
    assert line + "i03.HEIC\n" in out and "i04" not in out


def test_annotations_beside_jpegimages_win_over_copies_in_other_folders(build, tmp_path):
    for index in range(6):
        image = own.save(tmp_path / "in" / "JPEGImages" / ("i%d.jpg" % index), index)
        for folder, box in (
            ("Annotations", (5, 6, 25, 26)),
            ("Annotation_backup", (1, 1, 9, 9)),
            ("A/Annotations", (1, 1, 9, 9)),
        ):
            path = tmp_path / "in" / folder / (image.stem + ".xml")
            own.write(path, own.xml(image.name, (40, 30), [("cat", *box)]))
    code, out, _ = build(tmp_path / "in")
    assert code == 0 and out.startswith("voc/in: 6 images, 6 boxes, 1 class\n")
    assert own.boxes_of(own.every("voc/in")["JPEGImages/i3.jpg"]) == [("cat", 5, 6, 25, 26)]
    assert "left out 12 times: copy of an annotation in another folder: A/Annotations/i0.xml" in out


def test_the_spelling_of_most_boxes_is_the_classes_name(build, tmp_path):
    own.voc_folder(tmp_path / "in", 6, ["traffic_light"])
    own.annotate(tmp_path / "in" / "i02.jpg", [("Traffic Light", 5, 6, 25, 26)])
    code, out, _ = build(tmp_path / "in")
    assert code == 0 and own.label_map("voc/in") == {1: "traffic_light"}
    assert "mended 1 times: box of class Traffic Light taken as traffic_light\n" in out


def test_warnings_of_pillow_do_not_reach_the_person(build, tmp_path, monkeypatch, recwarn):
    own.voc_folder(tmp_path / "in", 4)
    for index in range(2):
        exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0" + b"\x12\x01\x03\0\xff\0\0\0" * 3
        own.save(tmp_path / "in" / ("i%02d.jpg" % index), index, exif=exif)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 700)  # others have 1200: a warning each
    code, out, _ = build(tmp_path / "in")
    assert code == 0 and out.startswith("voc/in: 4 images, 4 boxes")
    assert not [str(each.message) for each in recwarn if "PIL" in each.filename]
