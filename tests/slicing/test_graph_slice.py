"""A limited frozen graph gives the detections of its classes unchanged."""

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import paths
from todus.errors import TodusError
from todus.slicing.finished import Cutting
from todus.slicing.labels import Choice
from todus.slicing.tensorflow import OUTPUTS, FrozenGraph


def run(data, pixels, outputs):
    from todus.tf import tf

    definition, graph = tf.GraphDef(), tf.Graph()
    definition.ParseFromString(data)
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with tf.Session(graph=graph) as session:
        return session.run([name + ":0" for name in outputs], {"image_tensor:0": pixels})


@pytest.mark.parametrize("name", [MODEL, QUANTIZED])
def test_the_detections_of_the_kept_class_stay_the_same(exported, name):
    data = paths.model(name).frozen_graph.read_bytes()
    pixels = np.random.RandomState(0).randint(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    before = run(data, pixels, OUTPUTS)
    for indices in ([1], [1, 0]):
        finished = FrozenGraph(data)
        assert finished.classes == 2
        made = finished.cut(Cutting([Choice(str(index), index) for index in indices], {}))
        raw = [run(each, pixels, [finished.scores])[0] for each in (data, made)]
        columns = list(range(finished.first)) + [finished.first + index for index in indices]
        np.testing.assert_allclose(raw[1], raw[0][..., columns], atol=1e-6)
        after = run(made, pixels, OUTPUTS)
        # The list of detections is full: without the other class there is room for lower scores,
        # and where both stay, equal scores at its end come in the order of the classes.
        for new, old in enumerate(indices, start=1):
            wanted = before[2][0][before[1][0] == old + 1][:-2]
            found = after[2][0][after[1][0] == new]
            assert len(found) >= len(wanted) > 3
            np.testing.assert_allclose(found[: len(wanted)], wanted, atol=1e-6)
        assert len(indices) == 2 or len(made) < len(data)


def test_a_graph_without_suppression_by_class_is_refused(exported):
    with pytest.raises(TodusError, match="no non-max suppression"):
        FrozenGraph(paths.model(MODEL).tflite_graph.read_bytes())
    with pytest.raises(TodusError, match="damaged"):
        FrozenGraph(b"\xff" * 100)
