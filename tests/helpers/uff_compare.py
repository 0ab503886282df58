"""Compares a UFF file with its frozen graph."""

from todus.tf import tf

import numpy as np

from tests.helpers.uff_interpreter import Interpreter

TOLERANCE = 1e-4


class Frozen:
    """A frozen graph to run."""

    FETCHES = (
        "concat:0 concat_1:0 detection_boxes:0 detection_classes:0 detection_scores:0 "
        "num_detections:0"
    )

    def __init__(self, graph_def):
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self._session = tf.Session(graph=graph)

    def run(self, image):
        """(raw boxes, raw classes, detections) of one uint8 image.

        The detections are [n, 6]: label, score, ymin, xmin, ymax, xmax.
        """
        values = self._session.run(self.FETCHES.split(), {"image_tensor:0": image[None]})
        boxes, scores, box, label, score, count = (value[0] for value in values)
        return boxes, scores, np.column_stack([label, score, box])[: int(count)]


def assert_equal(uff_path, graph_def, images, bgr=False):
    """Compares both on uint8 RGB images of the network's size; returns the number of detections.

    `bgr`: the UFF file is given the images in BGR.
    """
    frozen, interpreter, found = Frozen(graph_def), Interpreter(uff_path), 0
    for image in images:
        boxes, scores, detections = frozen.run(image)
        normalised = image.astype(np.float32) * np.float32(2 / 255.0) - 1
        normalised = normalised[..., ::-1] if bgr else normalised
        ours = interpreter.run(normalised, ["concat_box_loc", "concat_box_conf"])
        assert np.abs(ours[0].ravel() - boxes.ravel()).max() <= TOLERANCE
        assert np.abs(ours[1].ravel() - scores.ravel()).max() <= TOLERANCE
        assert np.ptp(boxes) > 1 and np.ptp(scores) > 1
        rows = interpreter.detections(normalised)
        assert_same_detections(rows[:, [1, 2, 4, 3, 6, 5]], detections)
        found += len(rows)
    nodes = interpreter.nodes.values()
    written = {(node.operation, field) for node in nodes for field in node.fields}
    assert written - interpreter.used == {("_FlattenConcat_TRT", "dtype")}
    return found


def assert_same_detections(ours, theirs):
    """Compares two lists of detections, best first; those of equal scores in any order.

    Both are [n, 6]: label, score, ymin, xmin, ymax, xmax.
    """
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours[:, 1], theirs[:, 1], atol=1e-5)
    left = list(range(len(theirs)))
    for row in ours:
        tolerances = [1e-4, 1e-5, 1e-4, 1e-4, 1e-4, 1e-4]
        near = [at for at in left if (np.abs(theirs[at] - row) < tolerances).all()]
        assert near, "no such detection in the frozen graph: %s" % row
        left.remove(near[0])
