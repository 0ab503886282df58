"""A limited .onnx file gives the scores of its classes unchanged in ONNX Runtime."""

import ast

import numpy as np
import onnx
import pytest

from tests.helpers.finished_onnx import Builder, anchor_free, boxes_and_scores, with_objectness
from tests.helpers.places import MODEL
from todus import paths
from todus.errors import TodusError
from todus.slicing.finished import Cutting
from todus.slicing.labels import Choice
from todus.slicing.onnx import OUTPUTS, Onnx, detections, raw


def run(data, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})


def limited(data, indices, shifts=None):
    choices = [Choice("class %d" % index, index) for index in indices]
    return Onnx(data).cut(Cutting(choices, shifts or {}))


@pytest.mark.parametrize("make", [anchor_free, with_objectness, boxes_and_scores])
def test_the_scores_of_the_kept_classes_stay_the_same(make):
    data, axis, first = make()
    pixels = np.random.RandomState(1).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    before = run(data, pixels)
    for indices in ([3], [5, 0], [2, 4, 1]):
        made = limited(data, indices)
        onnx.checker.check_model(onnx.load_from_string(made))
        after = run(made, pixels)
        columns = list(range(first)) + [first + index for index in indices]
        np.testing.assert_allclose(after[-1], before[-1].take(columns, axis), rtol=1e-5, atol=1e-6)
        properties = {each.key: each.value for each in onnx.load_from_string(made).metadata_props}
        assert list(ast.literal_eval(properties["names"]).values()) == [
            "class %d" % index for index in indices
        ]
        assert Onnx(made).labels() == ["class %d" % index for index in indices]


def test_shapes_on_which_the_onnx_package_crashes_are_an_error():
    model = onnx.load_from_string(with_objectness()[0])
    del model.graph.input[0].type.tensor_type.shape.dim[1:3]
    with pytest.raises(TodusError, match="its shapes are inconsistent"):
        Onnx(model.SerializeToString())


def test_a_threshold_is_moved_by_the_bias_of_its_class():
    data, axis, first = anchor_free()
    pixels = np.random.RandomState(1).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    before = run(data, pixels)[0][0, first + 3].astype(float)
    after = run(limited(data, [3], {"class 3": 0.7}), pixels)[0][0, first].astype(float)
    shift = np.log(after / (1 - after)) - np.log(before / (1 - before))
    np.testing.assert_allclose(shift, 0.7, atol=1e-3)


def test_the_file_for_tensorrt_is_limited_before_its_plugin(exported):
    data = (paths.model(MODEL).file_of("onnx-tensorrt")).read_bytes()
    finished = Onnx(data)
    made = limited(data, [1])
    shape = finished.graph.shape("normalized_input_image_tensor:0")
    pixels = np.random.RandomState(1).uniform(-1, 1, shape).astype(np.float32)
    before, after = (run(raw(each, finished.detector), pixels) for each in (data, made))
    np.testing.assert_allclose(after[1], before[1][..., [1]], atol=1e-6)
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)


@pytest.fixture(scope="module")
def with_loops(once, exported_home):
    """The frozen graph of a model as tf2onnx converts it: with the OD API's loops."""
    from todus.detection.frozen_graph import read_graph
    from todus.export import onnx_conversion

    def make(folder):
        home = exported_home
        graph = read_graph(home / "model" / MODEL / "inference-graph/frozen_inference_graph.pb")
        ends = ["image_tensor:0"], [name + ":0" for name in OUTPUTS]
        model = onnx_conversion.converted(graph, *ends, 11, MODEL)
        (folder / "loops.onnx").write_bytes(model.SerializeToString())

    return once("loops-onnx", make) / "loops.onnx"


@pytest.mark.parametrize("kind", ["plain operators", "loops"])
def test_detections_behind_its_own_suppression_stay_the_same(exported, with_loops, kind):
    path = with_loops if kind == "loops" else paths.model(MODEL).file_of("onnx")
    data = path.read_bytes()
    assert ("Loop" in {each.op_type for each in onnx.load_from_string(data).graph.node}) == (
        kind == "loops"
    )
    pixels = np.random.RandomState(0).randint(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    before = run(detections(data), pixels)
    for indices in ([1], [1, 0]):
        made = limited(data, indices)
        onnx.checker.check_model(onnx.load_from_string(made))
        after = run(detections(made), pixels)
        # Without the other class, the full list has room for lower scores.
        for new, old in enumerate(indices, start=1):
            for place in (0, 2):
                wanted = before[place][0][before[1][0] == old + 1][:-2]
                found = after[place][0][after[1][0] == new][: len(wanted)]
                assert len(wanted) > 3
                np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert set(after[1][0]) <= {0.0, 1.0, float(len(indices))}


def test_one_suppression_of_all_boxes_at_once_is_refused():
    build = Builder()
    boxes, scores = (
        build.node(
            "Reshape", [build.convolution("image", 3, 2 * count), build.constant(shape, np.int64)]
        )
        for count, shape in ((4, [1, -1, 4]), (1, [1, 1, -1]))
    )
    most = build.constant([10], np.int64)
    limits = [build.constant([0.5]), build.constant([0.1])]
    chosen = build.node("NonMaxSuppression", [boxes, scores, most, *limits])
    found = build.node("Cast", [chosen], to=1)
    with pytest.raises(TodusError, match="limit the file it was converted from"):
        Onnx(build.bytes([(found, ["found", 3])]))
