import numpy as np
import pytest

from todus.errors import TodusError
from todus.model import checkpoint_values, class_slice, pipeline

ZOO_NAMES = {1: "person", 2: "bicycle", 4: "boat", 6: "horse"}
CLASSES = 6


def config(predictor="convolutional_box_predictor", converter="SIGMOID"):
    return pipeline.parse(
        "model { ssd { num_classes: %d feature_extractor { type: 'ssd_mobilenet_v1' } box_predictor { %s { } } "
        "post_processing { score_converter: %s } } }" % (CLASSES, predictor, converter),
        "test.config",
    )


def checkpoint(anchors=3, depth=5):
    random = np.random.RandomState(0)
    outputs = anchors * (CLASSES + 1)
    return {
        "BoxPredictor_0/ClassPredictor/weights": random.rand(1, 1, depth, outputs).astype(
            np.float32
        ),
        "BoxPredictor_0/ClassPredictor/biases": random.rand(outputs).astype(np.float32),
        "BoxPredictor_0/ClassPredictor/weights_quant/min": np.float32(-1),
        "BoxPredictor_0/BoxEncodingPredictor/weights": random.rand(1, 1, depth, anchors * 4).astype(
            np.float32
        ),
        "BoxPredictor_0/ClassPredictor/weights/Momentum": random.rand(1, 1, depth, outputs).astype(
            np.float32
        ),
        "FeatureExtractor/Conv2d_0/weights": random.rand(3, 3, 3, 8).astype(np.float32),
        "global_step": np.int64(4711),
    }


def test_the_slice_scores_its_classes_exactly_as_the_whole():
    """Per anchor: features x weights + biases of the wanted classes are bit for bit those of the zoo's."""
    variables = checkpoint()
    made = class_slice.slice_variables(
        variables, config(), ZOO_NAMES, {1: "person", 2: "horse"}
    ).variables
    features = np.random.RandomState(1).rand(5).astype(np.float32)
    whole, part = (
        (features[:, None] * v["BoxPredictor_0/ClassPredictor/weights"][0, 0]).sum(0)
        + v["BoxPredictor_0/ClassPredictor/biases"]
        for v in (variables, made)
    )
    assert np.array_equal(part.reshape(3, 3), whole.reshape(3, CLASSES + 1)[:, [0, 1, 6]])


def test_everything_but_the_class_predictor_is_copied_ranges_kept_and_slots_dropped():
    variables = checkpoint()
    result = class_slice.slice_variables(variables, config(), ZOO_NAMES, {1: "boat"})
    for name in (
        "BoxPredictor_0/BoxEncodingPredictor/weights",
        "FeatureExtractor/Conv2d_0/weights",
        "BoxPredictor_0/ClassPredictor/weights_quant/min",
    ):
        assert np.array_equal(result.variables[name], variables[name])
    assert result.dropped == ["BoxPredictor_0/ClassPredictor/weights/Momentum"]
    assert result.variables["global_step"] == 0 and checkpoint_values.has_ranges(result.copied)


def test_all_classes_with_their_own_ids_are_the_identity():
    variables = checkpoint()
    made = class_slice.slice_variables(
        variables,
        config(),
        {number: str(number) for number in range(1, 7)},
        {number: str(number) for number in range(1, 7)},
    )
    for name in made.sliced:
        assert np.array_equal(made.variables[name], variables[name])


def test_a_class_the_zoo_does_not_know_is_fresh_and_named_and_the_known_ones_keep_their_weights():
    variables = checkpoint()
    result = class_slice.slice_variables(variables, config(), ZOO_NAMES, {1: "helmet", 2: "Person"})
    assert result.fresh == ["helmet"] and result.from_zoo == {"Person": 1}
    weights = result.variables["BoxPredictor_0/ClassPredictor/weights"].reshape(5, 3, 3)
    zoo = variables["BoxPredictor_0/ClassPredictor/weights"].reshape(5, 3, CLASSES + 1)
    assert (
        np.array_equal(weights[..., [0, 2]], zoo[..., [0, 1]]) and abs(weights[..., 1]).max() < 0.1
    )


@pytest.mark.parametrize("damage", ["outputs", "predictor", "names"])
def test_a_checkpoint_that_is_not_the_config_s_is_one_clear_error(damage):
    variables, names = checkpoint(), ZOO_NAMES
    if damage == "outputs":
        variables["BoxPredictor_0/ClassPredictor/biases"] = np.zeros(22, np.float32)
    elif damage == "predictor":
        variables = {
            name: value for name, value in variables.items() if "ClassPredictor" not in name
        }
    else:
        names = {1: "person", 99: "horse"}
    with pytest.raises(TodusError):
        class_slice.slice_variables(variables, config(), names, {1: "horse"})


def test_a_softmax_is_called_inexact():
    assert class_slice.is_exact(config()) and not class_slice.is_exact(config(converter="SOFTMAX"))


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    variables = {
        "a/weights": np.arange(6, dtype=np.float32).reshape(2, 3),
        "global_step": np.int64(7),
        "b/quant/min": np.float32(-1.5),
    }
    checkpoint_values.write_checkpoint(tmp_path / "model.ckpt", variables)
    read = checkpoint_values.read_checkpoint(tmp_path / "model.ckpt")
    assert set(read) == set(variables) and all(
        np.array_equal(read[name], variables[name]) for name in variables
    )


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path):
    checkpoint_values.write_checkpoint(tmp_path / "model.ckpt", {"a": np.zeros(1000, np.float32)})
    for name in ("model.ckpt.data-00000-of-00001", "model.ckpt.index"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:7])
        with pytest.raises(TodusError, match="model.ckpt cannot be read"):
            checkpoint_values.read_checkpoint(tmp_path / "model.ckpt")
