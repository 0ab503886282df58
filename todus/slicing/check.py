"""Runs a file and its limited copy in the runtimes that are installed, and compares the two.

This is a process of its own: runtimes crash on some files, and may be in another environment. It
needs numpy and a runtime; the files to run were written by todus.slicing.proof.
"""

import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus.slicing import graph_operations

# The tolerance of floats. Integers must be equal.
SCORES, BOXES = 1e-6, 1e-4
THREADS = (1, 4)
NOISE = 3
ROUNDS = 10  # of the measurement of speed

RUNTIMES = {
    "tflite": ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow"),
    "onnx": ("onnxruntime",),
    "graph": ("tensorflow",),
}

Arrays = List[np.ndarray]
Run = Callable[[np.ndarray], Arrays]


class Input(NamedTuple):
    shape: Tuple[int, ...]
    dtype: np.dtype


class Different(Exception):
    """The two files do not give the same."""


def _tflite(path: str, threads: int) -> Tuple[Input, Run]:
    module = importlib.import_module(_runtime("tflite"))
    if hasattr(module, "lite"):  # TensorFlow 1.15 has one thread
        interpreter = module.lite.Interpreter(model_path=path)
    else:
        interpreter = module.Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def run(pixels: np.ndarray) -> Arrays:
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return Input(tuple(int(side) for side in given["shape"]), np.dtype(given["dtype"])), run


def _onnx(path: str, threads: int) -> Tuple[Input, Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = tuple(side if isinstance(side, int) and side > 0 else 0 for side in given.shape)
    types = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
    dtype = np.dtype(types.get(given.type, np.float32))

    def run(pixels: np.ndarray) -> Arrays:
        return session.run(None, {given.name: pixels})

    return Input(_filled(shape), dtype), run


def _graph(path: str, threads: int) -> Tuple[Input, Run]:
    """A frozen graph; its ends are in PATH.json."""
    import tensorflow

    tf = getattr(tensorflow, "compat", tensorflow).v1
    ends = json.loads(Path(path + ".json").read_text(encoding="utf-8"))
    definition = tf.GraphDef()
    definition.ParseFromString(Path(path).read_bytes())
    definition = graph_operations.needed(definition, [ends["input"], *ends["outputs"]])
    graph_operations.check(definition, "the file")
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    config = tf.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
    )
    session = tf.Session(graph=graph, config=config)
    given = graph.get_tensor_by_name(ends["input"])
    shape = given.shape.as_list() if given.shape.ndims is not None else [0, 0, 0, 3]

    def run(pixels: np.ndarray) -> Arrays:
        return session.run(ends["outputs"], {given: pixels})

    shape = tuple(side or 0 for side in shape)
    return Input(_filled(shape), np.dtype(given.dtype.as_numpy_dtype)), run


def _filled(shape: Sequence[int]) -> Tuple[int, ...]:
    """A shape with a size for each dimension that varies."""
    channels_first = len(shape) == 4 and shape[1] == 3
    sizes = (1, 3, 300, 300) if channels_first else (1, 300, 300, 3)
    return tuple(side or size for side, size in zip(shape, sizes))


_OPEN = {"tflite": _tflite, "onnx": _onnx, "graph": _graph}


def _runtime(kind: str) -> str:
    """The module of the first runtime that is installed; "" where there is none."""
    for name in RUNTIMES[kind]:
        try:
            if importlib.util.find_spec(name):
                return name
        except ImportError:
            continue
    return ""


def _version(kind: str) -> str:
    names = {"ai_edge_litert.interpreter": "LiteRT", "tflite_runtime.interpreter": "tflite-runtime"}
    names.update(tensorflow="TensorFlow", onnxruntime="ONNX Runtime")
    name = _runtime(kind)
    module = importlib.import_module(name.split(".")[0])
    return ("%s %s" % (names[name], getattr(module, "__version__", ""))).strip()


def compare(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Compares two files.

    Args:
      spec: kind (of RUNTIMES); before, after: files, each {"raw", "whole", "low"}, of which
        "whole" has detections as outputs, "low" the same with a low score threshold, "raw" the
        scores; only "raw" has to be there; scores: which output of "raw" they are; axis and
        columns: of the classes in them; indices: of the classes among those before; shifted:
        [column before, column after, threshold before, threshold after] of
        classes whose scores are meant to differ; quantization: scale and zero point of the scores,
        for these; images: photos; mean, std: of a float input.

    Raises:
      Different: not the same results.
    """
    kind, before, after = spec["kind"], spec["before"], spec["after"]
    given, first = _OPEN[kind](before["raw"], 1)
    _, second = _OPEN[kind](after["raw"], 1)
    photos = [_photo(path, given, spec) for path in spec["images"]]
    noises = [_noise(given, seed) for seed in range(NOISE)]
    result: Dict[str, Any] = {"runtime": _version(kind), "noise": NOISE, "photos": len(photos)}
    result["fast"] = bool(spec.get("fast"))
    pairs = ((first(pixels), second(pixels)) for pixels in noises + photos)
    if spec["shifted"]:
        counts = np.sum([_moved(one, other, spec) for one, other in pairs], axis=0)
        result["scores"], result["above"], result["moved"] = map(int, counts)
    else:
        result["difference"] = max(_raw_difference(one, other, spec) for one, other in pairs)
    result["detections"], result["threads"] = 0, []
    # TensorFlow 1.15's interpreter has one thread.
    used = THREADS[:1] if (kind, _runtime(kind)) == ("tflite", "tensorflow") else THREADS
    for name, inputs in (("low", noises), ("whole", photos)):
        if name in before and inputs and not spec["shifted"]:
            alone = spec.get("fast")  # compared with the cut file itself, run with one thread
            _, run = _OPEN[kind]((after if alone else before)[name], 1)
            wanted = [run(pixels) for pixels in inputs]
            for threads in used:
                _, run = _OPEN[kind](after[name], threads)
                for pixels, outputs in zip(inputs, wanted):
                    found = _same_detections(outputs, run(pixels), spec, threads)
                    result["detections"] += found if threads == used[0] else 0
            result["threads"] = list(used)
    whole = [each.get("whole", each["raw"]) for each in (before, after)]
    result["milliseconds"] = _speed([_OPEN[kind](path, 1)[1] for path in whole], noises[0])
    return result


def _raw_difference(before: Arrays, after: Arrays, spec: Dict[str, Any]) -> float:
    """The largest difference between the outputs; Different where it is more than SCORES."""
    most = 0.0
    for place, (one, other) in enumerate(zip(before, after)):
        if place == spec["scores"]:
            one = one.take(spec["columns"], spec["axis"])
        if one.shape != other.shape:
            raise Different("outputs of shape %s and %s" % (list(one.shape), list(other.shape)))
        if one.size:
            # Of numbers above 1, such as boxes in pixels, the relative difference.
            size = np.maximum(1.0, np.abs(one.astype(np.float64)))
            most = max(most, float((np.abs(one.astype(np.float64) - other) / size).max()))
    kinds = {each.dtype.kind for each in before}
    if not most <= (SCORES if "f" in kinds else 0):
        raise Different("the raw scores of the kept classes differ by up to %.3g" % most)
    return most


def _moved(before: Arrays, after: Arrays, spec: Dict[str, Any]) -> Tuple[int, int, int]:
    """Scores with a shifted threshold: all, those above it, those now on its other side."""
    axis, place = spec["axis"], spec["scores"]
    scale, zero = spec["quantization"]
    total = above = moved = 0
    for old, new, threshold, at in spec["shifted"]:
        one = scale * (before[place].take(old, axis).astype(np.float64) - zero) >= threshold
        other = scale * (after[place].take(new, axis).astype(np.float64) - zero) >= at
        total, above, moved = total + one.size, above + one.sum(), moved + (one != other).sum()
    return total, above, moved


def _same_detections(before: Arrays, after: Arrays, spec: Dict[str, Any], threads: int) -> int:
    """How many detections of the kept classes are the same; Different where any is not.

    A full list is cut off at its lowest score, which depends on the other classes.
    """
    first = spec.get("first_class", 0)
    old = range(len(spec["indices"])) if spec.get("fast") else spec["indices"]
    new = {index + first: place + first for place, index in enumerate(old)}
    boxes, classes, scores = (each[0] for each in before[:3])
    others = [each[0] for each in after[:3]]
    counts = [int(each[3].ravel()[0]) for each in (before, after)]
    lowest = [
        float(values[:count].min()) if count and count == len(values) else -1.0
        for values, count in ((scores, counts[0]), (others[2], counts[1]))
    ]
    left = list(range(counts[1]))
    same = 0
    for row in range(counts[0]):
        if int(classes[row]) not in new:
            continue
        wanted = new[int(classes[row])]
        match = next(
            (
                other
                for other in left
                if int(others[1][other]) == wanted
                and abs(others[2][other] - scores[row]) <= SCORES
                and np.abs(others[0][other] - boxes[row]).max() <= BOXES
            ),
            None,
        )
        if match is not None:
            left.remove(match)
            same += 1
        elif scores[row] > lowest[1] + SCORES:
            text = "with %d threads a detection of score %.4f is missing"
            raise Different(text % (threads, scores[row]))
    for other in left:
        if others[2][other] > lowest[0] + SCORES:
            text = "with %d threads there is a new detection of score %.4f"
            raise Different(text % (threads, others[2][other]))
    return same


def _noise(given: Input, seed: int) -> np.ndarray:
    random = np.random.RandomState(seed)
    if given.dtype.kind in "iu":
        limits = np.iinfo(given.dtype)
        return random.randint(limits.min, limits.max + 1, given.shape).astype(given.dtype)
    return random.uniform(-1, 1, given.shape).astype(given.dtype)


def _photo(path: str, given: Input, spec: Dict[str, Any]) -> np.ndarray:
    """A photo as the file's input."""
    channels_first = len(given.shape) == 4 and given.shape[1] == 3
    height, width = given.shape[2:4] if channels_first else given.shape[1:3]
    pixels = _pixels(path, width, height)
    if given.dtype == np.int8:
        pixels = (pixels.astype(np.int16) - 128).astype(np.int8)
    elif given.dtype != np.uint8:
        mean, std = (np.asarray(spec[key], np.float32) for key in ("mean", "std"))
        pixels = ((pixels - mean) / std).astype(given.dtype)
    pixels = pixels.transpose(2, 0, 1) if channels_first else pixels
    return pixels[np.newaxis].repeat(given.shape[0], axis=0)


def _pixels(path: str, width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3] RGB."""
    if not importlib.util.find_spec("PIL") and importlib.util.find_spec("cv2"):
        import cv2

        pixels = cv2.imread(path, cv2.IMREAD_COLOR)
        if pixels is None:
            raise ValueError("%s is not an image" % path)
        return cv2.cvtColor(cv2.resize(pixels, (width, height)), cv2.COLOR_BGR2RGB)
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.BILINEAR))


def _speed(runs: Sequence[Run], pixels: np.ndarray) -> List[float]:
    """The median milliseconds of each, measured in turns."""
    times: List[List[float]] = [[] for _ in runs]
    end = time.time() + 20
    for _ in range(ROUNDS):
        for run, taken in zip(runs, times):
            start = time.perf_counter()
            run(pixels)
            taken.append((time.perf_counter() - start) * 1000)
        if time.time() > end:
            break
    return [round(float(np.median(taken)), 2) for taken in times]


def main(path: Optional[str] = None) -> None:
    """Compares as the JSON file `path` says, and prints a line of JSON: the result, or "error"."""
    spec = json.loads(Path(path or sys.argv[1]).read_text(encoding="utf-8"))
    try:
        answer = compare(spec)
    except Different as error:
        answer = {"different": str(error)}
    except Exception as error:  # of the runtime; each has its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        answer = {"error": lines[0][:300], "missing": getattr(error, "name", None)}
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main()
