"""A damaged or unsupported graph gives one clear line, exit code 1 or 2, and no file."""

import functools

from todus.tf import tf

import numpy as np
import pytest

from tests.helpers import uff_damage as damage
from tests.helpers import uff_models
from todus import command, paths
from todus.commands import convert_uff

NAME = "ssd_mobilenet_v1_coco_2018_01_28"
ENDS = ["Postprocessor/raw_box_encodings", "Postprocessor/ExpandDims", "Postprocessor/scale_logits"]


def config_text(**changes):
    return uff_models.pipeline_text(NAME, 3, 128, features="depth_multiplier: 0.25", **changes)


@functools.lru_cache(maxsize=None)
def small_graph_bytes():
    return tf.graph_util.extract_sub_graph(
        uff_models.frozen(config_text()), ENDS
    ).SerializeToString()


def small_graph():
    """A fresh copy of a small SSD, without what follows the entry of its post-processing."""
    return tf.GraphDef.FromString(small_graph_bytes())


@pytest.fixture
def refused(home, capsys):
    """Lays out a model (bytes or a GraphDef, a config, classes), converts it and returns the one line; or None where it converted."""

    def run(graph=None, text=None, names=None, name=NAME, may_convert=False, arguments=()):
        data = (
            small_graph_bytes()
            if graph is None
            else graph
            if isinstance(graph, bytes)
            else graph.SerializeToString()
        )
        model = uff_models.lay_out(
            name, text or config_text(), tf.GraphDef(), names or uff_models.classes(3)
        )
        model.zoo_frozen_graph.write_bytes(data)
        capsys.readouterr()
        code = command.run("convert_uff", convert_uff.main, ["-m", name, "-t", *arguments])
        line = capsys.readouterr().err
        if may_convert and code == 0:
            return None
        assert code in (1, 2)
        assert (
            line.startswith("convert_uff: ") and line.count("\n") == 1 and "Traceback" not in line
        )
        assert len(line) < 700 and ";" in line
        assert sorted(path.name for path in model.folder.rglob("*")) == [
            "frozen_inference_graph.pb", "label_map.pbtxt", "pretrained", "zoo-pipeline.config"]  # fmt: skip
        return line

    return run


def test_the_undamaged_graph_converts(refused):
    assert refused(may_convert=True) is None


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
def test_a_file_that_is_no_graph(refused, kind):
    assert "graph" in refused(NOT_GRAPHS[kind])


@pytest.mark.parametrize(
    "part", [0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 0.9999]
)
def test_a_truncated_graph(refused, part):
    data = small_graph().SerializeToString()
    assert "graph" in refused(data[: int(len(data) * part)])


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_give_a_line_or_a_file(refused, seed):
    draw = np.random.RandomState(seed)
    data = bytearray(small_graph().SerializeToString())
    for _ in range(3):
        data[draw.randint(len(data) // 50 if seed % 2 else len(data))] ^= 1 << draw.randint(8)
    refused(bytes(data), may_convert=True)


def test_a_saved_model_in_place_of_a_frozen_graph(refused):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    saved.meta_graphs.add().graph_def.CopyFrom(small_graph())
    refused(saved.SerializeToString())


# Graphs.


GRAPHS = {
    # Nodes that are gone.
    "no input": (lambda graph: damage.without(graph, "image_tensor"), "image_tensor"),
    "no weights": (lambda graph: damage.without(graph, damage.FIRST_WEIGHTS), damage.FIRST_WEIGHTS),
    "no convolution": (lambda graph: damage.without(graph, damage.FIRST_CONV), damage.FIRST_CONV),
    "no bias": (
        lambda graph: damage.without(graph, "BoxPredictor_0/BoxEncodingPredictor/biases"),
        "biases",
    ),
    "no boxes": (lambda graph: damage.without(graph, "concat"), "concat"),
    "no classes": (lambda graph: damage.without(graph, "concat_1"), "concat_1"),
    "no anchors": (lambda graph: damage.without(graph, "Concatenate/concat"), "Concatenate/concat"),
    "no shape": (
        lambda graph: damage.without(graph, "BoxPredictor_0/Reshape/shape"),
        "BoxPredictor_0/Reshape/shape",
    ),
    "no preprocessing": (
        lambda graph: damage.without(graph, "Preprocessor/mul"),
        "Preprocessor/mul",
    ),
    "no axis": (lambda graph: damage.without(graph, "concat/axis"), "concat/axis"),
    # Names of another kind of model.
    "boxes renamed": (damage.rename("concat", "boxes"), "no concat named concat"),
    "anchors renamed": (damage.rename("Concatenate", "Anchors"), "no anchors under"),
    "detections renamed": (damage.rename("Postprocessor", "Detections"), "scope Postprocessor"),
    "preprocessing renamed": (damage.rename("Preprocessor", "Prepare"), "a loop"),
    "a node with a plugin's name": (damage.rename(damage.FIRST_RELU, "NMS"), "name of a plugin"),
    "a node with the input's name": (damage.rename(damage.FIRST_RELU, "Input"), "name of a plugin"),
    "detections do not take the boxes": (
        damage.set_input("Postprocessor/raw_box_encodings", 0, "concat_1"),
        "boxes",
    ),
    # Edges.
    "twice the same node": (damage.duplicate, "two nodes"),
    "an edge to nothing": (damage.set_input(damage.FIRST_RELU, 0, "nowhere"), "nowhere"),
    "an edge without a name": (damage.set_input(damage.FIRST_RELU, 0, ""), "empty name"),
    "an edge to a second output": (
        damage.set_input(damage.FIRST_RELU, 0, damage.FIRST_NORM + ":1"),
        "second output",
    ),
    "a cycle": (damage.cycle, "its own input"),
    "an identity of itself": (damage.self_identity, "its own input"),
    "two beginnings": (damage.second_input, "begin"),
    "boxes and classes exchanged": (damage.swap("concat", "concat_1"), "dimensions"),
    "predictors in another order": (damage.reorder_predictors, "boxes at a place"),
    "a feature map less": (damage.fewer_layers, "5 feature maps"),
    "an input less": (lambda graph: damage.node_of(graph, damage.FIRST_CONV).input.pop(), "Conv2D"),
    "an identity of nothing": (
        lambda graph: damage.node_of(graph, damage.FIRST_WEIGHTS + "/read").input.pop(),
        "no input",
    ),
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
    "image_tensor is a constant": (damage.encoded_input, "image_tensor"),
    "a predictor that is no convolution": (damage.set_input("concat", 0, damage.BIAS), "Reshape"),
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
    "weights of NaN": (damage.poison(damage.FIRST_WEIGHTS, np.nan), "NaN"),
    "weights of infinity": (
        damage.poison("FeatureExtractor/MobilenetV1/Conv2d_0/BatchNorm/beta", np.inf),
        "infinity",
    ),
    "half the weights": (damage.cut_tensor(damage.FIRST_WEIGHTS), damage.FIRST_WEIGHTS),
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
        damage.set_value("BoxPredictor_0/BoxEncodingPredictor/biases", np.zeros(5, np.float32)),
        "TensorFlow cannot build",
    ),
    "a mean for each channel": (damage.other_normalisation, "normalised"),
    "other anchors": (
        damage.set_value("MultipleGridAnchorGenerator/Sqrt/x", np.float32([1, 3, 0.5])),
        "anchors",
    ),
    "joined along another axis": (damage.set_value("concat/axis", np.int32(2)), "axis 1"),
}


@pytest.mark.parametrize("kind", sorted(GRAPHS))
def test_a_damaged_or_unsupported_graph(refused, kind):
    change, word = GRAPHS[kind]
    graph = small_graph()
    change(graph)
    assert word in refused(graph)


# Configs.

CONFIGS = {
    "classes of another config": (("num_classes: 3", "num_classes: 90"), "pipeline.config 91"),
    "fewer classes": (("num_classes: 3", "num_classes: 2"), "has the id 3"),
    "other aspect ratios": (("aspect_ratios: 3.0", "aspect_ratios: 4.0"), "anchors"),
    "a ratio more": (
        ("aspect_ratios: 3.0", "aspect_ratios: 3.0 aspect_ratios: 4.0"),
        "boxes at a place",
    ),
    "two ratios": (
        ("aspect_ratios: 0.5 aspect_ratios: 3.0 aspect_ratios: 0.3333", ""),
        "aspect_ratios",
    ),
    "other scales": (("min_scale: 0.2", "min_scale: 0.15"), "anchors"),
    "fewer layers": (("num_layers: 6", "num_layers: 5"), "num_layers: 5"),
    "one layer": (("num_layers: 6", "num_layers: 1"), "num_layers: 1"),
    "all boxes in the lowest layer": (
        ("num_layers: 6", "num_layers: 6 reduce_boxes_in_lowest_layer: false"),
        "3 boxes",
    ),
    "not square": (("width: 128", "width: 192"), "square"),
    "tiny": (("height: 128 width: 128", "height: 0 width: 0"), "no fixed size"),
    "size of the image": (
        ("fixed_shape_resizer { height: 128 width: 128 }", "keep_aspect_ratio_resizer { }"),
        "fixed",
    ),
    "softmax": (("score_converter: SIGMOID", "score_converter: SOFTMAX"), "SOFTMAX"),
    "scaled logits": (
        ("score_converter: SIGMOID", "score_converter: SIGMOID logit_scale: 2.0"),
        "logit_scale",
    ),
    "soft suppression": (
        ("iou_threshold: 0.6", "iou_threshold: 0.6 soft_nms_sigma: 0.5"),
        "soft_nms_sigma",
    ),
    "suppression over classes": (
        ("iou_threshold: 0.6", "iou_threshold: 0.6 use_class_agnostic_nms: true"),
        "class_agnostic",
    ),
    "no detections": (
        ("max_total_detections: 100", "max_total_detections: 0"),
        "max_total_detections",
    ),
    "another box coder": (
        (
            "faster_rcnn_box_coder { y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0 }",
            "mean_stddev_box_coder { }",
        ),
        "mean_stddev_box_coder",
    ),  # fmt: skip
    "a box coder of zeros": (("y_scale: 10.0", "y_scale: 0.0"), "not positive"),
    "no background": (
        ("num_classes: 3", "num_classes: 3 add_background_class: false"),
        "background",
    ),
    "shared predictors": (
        ("box_predictor {", "box_predictor { weight_shared_convolutional_box_predictor { } } #"),
        "weight_shared",
    ),
    "an FPN": (("ssd_mobilenet_v1", "ssd_mobilenet_v1_fpn"), "FPN"),
    "multiscale anchors": (
        ("anchor_generator { ssd", "anchor_generator { multiscale_anchor_generator { } } #"),
        "FPN",
    ),
    "quantization-aware": (
        ("} }\n", "} }\ngraph_rewriter { quantization { delay: 10 } }\n"),
        "quantization-aware",
    ),
    "a Faster R-CNN": (None, "Faster R-CNN"),
    "no config at all": ((None, "\n"), "no model"),
    "not a config": ((None, "<html>"), "web page"),
    "an unknown field": (("num_classes: 3", "num_klasses: 3"), "num_klasses"),
}


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_an_unsupported_config(refused, kind):
    change, word = CONFIGS[kind]
    text = config_text()
    if change is None:
        text = 'model { faster_rcnn { num_classes: 3 feature_extractor { type: "faster_rcnn_inception_v2" } } }'
    elif change[0] is None:
        text = change[1]
    else:
        assert change[0] in text
        at = text.rindex(change[0]) if kind == "quantization-aware" else text.index(change[0])
        text = text[:at] + change[1] + text[at + len(change[0]) :]
        if "#" in change[1]:  # leaves out the message that it replaces
            end = {
                "multiscale anchors": "post_processing",
                "shared predictors": "anchor_generator",
            }[kind]
            text = text[: text.index("#")] + text[text.index(end) :]
    line = refused(text=text)
    assert word in line
    if word in ("FPN", "Faster R-CNN", "SOFTMAX", "3 boxes", "quantization-aware"):
        assert "convert-onnx.sh" in line


def test_a_label_map_with_more_ids_than_the_config(refused):
    assert "has the id 4" in refused(names={1: "bear", 4: "cow"})


def test_there_are_a_hundred():
    assert len(NOT_GRAPHS) + 14 + 12 + 1 + len(GRAPHS) + len(CONFIGS) + 1 >= 100


def test_a_refused_graph_leaves_the_files_of_an_earlier_conversion(home, capsys):
    model = uff_models.lay_out(NAME, config_text(), small_graph(), uff_models.classes(3))
    assert command.run("convert_uff", convert_uff.main, ["-m", NAME]) == 0
    before = paths.model(NAME).file_of("uff").read_bytes()
    model.zoo_frozen_graph.write_bytes(b"")
    assert command.run("convert_uff", convert_uff.main, ["-m", NAME]) == 1
    assert paths.model(NAME).file_of("uff").read_bytes() == before
    assert sorted(path.name for path in model.folder.iterdir()) == [
        "pretrained",
        NAME + ".uff",
        NAME + ".uff.json",
    ]
