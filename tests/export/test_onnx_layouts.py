"""Each layout of an ONNX file, read as its consumer's program reads it."""

import json
import os
import re
import shutil
import subprocess
from unittest import mock

from todus.tf import tf

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.detection.test_detectors import largest_difference, val_images
from tests.helpers.places import MODEL, REPO
from todus import files, paths
from todus.detection import catalogue, runtimes, worker_process
from todus.detection.detector import Detections
from todus.detection.frozen_graph import read_graph
from todus.detection.resizer import Resizer
from todus.errors import TodusError
from todus.export.onnx import convert
from todus.model import artefacts, pipeline

LEAST = 0.4  # a score
LAYOUTS = ("detectnet", "detection_output", "yolonas", "raw", "opencv")


@pytest.fixture(scope="module")
def layouts_home(exported_home, once):
    """A TODUS_HOME with MODEL in each layout; do not change it."""

    def make(part):
        shutil.copytree(str(exported_home), str(part / "home"), copy_function=os.link)
        with mock.patch.dict(os.environ, TODUS_HOME=str(part / "home")):
            for layout in LAYOUTS:
                convert(paths.model(MODEL), layout)

    return once("layouts", make) / "home"


@pytest.fixture
def model(layouts_home, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(layouts_home))
    return paths.model(MODEL)


def file_of(model, layout):
    path = model.file_of("onnx-" + layout)
    onnx.checker.check_model(onnx.load(str(path)))
    return path


@pytest.fixture
def expected(model):
    """(images of the model's size, the frozen graph's detections in each)."""
    detector = catalogue.open_form(model, catalogue.find(model, "frozen_graph"))
    resize = Resizer(pipeline.input_size(pipeline.read(model.exported_pipeline)))
    images = [np.round(resize(image)).astype(np.uint8) for image in val_images(12)]
    found = [detector.detect([image])[0] for image in images]
    found = [from_score(each, LEAST) for each in found]
    assert sum(len(each.scores) for each in found) > 5
    return images, found


def from_score(found, least):
    kept = found.scores >= least
    return Detections(*(each[kept] for each in found))


def run_onnx(path, pixels):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})


def compare(expected, read):
    """read(image) are the detections that a consumer reads."""
    for image, wanted in zip(*expected):
        found = from_score(read(image), LEAST)
        assert largest_difference(wanted, found) < 1e-4
        assert largest_difference(found, wanted) < 1e-4


def of_rows(rows):
    """Detections of Frigate's rows: class from 0, score, ymin, xmin, ymax, xmax."""
    rows = np.array([row for row in rows if row[1] > 0], np.float32).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 0].astype(int) + 1, rows[:, 1])


def read_detection_output(outputs):
    """As Frigate's OpenVINO detector reads model_type ssd: the first 20 rows of the one output."""
    assert len(outputs) == 1 and outputs[0].shape[:2] == (1, 1) and outputs[0].shape[3] == 7
    columns = (1, 2, 4, 3, 6, 5)
    return of_rows(outputs[0][0][0][:20, columns])


def read_yolonas(outputs, size):
    """As Frigate reads model_type yolonas: rows up to a class below 0, corners in pixels."""
    assert len(outputs) == 1 and outputs[0].shape[1:] == (7,)
    height, width = size
    rows = []
    for _, xmin, ymin, xmax, ymax, score, kind in outputs[0][:20]:
        if kind < 0:
            break
        rows.append([kind, score, ymin / height, xmin / width, ymax / height, xmax / width])
    return of_rows(rows)


def test_frigate_reads_the_detections_of_detection_output(model, expected):
    path = file_of(model, "detection_output")
    compare(expected, lambda image: read_detection_output(run_onnx(path, image[np.newaxis])))


def test_frigate_reads_the_detections_of_yolonas(model, expected):
    path = file_of(model, "yolonas")
    size = expected[0][0].shape[:2]

    def read(image):
        return read_yolonas(run_onnx(path, image.transpose(2, 0, 1)[np.newaxis]), size)

    compare(expected, read)


def read_detectnet(outputs, least):
    """As jetson-inference reads each anchor: its best class but column 0, from `least` on."""
    scores, boxes = (each[0] for each in outputs)  # --output-cvg, --output-bbox
    assert boxes.shape == (len(scores), 4)
    best = scores[:, 1:].argmax(axis=1) + 1
    values = scores[np.arange(len(best)), best]
    kept = values >= least
    xmin, ymin, xmax, ymax = boxes[kept].T
    return Detections(np.stack([ymin, xmin, ymax, xmax], axis=1), best[kept], values[kept])


def overlap(one, other):
    """The intersection of two boxes by the larger area, which detectNet compares with 0.75."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    areas = [np.prod(box[2:] - box[:2]) for box in (one, other)]
    return np.prod(np.maximum(high - low, 0)) / max(areas)


def test_detectnet_reads_every_detection_from_its_anchor(model, expected):
    path = file_of(model, "detectnet")
    graph = onnx.load(str(path)).graph
    assert [each.name for each in graph.input] == ["input_0"]
    assert [each.name for each in graph.output] == ["scores", "boxes"]
    operators = {node.op_type for node in graph.node}
    assert not operators & {"NonMaxSuppression", "Shape", "Loop", "TopK", "GatherND", "Resize"}
    for image, wanted in zip(*expected):
        pixels = (image.astype(np.float32) / 255 - 0.5) / np.float32(0.5)
        outputs = run_onnx(path, pixels.transpose(2, 0, 1)[np.newaxis])
        assert not outputs[0][0, :, 0].any()
        found = read_detectnet(outputs, LEAST - 1e-4)
        assert largest_difference(wanted, found) < 1e-4
        # What remains is what detectNet merges, or what the graph suppresses.
        for box, kind in zip(found.boxes, found.classes):
            same = wanted.boxes[wanted.classes == kind]
            assert max(overlap(box, each) for each in same) > 0.4


def test_raw_scores_and_boxes_are_those_of_the_graph(model, expected):
    path = file_of(model, "raw")
    names = ["raw_detection_boxes:0", "raw_detection_scores:0"]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(read_graph(model.frozen_graph), name="")
    session = tf.Session(graph=graph)
    for image in expected[0][:4]:
        wanted = session.run(names, {"image_tensor:0": image[np.newaxis]})
        boxes, scores = run_onnx(path, image[np.newaxis])
        np.testing.assert_allclose(boxes, wanted[0], atol=1e-4)
        np.testing.assert_allclose(scores, wanted[1][:, :, 1:], atol=1e-5)


OPENCV = """
import json, sys
import cv2, numpy
from opencv_detect import detect

model, images = sys.argv[1:]
net, about = cv2.dnn.readNetFromONNX(model), json.load(open(model + ".json"))
found = [detect(net, about, image[:, :, ::-1].copy(), 0.3) for image in numpy.load(images)]
print(json.dumps(found))
"""


@pytest.mark.skipif(not runtimes.installed(), reason="make runtimes installs OpenCV")
def test_the_program_in_the_docs_detects_in_opencv(model, expected, tmp_path):
    text = (REPO / "docs" / "opencv.md").read_text(encoding="utf-8")
    program = re.search(r"(?s)```python\n(.*?)```", text).group(1)
    (tmp_path / "opencv_detect.py").write_text(program)
    (tmp_path / "all.py").write_text(OPENCV)
    np.save(str(tmp_path / "images.npy"), np.stack(expected[0]))
    python = str(runtimes.FOLDER / "bin" / "python")
    arguments = [python, "all.py", str(file_of(model, "opencv")), "images.npy"]
    done = subprocess.run(arguments, cwd=str(tmp_path), stdout=subprocess.PIPE, check=True)
    labels = artefacts.read(model.file_of("onnx-opencv"))["labels"]
    height, width = expected[0][0].shape[:2]

    def read(found):
        rows = [
            [labels.index(label), score, y0 / height, x0 / width, y1 / height, x1 / width]
            for label, score, (x0, y0, x1, y1) in found
        ]
        return of_rows(rows)

    found = map(read, json.loads(done.stdout.decode()))
    compare((found, expected[1]), lambda each: each)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_json_has_what_the_consumer_feeds_and_reads(model, layout):
    path = file_of(model, layout)
    about, graph = files.read_json(paths.beside_json(path)), onnx.load(str(path)).graph
    given = graph.input[0]
    assert len(graph.input) == 1 and given.name == about["input"]["name"]
    shape = [side.dim_value for side in given.type.tensor_type.shape.dim]
    assert shape == about["input"]["shape"]
    dtype = onnx.mapping.TENSOR_TYPE_TO_NP_TYPE[given.type.tensor_type.elem_type]
    assert dtype == np.dtype(about["input"]["dtype"])
    assert [each.name for each in graph.output] == about["outputs"]
    assert about["format"] == "onnx-" + layout and about["input"]["color"] == "RGB"
    assert about["labels"] == ["circle", "four point star"] and about["labels_note"]
    for output in graph.output:
        assert all(side.dim_value for side in output.type.tensor_type.shape.dim)


def test_a_graph_of_several_images_is_refused_with_the_command(exported, tmp_path, monkeypatch):
    folder = "model/%s" % MODEL
    shutil.copytree(str(exported / folder), str(tmp_path / folder))
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    model = paths.model(MODEL)
    path = model.inference_graph / "export.json"
    about = files.read_json(path)
    about["inference_graph"]["input_shape"] = [2, None, None, 3]
    files.write_json(path, about)
    with pytest.raises(TodusError, match="takes 2 images.*LAYOUT=yolonas one.*without BATCH"):
        convert(model, "yolonas")
    assert not model.file_of("onnx-yolonas").exists()


@pytest.mark.skipif(not runtimes.installed(), reason="make runtimes installs OpenVINO")
def test_openvino_reads_the_files_with_its_defaults(model, expected):
    """It may compute in bfloat16."""

    def worker(path):
        python = str(runtimes.FOLDER / "bin" / "python")
        opened = worker_process.Opened(python, "openvino", "OpenVINO", path, 1)
        return worker_process.Worker(opened)

    size = expected[0][0].shape[:2]
    rows = worker(file_of(model, "detection_output"))
    flat = worker(file_of(model, "yolonas"))
    compared = 0
    for image, wanted in zip(*expected):
        wanted = from_score(wanted, 0.5)
        first = read_detection_output(rows.run([image[np.newaxis]]))
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[np.newaxis])
        second = read_yolonas(flat.run([pixels]), size)
        assert largest_difference(wanted, first) < 0.05
        assert largest_difference(wanted, second) < 0.05
        compared += len(wanted.scores)
    assert compared > 5
