"""The drawn COCO, the server that puts it up, and the miniature zoo's archives."""

import contextlib
import hashlib
import http.client
import io
import json
import re
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import shapes
from demo.server import HTML, Fault, Server, byte_range
from todus import categories
from todus.errors import UsageError

REPO = Path(__file__).resolve().parent.parent
ARCHIVES = ["ssd_mobilenet_v1_shapes", "ssd_mobilenet_v1_quantized_shapes"]
FILE = "/zips/val2017.zip"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write(folder, train=24, val=12)
    return folder


@pytest.fixture(scope="module")
def instances(root):
    with zipfile.ZipFile(str(root / "annotations" / "annotations_trainval2017.zip")) as archive:
        return {split: json.loads(archive.read("annotations/instances_%s.json" % split).decode()) for split in shapes.SPLITS}


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def loaded(document):
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = json.loads(json.dumps(document))
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


# The drawing


def test_the_same_arguments_give_the_same_bytes(root, tmp_path):
    shapes.write(tmp_path, train=24, val=12)
    assert digests(tmp_path) == digests(root)


def test_another_seed_gives_other_images(root, tmp_path):
    shapes.write(tmp_path, train=2, val=1, seed=2)
    assert (tmp_path / "val2017" / "000000000002.jpg").read_bytes() != (root / "val2017" / "000000000002.jpg").read_bytes()


def test_an_image_does_not_depend_on_how_many_are_drawn(root, tmp_path):
    shapes.write(tmp_path, train=3, val=3)
    few = digests(tmp_path / "train2017")
    assert len(few) == 3
    assert few.items() <= digests(root / "train2017").items()


def test_a_second_run_leaves_nothing_of_the_first(tmp_path):
    shapes.write(tmp_path, train=5, val=4)
    shapes.write(tmp_path, train=2, val=1)
    assert len(list((tmp_path / "train2017").iterdir())) == 2
    assert not list(tmp_path.rglob(".*"))


def test_layout_is_that_of_coco(root):
    for split, count in (("train2017", 24), ("val2017", 12)):
        with zipfile.ZipFile(str(root / "zips" / (split + ".zip"))) as archive:
            names = archive.namelist()
            assert names[0] == split + "/"
            assert len(names) == count + 1
            assert all(re.fullmatch(split + r"/\d{12}\.jpg", name) for name in names[1:])
            for name in names[1:]:
                assert archive.read(name) == (root / name).read_bytes()


def test_no_entry_of_a_zip_carries_the_time_of_its_making(root):
    for path in root.glob("*/*.zip"):
        with zipfile.ZipFile(str(path)) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(2017, 9, 1, 0, 0, 0)}


def test_annotations_have_the_schema_of_coco(instances):
    for split, document in instances.items():
        assert set(document) == {"info", "licenses", "images", "annotations", "categories"}
        licenses = {each["id"] for each in document["licenses"]}
        for image in document["images"]:
            assert set(image) == {"license", "file_name", "coco_url", "height", "width", "id"}
            assert image["license"] in licenses
            assert image["file_name"] == "%012d.jpg" % image["id"]
            assert image["coco_url"].endswith("/%s/%s" % (split, image["file_name"]))
        for annotation in document["annotations"]:
            assert set(annotation) == {"segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"}


def test_pycocotools_reads_the_annotations(instances):
    for document in instances.values():
        coco = loaded(document)
        assert len(coco.imgs) == len(document["images"])
        assert len(coco.anns) == len(document["annotations"])
        for annotation in document["annotations"]:
            assert coco.annToMask(annotation).sum() == pytest.approx(annotation["area"], rel=0.12, abs=12)


def test_no_image_is_in_both_splits(instances):
    train, val = ({image["id"] for image in instances[split]["images"]} for split in shapes.SPLITS)
    assert not train & val


def test_images_are_what_the_annotations_say(root, instances):
    for split, document in instances.items():
        for image in document["images"]:
            with Image.open(str(root / split / image["file_name"])) as picture:
                assert (picture.format, picture.size) == ("JPEG", (image["width"], image["height"]))


def test_ids_have_gaps_and_every_class_is_drawn(instances):
    listed = {each["id"]: each["name"] for each in instances["train2017"]["categories"]}
    assert len(listed) == len(set(listed.values())) == 18
    assert max(listed) > len(listed)
    assert {"four point star", "bow tie"} <= set(listed.values())
    assert {annotation["category_id"] for annotation in instances["train2017"]["annotations"]} == set(listed)


def test_boxes_lie_in_their_images_and_bound_their_polygons(instances):
    for document in instances.values():
        sizes = {image["id"]: (image["width"], image["height"]) for image in document["images"]}
        for annotation in document["annotations"]:
            x, y, width, height = annotation["bbox"]
            assert x >= 0 and y >= 0 and width > 5 and height > 3
            assert x + width <= sizes[annotation["image_id"]][0] and y + height <= sizes[annotation["image_id"]][1]
            if not annotation["iscrowd"]:
                points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in annotation["segmentation"]])
                assert np.allclose(np.concatenate([points.min(0), points.max(0)]), [x, y, x + width, y + height], atol=0.011)


def test_area_is_that_of_the_polygons(instances):
    for document in instances.values():
        for annotation in document["annotations"]:
            if annotation["iscrowd"]:
                continue
            area = 0.0
            for polygon in annotation["segmentation"]:
                points = list(zip(polygon[::2], polygon[1::2]))
                crossed = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1]))
                area += abs(crossed) / 2
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
                hue = np.median(
                    (pixels[coco.annToMask(annotation).astype(bool)][:, 0] * 360 / 256 - hues[annotation["category_id"]] + 180) % 360 - 180
                )
                assert abs(hue) < 25
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=[shape.name for shape in shapes.SHAPES])
def test_what_is_painted_covers_the_area_of_the_polygons(shape):
    picture = Image.new("RGB", (120 * shapes.FINENESS, 100 * shapes.FINENESS))
    (annotation,) = shapes.draw_object(picture, shape, [], np.random.RandomState(3))
    painted = np.asarray(picture.reduce(shapes.FINENESS)).max(2) > 60
    rows, columns = np.nonzero(painted)
    assert painted.sum() == pytest.approx(annotation["area"], rel=0.08, abs=8)
    x, y, width, height = annotation["bbox"]
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx([x, y, x + width, y + height], abs=1.6)


def test_each_split_has_a_crowd_an_image_without_boxes_and_a_grey_jpeg(root, instances):
    for split, document in instances.items():
        crowds = [each for each in document["annotations"] if each["iscrowd"]]
        assert len(crowds) == 1
        assert sum(crowds[0]["segmentation"]["counts"]) == np.prod(crowds[0]["segmentation"]["size"])
        assert loaded(document).annToMask(crowds[0]).sum() == crowds[0]["area"]
        with_boxes = {each["image_id"] for each in document["annotations"]}
        assert len({image["id"] for image in document["images"]} - with_boxes) == 1
        modes = [Image.open(str(path)).mode for path in (root / split).iterdir()]
        assert modes.count("L") == 1


@pytest.mark.parametrize("mask", [[[0, 1, 1], [0, 0, 1]], [[1, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]], [[0], [1], [0]]])
def test_run_lengths_are_those_of_pycocotools(mask):
    from pycocotools import mask as coco_mask

    mask = np.array(mask, bool)
    encoded = coco_mask.frPyObjects({"counts": shapes.run_lengths(mask), "size": list(mask.shape)}, *mask.shape)
    assert (coco_mask.decode(encoded).astype(bool) == mask).all()


def test_a_demo_sized_set_is_drawn_in_seconds(tmp_path):
    begun = time.process_time()
    shapes.write(tmp_path, train=100, val=40)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("arguments", [["--size", "3x3"], ["--size", "big"], ["--train", "0"], ["--seed", "-1"]])
def test_wrong_usage_is_refused(tmp_path, arguments):
    with pytest.raises(UsageError):
        shapes.main([str(tmp_path / "out")] + arguments)
    assert not (tmp_path / "out").exists()


# The server


class Answer:
    def __init__(self, status, headers, body, whole=True):
        self.status, self.headers, self.body, self.whole = status, headers, body, whole


def ask(server, path=FILE, method="GET", timeout=5, **headers):
    connection = http.client.HTTPConnection(server.url[len("http://") :], timeout=timeout)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        try:
            return Answer(response.status, response.headers, response.read())
        except http.client.IncompleteRead as error:
            return Answer(response.status, response.headers, error.partial, whole=False)
    finally:
        connection.close()


@pytest.fixture
def content(root):
    return (root / FILE.strip("/")).read_bytes()


@pytest.fixture
def server(root):
    with Server(root) as running:
        yield running


def test_a_file_comes_with_what_a_resume_needs(server, content):
    answer = ask(server)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] and answer.headers["Last-Modified"]
    assert server.url + "/models/object_detection" == server.zoo_url


def test_head_has_the_headers_alone(server, content):
    answer = ask(server, method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, str(len(content)), b"")
    assert server.bytes_sent[FILE] == 0


@pytest.mark.parametrize(
    "header, start, stop", [("bytes=10-19", 10, 20), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-999999999", 5, None)]
)
def test_a_range_is_answered_with_206(server, content, header, start, stop):
    answer = ask(server, Range=header)
    assert (answer.status, answer.body) == (206, content[start:stop])
    first = start % len(content)
    assert answer.headers["Content-Range"] == "bytes %d-%d/%d" % (first, first + len(answer.body) - 1, len(content))


def test_a_range_past_the_end_is_answered_with_416(server, content):
    answer = ask(server, Range="bytes=%d-" % len(content))
    assert (answer.status, answer.headers["Content-Range"], answer.body) == (416, "bytes */%d" % len(content), b"")


@pytest.mark.parametrize("header", ["bytes=5-3", "bytes=1-2,4-5", "lines=1-2", "bytes=-"])
def test_a_range_that_is_not_one_is_ignored(header):
    assert byte_range(header, 100) is None


def test_if_range_gives_the_rest_of_the_same_file_and_the_whole_of_another(server, content):
    facts = ask(server, method="HEAD").headers
    assert ask(server, Range="bytes=10-", If_Range=facts["ETag"]).body == content[10:]
    assert ask(server, Range="bytes=10-", If_Range=facts["Last-Modified"]).body == content[10:]
    assert ask(server, Range="bytes=10-", If_Range='"another"').body == content


def test_a_connection_is_kept_alive(server, content):
    connection = http.client.HTTPConnection(server.url[len("http://") :], timeout=5)
    connection.request("GET", FILE)
    connection.getresponse().read()
    first = connection.sock
    connection.request("GET", FILE)
    assert connection.getresponse().read() == content
    assert connection.sock is first
    connection.close()


def test_requests_and_bytes_are_counted_by_path(server, content):
    ask(server)
    ask(server, Range="bytes=0-9")
    ask(server, "/nothing")
    assert server.requests == {FILE: 2, "/nothing": 1}
    assert server.bytes_sent[FILE] == len(content) + 10
    assert [(each.range, each.status) for each in server.log] == [(None, 200), ("bytes=0-9", 206), (None, 404)]


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/zips/../../secret", "/zips", "/", "/models/object_detection/../../secret"]
)
def test_nothing_outside_the_root_is_served(root, server, path):
    (root.parent / "secret").write_text("secret")
    assert ask(server, path).status == 404


def test_zoo_archives_of_the_root_come_before_the_repo_s(tmp_path):
    folder = tmp_path / "models" / "object_detection"
    folder.mkdir(parents=True)
    (folder / "one.tar.gz").write_bytes(b"one")
    with Server(tmp_path) as server:
        assert ask(server, "/models/object_detection/one.tar.gz").body == b"one"


def test_cut_ends_the_body_early_as_often_as_asked(root, content):
    with Server(root, [Fault(FILE, cut=1000, times=2)]) as server:
        answers = [ask(server) for _ in range(3)]
    assert [each.whole for each in answers] == [False, False, True]
    assert answers[0].body == content[:1000]
    assert answers[0].headers["Content-Length"] == str(len(content))


def test_cut_counts_from_the_start_of_a_range(root, content):
    with Server(root, [Fault(FILE, cut=10)]) as server:
        assert ask(server, Range="bytes=50-").body == content[50:60]


def test_a_wrong_content_length_is_claimed(root, content):
    with Server(root, [Fault(FILE, length=len(content) + 5)]) as server:
        answer = ask(server)
    assert (answer.whole, answer.body) == (False, content)
    with Server(root, [Fault(FILE, length=5)]) as server:
        answer = ask(server)
    assert (answer.whole, answer.body) == (True, content[:5])


def test_status_strikes_the_first_requests(root):
    with Server(root, [Fault("/zips/*", status=503, times=2)]) as server:
        assert [ask(server).status for _ in range(3)] == [503, 503, 200]
        assert ask(server, "/annotations/annotations_trainval2017.zip").status == 200


def test_status_strikes_after_some_requests(root):
    with Server(root, [Fault(FILE, status=404, skip=1)]) as server:
        assert [ask(server).status for _ in range(3)] == [200, 404, 404]


def test_a_page_comes_in_place_of_the_file(root):
    with Server(root, [Fault(FILE, page=True)]) as server:
        answer = ask(server)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/html", HTML)


def test_the_file_changes_between_requests(root, content):
    with Server(root, [Fault(FILE, content=b"another file", skip=1)]) as server:
        before, after = ask(server), ask(server)
        resumed = ask(server, Range="bytes=8-", If_Range=before.headers["ETag"])
    assert (before.body, after.body) == (content, b"another file")
    assert before.headers["ETag"] != after.headers["ETag"]
    assert (resumed.status, resumed.body) == (200, b"another file")


def test_a_server_may_not_know_ranges(root, content):
    with Server(root, [Fault(FILE, ignore_range=True)]) as server:
        answer = ask(server, Range="bytes=10-")
    assert (answer.status, answer.body) == (200, content)


def test_stall_keeps_the_client_waiting(root):
    with Server(root, [Fault(FILE, stall=60, cut=10)]) as server:
        with pytest.raises(OSError):
            ask(server, timeout=0.3)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_leaving_the_server_hangs_up_on_clients(root):
    with Server(root) as server:
        connection = http.client.HTTPConnection(server.url[len("http://") :], timeout=5)
        connection.request("GET", FILE)
        connection.getresponse().read()
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.request("GET", FILE)
        connection.getresponse()
    connection.close()


def test_requests_at_once_are_all_answered(server, content):
    bodies = []
    threads = [threading.Thread(target=lambda: bodies.append(ask(server).body)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [content] * 16
    assert server.requests[FILE] == 16


# The miniature zoo


@pytest.fixture(scope="module", params=ARCHIVES)
def archive(request):
    path = REPO / "demo" / "zoo" / (request.param + ".tar.gz")
    assert path.stat().st_size <= 2000000
    with tarfile.open(str(path)) as opened:
        yield request.param, {entry.name.rstrip("/"): opened.extractfile(entry).read() if entry.isfile() else None for entry in opened}


def test_an_archive_has_the_layout_of_the_zoo(archive):
    name, members = archive
    expected = (
        "checkpoint frozen_inference_graph.pb label_map.pbtxt pipeline.config saved_model saved_model/saved_model.pb saved_model/variables"
    )
    expected += " model.ckpt.data-00000-of-00001 model.ckpt.index model.ckpt.meta"
    assert set(members) == {name} | {"%s/%s" % (name, each) for each in expected.split()}
    assert members[name + "/checkpoint"].startswith(b'model_checkpoint_path: "model.ckpt"')


def test_an_archive_s_label_map_holds_the_drawn_classes(archive, tmp_path):
    name, members = archive
    (tmp_path / "label_map.pbtxt").write_bytes(members[name + "/label_map.pbtxt"])
    assert categories.read_label_map(tmp_path / "label_map.pbtxt") == {shape.id: shape.name for shape in shapes.SHAPES}


def test_an_archive_s_config_is_like_the_zoo_s(archive, tmp_path):
    from todus import pipeline

    name, members = archive
    text = members[name + "/pipeline.config"].decode()
    assert text.count("PATH_TO_BE_CONFIGURED/") >= 4
    assert not re.search(r'"/', text)
    (tmp_path / "pipeline.config").write_text(text)
    config = pipeline.read(tmp_path / "pipeline.config")
    assert config.model.ssd.num_classes == max(shape.id for shape in shapes.SHAPES)
    assert pipeline.input_size(config) == (128, 128)
    assert pipeline.is_quantized(config) == ("quantized" in name)
    assert pipeline.non_max_suppression(config).score_threshold == pytest.approx(1e-8)
    assert config.model.ssd.box_predictor.WhichOneof("box_predictor_oneof") == "convolutional_box_predictor"


def test_an_archive_s_checkpoint_has_its_ranges_and_no_optimizer_slots(archive):
    name, members = archive
    index = members[name + "/model.ckpt.index"]
    assert (b"quant/m" in index) == ("quantized" in name)
    assert b"Momentum" not in index
