"""Checks that import TensorFlow: each runs, on tiny input, the library code that a command uses."""

import shutil
from typing import Callable, List, Tuple

from todus.doctor import findings
from todus.doctor.findings import Finding
from todus.machine import environment

REPAIR = "make install"


def tensorflow() -> Finding:
    """A sum, and the import of contrib."""
    from todus.tf import tf

    import tensorflow.contrib.slim as slim  # the OD API's quantization needs contrib

    with tf.Graph().as_default(), tf.Session() as session:
        total = session.run(tf.reduce_sum(tf.ones([2, 3])))
    if total != 6 or not hasattr(slim, "conv2d"):
        text = "TensorFlow %s computes %s as the sum of six ones" % (tf.__version__, total)
        return findings.error("deep", text, REPAIR)
    return findings.ok("deep", "TensorFlow %s imports, with contrib, and computes" % tf.__version__)


def quantization() -> Finding:
    """The graph rewriter of quantization-aware training, on one convolution."""
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
    what = "the graph rewriter of quantization-aware training"
    if not nodes:
        return findings.error("deep", "%s adds no FakeQuant nodes" % what, REPAIR)
    return findings.ok("deep", "%s works" % what)


def slim_nets() -> Finding:
    """A MobileNet from the OD API's slim code."""
    from todus.tf import tf

    from nets import mobilenet_v1

    with tf.Graph().as_default():
        image = tf.placeholder(tf.float32, [1, 64, 64, 3])
        _, ends = mobilenet_v1.mobilenet_v1_base(image, depth_multiplier=0.25)
    text = "the Object Detection API's nets build a MobileNet of %d layers"
    return findings.ok("deep", text % len(ends))


def evaluation() -> Finding:
    """COCOeval through the Object Detection API, as its training calls it."""
    from todus.tf import tf  # noqa: F401  quiet, before coco_evaluation imports TensorFlow

    import numpy as np
    from object_detection.core import standard_fields
    from object_detection.metrics import coco_evaluation

    from todus.machine.silence import quiet

    truth, found = standard_fields.InputDataFields, standard_fields.DetectionResultFields
    box = np.array([[2.0, 2.0, 42.0, 42.0]], np.float32)
    groundtruth = {truth.groundtruth_boxes: box, truth.groundtruth_classes: np.array([1])}
    detected = {
        found.detection_boxes: box,
        found.detection_scores: np.array([0.9]),
        found.detection_classes: np.array([1]),
    }
    with quiet():
        evaluator = coco_evaluation.CocoDetectionEvaluator([{"id": 1, "name": "box"}])
        evaluator.add_single_ground_truth_image_info("1", groundtruth)
        evaluator.add_single_detected_image_info("1", detected)
        ap = evaluator.evaluate()["DetectionBoxes_Precision/mAP"]
    text = "the Object Detection API's evaluation gives AP %.3f for an exact detection" % ap
    if abs(ap - 1) > 1e-6:
        return findings.error("deep", text, REPAIR)
    return findings.ok("deep", text)


def tflite() -> Finding:
    """A TFLite file of two numbers, made by toco and run by the interpreter."""
    from todus.tf import tf

    import numpy as np

    from todus.machine.silence import quiet

    if not shutil.which("toco_from_protos"):
        remedy = "source .venv/bin/activate; or %s" % REPAIR
        return findings.error("deep", "toco_from_protos is not on PATH", remedy)
    with tf.Graph().as_default(), tf.Session() as session, quiet():
        given = tf.placeholder(tf.float32, [1, 2])
        doubled = tf.nn.relu(given * 2.0)
        data = tf.lite.TFLiteConverter.from_session(session, [given], [doubled]).convert()
    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    numbers = np.array([[-1.0, 3.0]], np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], numbers)
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()
    if result != [[0.0, 6.0]]:
        return findings.error("deep", "a converted TFLite file computes %s" % result, REPAIR)
    return findings.ok("deep", "a TFLite file converts and runs")


def onnx() -> Finding:
    """The imports of the conversion to ONNX."""
    from todus.tf import tf  # noqa: F401  quiet, before tf2onnx imports TensorFlow

    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import tf2onnx  # noqa: F401

    names = ("onnx", "tf2onnx", "onnxruntime")
    versions = tuple("%s %s" % (name, environment.version(name)) for name in names)
    return findings.ok("deep", "%s, %s and %s import" % versions)


PROBES: List[Tuple[str, Callable[[], Finding]]] = [
    ("TensorFlow", tensorflow),
    ("quantization", quantization),
    ("nets", slim_nets),
    ("evaluation", evaluation),
    ("TFLite", tflite),
    ("ONNX", onnx),
]
