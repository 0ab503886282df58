"""A model with real COCO weights, as UFF, on real images (where ../shared/real has them).

TODUS_SLOW=1 also computes the average precision of both on all the images there.
"""

import json
import os
import tarfile

from todus.tf import tf

import numpy as np
import pytest
from object_detection import exporter
from object_detection.builders import model_builder
from PIL import Image

from tests.helpers.places import REAL
from tests.helpers.uff_compare import Frozen, assert_equal, assert_same_detections
from tests.helpers.uff_interpreter import Interpreter
from tests.helpers.uff_models import images, lay_out, set_random_weights
from todus import categories
from todus.model import pipeline
from todus.uff import convert

NAME = "ssd_mobilenet_v1_0.75_depth_300x300_coco14_recon"
ARCHIVE = REAL / "zoo" / (NAME + ".tar.gz")
IMAGES = REAL / "mscoco" / "val2017"
ANNOTATIONS = REAL / "mscoco" / "annotations" / "instances_val2017.json"

slow = pytest.mark.skipif(
    not os.environ.get("TODUS_SLOW"), reason="takes minutes; set TODUS_SLOW=1"
)
pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason="no real weights at ../shared/real")


@pytest.fixture
def real(home, tmp_path):
    """(UFF file, GraphDef) of the real model."""
    with tarfile.open(str(ARCHIVE)) as archive:
        members = [each for each in archive.getmembers() if each.isfile()]
        content = {os.path.basename(each.name): archive.extractfile(each) for each in members}
        text = content["pipeline.config"].read().decode()
        graph_def = tf.GraphDef.FromString(content["frozen_inference_graph.pb"].read())
    model = lay_out(NAME, text, graph_def, categories.bundled("coco"))
    return convert.run(model, False, False, lambda line: None), graph_def


def test_the_uff_file_detects_the_same_as_the_frozen_graph(real):
    path, graph_def = real
    files = sorted(IMAGES.glob("*.jpg"))[:3]
    images = [np.array(Image.open(str(file)).convert("RGB").resize((300, 300))) for file in files]
    assert assert_equal(path, graph_def, images) > 10


@slow
def test_the_uff_file_has_the_average_precision_of_the_frozen_graph(real):
    path, graph_def = real
    frozen, interpreter, resize = Frozen(graph_def), Interpreter(path), Resize(300)
    theirs, ours = [], []
    for file in sorted(IMAGES.glob("*.jpg")):
        image = np.array(Image.open(str(file)).convert("RGB"))
        detections = frozen.run(image)[2]
        rows = interpreter.detections(resize.normalised(image))[:, [1, 2, 4, 3, 6, 5]]
        assert_same_detections(rows, detections)
        theirs += coco_results(int(file.stem), detections, image.shape)
        ours += coco_results(int(file.stem), rows, image.shape)
    from_frozen, from_uff = average_precision(theirs), average_precision(ours)
    assert from_uff > 0.2 and abs(from_uff - from_frozen) < 1e-6


@slow
@pytest.mark.parametrize(
    "name", ["ssd_mobilenet_v1_coco_2018_01_28", "ssd_mobilenet_v2_coco_2018_03_29"]
)
def test_an_export_of_a_published_config_converts(home, name):
    text = (REAL / "configs" / (name + ".config")).read_text()
    exported = export(pipeline.parse(text, name), home)
    graph_def = tf.GraphDef.FromString((exported / "frozen_inference_graph.pb").read_bytes())
    config = (exported / "pipeline.config").read_text()
    model = lay_out(name, config, graph_def, categories.bundled("coco"), exported=True)
    path = convert.run(model, True, False, lambda line: None)
    assert_equal(path, graph_def, images(300, 1))


def export(config, folder):
    """The folder of an export by the OD API, from a checkpoint of random weights."""
    with tf.Graph().as_default():
        model = model_builder.build(config.model, is_training=False)
        image, shape = tf.zeros([1, 300, 300, 3]), tf.constant([[300, 300, 3]])
        model.postprocess(model.predict(model.preprocess(image)[0], shape), shape)
        tf.train.get_or_create_global_step()
        with tf.Session() as session:
            set_random_weights(session, 5)
            checkpoint = tf.train.Saver().save(session, str(folder / "model.ckpt"))
    with tf.Graph().as_default():
        exported = folder / "exported"
        exporter.export_inference_graph("image_tensor", config, checkpoint, str(exported))
    return exported


class Resize:
    """Resizes as the frozen graph's own preprocessing does."""

    def __init__(self, size):
        graph = tf.Graph()
        with graph.as_default():
            self._image = tf.placeholder(tf.float32, [None, None, 3])
            normalised = self._image[None] * (2 / 255.0) - 1
            self._resized = tf.image.resize_bilinear(normalised, [size, size])[0]
        self._session = tf.Session(graph=graph)

    def normalised(self, image):
        return self._session.run(self._resized, {self._image: image})


def coco_results(image_id, detections, shape):
    height, width = shape[:2]
    result = []
    for label, score, y0, x0, y1, x1 in detections.astype(float):
        box = [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height]
        entry = {"image_id": image_id, "category_id": int(label), "score": score, "bbox": box}
        result.append(entry)
    return result


def average_precision(results):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = json.loads(ANNOTATIONS.read_text())
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.params.imgIds = sorted(int(file.stem) for file in IMAGES.glob("*.jpg"))
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]
