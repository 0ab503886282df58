"""A UFF file against its frozen graph."""

from todus.tf import tf

import numpy as np

from tests.helpers.uff_interpreter import Interpreter

TOLERANCE = 1e-4


class Frozen:
    """A frozen graph to run."""

    FETCHES = [
        "concat",
        "concat_1",
        "detection_boxes",
        "detection_classes",
        "detection_scores",
        "num_detections",
    ]

    def __init__(self, graph_def):
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self._session = tf.Session(graph=graph)

    def run(self, image):
        """(raw boxes, raw classes, detections [n, 6]: label, score, ymin, xmin, ymax, xmax) of one uint8 image."""
        values = self._session.run(
            [name + ":0" for name in self.FETCHES], {"image_tensor:0": image[None]}
        )
        boxes, scores, *detections = (value[0] for value in values)
        box, label, score, count = detections
        return boxes, scores, np.column_stack([label, score, box])[: int(count)]


def assert_equal(uff_path, graph_def, images):
    """Compares a UFF file with a frozen graph on uint8 images of the network's size; returns the number of detections."""
    frozen, interpreter, found = Frozen(graph_def), Interpreter(uff_path), 0
    for image in images:
        boxes, scores, detections = frozen.run(image)
        normalised = image.astype(np.float32) * np.float32(2 / 255.0) - 1
        ours = interpreter.run(normalised, ["concat_box_loc", "concat_box_conf"])
        assert np.abs(ours[0].ravel() - boxes.ravel()).max() <= TOLERANCE
        assert np.abs(ours[1].ravel() - scores.ravel()).max() <= TOLERANCE
        assert np.ptp(boxes) > 1 and np.ptp(scores) > 1
        rows = interpreter.detections(normalised)
        assert_same_detections(rows[:, [1, 2, 4, 3, 6, 5]], detections)
        found += len(rows)
    unread = {
        (node.operation, field)
        for node in interpreter.nodes.values()
        for field in node.fields
        if (node.operation, field) not in interpreter.used
    }
    assert unread == {("_FlattenConcat_TRT", "dtype")}
    return found


def assert_same_detections(ours, theirs):
    """Both [n, 6]: label, score, ymin, xmin, ymax, xmax, best first; two that score alike to 1e-5 may change places."""
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours[:, 1], theirs[:, 1], atol=1e-5)
    left = list(range(len(theirs)))
    for row in ours:
        near = [
            at
            for at in left
            if np.abs(theirs[at] - row).max() < 1e-4 and abs(theirs[at, 1] - row[1]) < 1e-5
        ]
        assert near, "no such detection in the frozen graph: %s" % row
        left.remove(near[0])
