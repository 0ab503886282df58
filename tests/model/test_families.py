"""Every predictor of the zoo: the limited model predicts its classes and boxes as the zoo model."""

import os
import tarfile

import numpy as np
import pytest

from tests.helpers.families import (
    CLASSES,
    FASTER_FAMILIES,
    SSD_FAMILIES,
    archive,
    predictions,
)
from tests.helpers.places import REAL
from todus import paths
from todus.added.columns import Columns
from todus.added.features import Features
from todus.model import checkpoint_values, class_columns, class_slice, heads, pipeline, prepare

WANTED = {1: "horse", 2: "bear", 3: "giraffe"}
SOURCES = [19, 23, 25]  # their ids in COCO


def prepared_from(text, tmp_path, name, categories="bear horse giraffe", **more):
    path = archive(text, tmp_path / (name + ".tar.gz"))
    model = paths.model(name)
    request = prepare.Request(zoo_name=name, categories=categories, archive=str(path), **more)
    return model, prepare.prepare(model, request)


def both_predictions(made, model):
    """The predictions of the zoo model and of the limited model for one random image."""
    height, width = pipeline.input_size(made.zoo_config) or (64, 96)
    random = np.random.RandomState(3)
    image = random.uniform(-1, 1, (1, height, width, 3)).astype(np.float32)
    return (
        predictions(made.zoo_config, model.zoo_checkpoint, image),
        predictions(made.config, model.limited_checkpoint, image),
    )


# Similar to others: run with TODUS_SLOW=1 only, before a release.
SLOW = {
    "mobilenet_v1",
    "mobilenet_v3_small",
    "inception_v2",
    "mobiledet",
    "spaghettinet",
    "mobilenet_v2_fpn_depthwise",
    "faster_rcnn",  # mask_rcnn has its predictor, and masks
    "faster_rcnn_shared_boxes",
}
# Predictors with other features for boxes than for classes.
OWN_HEADS = {"ssdlite_mobilenet_v2", "mobilenet_v1_fpn", "mobilenet_v2_fpn_depthwise"}
SLOW = set() if os.environ.get("TODUS_SLOW") else SLOW


@pytest.mark.parametrize("family", sorted(set(SSD_FAMILIES) - SLOW))
def test_a_limited_ssd_scores_its_classes_and_boxes_exactly_as_the_zoo_model(
    family, home, tmp_path
):
    model, made = prepared_from(SSD_FAMILIES[family], tmp_path, family)
    whole, part = both_predictions(made, model)
    scores, kept = (each["class_predictions_with_background"] for each in (whole, part))
    assert scores.shape[-1] == CLASSES + 1 and kept.shape[-1] == 4
    assert np.ptp(scores) > 0.1, "all scores are alike"
    np.testing.assert_allclose(kept, scores[..., [0] + SOURCES], atol=1e-5)
    np.testing.assert_allclose(part["box_encodings"], whole["box_encodings"], atol=1e-5)
    assert class_slice.is_exact(made.zoo_config)
    assert made.sliced.from_zoo == dict(zip(WANTED.values(), SOURCES))
    if family != "spaghettinet":  # it cannot be built for batches of any size
        check_features(model, made, part, family in OWN_HEADS)


def check_features(model, made, predicted, own_head):
    """The class columns score the features of an image as the whole network scores the image."""
    random = np.random.RandomState(3)
    height, width = pipeline.input_size(made.config)
    pixels = (random.uniform(-1, 1, (1, height, width, 3)) + 1) * 127.5
    features = Features(model.limited_checkpoint, made.config)
    variables = checkpoint_values.read_checkpoint(model.limited_checkpoint)
    start = {
        name: class_columns.columns_at(variables[name], layout, len(WANTED), range(len(WANTED)))
        for name, layout in class_columns.layouts(made.config, variables).items()
    }
    columns = Columns(features, made.config, start, len(WANTED))
    logits, boxes = columns.predict(features.of(pixels.astype(np.float32)))
    expected = predicted["class_predictions_with_background"][..., 1:]
    np.testing.assert_allclose(logits, expected, atol=2e-4)
    assert len(features.anchors) == predicted["box_encodings"].shape[1]
    if own_head:
        check_own_head(made.config, variables, start, pixels, logits, boxes)


def check_own_head(config, variables, start, pixels, logits, boxes):
    """A further head, with the first one's boxes and all classes, predicts the same as that one."""
    doubled = pipeline.Config()
    doubled.CopyFrom(config)
    heads.add(doubled)
    moved = heads.with_another(variables, config, len(WANTED), range(len(WANTED)))
    prefix = paths.home() / "doubled" / "model.ckpt"
    checkpoint_values.write_checkpoint(prefix, moved)
    features = Features(prefix, doubled, own_boxes=True)
    start = {**start, **{name: variables[name] for name in heads.box_layouts(variables)}}
    columns = Columns(features, doubled, start, len(WANTED))
    found = columns.predict(features.of(pixels.astype(np.float32)))
    np.testing.assert_allclose(found[0], logits, atol=2e-4)
    np.testing.assert_allclose(found[1], boxes, atol=2e-4)


@pytest.mark.parametrize("family", sorted(set(FASTER_FAMILIES) - SLOW))
def test_a_limited_faster_rcnn_has_the_logits_boxes_and_masks_of_its_classes(
    family, home, tmp_path
):
    model, made = prepared_from(FASTER_FAMILIES[family], tmp_path, family)
    whole, part = both_predictions(made, model)
    columns = [source - 1 for source in SOURCES]
    boxes = whole["refined_box_encodings"]
    expected = {
        "class_predictions_with_background": whole["class_predictions_with_background"][
            ..., [0] + SOURCES
        ],
        "refined_box_encodings": boxes[:, columns] if boxes.shape[1] > 1 else boxes,
    }
    if "mask_predictions" in whole:
        expected["mask_predictions"] = whole["mask_predictions"][:, columns]
    for name, values in expected.items():
        np.testing.assert_allclose(part[name], values, atol=1e-5, err_msg=name)
    assert not class_slice.is_exact(made.zoo_config)


def test_a_quantized_slice_keeps_every_range(home, tmp_path):
    text = SSD_FAMILIES["mobilenet_v1_quantized"]
    model, made = prepared_from(text, tmp_path, "q", quantize=True)
    before, after = (
        checkpoint_values.read_checkpoint(prefix)
        for prefix in (model.zoo_checkpoint, model.limited_checkpoint)
    )
    ranges = [name for name in before if name.endswith(("quant/min", "quant/max"))]
    assert len(ranges) > 50 and all(np.array_equal(before[name], after[name]) for name in ranges)
    assert made.config.graph_rewriter.quantization.delay == 0


def test_quantization_of_a_float_model_begins_after_a_tenth_of_the_steps(home, tmp_path):
    _, made = prepared_from(SSD_FAMILIES["mobilenet_v1"], tmp_path, "f", quantize=True)
    assert made.config.graph_rewriter.quantization.delay == 10


def test_without_limit_the_class_variables_are_left_out_for_a_fresh_head(home, tmp_path):
    model, made = prepared_from(SSD_FAMILIES["mobilenet_v1"], tmp_path, "n", limit=False)
    names = checkpoint_values.variable_names(model.features_checkpoint)
    assert made.start == "features" and not any("ClassPredictor" in name for name in names)
    assert any("BoxEncodingPredictor" in name for name in names)


def test_training_starts_from_the_features_of_a_classification_checkpoint(home, tmp_path):
    path = archive(SSD_FAMILIES["mobilenet_v1"], tmp_path / "c.tar.gz")
    inside = tmp_path / "c.tar.gz.d" / "model"
    classifier = {
        "MobilenetV1/Conv2d_0/weights": np.zeros((3, 3, 3, 8), np.float32),
        "MobilenetV1/Logits/biases": np.zeros(3, np.float32),
    }
    checkpoint_values.write_checkpoint(inside / "model.ckpt", classifier)
    with tarfile.open(str(path), "w:gz") as tar:
        tar.add(str(inside), arcname="model")
    request = prepare.Request(zoo_name="c", categories="bear", archive=str(path))
    made = prepare.prepare(paths.model("c"), request)
    assert made.start == "classification"
    assert made.config.train_config.fine_tune_checkpoint_type == "classification"


@pytest.mark.skipif(not REAL.exists(), reason="no real configs here")
def test_every_real_config_has_a_predictor_that_can_be_sliced():
    configs = sorted((REAL / "configs").glob("*.config"))
    assert configs
    for path in configs:
        assert class_columns.can_slice(pipeline.read(path)), path.name
