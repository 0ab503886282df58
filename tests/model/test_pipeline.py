import pytest

from tests.helpers.places import REAL
from todus.errors import TodusError
from todus.model import normalization, pipeline

SSD = """model { ssd { num_classes: 90
  image_resizer { fixed_shape_resizer { height: 300 width: 300 } }
  feature_extractor { type: "ssd_mobilenet_v2"
    batch_norm_trainable: true
    use_depthwise: true }
  box_predictor { convolutional_box_predictor { } } } }
train_config { batch_size: 24 num_steps: 200000 optimizer { rms_prop_optimizer { learning_rate {
  exponential_decay_learning_rate {
    initial_learning_rate: 0.004 decay_steps: 800720 decay_factor: 0.95 } } } } }
"""


def test_a_field_that_the_od_api_removed_is_left_out_with_a_warning():
    warnings = []
    config = pipeline.parse(SSD, "zoo.config", warnings.append)
    assert config.model.ssd.feature_extractor.use_depthwise
    text = "zoo.config:4: batch_norm_trainable is no longer a field of the OD API; left out"
    assert warnings == [text]


def test_more_removed_fields_than_a_config_has_are_refused_at_once():
    line = "    batch_norm_trainable: true\n"
    warnings = []
    pipeline.parse(SSD.replace(line, line * 100), "zoo.config", warnings.append)
    assert len(warnings) == 100
    with pytest.raises(TodusError, match="zoo.config has more than 100 fields that the OD API"):
        pipeline.parse(SSD.replace(line, line * 2000), "zoo.config")


def test_an_unknown_field_is_an_error_with_its_line():
    text = r'zoo.config:4:5: .*no field named "batch_norm_trainible"'
    with pytest.raises(TodusError, match=text):
        pipeline.parse(SSD.replace("trainable", "trainible"), "zoo.config")


def test_a_web_page_is_refused_as_one():
    with pytest.raises(TodusError, match="is a web page"):
        pipeline.parse("<!DOCTYPE html><html></html>", "zoo.config")


NOT_CONFIGS = ["", "train_config { }", "model { }", "model {", "\x00\xff"]


@pytest.mark.parametrize("text", NOT_CONFIGS + ["model { ssd { num_classes: -1 } }"])
def test_a_text_that_is_not_a_detection_config_is_refused_with_its_name(text):
    with pytest.raises(TodusError, match="zoo.config"):
        pipeline.parse(text, "zoo.config")


@pytest.mark.parametrize("where", ["num_layers: 6", "num_classes: 90", "height: 300"])
def test_a_number_of_which_the_od_api_makes_as_many_is_bounded(where):
    text = "model { ssd { num_classes: 90 image_resizer { fixed_shape_resizer { height: 300 "
    text += "width: 300 } } anchor_generator { ssd_anchor_generator { num_layers: 6 } } } }"
    assert pipeline.parse(text, "zoo.config").model.ssd.num_classes == 90
    name = where.split(":")[0]
    with pytest.raises(TodusError, match="zoo.config: %s: 1000000000 is more than" % name):
        pipeline.parse(text.replace(where, "%s: 1000000000" % name), "zoo.config")


def test_every_learning_rate_is_scaled_with_the_batch_size():
    config = pipeline.parse(SSD, "zoo.config")
    assert pipeline.set_batch_size(config, 6) == 0.25
    schedule = pipeline.optimizer(config).learning_rate.exponential_decay_learning_rate
    assert schedule.initial_learning_rate == pytest.approx(0.001)


def schedule_of(kind):
    """A config with a learning-rate schedule of a kind, and the empty message of that schedule."""
    config = pipeline.parse(SSD, "zoo.config")
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    schedule = getattr(rate, kind)
    schedule.SetInParent()
    return config, schedule


@pytest.mark.parametrize(
    "kind, fields",
    [
        ("constant", ["learning_rate"]),
        (
            "exponential_decay",
            ["initial_learning_rate", "burnin_learning_rate", "min_learning_rate"],
        ),
        ("cosine_decay", ["learning_rate_base", "warmup_learning_rate"]),
        ("manual_step", ["initial_learning_rate", "learning_rate"]),
    ],
)
def test_every_learning_rate_of_a_schedule_is_found(kind, fields):
    config, schedule = schedule_of(kind + "_learning_rate")
    if kind == "manual_step":
        schedule.schedule.add(step=10)
    assert [name for _, name in pipeline.optimizer_rates(config)] == fields


def test_a_cosine_schedule_is_fitted_to_the_number_of_steps():
    config, cosine = schedule_of("cosine_decay_learning_rate")
    cosine.total_steps, cosine.warmup_steps = 50000, 2000
    pipeline.set_num_steps(config, 100)
    assert (cosine.total_steps, cosine.warmup_steps) == (100, 10)


def test_the_rate_of_a_manual_step_zero_becomes_the_initial_rate():
    config, manual = schedule_of("manual_step_learning_rate")
    manual.initial_learning_rate = 0.0003
    for step, rate in ((0, 0.0002), (900000, 0.00002)):
        manual.schedule.add(step=step, learning_rate=rate)
    pipeline.drop_step_zero(config)
    assert manual.initial_learning_rate == pytest.approx(0.0002)
    assert [each.step for each in manual.schedule] == [900000]


@pytest.mark.parametrize("extractor, needed", [("inception_v2", True), ("mobilenet_v2", False)])
def test_only_extractors_without_hyperparameters_of_their_own_are_overridden(extractor, needed):
    config = pipeline.parse(SSD.replace("mobilenet_v2", extractor), "zoo.config")
    pipeline.set_override_hyperparams(config)
    found = config.model.ssd.feature_extractor.override_base_feature_extractor_hyperparams
    assert found == needed


@pytest.mark.skipif(not REAL.exists(), reason="no real configs here")
def test_every_real_config_is_read_and_written_back_the_same():
    configs = sorted((REAL / "configs").glob("*.config"))
    assert configs
    for path in configs:
        config = pipeline.read(path)
        assert pipeline.parse(pipeline.to_text(config), path.name) == config


@pytest.mark.parametrize(
    "extractor, mean",
    [
        ("ssd_mobilenet_v2", 127.5),
        ("faster_rcnn_inception_resnet_v2", 127.5),
        ("ssd_resnet50_v1_fpn", 123.68),
        ("faster_rcnn_resnet101", 123.68),
    ],
)
def test_resnets_have_the_means_of_imagenet_and_inception_resnets_have_not(extractor, mean):
    kind = extractor.split("_")[0].replace("faster", "faster_rcnn")
    text = "model { %s { num_classes: 1 feature_extractor { type: '%s' } } }" % (kind, extractor)
    assert normalization.normalization(pipeline.parse(text, "x"))[0][0] == mean
