"""Graphs from files run only operators that cannot reach the user's files."""

import os
import re

from todus.tf import tf

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import function

from tests.helpers import families
from todus.detection import frozen_graph
from todus.detection.detector import DETECTIONS
from todus.detection.saved_model import SavedModel
from todus.errors import TodusError
from todus.model import pipeline
from todus.slicing import graph_operations

NAMES = {1: "circle"}
IMAGE = np.zeros((8, 8, 3), np.uint8)


def detector(before=None, shape=None, weight=None):
    """A graph with the OD API's input and outputs, which finds one box; the outputs by name.

    before: makes operators on which the boxes depend; shape: the value that gives their shape;
    weight: a variable with the score.
    """
    image = tf.placeholder(tf.uint8, [None, None, None, 3], name="image_tensor")
    with tf.control_dependencies([tf.shape(image), *([before()] if before else [])]):
        boxes = tf.reshape(
            tf.constant([0.1, 0.1, 0.9, 0.9]), shape if shape is not None else (1, 1, 4)
        )
    score = tf.constant(0.75) if weight is None else weight
    values = (boxes, tf.ones((1, 1)), tf.reshape(score, (1, 1)), tf.ones(1))
    return {name: tf.identity(value, name=name) for name, value in zip(DETECTIONS, values)}


def frozen(folder, **parts):
    """The detector as a frozen graph."""
    with tf.Graph().as_default() as graph:
        detector(**parts)
    path = folder / "frozen_inference_graph.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def saved(folder, main_op=None, **parts):
    """The detector as a SavedModel with a variable."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        outputs = detector(weight=tf.get_variable("score", initializer=0.75), **parts)
        session.run(tf.global_variables_initializer())
        inputs = {"inputs": graph.get_tensor_by_name("image_tensor:0")}
        signature = tf.saved_model.signature_def_utils.predict_signature_def(inputs, outputs)
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder / "saved_model"))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=main_op and main_op()
        )
        builder.save()
    return folder / "saved_model"


def write_file(path):
    return lambda: tf.io.write_file(str(path), "owned")


def in_function(path):
    @function.Defun(tf.string)
    def body(name):
        with tf.control_dependencies([tf.io.write_file(name, "owned")]):
            return tf.identity(name)

    return lambda: body(tf.constant(str(path)))


def in_branch(path):
    def write():
        with tf.control_dependencies([tf.io.write_file(str(path), "owned")]):
            return tf.constant(1)

    def make():
        tf.enable_control_flow_v2()
        try:
            return tf.cond(tf.constant(True), write, lambda: tf.constant(1))
        finally:
            tf.disable_control_flow_v2()

    return make


def print_to_file(path):
    return lambda: tf.print("owned", output_stream="file://%s" % path)


def python_function(path):
    return lambda: tf.py_func(lambda: path.write_text("owned") and np.int64(1), [], tf.int64)


# Of inference graphs of all families, with each type of input.
ZOO = """
Add AddN AddV2 ArgMax Assert Assign AvgPool BatchToSpaceND BiasAdd Cast ConcatV2 Const Conv2D
CropAndResize DecodeBmp DecodeGif DecodeJpeg DecodePng DecodeRaw DepthwiseConv2dNative Enter Equal
Exit Exp ExpandDims FakeQuantWithMinMaxVars Fill FloorMod FusedBatchNormV3 GatherV2 Greater
GreaterEqual Identity L2Loss Less LessEqual LogicalAnd LogicalOr LoopCond MatMul MaxPool Maximum
Mean Merge Minimum Mul NextIteration NoOp NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual Pack Pad
ParseSingleExample Placeholder PlaceholderWithDefault Prod RandomStandardNormal RandomUniform Range
RealDiv Relu Relu6 Reshape ResizeBilinear Round Rsqrt Select Shape Sigmoid Size Slice Softmax
SpaceToBatchND SparseToDense Split Sqrt Squeeze StridedSlice Sub Substr Sum Switch
TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArrayV3
TensorArrayWriteV3 Tile TopKV2 Transpose TruncatedNormal Unpack VariableV2 Where ZerosLike
"""
EFFECTS = [write_file, in_function, in_branch, print_to_file, python_function]


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_a_graph_that_would_write_a_file_is_refused_in_one_line(effect, tmp_path):
    target = tmp_path / "target"
    path = frozen(tmp_path, before=effect(target))
    with pytest.raises(TodusError, match=r"may read or write files.*ALLOW_OPS=\S") as caught:
        frozen_graph.FrozenGraph(path, NAMES)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    folder = saved(tmp_path, before=effect(target))
    with pytest.raises(TodusError, match="may read or write files"):
        SavedModel(folder, NAMES)
    assert not target.exists()


def test_a_graph_that_reads_a_file_for_a_shape_is_refused_before_its_import(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("\4")
    path = frozen(tmp_path)
    with tf.Graph().as_default() as graph:
        numbers = tf.io.decode_raw(tf.io.read_file(str(secret)), tf.uint8)
        detector(shape=tf.concat([[1, 1], tf.cast(numbers, tf.int32)], 0))
    path.write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(TodusError, match="ReadFile"):
        frozen_graph.FrozenGraph(path, NAMES)
    with pytest.raises(TodusError, match="ReadFile"):
        frozen_graph.read_graph(path)


def test_the_advice_for_operators_of_ones_own_allows_them(tmp_path, monkeypatch):
    target = tmp_path / "target"
    path = frozen(tmp_path, before=write_file(target))
    with pytest.raises(TodusError) as caught:
        frozen_graph.FrozenGraph(path, NAMES)
    name, value = re.search(r"export (\w+)=(\w+)$", str(caught.value)).groups()
    monkeypatch.setenv(name, value)
    found = frozen_graph.FrozenGraph(path, NAMES).detect([IMAGE])
    assert len(found) == 1 and target.read_text() == "owned"


def test_the_initialisation_that_a_saved_model_names_is_not_run(tmp_path):
    target = tmp_path / "target"
    folder = saved(tmp_path, main_op=write_file(target))
    found = SavedModel(folder, NAMES).detect([IMAGE])[0]
    assert found.scores.tolist() == [0.75]
    assert not target.exists()


def test_a_saved_model_restores_its_own_variables_only(tmp_path):
    folder = saved(tmp_path)
    path = folder / "saved_model.pb"
    whole = saved_model_pb2.SavedModel()
    whole.ParseFromString(path.read_bytes())
    graph_def = whole.meta_graphs[0].graph_def
    other = graph_def.node.add(name="elsewhere", op="Const")
    other.attr["dtype"].type = tf.string.as_datatype_enum
    other.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(b"/elsewhere"))
    restore = next(node for node in graph_def.node if node.op == "RestoreV2")
    restore.input[0] = "elsewhere"
    path.write_bytes(whole.SerializeToString())
    with pytest.raises(TodusError, match="RestoreV2"):
        SavedModel(folder, NAMES)


def test_operators_that_no_detection_needs_are_not_loaded(tmp_path):
    path = frozen(tmp_path)
    with tf.Graph().as_default() as graph:
        detector()
        tf.io.write_file(str(tmp_path / "target"), "owned")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    opened = frozen_graph.FrozenGraph(path, NAMES)
    assert "WriteFile" not in {op.type for op in opened.session.graph.get_operations()}


def test_the_operators_of_the_zoos_models_are_allowed():
    assert not sorted(set(ZOO.split()) - graph_operations.ALLOWED)


@pytest.mark.skipif(not os.environ.get("TODUS_SLOW"), reason="takes minutes; set TODUS_SLOW=1")
@pytest.mark.parametrize("family", sorted(families.FAMILIES))
def test_the_graph_of_a_family_has_allowed_operators_only(family):
    from object_detection import exporter
    from object_detection.builders import model_builder

    config = pipeline.parse(families.FAMILIES[family], family, print)
    with tf.Graph().as_default() as graph:
        tf.keras.backend.set_learning_phase(0)
        model = model_builder.build(config.model, is_training=False)
        exporter.build_detection_graph("tf_example", model, None, "inference_op", None)
    graph_operations.check(graph.as_graph_def(), family)
