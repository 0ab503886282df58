"""The input of a training: AutoGraph leaves it alone, and its graph and its batches are those that AutoGraph would have made."""

import os
from collections import Counter

from todus.tf import tf

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import paths
from todus.model import pipeline, pipeline_options, prepared
from todus.training import estimator_setup

slow = pytest.mark.skipif(
    not os.environ.get("TODUS_SLOW"), reason="AutoGraph takes half a minute each; set TODUS_SLOW=1"
)
AUGMENTATIONS = sorted(pipeline_options.AUGMENTATIONS)
UNSEEDED = (
    "crop",
    "ssd",
)  # sample_distorted_bounding_box of TensorFlow 1.15 takes no seed of the graph: no two runs are alike


def input_of(name, augmentation, wrap, monkeypatch):
    """(how many operations of each type the input's graph and functions have, the first three batches), with one seed for all."""
    from object_detection import inputs
    from tensorflow.python.framework import random_seed

    config = prepared.resolved(paths.model(name))
    config.train_config.batch_size = 1
    config.train_input_reader.shuffle = False
    config.train_input_reader.num_readers = config.train_input_reader.num_parallel_batches = 1
    pipeline_options.apply(
        config,
        pipeline_options.Options(augment=[augmentation] if augmentation else []),
        lambda note: None,
    )
    monkeypatch.setattr(
        random_seed, "get_seed", lambda seed: (7, 11)
    )  # else it depends on how many operations came before
    with tf.Graph().as_default() as graph:
        made = inputs.create_train_input_fn(
            config.train_config, config.train_input_reader, config.model
        )
        features, labels = _elements(wrap(made)())
        fetched = {
            **{"f/" + key: value for key, value in features.items()},
            **{"l/" + key: value for key, value in labels.items()},
        }
        graph_def = graph.as_graph_def()
        nodes = list(graph_def.node) + [
            node for function in graph_def.library.function for node in function.node_def
        ]
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.tables_initializer()])
            batches = [session.run(fetched) for _ in range(3)]
    return Counter(node.op for node in nodes), batches


def _elements(dataset):
    iterator = tf.data.make_initializable_iterator(dataset)
    tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    return iterator.get_next()


def test_autograph_converts_nothing_of_the_input(prepared_home, monkeypatch):
    from tensorflow.python.autograph.impl import conversion

    monkeypatch.setattr(
        conversion,
        "convert",
        lambda *_, **__: pytest.fail("AutoGraph converts a function of the input"),
    )
    operations, batches = input_of(MODEL, "", estimator_setup.without_autograph, monkeypatch)
    assert operations["DecodeJpeg"] + operations["DecodePng"] > 0 and len(batches) == 3


@slow
@pytest.mark.parametrize(
    "name, augmentation", [(QUANTIZED, "")] + [(MODEL, each) for each in [""] + AUGMENTATIONS]
)
def test_without_autograph_the_graph_and_the_batches_are_the_same(
    prepared_home, name, augmentation, monkeypatch
):
    ours, batches = input_of(name, augmentation, estimator_setup.without_autograph, monkeypatch)
    theirs, expected = input_of(name, augmentation, lambda input_fn: input_fn, monkeypatch)
    assert ours == theirs
    for one, other in zip(batches, expected if augmentation not in UNSEEDED else []):
        assert set(one) == set(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.fixture
def prepared_home(limited_home, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(limited_home))
    assert pipeline.read(paths.model(MODEL).pipeline).train_config.batch_size
