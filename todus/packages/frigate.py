"""model/NAME/frigate: a detector as Frigate, the video recorder, takes it."""

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Callable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

from todus import categories, files
from todus.errors import TodusError, UsageError
from todus.packages import folder as packages
from todus.slicing import post_process, tflite_file
from todus.slicing import tflite_schema as schema
from todus.text import one_line, shortened

KIND = "frigate"
LAYOUT = "yolonas"  # of NAME.onnx, which Frigate's openvino and onnx detectors both read
LEAST = 0.4  # Frigate's detectors leave out lower scores

README = """\
{name}: detects {classes}
{height}x{width} pixels, for Frigate 0.15 and newer

1. Copy this folder into the folder of Frigate's config.yml, here CONFIG, which is /config in
   Frigate's container:

     mkdir -p CONFIG/{name} && cp {folder}/* CONFIG/{name}/

2. Move the keys of config.yml into Frigate's config.yml, and restart Frigate.

{files}
labelmap.txt: the classes
config.yml: one detector that is active, and others in comments

{edgetpu}Tested: Frigate's plugins cpu, openvino and onnx on x86_64. Not tested: Edge TPU, GPU, NPU.
"""

EDGETPU = """\
For a Coral, compile the file on x86_64 Debian or Ubuntu, in this folder, before step 1:

     edgetpu_compiler -s {name}.tflite      # for old runtimes: edgetpu_compiler -s -m 13 ...

"""

_PARTS = {
    ".tflite": "8 bits, for the detectors cpu and teflon_tfl",
    "_edgetpu.tflite": "compiled for the detector edgetpu",
    ".onnx": "for the detectors openvino and onnx",
}

Say = Callable[[str], None]


class Detector(NamedTuple):
    """An entry of config.yml.

    Attributes:
      key: in detectors.
      settings: its lines.
      file: what follows NAME in the name of the model's file.
      tensor: the value of input_tensor.
      kind: the value of model_type.
      note: for whom it is.
    """

    key: str
    settings: Tuple[str, ...]
    file: str
    tensor: str
    kind: str
    note: str


_TFLITE, _ONNX = ("nhwc", "ssd"), ("nchw", LAYOUT)
DETECTORS = (
    Detector("cpu", ("type: cpu", "num_threads: 3"), ".tflite", *_TFLITE, "any processor"),
    Detector(
        "coral",
        ("type: edgetpu", "device: usb"),
        "_edgetpu.tflite",
        *_TFLITE,
        "Coral, with the compiled file (README.txt); device: pci for M.2 and PCIe",
    ),
    Detector(
        "ov",
        ("type: openvino", "device: CPU"),
        ".onnx",
        *_ONNX,
        "Intel and AMD processors; device: GPU for Intel's graphics",
    ),
    Detector(
        "onnx",
        ("type: onnx",),
        ".onnx",
        *_ONNX,
        "GPUs: Frigate's images for NVIDIA (-tensorrt) and AMD (-rocm)",
    ),
    Detector(
        "teflon",
        ("type: teflon_tfl",),
        ".tflite",
        *_TFLITE,
        "NPUs with Mesa's Teflon delegate; Frigate 0.17 and newer",
    ),
)


class Content(NamedTuple):
    """What a folder is made of.

    Attributes:
      tflite: an 8-bit file with detection post-processing.
      compiled: the same for an Edge TPU; None where there is none.
      onnx: in LAYOUT; None where there is none.
      labels: class names from index 0.
      thresholds: class name -> the score that eval picked, for some of them.
    """

    tflite: Path
    compiled: Optional[Path]
    onnx: Optional[Path]
    labels: Sequence[str]
    thresholds: Mapping[str, float]


def pack_file(path: Path, wanted: str, name: str, say: Say) -> Path:
    """Writes model/NAME/frigate from a finished .tflite file, and returns it.

    Args:
      path: the file.
      wanted: its classes, as CATEGORIES of make slice; "" keeps all.
      name: of the folder under model/; "" is that of the file.
      say: called with what the slice tells.
    """
    if path.suffix.lower() != ".tflite":
        raise UsageError("FILE=%s: Frigate's cpu and edgetpu detectors take .tflite files" % path)
    if path.is_file():
        _input_size(path)
    target = packages.named(path, name)
    with files.scratch(target) as scratch:
        limited = scratch / (target.name + ".tflite")
        made = packages.limited(path, wanted, limited)
        for line in made["notes"] + made["proof"]:
            say(line)
        return write(target, Content(limited, None, None, made["classes"], {}))


def write(model: Path, content: Content) -> Path:
    """Writes the folder `model`/frigate, and returns it."""
    name, size = model.name, _input_size(content.tflite)
    parts = dict(zip(_PARTS, (content.tflite, content.compiled, content.onnx)))
    parts = {suffix: path for suffix, path in parts.items() if path}
    with packages.writing(model / KIND) as folder:
        for suffix, path in parts.items():
            shutil.copyfile(str(path), str(folder / (name + suffix)))
        files.write_text(folder / "labelmap.txt", _labelmap(content.labels))
        files.write_text(folder / "config.yml", _config(name, content, size))
        files.write_text(folder / "README.txt", _readme(model, content, size, list(parts)))
    return model / KIND


def _input_size(path: Path) -> Tuple[int, int]:
    """(height, width) of the input. Raises TodusError for a file that Frigate would misread."""
    try:
        content = tflite_file.read(path.read_bytes())
    except TodusError as error:
        raise TodusError("%s cannot be read: %s" % (path.name, error))
    post_process.remove_lost_class(content)
    graph = content.subgraphs[0]
    given = graph.tensors[graph.inputs[0]] if len(graph.inputs) else schema.TensorT()
    shape = [] if given.shape is None else [int(side) for side in given.shape]
    if given.type != schema.TensorType.UINT8 or len(shape) != 4 or shape[::3] != [1, 3]:
        kind = tflite_file.TYPES.get(given.type, given.type)
        what = "%s takes %s %s, Frigate gives uint8 pixels [1, height, width, 3]; "
        remedy = "take a file with uint8 input (make frigate MODEL=NAME makes one)"
        raise TodusError(what % (path.name, kind, shape) + remedy)
    found = post_process.find(content, graph)
    if len(found) != 1 or list(found[0].outputs) != list(graph.outputs):
        what = "%s does not end in the outputs of TFLite_Detection_PostProcess: boxes, classes, "
        remedy = (
            "scores, count; Frigate reads them in this order, so export the model again with it"
        )
        raise TodusError(what % path.name + remedy)
    return shape[1], shape[2]


def _labelmap(labels: Sequence[str]) -> str:
    """Lines "INDEX NAME", so that a name may begin with a number."""
    names = ["unknown" if label == categories.UNUSED else one_line(label) for label in labels]
    return "".join("%d  %s\n" % each for each in enumerate(names))


def _config(name: str, content: Content, size: Tuple[int, int]) -> str:
    lines = [
        "# Keys for Frigate's config.yml; the files are in /config/%s." % name,
        "# One detector is active. For another, put # before the lines of detectors and model, and",
        "# remove it from those of the other.",
    ]
    there = [each for each in DETECTORS if content.onnx or each.file != ".onnx"]
    for place, detector in enumerate(there):
        block = list(_block(name, detector, size))
        lines += ["", "# %s: %s" % (detector.key, detector.note)]
        lines += block if place == 0 else ["# " + line for line in block]
    return "\n".join(lines + ["", *_objects(content)]) + "\n"


def _block(name: str, detector: Detector, size: Tuple[int, int]) -> Iterator[str]:
    """The keys detectors and model."""
    yield "detectors:"
    yield "  %s:" % detector.key
    yield from ("    " + line for line in detector.settings)
    yield "model:"
    yield "  path: " + _quoted("/config/%s/%s%s" % (name, name, detector.file))
    yield "  labelmap_path: " + _quoted("/config/%s/labelmap.txt" % name)
    yield "  width: %d" % size[1]
    yield "  height: %d" % size[0]
    yield "  input_tensor: " + detector.tensor
    yield "  input_pixel_format: rgb"
    yield "  input_dtype: int"
    yield "  model_type: " + detector.kind


def _objects(content: Content) -> Iterator[str]:
    """The key objects, with the thresholds that eval picked."""
    names = [name for name in dict.fromkeys(content.labels) if name != categories.UNUSED]
    yield "objects:"
    yield "  track:"
    yield from ("    - " + _quoted(name) for name in names)
    picked = {name: content.thresholds[name] for name in names if name in content.thresholds}
    if not picked:
        yield "  # No scores from eval: Frigate's are min_score 0.5 and threshold 0.7."
        return
    yield "  filters:  # the scores that eval picked on val"
    for name, score in picked.items():
        score = math.floor(score * 1000) / 1000
        note = "  # eval picked %g, less than Frigate takes" % score if score < LEAST else ""
        yield "    %s:%s" % (_quoted(name), note)
        yield "      min_score: %g" % max(score, LEAST)
        yield "      threshold: %g" % max(score, LEAST)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _readme(model: Path, content: Content, size: Tuple[int, int], parts: Sequence[str]) -> str:
    names = [name for name in dict.fromkeys(content.labels) if name != categories.UNUSED]
    facts = {"name": model.name, "folder": shlex.quote(str(model / KIND)), "height": size[0]}
    facts.update(width=size[1], classes=one_line(shortened(names)))
    facts["files"] = "\n".join("%s%s: %s" % (model.name, each, _PARTS[each]) for each in parts)
    edgetpu = "" if "_edgetpu.tflite" in parts else EDGETPU.format(**facts)
    return README.format(edgetpu=edgetpu, **facts)
