"""A limited .tflite file gives the scores and the detections of its classes unchanged."""

import numpy as np
import pytest

from tests.helpers import finished_files
from tests.helpers.places import MODEL, QUANTIZED
from todus import paths
from todus.errors import TodusError
from todus.slicing import post_process, tflite, tflite_file
from todus.slicing.finished import Cutting
from todus.slicing.labels import Choice

KINDS = ("float", "float16", "uint8", "int8")


def limited(data, indices, shifts=None, labels=None):
    choices = [Choice("class %d" % index, index) for index in indices]
    return tflite.TFLite(data, labels).cut(Cutting(choices, shifts or {}))


def test_a_file_of_more_parts_or_constants_than_it_has_room_for_is_damaged(monkeypatch):
    data = finished_files.detector()
    assert tflite_file.read(data).subgraphs
    shared = tflite_file.schema.Model.GetRootAs(data, 0)
    # The first large constant in place of every other: the same bytes, many times.
    places = [shared.Buffers(place) for place in range(shared.BuffersLength())]
    large = max(places, key=lambda each: each.DataLength())
    vector = shared._tab.Vector(shared._tab.Offset(12))
    aliased = bytearray(data)
    for place in range(len(places)):
        at = vector + 4 * place
        if large._tab.Pos > at:
            aliased[at : at + 4] = (large._tab.Pos - at).to_bytes(4, "little")
    for damaged, most in ((bytes(aliased), tflite_file.MOST_PARTS), (data, 20)):
        monkeypatch.setattr(tflite_file, "MOST_PARTS", most)
        with pytest.raises(TodusError, match="it is damaged"):
            tflite_file.read(damaged)


def random_choices(classes, count=3):
    random = np.random.RandomState(5)
    return [[int(i) for i in random.permutation(classes)[:size]] for size in range(1, count + 1)]


def assert_same_scores(data, classes, first, labels=None):
    """The raw scores and boxes of three random choices of classes are those of the uncut file."""
    pixels = finished_files.noise(data)
    boxes, scores = finished_files.run(tflite.variants(data)["raw"], pixels)
    for indices in random_choices(classes, min(3, classes)):
        made = limited(data, indices, labels=labels)
        found = finished_files.run(tflite.variants(made)["raw"], pixels)
        columns = list(range(first)) + [first + index for index in indices]
        tolerance = 0 if scores.dtype.kind in "iu" else 1e-6
        assert found[1].shape[-1] == len(columns)
        assert np.abs(found[1].astype(float) - scores[..., columns]).max() <= tolerance
        assert np.abs(found[0].astype(float) - boxes).max() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "layout",
    [{}, {"shared": True}, {"background": False}],
    ids=["background", "shared predictor", "no background"],
)
def test_the_scores_of_the_kept_classes_stay_the_same(kind, layout):
    data = finished_files.detector(kind, **layout)
    assert_same_scores(data, 7, int(layout.get("background", True)))


@pytest.mark.parametrize("kind", KINDS)
def test_raw_outputs_are_limited_without_a_post_process_operator(kind):
    data = finished_files.detector(kind, operator=False)
    assert_same_scores(data, 7, 1, labels=7)
    assert tflite.TFLite(data, 7).classes == 7  # a label a class: the first column is a background
    assert tflite.TFLite(data, 8).classes == 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_detections_of_the_kept_classes_stay_the_same(kind):
    data = finished_files.detector(kind, max_detections=400)
    pixels, indices = finished_files.noise(data), [4, 0, 6]
    before = finished_files.run(data, pixels)
    after = finished_files.run(limited(data, indices), pixels)
    assert int(after[3][0]) == np.isin(before[1][0][: int(before[3][0])], indices).sum() > 20
    for new, old in enumerate(indices):
        rows = [
            each[1][0][: int(each[3][0])] == index for each, index in ((before, old), (after, new))
        ]
        # Of equal 8-bit scores, any comes first.
        found = [
            np.concatenate([each[0][0][: len(of)][of], each[2][0][: len(of), None][of]], axis=1)
            for each, of in zip((before, after), rows)
        ]
        one, other = (each[np.lexsort(each.round(4).T)] for each in found)
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    "name, ending",
    [(MODEL, ""), (MODEL, "-float16"), (MODEL, "-dynamic"), (MODEL, "-int8"), (QUANTIZED, "")],
)
def test_every_kind_of_file_that_todus_converts_can_be_limited(exported, name, ending):
    data = (paths.model(name).folder / (name + ending + ".tflite")).read_bytes()
    assert_same_scores(data, 2, 1)


def test_a_limited_file_can_be_limited_again():
    data = finished_files.detector("uint8")
    again = limited(limited(data, [5, 1, 3]), [2, 0])
    pixels = finished_files.noise(data)
    direct = finished_files.run(limited(data, [3, 5]), pixels)
    for one, other in zip(finished_files.run(again, pixels), direct):
        np.testing.assert_array_equal(one, other)


def test_a_limited_file_reports_every_class_at_any_number_of_threads():
    # Regular suppression with more than two classes loses one; post_process.py says why.
    for indices, added in (([1, 2, 3], True), ([1, 2], False)):
        model = tflite_file.read(limited(finished_files.detector(), indices))
        assert post_process.remove_lost_class(model) == added


def test_unused_weights_are_gone_and_constants_are_aligned():
    data = finished_files.detector(classes=400)
    made = limited(data, [1, 2])
    assert len(made) < len(data) / 2
    for buffer in tflite_file.read(made).buffers[1:]:
        if buffer.data is not None and len(buffer.data) > 8:
            content = bytes(bytearray(buffer.data))
            places = [
                at for at in range(0, len(made), 16) if made[at : at + len(content)] == content
            ]
            assert places


def test_a_threshold_is_moved_by_the_bias_of_its_class():
    for kind in ("float", "float16", "uint8", "int8"):
        data = finished_files.detector(kind)
        raw = tflite.variants(data)["raw"]
        pixels = finished_files.noise(data)
        before = finished_files.run(raw, pixels)[1][0, :, 1 + 4]
        made = limited(data, [4], {"class 4": 1.0})
        after = finished_files.run(tflite.variants(made)["raw"], pixels)[1][0, :, 1]
        scale = 1 / 256 if before.dtype == np.uint8 else 1
        before, after = (scale * each.astype(float) for each in (before, after))
        inside = (before > 0.05) & (before < 0.9)
        assert inside.sum() > 10
        before, after = before[inside], after[inside]
        shift = np.log(after / (1 - after)) - np.log(before / (1 - before))
        np.testing.assert_allclose(shift, 1.0, atol=0.12 if kind[-1] == "8" else 1e-3)


def _other_use():
    """A detector in which something beside the post-process operator reads the logits."""
    build = finished_files.Builder("float")
    build.model = tflite_file.read(finished_files.detector())
    build.graph = build.model.subgraphs[0]
    logits = next(
        operator.inputs[0]
        for operator in build.graph.operators
        if build.model.operatorCodes[operator.opcodeIndex].builtinCode == 14
    )
    out = build.tensor(build.graph.tensors[logits].shape)
    build.operator("EXP", [logits], [out])
    build.graph.outputs = np.append(build.graph.outputs, out)
    return build.bytes()


def _with_operator(name):
    """A detector whose scores pass through another operator first."""
    build = finished_files.Builder("float")
    build.model = tflite_file.read(finished_files.detector())
    build.graph = build.model.subgraphs[0]
    last = build.graph.operators.pop()
    scores = int(last.inputs[1])
    out = build.tensor(build.graph.tensors[scores].shape)
    build.operator(name, [scores], [out])
    last.inputs = np.int32([last.inputs[0], out, last.inputs[2]])
    build.graph.operators.append(last)
    return build.bytes()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: _with_operator("edgetpu-custom-op"), "compiled for the EdgeTPU"),
        (lambda: _with_operator("CUMSUM"), "stops at CUMSUM"),
        (lambda: _with_operator("SOFTMAX"), "--approximate"),
        (_other_use, "stops at EXP"),
        (lambda: b"GIF89a" * 20, "no TFLite file"),
        (lambda: finished_files.detector()[:4000], "damaged"),
    ],
    ids=["edgetpu", "unknown operator", "softmax", "second use", "foreign", "truncated"],
)
def test_what_cannot_be_limited_is_named(make, words):
    with pytest.raises(TodusError, match=words):
        limited(make(), [1, 0])


def test_a_softmax_is_limited_where_that_is_accepted():
    data = _with_operator("SOFTMAX")
    finished = tflite.TFLite(data)
    made = finished.cut(Cutting([Choice("a", 1)], {}, approximate=True))
    assert tflite.TFLite(made).classes == 1
    assert "higher" in " ".join(finished.notes())


@pytest.mark.parametrize("shape", [[1, 10, 64], [1, 64, 10]])
def test_boxes_and_classes_in_one_output_are_refused_with_the_file_to_take(shape):
    build = finished_files.Builder("float")
    image = build.activation([1, 8, 8, 3])
    both, _ = build.convolution(image, 10, np.random.RandomState(1))
    build.graph.inputs = np.int32([image])
    build.graph.outputs = np.int32([build.reshape(both, shape)])
    with pytest.raises(TodusError, match="Ultralytics.*limit its .onnx file"):
        tflite.TFLite(build.bytes())
