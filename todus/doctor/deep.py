"""Probes that import TensorFlow: each does, in small, what a command does at length."""

import shutil
from typing import Callable, List, Tuple

from todus.doctor.findings import Finding
from todus.machine import environment

REPAIR = "make install"


def tensorflow() -> Finding:
    from todus.tf import tf

    import tensorflow.contrib.slim as slim  # tf_slim's ancestor; the OD API's quantization needs contrib

    with tf.Graph().as_default(), tf.Session() as session:
        total = session.run(tf.reduce_sum(tf.ones([2, 3])))
    if total != 6 or not hasattr(slim, "conv2d"):
        return Finding(
            "error", "deep", "TensorFlow %s sums six ones to %s" % (tf.__version__, total), REPAIR
        )
    return Finding(
        "ok", "deep", "TensorFlow %s imports, with contrib, and computes" % tf.__version__
    )


def quantization() -> Finding:
    """The rewriter of quantization-aware training on one convolution."""
    from todus.tf import tf

    import tf_slim as slim
    from tensorflow.contrib import quantize

    from todus.machine.silence import quiet

    with tf.Graph().as_default() as graph, quiet():
        image = tf.placeholder(tf.float32, [1, 8, 8, 3])
        tf.reduce_sum(
            slim.conv2d(image, 4, 3, activation_fn=tf.nn.relu6, normalizer_fn=slim.batch_norm)
        )
        quantize.create_training_graph(input_graph=graph, quant_delay=0)
        nodes = [op for op in graph.get_operations() if op.type.startswith("FakeQuant")]
    if not nodes:
        return Finding(
            "error", "deep", "the rewrite for quantization-aware training adds nothing", REPAIR
        )
    return Finding("ok", "deep", "the rewrite for quantization-aware training works")


def slim_nets() -> Finding:
    from todus.tf import tf

    from nets import mobilenet_v1

    with tf.Graph().as_default():
        _, ends = mobilenet_v1.mobilenet_v1_base(
            tf.placeholder(tf.float32, [1, 64, 64, 3]), depth_multiplier=0.25
        )
    return Finding(
        "ok", "deep", "the Object Detection API's nets build a MobileNet of %d layers" % len(ends)
    )


def evaluation() -> Finding:
    """COCOeval by way of the Object Detection API, as its training would call it."""
    from todus.tf import tf  # noqa: F401  coco_evaluation imports TensorFlow; this makes it quiet

    import numpy as np
    from object_detection.core import standard_fields
    from object_detection.metrics import coco_evaluation

    from todus.machine.silence import quiet

    truth, found = standard_fields.InputDataFields, standard_fields.DetectionResultFields
    box = np.array([[2.0, 2.0, 42.0, 42.0]], np.float32)
    with quiet():
        evaluator = coco_evaluation.CocoDetectionEvaluator([{"id": 1, "name": "box"}])
        evaluator.add_single_ground_truth_image_info(
            "1", {truth.groundtruth_boxes: box, truth.groundtruth_classes: np.array([1])}
        )
        detected = {
            found.detection_boxes: box,
            found.detection_scores: np.array([0.9]),
            found.detection_classes: np.array([1]),
        }
        evaluator.add_single_detected_image_info("1", detected)
        ap = evaluator.evaluate()["DetectionBoxes_Precision/mAP"]
    if abs(ap - 1) > 1e-6:
        return Finding(
            "error",
            "deep",
            "the Object Detection API's evaluation gives AP %.3f for a box found exactly" % ap,
            REPAIR,
        )
    return Finding(
        "ok", "deep", "the Object Detection API's evaluation gives AP 1.0 for a box found exactly"
    )


def tflite() -> Finding:
    """A TFLite file of two numbers, made by toco and run by the interpreter."""
    from todus.tf import tf

    import numpy as np

    from todus.machine.silence import quiet

    if not shutil.which("toco_from_protos"):
        return Finding(
            "error",
            "deep",
            "toco_from_protos is not on PATH",
            "source .venv/bin/activate; or %s" % REPAIR,
        )
    with tf.Graph().as_default(), tf.Session() as session, quiet():
        given = tf.placeholder(tf.float32, [1, 2])
        data = tf.lite.TFLiteConverter.from_session(
            session, [given], [tf.nn.relu(given * 2.0)]
        ).convert()
    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(
        interpreter.get_input_details()[0]["index"], np.array([[-1.0, 3.0]], np.float32)
    )
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()
    if result != [[0.0, 6.0]]:
        return Finding("error", "deep", "a converted TFLite file computes %s" % result, REPAIR)
    return Finding("ok", "deep", "a TFLite file converts and runs")


def onnx() -> Finding:
    from todus.tf import tf  # noqa: F401  tf2onnx imports TensorFlow; this makes it quiet

    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import tf2onnx  # noqa: F401

    versions = [
        "%s %s" % (name, environment.version(name)) for name in ("onnx", "tf2onnx", "onnxruntime")
    ]
    return Finding("ok", "deep", "%s, %s and %s import" % tuple(versions))


PROBES: List[Tuple[str, Callable[[], Finding]]] = [
    ("TensorFlow", tensorflow),
    ("quantization", quantization),
    ("nets", slim_nets),
    ("evaluation", evaluation),
    ("TFLite", tflite),
    ("ONNX", onnx),
]
