"""Every predictor the zoo has: limited, the model predicts its classes and boxes as the whole model does."""

import os
import tarfile

import numpy as np
import pytest

from tests.helpers.families import (
    CLASSES,
    FASTER_FAMILIES,
    SSD,
    SSD_FAMILIES,
    archive,
    predictions,
    random_variables,
)
from tests.helpers.places import REAL
from todus import categories, paths
from todus.errors import TodusError
from todus.model import checkpoint_values, class_columns, class_slice, pipeline, prepare

WANTED = {1: "horse", 2: "bear", 3: "giraffe"}
SOURCES = [19, 23, 25]


def image_for(config, seed=3):
    height, width = pipeline.input_size(config) or (64, 96)
    return np.random.RandomState(seed).uniform(-1, 1, (1, height, width, 3)).astype(np.float32)


def prepared_from(text, tmp_path, name, **more):
    path = archive(text, tmp_path / (name + ".tar.gz"))
    model = paths.model(name)
    made = prepare.prepare(
        model,
        prepare.Request(zoo_name=name, categories="bear horse giraffe", archive=str(path), **more),
        print,
    )
    return model, made


# The others are alike enough to be tried before a release only: TODUS_SLOW=1 make test.
SLOW = (
    set()
    if os.environ.get("TODUS_SLOW")
    else {
        "mobilenet_v1",
        "mobilenet_v3_small",
        "inception_v2",
        "mobiledet",
        "mobilenet_v2_fpn_depthwise",
        "faster_rcnn_shared_boxes",
    }
)


@pytest.mark.parametrize("family", sorted(set(SSD_FAMILIES) - SLOW))
def test_a_limited_ssd_scores_its_classes_and_boxes_exactly_as_the_whole(family, home, tmp_path):
    model, made = prepared_from(SSD_FAMILIES[family], tmp_path, family)
    image = image_for(made.zoo_config)
    whole = predictions(made.zoo_config, model.zoo_checkpoint, image)
    part = predictions(made.config, model.limited_checkpoint, image)
    scores, kept = (
        whole["class_predictions_with_background"],
        part["class_predictions_with_background"],
    )
    assert scores.shape[-1] == CLASSES + 1 and kept.shape[-1] == 4
    assert np.ptp(scores) > 0.1, "the scores say nothing: all alike"
    np.testing.assert_allclose(kept, scores[..., [0] + SOURCES], atol=1e-5)
    np.testing.assert_allclose(part["box_encodings"], whole["box_encodings"], atol=1e-5)
    assert class_slice.is_exact(made.zoo_config) and made.sliced.from_zoo == {
        "horse": 19,
        "bear": 23,
        "giraffe": 25,
    }


@pytest.mark.parametrize("family", sorted(set(FASTER_FAMILIES) - SLOW))
def test_a_limited_faster_rcnn_has_the_logits_boxes_and_masks_of_its_classes(
    family, home, tmp_path
):
    model, made = prepared_from(FASTER_FAMILIES[family], tmp_path, family)
    image = image_for(made.zoo_config)
    whole = predictions(made.zoo_config, model.zoo_checkpoint, image)
    part = predictions(made.config, model.limited_checkpoint, image)
    logits = whole["class_predictions_with_background"]
    np.testing.assert_allclose(
        part["class_predictions_with_background"], logits[..., [0] + SOURCES], atol=1e-5
    )
    boxes = whole["refined_box_encodings"]
    if boxes.shape[1] > 1:
        boxes = boxes[:, [source - 1 for source in SOURCES]]
    np.testing.assert_allclose(part["refined_box_encodings"], boxes, atol=1e-5)
    if "mask_predictions" in whole:
        np.testing.assert_allclose(
            part["mask_predictions"],
            whole["mask_predictions"][:, [source - 1 for source in SOURCES]],
            atol=1e-5,
        )
    assert not class_slice.is_exact(made.zoo_config)


def test_a_quantized_slice_keeps_every_range(home, tmp_path):
    text = SSD_FAMILIES["mobilenet_v1_quantized"]
    model, made = prepared_from(text, tmp_path, "q", quantize=True)
    before, after = (
        checkpoint_values.read_checkpoint(model.zoo_checkpoint),
        checkpoint_values.read_checkpoint(model.limited_checkpoint),
    )
    ranges = [name for name in before if name.endswith(("quant/min", "quant/max"))]
    assert len(ranges) > 50 and all(np.array_equal(before[name], after[name]) for name in ranges)
    assert made.config.graph_rewriter.quantization.delay == 0


def test_quantization_of_a_float_model_begins_after_a_tenth_of_the_steps(home, tmp_path):
    _, made = prepared_from(SSD_FAMILIES["mobilenet_v1"], tmp_path, "f", quantize=True)
    assert made.config.graph_rewriter.quantization.delay == 10


def test_gaps_between_ids_keep_their_columns_where_every_class_keeps_its_id():
    config = pipeline.parse(SSD_FAMILIES["mobilenet_v1"], "test")
    variables = random_variables(config)
    coco = categories.bundled("coco")
    made = class_slice.slice_variables(variables, config, coco, coco)
    assert made.sliced and all(
        np.array_equal(made.variables[name], variables[name]) for name in made.sliced
    )


def test_no_limit_leaves_the_classes_out_for_a_fresh_head(home, tmp_path):
    model, made = prepared_from(SSD_FAMILIES["mobilenet_v1"], tmp_path, "n", limit=False)
    names = checkpoint_values.variable_names(model.features_checkpoint)
    assert made.start == "features" and not any("ClassPredictor" in name for name in names)
    assert any("BoxEncodingPredictor" in name for name in names)


def test_a_classification_checkpoint_is_a_start_for_its_features(home, tmp_path):
    path = archive(SSD_FAMILIES["mobilenet_v1"], tmp_path / "c.tar.gz")
    inside = tmp_path / "c.tar.gz.d" / "model"
    classifier = {
        "MobilenetV1/Conv2d_0/weights": np.zeros((3, 3, 3, 8), np.float32),
        "MobilenetV1/Logits/biases": np.zeros(3, np.float32),
    }
    checkpoint_values.write_checkpoint(inside / "model.ckpt", classifier)
    with tarfile.open(str(path), "w:gz") as tar:
        tar.add(str(inside), arcname="model")
    made = prepare.prepare(
        paths.model("c"), prepare.Request(zoo_name="c", categories="bear", archive=str(path)), print
    )
    assert (
        made.start == "classification"
        and made.config.train_config.fine_tune_checkpoint_type == "classification"
    )


def test_a_predictor_nobody_knows_is_refused_with_the_way_out():
    config = pipeline.parse(
        SSD
        % {
            "extractor": 'type: "ssd_mobilenet_v1"',
            "predictor": "rfcn_box_predictor { }",
            "anchors": "",
            "size": 96,
            "rewriter": "",
        },
        "test",
    )
    with pytest.raises(TodusError, match="--no-limit"):
        class_columns.check(config)


@pytest.mark.skipif(not REAL.exists(), reason="no real configs here")
def test_every_real_config_has_a_predictor_that_can_be_sliced():
    for path in sorted((REAL / "configs").glob("*.config")):
        assert class_columns.can(pipeline.read(path, lambda line: None)), path.name
