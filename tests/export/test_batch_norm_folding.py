"""Batch normalisation that is folded away: the same outputs under the same names, and left alone where it cannot be folded."""

from todus.tf import tf

import numpy as np
import pytest

from todus.export import batch_norm_folding


def constant(random, *shape):
    return tf.constant(random.uniform(0.2, 1.5, shape).astype(np.float32))


def norm(value, channels, random, training=False):
    scale, offset, mean, variance = (tf.identity(constant(random, channels)) for _ in range(4))
    moments = {} if training else {"mean": mean, "variance": variance}
    return tf.nn.fused_batch_norm(
        value, scale, offset, epsilon=0.01, is_training=training, **moments
    )[0]


def build(kind, random):
    image = tf.placeholder(tf.float32, [None, 8, 8, 4], "image")
    weights = tf.identity(constant(random, 3, 3, 4, 6 if kind != "depthwise" else 2))
    if kind == "depthwise":
        out = norm(tf.nn.depthwise_conv2d_native(image, weights, [1, 2, 2, 1], "SAME"), 8, random)
    else:
        if kind == "not constant":
            weights *= tf.reduce_mean(image)
        convolution = tf.nn.conv2d(image, weights, 1, "SAME")
        out = norm(convolution, 6, random, kind == "training")
        if kind == "shared":
            out += norm(tf.nn.conv2d(image + 1, weights, 1, "SAME"), 6, random)
        if kind == "used twice":
            out += convolution
    tf.nn.relu6(out, name="out")


def run(graph_def):
    image = np.random.RandomState(1).uniform(-1, 1, (2, 8, 8, 4)).astype(np.float32)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(graph.get_tensor_by_name("out:0"), {"image:0": image})


@pytest.mark.parametrize(
    "kind, count",
    [
        ("plain", 1),
        ("depthwise", 1),
        ("shared", 2),
        ("used twice", 0),
        ("training", 0),
        ("not constant", 0),
    ],
)
def test_the_outputs_are_the_same_and_the_normalisation_is_gone(kind, count):
    with tf.Graph().as_default() as graph:
        build(kind, np.random.RandomState(0))
    graph_def = graph.as_graph_def()
    before, names = run(graph_def), {node.name: node.op for node in graph_def.node}
    assert batch_norm_folding.fold_batch_norms(graph_def) == count
    np.testing.assert_allclose(run(graph_def), before, atol=2e-5)
    after = {node.name: node.op for node in graph_def.node}
    assert (
        sum("BatchNorm" in op for op in after.values())
        == sum("BatchNorm" in op for op in names.values()) - count
    )
    lost = {name for name in names if name not in after}
    assert all(names[name] in ("Const", "Identity") for name in lost) and bool(lost) == bool(count)
    read = {name.split(":")[0] for node in graph_def.node for name in node.input}
    assert {name for name in after if after[name] == "Const"} <= read | {
        name for name in names if name not in read
    }
