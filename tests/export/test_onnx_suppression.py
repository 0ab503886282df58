"""Non-max suppression in ONNX's operators gives what the OD API gives."""

import numpy as np
import onnx
import onnxruntime
import pytest

from todus.export import loop_free, onnx_layouts
from todus.export.onnx_conversion import Operators
from todus.export.onnx_suppression import Limits, Raw
from todus.model import pipeline

LIMITS = Limits(score_threshold=0.2, iou_threshold=0.5, of_class=7, of_image=20)


def crowd(images, anchors, classes):
    """Boxes that overlap, some partly or wholly outside the image, and scores without ties."""
    random = np.random.RandomState(3)
    centres = random.choice([-0.2, 0.1, 0.4, 0.6, 0.9, 1.3], (images, anchors, 2))
    centres += random.uniform(-0.05, 0.05, centres.shape)
    sizes = random.uniform(0.1, 0.35, centres.shape)
    scores = random.permutation(images * anchors * classes) / float(images * anchors * classes)
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2)
    return boxes.astype(np.float32), scores.reshape(images, anchors, classes).astype(np.float32)


def in_tensorflow(boxes, scores, limits):
    from todus.tf import tf

    from object_detection.core import post_processing

    with tf.Graph().as_default(), tf.Session() as session:
        found = post_processing.batch_multiclass_non_max_suppression(
            tf.constant(boxes[:, :, np.newaxis]),
            tf.constant(scores),
            score_thresh=limits.score_threshold,
            iou_thresh=limits.iou_threshold,
            max_size_per_class=limits.of_class,
            max_total_size=limits.of_image,
            clip_window=tf.constant([0, 0, 1, 1], tf.float32),
            change_coordinate_frame=True,
        )
        boxes, scores, classes, _, _, counts = found
        return session.run([boxes, classes + 1, scores, counts])


def in_onnx(boxes, scores, limits, opset, outputs=onnx_layouts.detections):
    helper, (_, anchors, classes) = onnx.helper, scores.shape
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", anchors, sides])
        for name, sides in (("boxes", 4), ("scores", classes))
    ]
    graph = helper.make_graph([], "suppression", values, [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 7
    add = Operators(model, "detections")
    add.append(outputs(add, Raw("boxes", "scores", anchors, classes), limits))
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"boxes": boxes, "scores": scores})


@pytest.mark.parametrize("opset", [11, 13, 15])
@pytest.mark.parametrize("shape", [(3, 60, 4), (1, 5, 2)], ids=["crowd", "fewer than the limit"])
def test_suppression_without_loops_gives_what_the_od_api_gives(shape, opset):
    boxes, scores = crowd(*shape)
    expected = in_tensorflow(boxes, scores, LIMITS)
    assert expected[3].min() > 0
    for wanted, found in zip(expected, in_onnx(boxes, scores, LIMITS, opset)):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_an_image_without_detections_gets_zeros():
    boxes, scores = crowd(2, 30, 3)
    scores[1] = 0.1
    expected = in_tensorflow(boxes, scores, LIMITS)
    assert list(expected[3] > 0) == [True, False]
    for both in (scores, np.zeros_like(scores)):
        wanted = in_tensorflow(boxes, both, LIMITS)
        for one, other in zip(wanted, in_onnx(boxes, both, LIMITS, 11)):
            np.testing.assert_allclose(other, one, atol=1e-6)


def in_layout(layout, boxes, scores, size):
    def outputs(add, raw, limits):
        return onnx_layouts.LAYOUTS[layout].add(add, raw, limits, size)

    (rows,) = in_onnx(boxes, scores, LIMITS, 11, outputs)
    return rows


@pytest.mark.parametrize("least", [0.2, 1.1], ids=["some", "none"])
def test_rows_behind_the_last_detection_say_so(least):
    boxes, scores = crowd(1, 5, 2)
    scores[scores < least] = 0
    corners, classes, values, counts = in_tensorflow(boxes, scores, LIMITS)
    count, xyxy = counts[0], corners[0][:, [1, 0, 3, 2]]
    assert count < LIMITS.of_image
    rows = in_layout("detection_output", boxes, scores, (50, 80))
    assert rows.shape == (1, 1, LIMITS.of_image, 7)
    first, rest = rows[0, 0, :count], rows[0, 0, count:]
    wanted = np.column_stack([np.zeros(count), classes[0, :count] - 1, values[0, :count]])
    np.testing.assert_allclose(first, np.hstack([wanted, xyxy[:count]]), atol=1e-6)
    assert (rest == [-1, 0, 0, 0, 0, 0, 0]).all()
    rows = in_layout("yolonas", boxes, scores, (50, 80))
    assert rows.shape == (LIMITS.of_image, 7)
    np.testing.assert_allclose(rows[:count, 1:5], xyxy[:count] * [80, 50, 80, 50], atol=1e-4)
    np.testing.assert_allclose(rows[:count, [0, 6, 5]], wanted, atol=1e-6)
    assert (rows[count:] == [0, 0, 0, 0, 0, 0, -1]).all()


@pytest.mark.parametrize(
    "text, reason",
    [
        ("faster_rcnn { num_classes: 1 feature_extractor { type: 'f' } }", "f is no SSD"),
        (
            "ssd { num_classes: 1 image_resizer { keep_aspect_ratio_resizer { } } }",
            "keep_aspect_ratio_resizer, not fixed_shape_resizer",
        ),
        (
            "ssd { num_classes: 1 image_resizer { fixed_shape_resizer { height: 9 width: 9 "
            "resize_method: NEAREST_NEIGHBOR } } }",
            "more than a bilinear resize",
        ),
        (
            "ssd { num_classes: 1 image_resizer { fixed_shape_resizer { } } post_processing { "
            "batch_non_max_suppression { use_class_agnostic_nms: true } } }",
            "use_class_agnostic_nms",
        ),
        (
            "ssd { num_classes: 1 image_resizer { fixed_shape_resizer { } } post_processing { "
            "batch_non_max_suppression { soft_nms_sigma: 0.5 } } }",
            "soft_nms_sigma",
        ),
    ],
)
def test_the_reason_why_loops_stay_is_named(text, reason):
    config = pipeline.parse("model { %s }" % text, "here")
    assert reason in loop_free.reason_against(config, None)


def test_a_graph_of_another_exporter_keeps_its_loops():
    from todus.tf import tf

    text = "model { ssd { num_classes: 1 image_resizer { fixed_shape_resizer { } } } }"
    reason = loop_free.reason_against(pipeline.parse(text, "here"), tf.GraphDef())
    assert "not one that this OD API exports" in reason
