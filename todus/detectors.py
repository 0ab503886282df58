"""One interface over every form a model takes: detect(images) -> boxes, classes, scores."""

import os
import queue
import warnings
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus import described, limit, pipeline
from todus.errors import TodusError


class Detections(NamedTuple):
    """The detections in one image, best first."""

    boxes: np.ndarray  # float32 [N, 4]: ymin, xmin, ymax, xmax, normalised to 0..1
    classes: np.ndarray  # int64 [N]: ids of the model's label map, 1 is the first
    scores: np.ndarray  # float32 [N], 0..1


class Detector:
    """A model that detects.

    Attributes:
      form: "checkpoint", "frozen_graph", "saved_model", "tflite" or "onnx".
      path: what it was made from.
      names: id -> name, the model's label map.
      size: (height, width) of its input in pixels, None where it takes any.
      takes_batches: whether images of one size go in together.
      workers: how many calls of detect or detect_prepared at once are of use.
    """

    form = ""
    path: Path
    names: Dict[int, str]
    size: Optional[Tuple[int, int]] = None
    takes_batches = False
    workers = 1

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """The detections in uint8 [height, width, 3] RGB images; with takes_batches all are of one size."""
        return self.detect_prepared([self.prepare(image) for image in images])

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """What goes into the model for a uint8 [height, width, 3] image, resized where it can be; from any thread."""
        return image

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """The detections in what `prepare` returned; with takes_batches all are of one shape."""
        raise NotImplementedError


class _GraphDetector(Detector):
    """What every graph of the OD API shares: image_tensor, encoded_image_string_tensor or tf_example in, detection_* out."""

    takes_batches = True

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int]):
        """threads: None leaves the threads to TensorFlow; a number is for each call, and 1 lets one call run on each core."""
        self.path, self.names, self._threads = path, names, threads
        self.workers = cores() if threads == 1 else 1

    def _session_of(self, graph):
        from todus.tf import tf

        self._options = tf.RunOptions(inter_op_thread_pool=-1) if self._threads == 1 else None
        if not self._threads:
            return tf.Session(graph=graph)
        threads = {"intra_op_parallelism_threads": self._threads, "inter_op_parallelism_threads": self._threads}
        return tf.Session(graph=graph, config=tf.ConfigProto(use_per_session_threads=True, **threads))

    def _open(self, session, inputs, outputs: Sequence) -> None:
        """Takes the input tensor and the tensors of boxes, classes, scores and count."""
        self._session, self._outputs, self._input = session, list(outputs), inputs
        self._encode = _ENCODERS.get(inputs.op.name)
        self._resize, self._batch = None, None
        if self._encode:
            return
        shape = inputs.shape.as_list() if inputs.shape.rank == 4 else [None] * 4
        self._batch, fixed = shape[0], tuple(shape[1:3])
        self.takes_batches = self._batch != 1
        casts = [op for op in inputs.consumers() if op.type in ("Cast", "Identity") and op.outputs[0].dtype.is_floating]
        resized = fixed if None not in fixed else (_resized_to(session.graph) if len(casts) == 1 else None)
        if resized:
            self.size, self._resize = resized, Resizer(resized)
            self._input = casts[0].outputs[0] if len(casts) == 1 else inputs

    def prepare(self, image: np.ndarray) -> np.ndarray:
        if self._encode:
            return self._encode(image)
        pixels = self._resize(image) if self._resize else image
        return pixels if self._input.dtype.is_floating or pixels.dtype == np.uint8 else np.round(pixels).astype(np.uint8)

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        found = []
        for start in range(0, len(images), self._batch or max(1, len(images))):
            part = list(images[start : start + (self._batch or len(images))])
            filler = [part[0]] * ((self._batch or len(part)) - len(part))
            found += self._run(np.stack(part + filler))[: len(part)]
        return found

    def _run(self, batch: np.ndarray) -> List[Detections]:
        boxes, classes, scores, counts = self._session.run(self._outputs, {self._input: batch}, options=self._options)
        return [
            Detections(boxes[i][:count], classes[i][:count].astype(np.int64), scores[i][:count])
            for i, count in enumerate(counts.astype(int))
        ]


_OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
_INPUTS = ("image_tensor", "encoded_image_string_tensor", "tf_example")


def _open_by_name(detector: _GraphDetector, graph, session) -> None:
    there = {operation.name for operation in graph.get_operations()}
    inputs = [name for name in _INPUTS if name in there]
    if not inputs:
        raise KeyError("no input named %s" % " or ".join(_INPUTS))
    detector._open(session, graph.get_tensor_by_name(inputs[0] + ":0"), [graph.get_tensor_by_name(name + ":0") for name in _OUTPUTS])


def _resized_to(graph) -> Optional[Tuple[int, int]]:
    """(height, width) that the graph resizes its input to, read from its bilinear resizes; None where it follows the image.

    An image that is resized so beforehand passes the graph's own resize unchanged.
    """
    from todus.tf import tf

    resizes = [op for op in graph.get_operations() if op.type == "ResizeBilinear" and op.name.startswith("Preprocessor")]
    sizes = [None if op.get_attr("align_corners") else tf.get_static_value(op.inputs[1]) for op in resizes]
    known = {(int(size[0]), int(size[1])) for size in sizes if size is not None}
    return known.pop() if len(known) == 1 and not any(size is None for size in sizes) else None


def _png(image: np.ndarray) -> bytes:
    import io

    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _as_example(image: np.ndarray) -> np.ndarray:
    from todus.tf import tf

    values = {"image/encoded": _png(image), "image/format": b"png"}
    feature = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for key, value in values.items()}
    return np.array(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(), object)


_ENCODERS = {"encoded_image_string_tensor": lambda image: np.array(_png(image), object), "tf_example": _as_example}


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class FrozenGraph(_GraphDetector):
    """A frozen_inference_graph.pb as the OD API exports it."""

    form = "frozen_graph"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        super().__init__(path, names, threads)
        graph_def = read_graph(path)
        from todus.tf import tf

        with tf.Graph().as_default() as graph:
            try:
                tf.import_graph_def(graph_def, name="")
                _open_by_name(self, graph, self._session_of(graph))
            except (KeyError, ValueError, tf.errors.OpError) as error:
                raise TodusError("%s is no detection graph this TensorFlow can run (%s); export it again" % (path, _first_line(error)))


class SavedModel(_GraphDetector):
    """A saved_model folder with the signature serving_default that the OD API gives it: inputs -> detection_*."""

    form = "saved_model"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        from todus.tf import tf

        super().__init__(path, names, threads)
        if not (path / "saved_model.pb").exists():
            raise TodusError("%s is missing; run ./export.sh" % (path / "saved_model.pb"))
        with tf.Graph().as_default() as graph:
            session = self._session_of(graph)
            try:
                signature = tf.saved_model.loader.load(session, ["serve"], str(path)).signature_def["serving_default"]
                outputs = [graph.get_tensor_by_name(signature.outputs[name].name) for name in _OUTPUTS]
                self._open(session, graph.get_tensor_by_name(signature.inputs["inputs"].name), outputs)
            except (KeyError, ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
                raise TodusError("%s is no detection model this TensorFlow can run (%s); run ./export.sh" % (path, _first_line(error)))


def read_graph(path: Path):
    """The GraphDef in a frozen .pb file. Raises TodusError for one that is missing or damaged."""
    from todus.tf import tf

    graph_def = tf.GraphDef()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # protobuf's word for bytes that it could not use
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

    def __init__(
        self,
        prefix: Path,
        config: pipeline.Config,
        names: Dict[int, str],
        score_threshold: float = 1e-8,
        threads: Optional[int] = None,
    ):
        from todus.tf import tf

        from object_detection import exporter
        from object_detection.builders import graph_rewriter_builder, model_builder

        super().__init__(prefix, names, threads)
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
            session = self._session_of(graph)
            restore(saver, session, prefix)
            _open_by_name(self, graph, session)


def restore(saver, session, prefix: Path) -> None:
    """saver.restore, with one line for a checkpoint of another model."""
    from todus.tf import tf

    try:
        saver.restore(session, str(prefix))
    except (tf.errors.OpError, ValueError) as error:
        raise TodusError(
            "checkpoint %s does not fit pipeline.config (%s); was the model prepared again since?" % (prefix, _first_line(error))
        )


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
    """A .tflite file with the detection post-process operator, run by TensorFlow's own interpreter, which has one thread.

    Its boxes reach beyond the image, where the inference graph's are cut; they are cut here.
    """

    form = "tflite"

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        self.path, self.names = path, names
        about = described.read(path)
        described.check_whole(path, about)
        self.workers = cores() if threads == 1 else 1
        self._free: queue.Queue = queue.Queue()
        for _ in range(self.workers):
            self._free.put(self._interpreter())
        interpreter = self._free.queue[0]
        self._input = interpreter.get_input_details()[0]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]
        if len(self._outputs) != 4:
            raise TodusError("%s has %d outputs, not the 4 of a detector; run ./convert-tflite.sh again" % (path, len(self._outputs)))
        self.size = tuple(int(side) for side in self._input["shape"][1:3])
        self._mean, self._std = (np.asarray(about.get("input", {}).get(key, 127.5), np.float32) for key in ("mean", "std"))
        self._resize = Resizer(self.size)

    def _interpreter(self):
        from todus.tf import tf

        try:
            interpreter = tf.lite.Interpreter(model_path=str(self.path))
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TodusError(
                "%s is not a TFLite file this TensorFlow can run (%s); run ./convert-tflite.sh again" % (self.path, _first_line(error))
            )
        return interpreter

    def prepare(self, image: np.ndarray) -> np.ndarray:
        pixels = self._resize(image)
        if self._input["dtype"] == np.uint8:
            return np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        return (pixels - self._mean) / self._std

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        interpreter = self._free.get()
        try:
            return [self._detect(interpreter, pixels) for pixels in images]
        finally:
            self._free.put(interpreter)

    def _detect(self, interpreter, pixels: np.ndarray) -> Detections:
        interpreter.set_tensor(self._input["index"], pixels[np.newaxis])
        interpreter.invoke()
        boxes, classes, scores, count = (interpreter.get_tensor(index) for index in self._outputs)
        count = int(count[0])
        return Detections(np.clip(boxes[0][:count], 0, 1), classes[0][:count].astype(np.int64) + 1, scores[0][:count])


class Onnx(Detector):
    """An .onnx file, of the inference graph's inputs and outputs, run by ONNX Runtime."""

    form = "onnx"
    takes_batches = True

    def __init__(self, path: Path, names: Dict[int, str], threads: Optional[int] = None):
        self.path, self.names = path, names
        self.workers = cores() if threads == 1 else 1
        try:
            import onnxruntime
        except ImportError as error:
            raise TodusError("ONNX Runtime cannot be imported (%s); run: make install" % error)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        if not path.exists():
            raise TodusError("%s is missing; run ./convert-onnx.sh" % path)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no class of their own
            raise TodusError("%s is not an ONNX file that runs here (%s); run ./convert-onnx.sh again" % (path, _first_line(error)))
        there = [output.name for output in self._session.get_outputs()]
        self._outputs = [next((name for name in there if name.split(":")[0] == wanted), None) for wanted in _OUTPUTS]
        if None in self._outputs:
            raise TodusError("%s has not the outputs %s; run ./convert-onnx.sh without NMS" % (path, ", ".join(_OUTPUTS)))
        self._input = self._session.get_inputs()[0]
        self.takes_batches = self._input.shape[0] != 1

    def detect_prepared(self, images: Sequence[np.ndarray]) -> List[Detections]:
        boxes, classes, scores, counts = self._session.run(self._outputs, {self._input.name: np.stack(images)})
        return [Detections(boxes[i][:n], classes[i][:n].astype(np.int64), scores[i][:n]) for i, n in enumerate(counts.astype(int))]


class Resizer:
    """TensorFlow 1's bilinear resize of one image, as the exported graph does it: float32 [height, width, 3]."""

    def __init__(self, size: Tuple[int, int]):
        from todus.tf import tf

        with tf.Graph().as_default() as graph:
            self._image = tf.placeholder(tf.uint8, [None, None, 3])
            self._resized = tf.image.resize_bilinear(tf.cast(self._image, tf.float32)[tf.newaxis], size)[0]
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=True)
        self._session, self._options = tf.Session(graph=graph, config=config), tf.RunOptions(inter_op_thread_pool=-1)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self._session.run(self._resized, {self._image: image}, options=self._options)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().split("\n") or [""])[0][:200]
