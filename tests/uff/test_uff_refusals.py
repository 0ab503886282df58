"""A damaged or unsupported graph or config gives a one-line message, an exit code and no file."""

import functools
import re

from todus.tf import tf

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from tests.helpers import uff_damage as damage
from tests.helpers import uff_models
from todus import command
from todus.commands import convert_uff

NAME = "ssd_mobilenet_v1_coco_2018_01_28"
ENDS = ["Postprocessor/raw_box_encodings", "Postprocessor/ExpandDims", "Postprocessor/scale_logits"]
CONFIG = uff_models.pipeline_text(NAME, 3, 128, features="depth_multiplier: 0.25")


@functools.lru_cache(maxsize=None)
def small_graph_bytes():
    """A small SSD, its post-processing cut off after its first nodes."""
    graph_def = tf.graph_util.extract_sub_graph(uff_models.frozen(CONFIG), ENDS)
    return graph_def.SerializeToString()


def small_graph():
    return tf.GraphDef.FromString(small_graph_bytes())


def convert():
    return command.run("convert_uff", convert_uff.main, ["-m", NAME, "-t"])


@pytest.fixture
def refusal(home, capsys):
    """Converts a graph (bytes) with a config and classes; returns the message without the path.

    With may_convert=True, the conversion may also succeed; then the message is None.
    """

    def run(graph=None, text=CONFIG, names=None, may_convert=False):
        names = names or uff_models.classes(3)
        model = uff_models.lay_out(NAME, text, tf.GraphDef(), names)
        model.zoo_frozen_graph.write_bytes(small_graph_bytes() if graph is None else graph)
        capsys.readouterr()
        code = convert()
        line = capsys.readouterr().err
        if may_convert and code == 0:
            return None
        assert code in (1, 2)
        assert line.startswith("convert_uff: ") and line.count("\n") == 1
        assert "Traceback" not in line and ";" in line and len(line) < 700
        left = sorted(path.name for path in model.folder.rglob("*") if path.is_file())
        assert left == ["frozen_inference_graph.pb", "label_map.pbtxt", "zoo-pipeline.config"]
        return line.replace(str(model.zoo_frozen_graph), "")

    return run


def test_the_undamaged_graph_converts(refusal):
    assert refusal(may_convert=True) is None


# Files.

NOT_GRAPHS = {
    "empty": b"",
    "a web page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "text": b'node { name: "image_tensor" op: "Placeholder" }\n' * 5,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(range(256)) * 4,
    "zeros": b"\x00" * 1000,
    "random": np.random.RandomState(3).bytes(5000),
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


@pytest.mark.parametrize("kind", sorted(NOT_GRAPHS))
def test_a_file_that_is_not_a_graph(refusal, kind):
    assert re.search("not a frozen graph|has no nodes", refusal(NOT_GRAPHS[kind]))


@pytest.mark.parametrize(
    "part", [0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 0.9999]
)
def test_a_truncated_graph(refusal, part):
    data = small_graph_bytes()
    assert "not a frozen graph" in refusal(data[: int(len(data) * part)])


@pytest.mark.parametrize("seed", range(12))
def test_a_graph_with_flipped_bits_converts_or_is_refused(refusal, seed):
    draw = np.random.RandomState(seed)
    data = bytearray(small_graph_bytes())
    for _ in range(3):
        data[draw.randint(len(data) // 50 if seed % 2 else len(data))] ^= 1 << draw.randint(8)
    refusal(bytes(data), may_convert=True)


def test_a_saved_model_in_place_of_a_frozen_graph(refusal):
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    saved.meta_graphs.add().graph_def.CopyFrom(small_graph())
    refusal(saved.SerializeToString())


# Graphs: the damage, and a part of the message.

READ = damage.FIRST_WEIGHTS + "/read"
BIASES = "BoxPredictor_0/BoxEncodingPredictor/biases"
GRAPHS = {
    # Missing nodes.
    "no input": (damage.without("image_tensor"), "image_tensor"),
    "no weights": (damage.without(damage.FIRST_WEIGHTS), damage.FIRST_WEIGHTS),
    "no convolution": (damage.without(damage.FIRST_CONV), damage.FIRST_CONV),
    "no bias": (damage.without(BIASES), "biases"),
    "no boxes": (damage.without("concat"), "concat"),
    "no classes": (damage.without("concat_1"), "concat_1"),
    "no anchors": (damage.without("Concatenate/concat"), "Concatenate/concat"),
    "no shape": (damage.without("BoxPredictor_0/Reshape/shape"), "BoxPredictor_0/Reshape/shape"),
    "no preprocessing": (damage.without("Preprocessor/mul"), "Preprocessor/mul"),
    "no axis": (damage.without("concat/axis"), "concat/axis"),
    # The names of another kind of model.
    "boxes renamed": (damage.rename("concat", "boxes"), "no concat named concat"),
    "anchors renamed": (damage.rename("Concatenate", "Anchors"), "no anchors under"),
    "detections renamed": (damage.rename("Postprocessor", "Detections"), "scope Postprocessor"),
    "preprocessing renamed": (damage.rename("Preprocessor", "Prepare"), "has a loop"),
    "a node with a plugin's name": (damage.rename(damage.FIRST_RELU, "NMS"), "name of a plugin"),
    "a node with the input's name": (damage.rename(damage.FIRST_RELU, "Input"), "name of a plugin"),
    "detections do not take the boxes": (
        damage.set_input("Postprocessor/raw_box_encodings", 0, "concat_1"),
        "boxes",
    ),
    # Edges.
    "two nodes of one name": (damage.duplicate, "two nodes"),
    "an edge to a missing node": (damage.set_input(damage.FIRST_RELU, 0, "nowhere"), "nowhere"),
    "an edge without a name": (damage.set_input(damage.FIRST_RELU, 0, ""), "empty name"),
    "an edge to a second output": (
        damage.set_input(damage.FIRST_RELU, 0, damage.FIRST_NORM + ":1"),
        "second output",
    ),
    "a cycle": (damage.set_input(damage.FIRST_CONV, 0, damage.FIRST_RELU), "its own input"),
    "an identity of itself": (damage.set_input(READ, 0, READ), "its own input"),
    "two inputs of the network": (damage.set_input("BoxPredictor_0/Shape", 0, "Cast"), "begin"),
    "boxes and classes exchanged": (damage.swap("concat", "concat_1"), "dimensions"),
    "predictors in another order": (damage.reorder_predictors, "boxes at a place"),
    "fewer feature maps": (damage.fewer_layers, "5 feature maps"),
    "fewer inputs": (damage.drop_input(damage.FIRST_CONV), "Conv2D"),
    "an identity without input": (damage.drop_input(READ), "no input"),
    # Ops.
    "a leaky activation": (damage.set_op(damage.FIRST_RELU, "LeakyRelu"), "LeakyRelu"),
    "an unknown op": (damage.set_op(damage.FIRST_RELU, "NoSuchOp"), "NoSuchOp"),
    "softplus": (damage.after_first_relu("Softplus"), "Softplus"),
    "softsign": (damage.after_first_relu("Softsign"), "Softsign"),
    "exp": (damage.after_first_relu("Exp"), "Exp"),
    "rsqrt": (damage.after_first_relu("Rsqrt"), "Rsqrt"),
    "local response normalisation": (damage.after_first_relu("LRN"), "LRN"),
    "selu": (damage.after_first_relu("Selu"), "Selu"),
    "a variable": (damage.set_op(damage.FIRST_WEIGHTS, "VariableV2"), "not frozen"),
    "fake quantisation": (damage.fake_quant, "quantization-aware"),
    "batch normalisation in training": (damage.in_training, "training mode"),
    "image_tensor is a constant": (damage.set_op("image_tensor", "Const"), "image_tensor"),
    "a predictor without convolution": (damage.set_input("concat", 0, damage.BIAS), "Reshape"),
    # Attributes.
    "no strides": (damage.drop_attr(damage.FIRST_CONV, "strides"), "strides"),
    "no padding": (damage.drop_attr(damage.FIRST_CONV, "padding"), "padding"),
    "strides of three": (damage.set_ints(damage.FIRST_CONV, "strides", [1, 2, 2]), "Conv2D"),
    "a stride over images": (damage.set_ints(damage.FIRST_CONV, "strides", [2, 2, 2, 1]), "stride"),
    "dilated over channels": (
        damage.set_ints(damage.FIRST_CONV, "dilations", [1, 1, 1, 2]),
        "dilat",
    ),
    "an unknown padding": (damage.set_string(damage.FIRST_CONV, "padding", b"FULL"), "FULL"),
    "channels first": (
        damage.set_string(damage.FIRST_CONV, "data_format", b"NCHW"),
        "TensorFlow cannot build",
    ),
    "an unknown layout": (damage.set_string(damage.FIRST_NORM, "data_format", b"HWNC"), "HWNC"),
    # Constants.
    "weights of NaN": (damage.set_first_value(damage.FIRST_WEIGHTS, np.nan), "NaN"),
    "weights of infinity": (
        damage.set_first_value("FeatureExtractor/MobilenetV1/Conv2d_0/BatchNorm/beta", np.inf),
        "infinity",
    ),
    "half the weights": (damage.truncate_tensor(damage.FIRST_WEIGHTS), damage.FIRST_WEIGHTS),
    "weights of text": (
        damage.set_value(damage.FIRST_WEIGHTS, np.array([b"a"], object)),
        "TensorFlow cannot build",
    ),
    "weights of doubles": (damage.set_value(damage.FIRST_WEIGHTS, np.zeros((3, 3, 3, 8))), "float"),
    "weights of another shape": (
        damage.set_value(damage.FIRST_WEIGHTS, np.zeros((3, 3, 5, 8), np.float32)),
        "TensorFlow cannot build",
    ),
    "a bias of another length": (
        damage.set_value(BIASES, np.zeros(5, np.float32)),
        "TensorFlow cannot build",
    ),
    "another mean for each channel": (
        damage.set_value("Preprocessor/sub/y", np.float32([0.9, 1.0, 1.1])),
        "normalised",
    ),
    "other anchors": (
        damage.set_value("MultipleGridAnchorGenerator/Sqrt/x", np.float32([1, 3, 0.5])),
        "anchors",
    ),
    "joined along another axis": (damage.set_value("concat/axis", np.int32(2)), "axis 1"),
}


@pytest.mark.parametrize("kind", sorted(GRAPHS))
def test_a_damaged_or_unsupported_graph(refusal, kind):
    change, part = GRAPHS[kind]
    graph = small_graph()
    change(graph)
    assert part in refusal(graph.SerializeToString())


# Configs: a pattern, its replacement, and a pattern of the message.

CONFIGS = {
    "classes of another config": ("num_classes: 3", "num_classes: 90", "pipeline.config 91"),
    "fewer classes": ("num_classes: 3", "num_classes: 2", "has the id 3"),
    "other aspect ratios": ("aspect_ratios: 3.0", "aspect_ratios: 4.0", "anchors"),
    "one more ratio": ("(aspect_ratios: 3.0)", r"\1 aspect_ratios: 4.0", "boxes at a place"),
    "two ratios": ("aspect_ratios: 0.5.*?0.3333", "", "aspect_ratios"),
    "other scales": ("min_scale: 0.2", "min_scale: 0.15", "anchors"),
    "fewer layers": ("num_layers: 6", "num_layers: 5", "num_layers: 5"),
    "one layer": ("num_layers: 6", "num_layers: 1", "num_layers: 1"),
    "all boxes in the lowest layer": (
        "(num_layers: 6)",
        r"\1 reduce_boxes_in_lowest_layer: false",
        "3 boxes.*convert-onnx.sh",
    ),
    "not square": ("width: 128", "width: 192", "square"),
    "tiny": ("height: 128 width: 128", "height: 0 width: 0", "no fixed size"),
    "size of the image": (
        "fixed_shape_resizer { height: 128 width: 128 }",
        "keep_aspect_ratio_resizer { }",
        "fixed",
    ),
    "softmax": ("converter: SIGMOID", "converter: SOFTMAX", "SOFTMAX.*convert-onnx.sh"),
    "scaled logits": ("(converter: SIGMOID)", r"\1 logit_scale: 2.0", "logit_scale"),
    "soft suppression": ("(iou_threshold: 0.6)", r"\1 soft_nms_sigma: 0.5", "soft_nms_sigma"),
    "suppression over classes": (
        "(iou_threshold: 0.6)",
        r"\1 use_class_agnostic_nms: true",
        "class_agnostic",
    ),
    "no detections": (
        "max_total_detections: 100",
        "max_total_detections: 0",
        "max_total_detections",
    ),
    "another box coder": (
        "faster_rcnn_box_coder {.*?}",
        "mean_stddev_box_coder { }",
        "mean_stddev_box_coder",
    ),
    "a box coder of zeros": ("y_scale: 10.0", "y_scale: 0.0", "not positive"),
    "no background": ("(num_classes: 3)", r"\1 add_background_class: false", "background"),
    "a head of its own": (
        r"((?:aspect_ratios: \S+\s+)+)",
        r"\1 \1",
        "--own-head.*convert-onnx.sh",
    ),
    "shared predictors": (
        "box_predictor {.*?(?=anchor_generator)",
        "box_predictor { weight_shared_convolutional_box_predictor { } } ",
        "weight_shared",
    ),
    "an FPN": ("ssd_mobilenet_v1", "ssd_mobilenet_v1_fpn", "FPN.*convert-onnx.sh"),
    "multiscale anchors": (
        "anchor_generator {.*?(?=post_processing)",
        "anchor_generator { multiscale_anchor_generator { } } ",
        "FPN.*convert-onnx.sh",
    ),
    "quantization-aware": (
        r"\Z",
        "graph_rewriter { quantization { delay: 10 } }",
        "quantization-aware.*convert-onnx.sh",
    ),
    "a Faster R-CNN": (
        r"\A.*\Z",
        'model { faster_rcnn { num_classes: 3 feature_extractor { type: "faster_rcnn_x" } } }',
        "Faster R-CNN.*convert-onnx.sh",
    ),
    "no config at all": (r"\A.*\Z", "\n", "no model"),
    "not a config": (r"\A.*\Z", "<html>", "web page"),
    "an unknown field": ("num_classes: 3", "num_klasses: 3", "num_klasses"),
}


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_an_unsupported_config(refusal, kind):
    pattern, replacement, message = CONFIGS[kind]
    text, count = re.subn(pattern, replacement, CONFIG, count=1, flags=re.DOTALL)
    assert count == 1
    assert re.search(message, refusal(text=text))


def test_a_label_map_with_a_larger_id_than_the_config(refusal):
    assert "has the id 4" in refusal(names={1: "bear", 4: "cow"})


def test_a_refused_graph_leaves_the_files_of_an_earlier_conversion(home):
    model = uff_models.lay_out(NAME, CONFIG, small_graph(), uff_models.classes(3))
    assert convert() == 0
    before = {path: path.read_bytes() for path in model.folder.glob(NAME + ".*")}
    assert len(before) == 3
    model.zoo_frozen_graph.write_bytes(b"")
    assert convert() == 1
    assert {path: path.read_bytes() for path in model.folder.iterdir() if path.is_file()} == before
