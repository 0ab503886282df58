"""The input of a training: without AutoGraph, its graph and its batches are the same."""

import contextlib
import functools
import os
from collections import Counter

from todus.tf import tf

import numpy as np
import pytest

from tests.helpers.families import FAMILIES, NARROW, OVERRIDE, PLAIN, SSD_FAMILIES, archive, ssd
from tests.helpers.places import MODEL, QUANTIZED
from todus import paths
from todus.model import pipeline, pipeline_options, prepare
from todus.model.prepared import resolved
from todus.training.estimator_setup import estimator, without_autograph

slow = pytest.mark.skipif(
    not os.environ.get("TODUS_SLOW"), reason="AutoGraph takes half a minute each; set TODUS_SLOW=1"
)
AUGMENTATIONS = sorted(pipeline_options.AUGMENTATIONS)
# TensorFlow 1.15's sample_distorted_bounding_box ignores the graph's seed: batches always differ.
UNSEEDED = ("crop", "ssd")


def config_of(name, augmentation=""):
    """The config of a prepared model, with an input that has one order."""
    config = resolved(paths.model(name))
    config.train_config.batch_size = 1
    config.train_input_reader.shuffle = False
    config.train_input_reader.num_readers = config.train_input_reader.num_parallel_batches = 1
    options = pipeline_options.Options(augment=[augmentation] if augmentation else [])
    pipeline_options.apply(config, options, lambda note: None)
    return config


@contextlib.contextmanager
def input_of(config, wrap, monkeypatch):
    """The features and labels of `wrap(input function)`, in a graph with one seed."""
    from object_detection import inputs
    from tensorflow.python.framework import random_seed

    # By default a seed depends on the number of operations before.
    monkeypatch.setattr(random_seed, "get_seed", lambda seed: (7, 11))
    input_fn = inputs.create_train_input_fn(
        config.train_config, config.train_input_reader, config.model
    )
    with tf.Graph().as_default():
        iterator = tf.data.make_initializable_iterator(wrap(input_fn)())
        tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
        yield iterator.get_next()


def operations_and_values(fetches):
    """The number of operations of each type in the graph, and three values of `fetches`."""
    graph_def = tf.get_default_graph().as_graph_def()
    nodes = list(graph_def.node)
    nodes += [node for each in graph_def.library.function for node in each.node_def]
    one_thread = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.Session(config=one_thread) as session:
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        return Counter(node.op for node in nodes), [session.run(fetches) for _ in range(3)]


def batches_of(config, wrap, monkeypatch):
    with input_of(config, wrap, monkeypatch) as (features, labels):
        return operations_and_values({"f": features, "l": labels})


def losses_of(config, wrap, monkeypatch):
    """The same of the whole training graph; the values are the losses of the first steps."""
    from object_detection import model_hparams, model_lib
    from object_detection.builders import model_builder
    from object_detection.utils import config_util

    with input_of(config, wrap, monkeypatch) as (features, labels):
        configs = config_util.create_configs_from_pipeline_proto(config)
        hparams = model_hparams.create_hparams(None)
        build = functools.partial(model_builder.build, config.model)
        model_fn = model_lib.create_model_fn(build, configs, hparams)
        spec = model_fn(features, labels, tf.estimator.ModeKeys.TRAIN)
        operations, values = operations_and_values([spec.loss, spec.train_op])
    return operations, [loss for loss, _ in values]


def converted(input_fn):
    """Leaves AutoGraph on."""
    return input_fn


def test_autograph_converts_no_function_of_the_input(prepared, monkeypatch):
    from tensorflow.python.autograph.impl import conversion

    def convert(*_arguments, **_options):
        pytest.fail("AutoGraph converts a function of the input")

    monkeypatch.setattr(conversion, "convert", convert)
    operations, batches = batches_of(config_of(MODEL), without_autograph, monkeypatch)
    assert operations["DecodeJpeg"] + operations["DecodePng"] > 0 and len(batches) == 3


@slow
@pytest.mark.parametrize(
    "name, augmentation", [(QUANTIZED, "")] + [(MODEL, each) for each in [""] + AUGMENTATIONS]
)
def test_without_autograph_the_graph_and_the_batches_are_the_same(
    prepared, name, augmentation, monkeypatch
):
    config = config_of(name, augmentation)
    ours, batches = batches_of(config, without_autograph, monkeypatch)
    theirs, expected = batches_of(config, converted, monkeypatch)
    assert ours == theirs
    if augmentation not in UNSEEDED:
        np.testing.assert_equal(batches, expected)


@slow
# The drawn dataset has no masks.
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"mask_rcnn"}))
def test_each_family_has_the_same_graph_and_losses_without_autograph(prepared, family, monkeypatch):
    config = config_of(MODEL)
    config.model.CopyFrom(pipeline.parse(FAMILIES[family], family, lambda line: None).model)
    pipeline.meta(config).num_classes = 2
    if pipeline.architecture(config) == "faster_rcnn":  # anchors that fit into the small images
        anchors = config.model.faster_rcnn.first_stage_anchor_generator.grid_anchor_generator
        anchors.height = anchors.width = 32
    config.train_config.ClearField("fine_tune_checkpoint")
    ours, losses = losses_of(config, without_autograph, monkeypatch)
    theirs, expected = losses_of(config, converted, monkeypatch)
    assert ours == theirs
    assert np.isfinite(losses).all() and losses == expected


def training_of(config, folder):
    """The EstimatorSpec of a training on one random image, in the default graph."""
    pipeline.eval_reader(config)
    pipeline.write(folder / "pipeline.config", config)
    made = estimator(paths.Model(folder), folder / "pipeline.config")["estimator"]
    height, width = pipeline.input_size(config)
    image = np.random.RandomState(0).uniform(-1, 1, (1, height, width, 3)).astype(np.float32)
    features = {"image": image, "true_image_shape": [[height, width, 3]], "hash": [1]}
    classes = np.eye(pipeline.meta(config).num_classes, dtype=np.float32)[None, :1]
    labels = {"groundtruth_boxes": np.array([[[0.1, 0.1, 0.6, 0.6]]], np.float32)}
    labels.update(groundtruth_classes=classes, groundtruth_weights=np.ones((1, 1), np.float32))
    labels["num_groundtruth_boxes"] = np.array([1], np.int32)
    tensors = [
        {name: tf.constant(value) for name, value in each.items()} for each in (features, labels)
    ]
    return made.model_fn(*tensors, tf.estimator.ModeKeys.TRAIN, made.config)


@pytest.mark.parametrize("augmentation", ["jpeg", "grey", "crop"])
def test_an_augmentation_leaves_an_image_of_three_channels(prepared, augmentation, tmp_path):
    path = tmp_path / "pipeline.config"
    pipeline.write(path, config_of(MODEL, augmentation))
    input_fn = estimator(paths.Model(tmp_path), path)["train_input_fn"]
    with tf.Graph().as_default():
        features, _ = tf.data.get_output_shapes(input_fn())
    assert features["image"].as_list() == [1, 128, 128, 3]


@pytest.mark.parametrize(
    "family",
    ["mobilenet_v1"]
    + [pytest.param(each, marks=slow) for each in ("inception_v2", "mobiledet", "spaghettinet")],
)
def test_a_prepared_slice_trains_no_batch_norm_with_or_without_the_override(home, family, tmp_path):
    packed = archive(SSD_FAMILIES[family], tmp_path / "m.tar.gz")
    request = prepare.Request(zoo_name="m", archive=str(packed), categories="bear horse")
    config = prepare.prepare(paths.model("m"), request).config
    with tf.Graph().as_default() as graph:
        training_of(config, tmp_path)
        norms = [op for op in graph.get_operations() if op.type.startswith("FusedBatchNorm")]
        assert len(norms) > 30 and not any(op.get_attr("is_training") for op in norms)
        assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == []


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("override", ["", OVERRIDE])
def test_a_frozen_backbone_keeps_its_weights_and_statistics(override, quantized, tmp_path):
    text = ssd("mobilenet_v1", NARROW + override, PLAIN, quantized=quantized)
    config = pipeline.parse(text, "test")
    options = pipeline_options.Options(
        freeze="backbone", quantization_delay=0 if quantized else None
    )
    pipeline_options.apply(config, options)
    with tf.Graph().as_default(), tf.Session() as session:
        spec = training_of(config, tmp_path)
        variables = [each for each in tf.global_variables() if "quant" not in each.op.name]
        session.run(tf.global_variables_initializer())
        before = session.run(variables)
        for _ in range(3):
            session.run(spec.train_op)
        after = session.run(variables)
    same = {each.op.name: np.array_equal(*pair) for each, *pair in zip(variables, before, after)}
    backbone = [name for name in same if name.startswith("FeatureExtractor/")]
    assert sum("moving_variance" in name for name in backbone) > 30
    assert all(same[name] for name in backbone)
    assert not any(same[name] for name in same if name.endswith("ClassPredictor/weights"))
