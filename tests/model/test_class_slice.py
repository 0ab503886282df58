import numpy as np
import pytest

from todus.errors import TodusError
from todus.model import checkpoint_values, class_columns, class_slice, pipeline

ZOO_NAMES = {1: "person", 2: "bicycle", 4: "boat", 6: "horse"}
CLASSES = 6


def config(predictor="convolutional_box_predictor", converter="SIGMOID"):
    return pipeline.parse(
        "model { ssd { num_classes: %d feature_extractor { type: 'ssd_mobilenet_v1' } "
        "box_predictor { %s { } } post_processing { score_converter: %s } } }"
        % (CLASSES, predictor, converter),
        "test.config",
    )


def checkpoint(anchors=3, depth=5):
    random = np.random.RandomState(0)
    outputs = anchors * (CLASSES + 1)
    shapes = {
        "BoxPredictor_0/ClassPredictor/weights": (1, 1, depth, outputs),
        "BoxPredictor_0/ClassPredictor/biases": (outputs,),
        "BoxPredictor_0/BoxEncodingPredictor/weights": (1, 1, depth, anchors * 4),
        "BoxPredictor_0/ClassPredictor/weights/Momentum": (1, 1, depth, outputs),
        "FeatureExtractor/Conv2d_0/weights": (3, 3, 3, 8),
    }
    variables = {name: random.rand(*shape).astype(np.float32) for name, shape in shapes.items()}
    variables["BoxPredictor_0/ClassPredictor/weights_quant/min"] = np.float32(-1)
    variables["global_step"] = np.int64(4711)
    return variables


def sliced(variables, names, zoo_names=ZOO_NAMES):
    return class_slice.slice_variables(variables, config(), zoo_names, names)


def test_the_slice_scores_its_classes_exactly_as_the_zoo_model():
    """Per anchor: features x weights + biases of the wanted classes are equal bit for bit."""
    variables = checkpoint()
    made = sliced(variables, {1: "person", 2: "horse"}).variables
    features = np.random.RandomState(1).rand(5).astype(np.float32)
    whole, part = (
        (features[:, None] * v["BoxPredictor_0/ClassPredictor/weights"][0, 0]).sum(0)
        + v["BoxPredictor_0/ClassPredictor/biases"]
        for v in (variables, made)
    )
    assert np.array_equal(part.reshape(3, 3), whole.reshape(3, CLASSES + 1)[:, [0, 1, 6]])


def test_other_variables_are_copied_ranges_kept_and_optimizer_slots_dropped():
    variables = checkpoint()
    result = sliced(variables, {1: "boat"})
    for name in (
        "BoxPredictor_0/BoxEncodingPredictor/weights",
        "FeatureExtractor/Conv2d_0/weights",
        "BoxPredictor_0/ClassPredictor/weights_quant/min",
    ):
        assert np.array_equal(result.variables[name], variables[name])
    assert result.dropped == ["BoxPredictor_0/ClassPredictor/weights/Momentum"]
    assert result.variables["global_step"] == 0 and checkpoint_values.has_ranges(result.copied)


def test_classes_that_keep_their_ids_keep_all_columns_also_of_unused_ids():
    variables = checkpoint()
    made = sliced(variables, ZOO_NAMES)
    assert made.sliced == [
        "BoxPredictor_0/ClassPredictor/biases",
        "BoxPredictor_0/ClassPredictor/weights",
    ]
    for name in made.sliced:
        assert np.array_equal(made.variables[name], variables[name])


def test_a_predictor_of_unknown_layout_is_refused_with_the_option_no_limit():
    with pytest.raises(TodusError, match="--no-limit"):
        class_columns.check(config(predictor="rfcn_box_predictor"))


def test_a_class_that_the_zoo_model_lacks_is_fresh_and_the_others_keep_their_weights():
    variables = checkpoint()
    result = sliced(variables, {1: "helmet", 2: "Person"})
    assert result.fresh == ["helmet"] and result.from_zoo == {"Person": 1}
    weights = result.variables["BoxPredictor_0/ClassPredictor/weights"].reshape(5, 3, 3)
    zoo = variables["BoxPredictor_0/ClassPredictor/weights"].reshape(5, 3, CLASSES + 1)
    assert np.array_equal(weights[..., [0, 2]], zoo[..., [0, 1]])
    assert abs(weights[..., 1]).max() < 0.1


@pytest.mark.parametrize(
    "damage, error",
    [
        ("outputs", "has 22 outputs, not a multiple of 7"),
        ("predictor", "has no class predictor"),
        ("names", "beyond the model's 6 classes"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(damage, error):
    variables, names = checkpoint(), ZOO_NAMES
    if damage == "outputs":
        variables["BoxPredictor_0/ClassPredictor/biases"] = np.zeros(22, np.float32)
    elif damage == "predictor":
        variables = {name: variables[name] for name in variables if "ClassPredictor" not in name}
    else:
        names = {1: "person", 99: "horse"}
    with pytest.raises(TodusError, match=error):
        sliced(variables, {1: "horse"}, names)


def test_the_slice_is_exact_unless_there_is_a_softmax():
    assert class_slice.is_exact(config()) and not class_slice.is_exact(config(converter="SOFTMAX"))


def test_a_checkpoint_is_read_back_as_written(tmp_path):
    variables = {
        "a/weights": np.arange(6, dtype=np.float32).reshape(2, 3),
        "global_step": np.int64(7),
        "b/quant/min": np.float32(-1.5),
    }
    checkpoint_values.write_checkpoint(tmp_path / "model.ckpt", variables)
    read = checkpoint_values.read_checkpoint(tmp_path / "model.ckpt")
    assert set(read) == set(variables)
    assert all(np.array_equal(read[name], variables[name]) for name in variables)


def test_a_damaged_checkpoint_is_refused_with_its_name(tmp_path):
    checkpoint_values.write_checkpoint(tmp_path / "model.ckpt", {"a": np.zeros(1000, np.float32)})
    for name in ("model.ckpt.data-00000-of-00001", "model.ckpt.index"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:7])
        with pytest.raises(TodusError, match="model.ckpt cannot be read"):
            checkpoint_values.read_checkpoint(tmp_path / "model.ckpt")


def with_averages(variables):
    """The variables with moving averages of the weights, which are twice their values."""
    weights = [name for name in variables if name.endswith(("weights", "biases"))]
    more = {name + "/ExponentialMovingAverage": 2 * variables[name] for name in weights}
    return {**variables, **more}


def test_moving_averages_are_sliced_as_their_weights_where_evaluation_uses_them():
    averaged = config()
    averaged.eval_config.use_moving_averages = True
    variables, names = with_averages(checkpoint()), {1: "horse", 2: "zebra"}
    result = class_slice.slice_variables(variables, averaged, ZOO_NAMES, names)
    plain = class_slice.slice_variables(variables, config(), ZOO_NAMES, names)
    assert not [name for name in plain.variables if "Average" in name]
    assert result.parameters == plain.parameters
    assert result.parameters_before == plain.parameters_before
    for name, value in plain.variables.items():
        assert np.array_equal(value, result.variables[name])
    known = result.variables["BoxPredictor_0/ClassPredictor/weights"].reshape(5, 3, 3)
    average = "BoxPredictor_0/ClassPredictor/weights/ExponentialMovingAverage"
    mean = result.variables[average].reshape(5, 3, 3)
    assert np.array_equal(mean[..., :2], 2 * known[..., :2])  # background and horse
    assert np.array_equal(mean[..., 2], known[..., 2])  # a new class: the same random values
    assert "FeatureExtractor/Conv2d_0/weights/ExponentialMovingAverage" in result.copied
