"""One interface over every form a model takes: detect(images) -> boxes, classes, scores."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus import files, limit, pipeline
from todus.errors import TodusError
from todus.paths import beside_json


class Detections(NamedTuple):
    """The detections in one image, best first."""

    boxes: np.ndarray  # float32 [N, 4]: ymin, xmin, ymax, xmax, normalised to 0..1
    classes: np.ndarray  # int64 [N]: ids of the model's label map, 1 is the first
    scores: np.ndarray  # float32 [N], 0..1


class Detector:
    """A model that detects.

    Attributes:
      form: "checkpoint", "frozen_graph", "tflite" or "onnx".
      path: what it was made from.
      names: id -> name, the model's label map.
      size: (height, width) of its input in pixels, None where it takes any.
      takes_batches: whether images of one size go in together.
    """

    form = ""
    path: Path
    names: Dict[int, str]
    size: Optional[Tuple[int, int]] = None
    takes_batches = False

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """The detections in uint8 [height, width, 3] RGB images; with takes_batches all are of one size."""
        raise NotImplementedError


class _GraphDetector(Detector):
    """What a checkpoint's graph and a frozen graph share: image_tensor in, detection_* out."""

    takes_batches = True

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        boxes, classes, scores, counts = self._session.run(self._outputs, {self._input: np.stack(images)})
        return [
            Detections(boxes[i][:count], classes[i][:count].astype(np.int64), scores[i][:count])
            for i, count in enumerate(counts.astype(int))
        ]

    def _open(self, graph) -> None:
        from todus.tf import tf

        self._session = tf.Session(graph=graph)
        self._input = graph.get_tensor_by_name("image_tensor:0")
        wanted = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
        self._outputs = [graph.get_tensor_by_name(name + ":0") for name in wanted]


class FrozenGraph(_GraphDetector):
    """A frozen_inference_graph.pb as the OD API exports it."""

    form = "frozen_graph"

    def __init__(self, path: Path, names: Dict[int, str]):
        self.path, self.names = path, names
        graph_def = read_graph(path)
        from todus.tf import tf

        with tf.Graph().as_default() as graph:
            try:
                tf.import_graph_def(graph_def, name="")
                self._open(graph)
            except (KeyError, ValueError, tf.errors.OpError) as error:
                raise TodusError("%s is no detection graph this TensorFlow can run (%s); export it again" % (path, _first_line(error)))


def read_graph(path: Path):
    """The GraphDef in a frozen .pb file. Raises TodusError for one that is missing or damaged."""
    from todus.tf import tf

    graph_def = tf.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise TodusError("%s is missing; run ./export.sh" % path)
    except Exception as error:  # protobuf's DecodeError differs between its implementations
        raise TodusError("%s is damaged (%s); run ./export.sh again" % (path, _first_line(error)))
    if not graph_def.node:
        raise TodusError("%s is empty; run ./export.sh again" % path)
    return graph_def


class Checkpoint(_GraphDetector):
    """A checkpoint under its pipeline config, with every detection that scores at least `score_threshold`."""

    form = "checkpoint"

    def __init__(self, prefix: Path, config: pipeline.Config, names: Dict[int, str], score_threshold: float = 1e-8):
        from todus.tf import tf
        from object_detection import exporter
        from object_detection.builders import graph_rewriter_builder, model_builder

        self.path, self.names = prefix, names
        config = _copy(config)
        pipeline.non_max_suppression(config).score_threshold = score_threshold
        rewriter = None
        if quantizes(config, prefix):
            rewriter = graph_rewriter_builder.build(config.graph_rewriter, is_training=False)
        with tf.Graph().as_default() as graph:
            tf.keras.backend.set_learning_phase(0)
            model = model_builder.build(config.model, is_training=False)
            exporter.build_detection_graph("image_tensor", model, None, "inference_op", rewriter)
            saver = tf.train.Saver()
            self._open(graph)
            restore(saver, self._session, prefix)


def restore(saver, session, prefix: Path) -> None:
    """saver.restore, with one line for a checkpoint of another model."""
    from todus.tf import tf

    try:
        saver.restore(session, str(prefix))
    except (tf.errors.OpError, ValueError) as error:
        raise TodusError("checkpoint %s does not fit pipeline.config (%s); was the model prepared again since?" % (prefix, _first_line(error)))


def quantizes(config: pipeline.Config, prefix: Path) -> bool:
    """Whether the model at a checkpoint computes with quantized ranges: it is quantization-aware, has them, and is past the delay."""
    if not pipeline.is_quantized(config):
        return False
    from todus import checkpoints

    names = limit.variable_names(prefix) or []
    trained = prefix.parent.name != "limited"
    late_enough = not trained or checkpoints.step_of(prefix) >= config.graph_rewriter.quantization.delay
    return limit.has_ranges(names) and late_enough


def _copy(config: pipeline.Config) -> pipeline.Config:
    copy = pipeline.Config()
    copy.CopyFrom(config)
    return copy


class TFLite(Detector):
    """A .tflite file with the detection post-process operator, run by TensorFlow's own interpreter."""

    form = "tflite"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        from todus.tf import tf

        self.path, self.names = path, names
        try:
            self._interpreter = tf.lite.Interpreter(model_path=str(path))
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TodusError("%s is not a TFLite file this TensorFlow can run (%s); run ./convert-tflite.sh again" % (path, _first_line(error)))
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        if len(self._outputs) != 4:
            raise TodusError("%s has %d outputs, not the 4 of a detector; run ./convert-tflite.sh again" % (path, len(self._outputs)))
        self.size = tuple(int(side) for side in self._input["shape"][1:3])
        described = files.read_json(beside_json(path)) if beside_json(path).exists() else {}
        self._mean, self._std = (np.asarray(described.get("input", {}).get(key, 127.5), np.float32) for key in ("mean", "std"))
        self._resize = Resizer(self.size)

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        return [self._detect(image) for image in images]

    def _detect(self, image: np.ndarray) -> Detections:
        pixels = self._resize(image)
        if self._input["dtype"] == np.uint8:
            pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        else:
            pixels = (pixels - self._mean) / self._std
        self._interpreter.set_tensor(self._input["index"], pixels[np.newaxis])
        self._interpreter.invoke()
        boxes, classes, scores, count = (self._interpreter.get_tensor(index) for index in self._outputs)
        count = int(count[0])
        return Detections(boxes[0][:count], classes[0][:count].astype(np.int64) + 1, scores[0][:count])


class Resizer:
    """TensorFlow 1's bilinear resize of one image, as the exported graph does it: float32 [height, width, 3]."""

    def __init__(self, size: Tuple[int, int]):
        from todus.tf import tf

        with tf.Graph().as_default() as graph:
            self._image = tf.placeholder(tf.uint8, [None, None, 3])
            self._resized = tf.image.resize_bilinear(tf.cast(self._image, tf.float32)[tf.newaxis], size)[0]
        self._session = tf.Session(graph=graph)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self._session.run(self._resized, {self._image: image})


def _first_line(error: BaseException) -> str:
    return (str(error).strip().split("\n") or [""])[0][:200]
