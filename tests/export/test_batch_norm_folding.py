"""Folding of batch normalisation: what is folded, and that outputs and names stay the same."""

from todus.tf import tf

import numpy as np
import pytest

from todus.export import batch_norm_folding


def constant(random, *shape):
    return tf.constant(random.uniform(0.2, 1.5, shape).astype(np.float32))


def norm(value, channels, random, training=False):
    scale, offset, mean, variance = (tf.identity(constant(random, channels)) for _ in range(4))
    more = {} if training else {"mean": mean, "variance": variance}
    more.update(epsilon=0.01, is_training=training)
    return tf.nn.fused_batch_norm(value, scale, offset, **more)[0]


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


def unread_constants(graph_def):
    read = {edge.split(":")[0] for node in graph_def.node for edge in node.input}
    return {node.name for node in graph_def.node if node.op == "Const"} - read


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
def test_foldable_normalisations_go_and_the_outputs_stay_the_same(kind, count):
    with tf.Graph().as_default() as graph:
        build(kind, np.random.RandomState(0))
    graph_def = graph.as_graph_def()
    outputs, unread = run(graph_def), unread_constants(graph_def)
    before = {node.name: node.op for node in graph_def.node}
    assert batch_norm_folding.fold_batch_norms(graph_def) == count
    np.testing.assert_allclose(run(graph_def), outputs, atol=2e-5)
    after = {node.name: node.op for node in graph_def.node}
    norms = [sum("BatchNorm" in op for op in ops.values()) for ops in (before, after)]
    assert norms[1] == norms[0] - count
    lost = {before[name] for name in set(before) - set(after)}
    assert lost <= {"Const", "Identity"} and bool(lost) == bool(count)
    assert unread_constants(graph_def) <= unread
