"""Further heads: their anchors in pipeline.config, and their variables."""

import numpy as np
import pytest

from todus.errors import TodusError
from todus.model import heads, pipeline

CONFIG = """model { ssd { num_classes: 2
    box_predictor { convolutional_box_predictor { kernel_size: 1 } }
    anchor_generator { %s } } }"""
SSD = "ssd_anchor_generator { num_layers: 2 aspect_ratios: [1.0, 2.0, 0.5] }"
MULTISCALE = "multiscale_anchor_generator { min_level: 3 max_level: 4 aspect_ratios: [1.0, 2.0] }"


def config_with(anchors):
    return pipeline.parse(CONFIG % anchors, "a test")


def anchors_of(config):
    """Of each feature map [places, anchors, 4], as the OD API builds them."""
    from todus.tf import tf

    from object_detection.builders import anchor_generator_builder

    heads.install()
    with tf.Graph().as_default(), tf.Session() as session:
        generator = anchor_generator_builder.build(config.model.ssd.anchor_generator)
        sizes = {} if "Multiple" in generator.name_scope() else {"im_height": 32, "im_width": 32}
        found = generator.generate([(4, 4), (2, 2)], **sizes)
        values = session.run([boxes.get() for boxes in found])
    return [
        value.reshape(-1, here, 4)
        for value, here in zip(values, generator.num_anchors_per_location())
    ]


@pytest.mark.parametrize("anchors", [SSD, MULTISCALE], ids=["SSD", "multiscale"])
def test_each_head_has_the_anchors_of_the_first_at_each_place(anchors):
    single, config = config_with(anchors), config_with(anchors)
    for count in (1, 2, 3):
        assert heads.count(config) == count
        expected = [np.concatenate([each] * count, axis=1) for each in anchors_of(single)]
        for found, wanted in zip(anchors_of(config), expected):
            np.testing.assert_array_equal(found, wanted)
        heads.add(config)


def test_a_class_is_silent_in_every_head_but_its_own():
    config = config_with(SSD)
    random = np.random.RandomState(0)
    variables = {
        "BoxPredictor_0/BoxEncodingPredictor/weights": random.rand(1, 1, 5, 3 * 4),
        "BoxPredictor_0/ClassPredictor/weights": random.rand(1, 1, 5, 3 * 3),
        "BoxPredictor_0/ClassPredictor/biases": random.rand(3 * 3),
        "FeatureExtractor/weights": random.rand(3),
    }
    found = heads.with_another(variables, config, 2, [1])
    boxes, weights, biases, other = variables
    np.testing.assert_array_equal(found[boxes], np.concatenate([variables[boxes]] * 2, axis=-1))
    np.testing.assert_array_equal(found[other], variables[other])
    before, after = variables[biases].reshape(3, 3), found[biases].reshape(2, 3, 3)
    np.testing.assert_array_equal(after[0], np.c_[before[:, :2], [-20.0] * 3])
    np.testing.assert_array_equal(after[1], np.c_[before[:, :1], [-20.0] * 3, before[:, 2:]])
    before, after = variables[weights].reshape(5, 3, 3), found[weights].reshape(5, 2, 3, 3)
    assert (after[:, 0, :, 2] == 0).all() and (after[:, 1, :, 1] == 0).all()
    np.testing.assert_array_equal(after[:, 0, :, :2], before[..., :2])
    np.testing.assert_array_equal(after[:, 1, :, 2], before[..., 2])


def test_anchors_that_are_no_list_of_ratios_are_refused():
    with pytest.raises(TodusError, match="grid_anchor_generator has no list .* --own-head out"):
        heads.add(config_with("grid_anchor_generator { height: 8 }"))
