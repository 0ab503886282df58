"""model/NAME/device: a TFLite file with a program that runs it on a Raspberry Pi or a PC."""

import shutil
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional

from todus import files, forms
from todus.errors import TodusError, UsageError
from todus.packages import folder as packages
from todus.paths import Model, beside_json
from todus.slicing import post_process, tflite_file
from todus.text import one_line, shortened

KIND = "device"

# The values of FORMAT, the default first, and why.
FORMATS = {
    "uint8": "8 bits, trained quantization-aware",
    "int8": "8 bits after training; FORMAT=float packs the exact file",
    "float": "there is no 8-bit file; FORMAT=int8 makes one, a quarter of the size",
    "float16": "half the size of float",
    "dynamic": "8-bit weights",
}

README = """\
{name}: detects {classes}
{file}: {title}, {height}x{width} pixels, {megabytes:.1f} MB

1. Copy this folder to the device, here a Raspberry Pi:

     scp -r {folder} pi@raspberrypi.local:{name}

2. On the device, install the runtime into an environment (once):

     cd {name}
     python3 -m venv venv
     venv/bin/pip install PACKAGES

   PACKAGES by "python3 --version" and "uname -m":

     3.10 to 3.14, aarch64 or x86_64   ai-edge-litert==2.3.0 pillow
     3.11, armv7l (32-bit Bookworm)    tflite-runtime==2.14.0 "numpy<2" pillow
     3.8 to 3.9 (Bullseye)             tflite-runtime==2.13.0 "numpy<2" pillow
     3.7 (Buster)                      tflite-runtime==2.11.0 "numpy<2" pillow

3. Detect:

     venv/bin/python detect.py photo.jpg
     venv/bin/python detect.py --draw out.jpg photo.jpg
     venv/bin/python detect.py --json photo.jpg
     venv/bin/python detect.py --camera 0    # needs: venv/bin/pip install opencv-python-headless

   venv/bin/python detect.py --help has more.

{edgetpu}
Tested: these versions of the runtimes on x86_64. Not tested: a Raspberry Pi, an Edge TPU, a camera.
labels.txt has the classes, a line each; detect.py reads them in {file}.json.
"""

EDGETPU = """\
Coral Edge TPU: compile the file on a PC with x86_64 Debian or Ubuntu and edgetpu_compiler, and copy
{name}_edgetpu.tflite beside {file}:

     edgetpu_compiler -s {file}         # for old runtimes: edgetpu_compiler -s -m 13 {file}

   detect.py takes it where libedgetpu.so.1 and an Edge TPU are; else {file} runs on the CPU.
   libedgetpu and the runtime must be of one age: Coral's libedgetpu1-std 16.0 is for tflite-runtime
   2.5.0.post1 (Python 3.9 and older, https://google-coral.github.io/py-repo/); for newer ones there
   are builds of others, such as https://github.com/feranick/libedgetpu.
"""

NO_EDGETPU = """\
Coral Edge TPU: it needs an 8-bit file, which this is not; make device FORMAT=int8 packs one.
"""

Say = Callable[[str], None]


class Chosen(NamedTuple):
    """A TFLite file of a model.

    Attributes:
      path: the file.
      about: its FILE.json.
    """

    path: Path
    about: Dict[str, Any]


def choose(model: Model, wanted: Optional[str], say: Say) -> Optional[Chosen]:
    """The model's TFLite file in a format; None where there is none that is up to date.

    Args:
      model: a prepared model.
      wanted: a key of FORMATS; None is the first of them that there is.
      say: takes a line for each file that is left out.
    """
    from todus.model import artefacts

    found: Dict[str, Chosen] = {}
    for form in forms.runnable():
        path = form.path(model.folder)
        if form.made_from != "tflite_graph" or not path.exists():
            continue
        about = artefacts.read(path)
        kind = about.get("format")
        if kind not in FORMATS or wanted not in (None, kind):
            continue
        try:
            artefacts.check_file(model, form)
        except TodusError as error:
            say("left out: %s" % error)
            continue
        if artefacts.is_outdated(model, form):
            say("left out: %s was made from another graph than the current one" % path)
            continue
        found.setdefault(str(kind), Chosen(path, about))
    return next((found[kind] for kind in FORMATS if kind in found), None)


def checked_format(wanted: Optional[str]) -> Optional[str]:
    """FORMAT. Raises UsageError for one that detects nothing."""
    if wanted and wanted not in FORMATS:
        what = "FORMAT=%s measures speed and detects nothing; choose from %s"
        raise UsageError(what % (one_line(wanted), ", ".join(FORMATS)))
    return wanted


def pack(model: Model, chosen: Chosen) -> Path:
    """Writes model/NAME/device with a TFLite file of the model, and returns it.

    A file of an earlier version, which loses a class where several threads run it, is mended.
    """
    target = model.folder / KIND
    with packages.writing(target) as folder:
        path = folder / (model.name + ".tflite")
        if post_process.add_lost_class(tflite_file.read(chosen.path.read_bytes())):
            _limited(chosen.path, "", path)
        else:
            shutil.copyfile(str(chosen.path), str(path))
            files.write_json(beside_json(path), chosen.about)
        compiled = chosen.path.with_name(chosen.path.stem + "_edgetpu.tflite")
        if chosen.about.get("edgetpu_compiler") and compiled.exists():
            shutil.copyfile(str(compiled), str(folder / (model.name + "_edgetpu.tflite")))
        _add_program(path, target)
    return target


def pack_file(file: Path, categories: str, name: str = "") -> Path:
    """Writes model/NAME/device with a finished file, limited to classes, and returns the folder.

    Args:
      file: a .tflite file that ends in the detection post-process operator.
      categories: of the file; "" for all.
      name: of the folder; "" is the file's.
    """
    if file.suffix.lower() != ".tflite":
        raise UsageError("FILE=%s: detect.py runs .tflite files; name one" % file)
    target = packages.named(file, name) / KIND
    with packages.writing(target) as folder:
        path = folder / (target.parent.name + ".tflite")
        _limited(file, categories, path)
        if post_process.POST_PROCESS.encode() not in path.read_bytes():
            what = "FILE=%s has no %s, which detect.py needs; limit it with: make slice FILE=%s"
            raise TodusError(what % (file, post_process.POST_PROCESS, file))
        _add_program(path, target)
    return target


def _limited(file: Path, categories: str, path: Path) -> None:
    Path(packages.limited(file, categories, path)["labels"]).unlink()


def _add_program(path: Path, target: Path) -> None:
    """Adds labels.txt, detect.py and README.txt to the folder of `path`, later `target`."""
    folder, name, about = path.parent, path.stem, files.read_json(beside_json(path))
    packages.write_labels(folder / "labels.txt", about["labels"])
    shutil.copyfile(str(Path(__file__).with_name("device_detect.py")), str(folder / "detect.py"))
    (folder / "detect.py").chmod(0o755)
    given = about.get("input") or {}
    height, width = (given.get("shape") or [1, 0, 0])[1:3]
    is_8_bit = {about.get("format"), given.get("dtype")} & {"uint8", "int8"}
    facts = {
        "name": name,
        "file": path.name,
        "folder": str(target),
        "classes": shortened(label for label in about["labels"] if label != "???"),
        "title": "%s, takes %s" % (about.get("format"), given.get("dtype")),
        "height": height,
        "width": width,
        "megabytes": path.stat().st_size / 1e6,
    }
    edgetpu = (EDGETPU if is_8_bit else NO_EDGETPU).format(**facts)
    files.write_text(folder / "README.txt", README.format(edgetpu=edgetpu, **facts))
