import pytest

from tests.helpers.places import REAL
from todus.errors import TodusError
from todus.model import pipeline

SSD = """model { ssd { num_classes: 90
  image_resizer { fixed_shape_resizer { height: 300 width: 300 } }
  feature_extractor { type: "ssd_mobilenet_v2"
    batch_norm_trainable: true
    use_depthwise: true }
  box_predictor { convolutional_box_predictor { } } } }
train_config { batch_size: 24 num_steps: 200000 optimizer { rms_prop_optimizer { learning_rate {
  exponential_decay_learning_rate { initial_learning_rate: 0.004 decay_steps: 800720 decay_factor: 0.95 } } } } }
"""


def test_a_field_that_the_api_removed_is_left_out_with_a_warning():
    said = []
    config = pipeline.parse(SSD, "zoo.config", said.append)
    assert config.model.ssd.feature_extractor.use_depthwise
    assert said == [
        "zoo.config:4: batch_norm_trainable is no longer a field of the OD API; left out"
    ]


def test_an_unknown_field_is_an_error_with_its_line():
    with pytest.raises(
        TodusError, match=r'zoo.config:4:5: .*no field named "batch_norm_trainible"'
    ):
        pipeline.parse(SSD.replace("trainable", "trainible"), "zoo.config")


def test_a_web_page_is_called_one():
    with pytest.raises(TodusError, match="is a web page"):
        pipeline.parse("<!DOCTYPE html><html></html>", "zoo.config")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train_config { }",
        "model { }",
        "model {",
        "\x00\xff",
        "model { ssd { num_classes: -1 } }",
    ],
)
def test_what_is_no_detection_config_is_one_clear_error(text):
    with pytest.raises(TodusError, match="zoo.config"):
        pipeline.parse(text, "zoo.config")


def test_every_learning_rate_scales_with_the_batch():
    config = pipeline.parse(SSD, "zoo.config")
    assert pipeline.set_batch_size(config, 6) == 0.25
    schedule = config.train_config.optimizer.rms_prop_optimizer.learning_rate.exponential_decay_learning_rate
    assert schedule.initial_learning_rate == pytest.approx(0.001)


def test_a_cosine_schedule_is_fitted_to_the_steps():
    config = pipeline.parse(SSD, "zoo.config")
    cosine = (
        config.train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate
    )
    cosine.total_steps, cosine.warmup_steps = 50000, 2000
    pipeline.set_num_steps(config, 100)
    assert (cosine.total_steps, cosine.warmup_steps) == (100, 10)


def test_a_manual_step_at_zero_which_the_api_refuses_becomes_the_initial_rate():
    config = pipeline.parse(SSD, "zoo.config")
    manual = (
        config.train_config.optimizer.momentum_optimizer.learning_rate.manual_step_learning_rate
    )
    manual.initial_learning_rate = 0.0003
    for step, rate in ((0, 0.0002), (900000, 0.00002)):
        manual.schedule.add(step=step, learning_rate=rate)
    pipeline.drop_step_zero(config)
    assert manual.initial_learning_rate == pytest.approx(0.0002) and [
        each.step for each in manual.schedule
    ] == [900000]


def test_only_extractors_without_hyperparameters_of_their_own_are_overridden():
    config = pipeline.parse(SSD.replace("ssd_mobilenet_v2", "ssd_inception_v2"), "zoo.config")
    pipeline.set_override_hyperparams(config)
    assert config.model.ssd.feature_extractor.override_base_feature_extractor_hyperparams
    config = pipeline.parse(SSD, "zoo.config")
    pipeline.set_override_hyperparams(config)
    assert not config.model.ssd.feature_extractor.override_base_feature_extractor_hyperparams


@pytest.mark.skipif(not REAL.exists(), reason="no real configs here")
def test_every_real_config_is_read_and_written_back_the_same():
    for path in sorted((REAL / "configs").glob("*.config")):
        config = pipeline.read(path, lambda line: None)
        assert pipeline.parse(pipeline.to_text(config), path.name) == config
