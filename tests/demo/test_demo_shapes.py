"""demo.shapes: the layout, schema and pixels of the drawn COCO."""

import contextlib
import io
import json
import re
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from demo import shapes
from tests.torture import tree
from todus.errors import UsageError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write(folder, train=24, val=12)
    return folder


@pytest.fixture(scope="module")
def instances(root):
    with zipfile.ZipFile(str(root / "annotations" / "annotations_trainval2017.zip")) as archive:
        return {
            split: json.loads(archive.read("annotations/instances_%s.json" % split).decode())
            for split in shapes.SPLITS
        }


def loaded(document):
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = json.loads(json.dumps(document))
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def test_the_same_arguments_give_the_same_bytes(root, tmp_path):
    shapes.write(tmp_path, train=24, val=12)
    assert tree.contents(tmp_path) == tree.contents(root)


def test_another_seed_gives_other_images(root, tmp_path):
    shapes.write(tmp_path, train=2, val=1, seed=2)
    image = "val2017/000000000002.jpg"
    assert (tmp_path / image).read_bytes() != (root / image).read_bytes()


def test_an_image_does_not_depend_on_the_number_of_images(root, tmp_path):
    shapes.write(tmp_path, train=3, val=3)
    few = tree.contents(tmp_path / "train2017")
    assert len(few) == 3
    assert few.items() <= tree.contents(root / "train2017").items()


def test_a_second_run_removes_the_files_of_the_first(tmp_path):
    shapes.write(tmp_path, train=5, val=4)
    shapes.write(tmp_path, train=2, val=1)
    assert len(list((tmp_path / "train2017").iterdir())) == 2
    assert not list(tmp_path.rglob(".*"))


def test_zips_have_the_layout_of_coco_and_the_same_images_as_the_folders(root):
    for split, count in (("train2017", 24), ("val2017", 12)):
        with zipfile.ZipFile(str(root / "zips" / (split + ".zip"))) as archive:
            names = archive.namelist()
            assert names[0] == split + "/"
            assert len(names) == count + 1
            assert all(re.fullmatch(split + r"/\d{12}\.jpg", name) for name in names[1:])
            for name in names[1:]:
                assert archive.read(name) == (root / name).read_bytes()


def test_every_zip_entry_has_the_same_fixed_time(root):
    paths = list(root.glob("*/*.zip"))
    assert len(paths) == 3
    for path in paths:
        with zipfile.ZipFile(str(path)) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(2017, 9, 1, 0, 0, 0)}


def test_annotations_have_the_schema_of_coco(instances):
    fields = {"segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"}
    for split, document in instances.items():
        assert set(document) == {"info", "licenses", "images", "annotations", "categories"}
        licenses = {each["id"] for each in document["licenses"]}
        for image in document["images"]:
            assert set(image) == {"license", "file_name", "coco_url", "height", "width", "id"}
            assert image["license"] in licenses
            assert image["file_name"] == "%012d.jpg" % image["id"]
            assert image["coco_url"].endswith("/%s/%s" % (split, image["file_name"]))
        for annotation in document["annotations"]:
            assert set(annotation) == fields


def test_pycocotools_reads_the_annotations(instances):
    for document in instances.values():
        coco = loaded(document)
        assert len(coco.imgs) == len(document["images"])
        assert len(coco.anns) == len(document["annotations"])
        for annotation in document["annotations"]:
            area = pytest.approx(annotation["area"], rel=0.12, abs=12)
            assert coco.annToMask(annotation).sum() == area


def test_no_image_is_in_both_splits(instances):
    train, val = ({image["id"] for image in instances[split]["images"]} for split in shapes.SPLITS)
    assert not train & val


def test_images_are_jpegs_of_the_annotated_size(root, instances):
    for split, document in instances.items():
        for image in document["images"]:
            with Image.open(str(root / split / image["file_name"])) as picture:
                assert (picture.format, picture.size) == ("JPEG", (image["width"], image["height"]))


def test_ids_have_gaps_and_every_class_is_drawn(instances):
    listed = {each["id"]: each["name"] for each in instances["train2017"]["categories"]}
    assert len(listed) == len(set(listed.values())) == 18
    assert max(listed) > len(listed)
    assert {"four point star", "bow tie"} <= set(listed.values())
    assert {each["category_id"] for each in instances["train2017"]["annotations"]} == set(listed)


def test_boxes_lie_in_their_images_and_bound_their_polygons(instances):
    for document in instances.values():
        sizes = {image["id"]: (image["width"], image["height"]) for image in document["images"]}
        for annotation in document["annotations"]:
            x, y, width, height = annotation["bbox"]
            assert x >= 0 and y >= 0 and width > 5 and height > 3
            right, bottom = x + width, y + height
            assert right <= sizes[annotation["image_id"]][0]
            assert bottom <= sizes[annotation["image_id"]][1]
            if not annotation["iscrowd"]:
                polygons = [np.reshape(polygon, (-1, 2)) for polygon in annotation["segmentation"]]
                points = np.concatenate(polygons)
                bounds = np.concatenate([points.min(0), points.max(0)])
                assert np.allclose(bounds, [x, y, right, bottom], atol=0.011)


def test_area_is_that_of_the_polygons(instances):
    objects = [each for each in instances["train2017"]["annotations"] if not each["iscrowd"]]
    assert objects
    for annotation in objects:
        area = 0.0
        for polygon in annotation["segmentation"]:
            points = list(zip(polygon[::2], polygon[1::2]))
            sides = zip(points, points[1:] + points[:1])
            area += abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in sides)) / 2
        assert annotation["area"] == pytest.approx(area, abs=1e-3)


def test_pixels_inside_a_polygon_have_the_colour_of_its_class(root, instances):
    hues = {shape.id: shape.hue for shape in shapes.SHAPES}
    coco = loaded(instances["train2017"])
    checked = 0
    for image in instances["train2017"]["images"]:
        with Image.open(str(root / "train2017" / image["file_name"])) as picture:
            if picture.mode == "L":
                continue
            pixels = np.asarray(picture.convert("HSV"), int)
        for annotation in coco.imgToAnns[image["id"]]:
            if not annotation["iscrowd"] and annotation["area"] > 300:
                found = pixels[coco.annToMask(annotation).astype(bool)][:, 0] * 360 / 256
                difference = (found - hues[annotation["category_id"]] + 180) % 360 - 180
                assert abs(np.median(difference)) < 25
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=[shape.name for shape in shapes.SHAPES])
def test_the_painted_pixels_match_area_and_box(shape):
    picture = Image.new("RGB", (120 * shapes.FINENESS, 100 * shapes.FINENESS))
    (annotation,) = shapes.draw_object(picture, shape, [], np.random.RandomState(3))
    painted = np.asarray(picture.reduce(shapes.FINENESS)).max(2) > 60
    rows, columns = np.nonzero(painted)
    assert painted.sum() == pytest.approx(annotation["area"], rel=0.08, abs=8)
    x, y, width, height = annotation["bbox"]
    bounds = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert bounds == pytest.approx([x, y, x + width, y + height], abs=1.6)


def test_each_split_has_a_crowd_an_image_without_boxes_and_a_greyscale_jpeg(root, instances):
    for split, document in instances.items():
        (crowd,) = [each for each in document["annotations"] if each["iscrowd"]]
        assert sum(crowd["segmentation"]["counts"]) == np.prod(crowd["segmentation"]["size"])
        assert loaded(document).annToMask(crowd).sum() == crowd["area"]
        with_boxes = {each["image_id"] for each in document["annotations"]}
        assert len({image["id"] for image in document["images"]} - with_boxes) == 1
        modes = [Image.open(str(path)).mode for path in (root / split).iterdir()]
        assert modes.count("L") == 1


@pytest.mark.parametrize(
    "mask",
    [[[0, 1, 1], [0, 0, 1]], [[1, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]], [[0], [1], [0]]],
)
def test_pycocotools_decodes_run_lengths_to_the_same_mask(mask):
    from pycocotools import mask as coco_mask

    mask = np.array(mask, bool)
    lengths = {"counts": shapes.run_lengths(mask), "size": list(mask.shape)}
    encoded = coco_mask.frPyObjects(lengths, *mask.shape)
    assert (coco_mask.decode(encoded).astype(bool) == mask).all()


def test_drawing_140_images_takes_at_most_5_seconds(tmp_path):
    begun = time.process_time()
    shapes.write(tmp_path, train=100, val=40)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "arguments", [["--size", "3x3"], ["--size", "big"], ["--train", "0"], ["--seed", "-1"]]
)
def test_an_invalid_option_is_a_usage_error_and_draws_nothing(tmp_path, arguments):
    with pytest.raises(UsageError):
        shapes.main([str(tmp_path / "out")] + arguments)
    assert not (tmp_path / "out").exists()
