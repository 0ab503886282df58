"""Every class of a TFLite detector is reported, whatever number of threads runs it."""

import json
import subprocess

import numpy as np
import pytest
from flatbuffers import flexbuffers

from tests.helpers.places import REPO
from todus.slicing import post_process, tflite_file
from todus.slicing import tflite_schema as schema

BOXES, CLASSES = 60, 7
FLOAT, BYTES = schema.TensorType.FLOAT32, schema.TensorType.UINT8
OUTPUTS = ["detections:%d" % number for number in range(4)]
LITERT = REPO / ".runtimes" / "bin" / "python"


def detector(kind=FLOAT, classes=CLASSES, background=1, **changes):
    """A file that is the post-process operator alone: encodings and scores are its inputs."""
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    model.version, model.description = 3, "detector"
    code.customCode, code.deprecatedBuiltinCode = post_process.POST_PROCESS, 32
    code.builtinCode = 32
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [schema.BufferT()]
    graph.tensors, operator = [], schema.OperatorT()
    anchors = np.tile(np.float32([0.5, 0.5, 0.2, 0.2]), (BOXES, 1))
    anchors[:, :2] = np.random.RandomState(1).rand(BOXES, 2)
    for name, shape, scale, zero, values in (
        ("encodings", [1, BOXES, 4], 0.05, 128, None),
        ("scores", [1, BOXES, classes + background], 1 / 256, 0, None),
        ("anchors", [BOXES, 4], 1 / 255, 0, anchors),
        *((name, [], 0, 0, None) for name in OUTPUTS),
    ):
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.shape, tensor.buffer = name, np.int32(shape), len(model.buffers)
        if kind == BYTES and scale:
            tensor.type = BYTES
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.float32([scale])
            tensor.quantization.zeroPoint = np.int64([zero])
            values = values if values is None else np.uint8(np.round(values / scale))
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors.append(tensor)
    operator.inputs, operator.outputs = np.int32([0, 1, 2]), np.int32([3, 4, 5, 6])
    options = {
        "max_detections": 40,
        "max_classes_per_detection": 1,
        "detections_per_class": 40,
        "use_regular_nms": True,
        "nms_score_threshold": 0.2,
        "nms_iou_threshold": 0.5,
        "num_classes": classes,
        "y_scale": 10.0,
        "x_scale": 10.0,
        "h_scale": 5.0,
        "w_scale": 5.0,
    }
    operator.customOptions = np.frombuffer(
        bytes(flexbuffers.Dumps(dict(options, **changes))), np.uint8
    )
    graph.operators = [operator]
    graph.inputs, graph.outputs = np.int32([0, 1]), np.int32([3, 4, 5, 6])
    return model


def noise(kind=FLOAT, classes=CLASSES):
    """Encodings and scores, without equal scores where the numbers are floats."""
    random = np.random.RandomState(7)
    boxes, scores = random.randn(1, BOXES, 4), random.rand(1, BOXES, classes + 1)
    if kind == FLOAT:
        return np.float32(boxes), np.float32(scores)
    return np.uint8(boxes * 20 + 128), np.uint8(scores * 255)


def run(data, *inputs):
    from todus.tf import tf

    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), inputs):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    details = interpreter.get_output_details()
    assert [detail["name"] for detail in details] == OUTPUTS
    return [interpreter.get_tensor(detail["index"]) for detail in details]


KINDS = pytest.mark.parametrize("kind", [FLOAT, BYTES], ids=["float", "uint8"])
LIMITS = pytest.mark.parametrize(
    "limits",
    [{}, {"detections_per_class": 3}, {"max_detections": 5}, {"nms_score_threshold": 0.97}],
    ids=["usual", "few of a class", "few", "fewer than rows"],
)


@KINDS
@LIMITS
def test_with_one_thread_the_outputs_are_as_before(kind, limits):
    model = detector(kind, **limits)
    before = run(tflite_file.packed(model), *noise(kind))
    assert post_process.add_lost_class(model)
    after = run(tflite_file.packed(model), *noise(kind))
    for left, right in zip(before, after):
        assert left.shape == right.shape and np.array_equal(left, right)
    assert 0 < before[3][0] <= before[2].size


@KINDS
@LIMITS
@pytest.mark.parametrize("lost", [2, CLASSES - 1])
def test_the_class_that_a_runtime_leaves_out_comes_back(kind, limits, lost):
    """The runtime of this test has one thread: the other operators get scores without the class."""
    model = detector(kind, **limits)
    boxes, scores = noise(kind)
    expected = run(tflite_file.packed(model), boxes, scores)
    graph = model.subgraphs[0]
    post_process.add_lost_class(model)
    own = post_process.find(model, graph)[0]
    graph.tensors.append(schema.TensorT())
    graph.tensors[-1].__dict__.update(vars(graph.tensors[1]), name="others", buffer=0)
    last = len(graph.tensors) - 1
    graph.inputs, own.inputs = np.int32([0, 1, last]), np.int32([0, last, 2])
    everywhere = [at for at, tensor in enumerate(graph.tensors) if is_probe(tensor)]
    probe = model.buffers[graph.tensors[everywhere[0]].buffer]
    ones = np.frombuffer(probe.data, np.float32).copy()
    ones[lost + 1] = 0
    probe.data = np.frombuffer(ones.tobytes(), np.uint8)
    others = scores.copy()
    others[..., lost + 1] = 0
    found = run(tflite_file.packed(model), boxes, scores, others)
    assert found[3] == expected[3]
    rows = [sorted(zip(each[2][0], each[1][0])) for each in (found, expected)]
    if kind == FLOAT:
        assert rows[0] == rows[1] and np.array_equal(found[0], expected[0])
    else:  # with equal scores at the last place, either may be taken
        assert [score for score, _ in rows[0]] == [score for score, _ in rows[1]]
    assert lost in expected[1]


def is_probe(tensor):
    return list(tensor.shape) == [1, 1, CLASSES + 1]


def test_what_was_added_can_be_found_and_removed_again():
    model = detector()
    before = tflite_file.packed(detector())
    options = post_process.options_of(model.subgraphs[0].operators[0])
    assert post_process.add_lost_class(model) and not post_process.add_lost_class(model)
    read = tflite_file.read(tflite_file.packed(model))
    found = post_process.find(read, read.subgraphs[0])
    assert [post_process.options_of(each) for each in found] == [options]
    assert post_process.remove_lost_class(read) and not post_process.remove_lost_class(read)
    assert len(read.subgraphs[0].operators) == 1
    names = [tensor.name.decode() for tensor in read.subgraphs[0].tensors]
    assert names == ["encodings", "scores", "anchors"] + OUTPUTS
    for left, right in zip(run(before, *noise()), run(tflite_file.packed(read), *noise())):
        assert np.array_equal(left, right)


@pytest.mark.parametrize(
    "changes", [{"classes": 1}, {"classes": 2}, {"use_regular_nms": False}], ids=str
)
def test_files_that_lose_no_class_stay_as_they_are(changes):
    model = detector(**changes)
    assert not post_process.add_lost_class(model)
    assert len(model.subgraphs[0].operators) == 1


IN_LITERT = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
inputs = np.load(sys.argv[2])
for threads in range(1, 9):
    interpreter = Interpreter(sys.argv[1], num_threads=threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    outputs = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
    print(json.dumps([output.tolist() for output in outputs]))
"""


def in_litert(folder, data, **inputs):
    """The outputs with 1 to 8 threads."""
    (folder / "a.tflite").write_bytes(data)
    np.savez(str(folder / "inputs.npz"), **inputs)
    command = [str(LITERT), "-I", "-c", IN_LITERT, "a.tflite", "inputs.npz"]
    done = subprocess.run(command, cwd=str(folder), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not LITERT.exists(), reason="LiteRT is not installed; run: make runtimes")
@KINDS
def test_litert_reports_every_class_with_1_to_8_threads(kind, tmp_path):
    model = detector(kind)
    boxes, scores = noise(kind)
    expected = run(tflite_file.packed(model), boxes, scores)
    post_process.add_lost_class(model)
    answers = in_litert(tmp_path, tflite_file.packed(model), encodings=boxes, scores=scores)
    assert len(answers) == 8
    for found in answers:
        assert found[3] == expected[3].tolist()
        assert np.allclose(found[2], expected[2], atol=1e-6)
        if kind == FLOAT:
            assert found[1] == expected[1].tolist()
            assert np.allclose(found[0], expected[0], atol=1e-5)
        assert set(found[1][0]) == set(range(CLASSES))


@pytest.mark.skipif(not LITERT.exists(), reason="LiteRT is not installed; run: make runtimes")
def test_scores_may_have_no_column_for_the_background(tmp_path):
    model = detector(background=0)
    boxes, scores = noise()
    post_process.add_lost_class(model)
    data = tflite_file.packed(model)
    answers = in_litert(tmp_path, data, encodings=boxes, scores=scores[..., 1:])
    with_background = run(tflite_file.packed(detector()), boxes, scores)
    for found in answers:
        assert found[1] == with_background[1].tolist()
