"""Limits a finished detector to some of its classes, without retraining and without TensorFlow.

  python -m slice detect.tflite "person car dog"
  python -m slice detect.tflite "person vehicle=car+truck+bus"
  python -m slice detect.tflite "person car" --threshold "person=0.62 car=0.35" --at 0.5

Writes detect-limited.tflite, detect-limited-labels.txt and detect-limited.tflite.json. The kept
classes are detected exactly as before; their order is the one typed. FILE is a .tflite SSD
(MobileNet, MobileDet, FPN), the frozen graph (.pb) or the SavedModel (a folder) of an SSD, or an
.onnx file (an SSD's, with its non-max suppression or without, Ultralytics', TensorRT's). The labels
are those in FILE.json, in the file or beside it, else COCO's. Where a runtime is installed (LiteRT,
ONNX Runtime, TensorFlow), the two files are compared before anything is written. make slice takes
FILE and CATEGORIES as variables, and sets up an environment. ALLOW_OPS names operators of a graph
to run beside the known ones. docs/slice.md has more.
Exit codes: 0, 1 for an error, 2 for wrong usage.
"""

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from todus import command, files, variables
from todus.command import say
from todus.errors import TodusError, UsageError
from todus.paths import beside_json
from todus.slicing import labels, proof, saved_model
from todus.slicing.finished import Cutting, Finished, logit
from todus.text import first_line, shortened

NAME = "slice"
_BESIDE = ("{stem}-labels.txt", "{stem}.txt", "labelmap.txt", "labels.txt")


class _Parser(command.Parser):
    def error(self, message: str) -> None:
        raise UsageError("%s; see %s --help" % (message, _program()))


def _program() -> str:
    """What the user types: the command of the package, or the module of a clone."""
    if Path(sys.argv[0]).name.startswith("todus-slice"):
        return "todus-slice"
    is_of_make = Path(sys.prefix) == command.REPO / ".slice"
    return "%s -m slice" % (".slice/bin/python" if is_of_make else "python")


def parser() -> command.Parser:
    result = _Parser(NAME, __doc__)
    result.add_argument("file", metavar="FILE", help="the finished file")
    result.add_argument("categories", metavar="CLASSES", help='"person car"; @FILE: one a line')
    text = "the classes of FILE, one a line from class 0, or a label map"
    result.add_argument("--labels", metavar="FILE", help=text)
    result.add_argument("-o", "--output", metavar="FILE", help="default: FILE's name with -limited")
    text = "scores of classes to move onto --at, for programs with one fixed threshold"
    result.add_argument("--threshold", metavar='"CLASS=SCORE ..."', help=text)
    result.add_argument("--at", metavar="SCORE", default="0.5", help="default: 0.5")
    text = "compare the two files on this image as well"
    result.add_argument("--check", metavar="IMAGE", action="append", default=[], help=text)
    text = "accept scores that change, as those of a softmax do"
    result.add_argument("--approximate", action="store_true", help=text)
    result.add_argument("--json", action="store_true", help="print the result as JSON")
    return result


def main(argv: Optional[List[str]] = None) -> int:
    options = parser().parse_args(argv)
    for line in variables.check(NAME, os.environ):
        say("%s: %s" % (NAME, line))
    path = Path(options.file)
    result = limit(path, options)
    if options.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return 0
    for line in result["notes"] + result["proof"]:
        say(line)
    print("%(output)s  %(labels)s" % {"output": result["output"], "labels": result["classes_text"]})
    print("%d bytes before, %d bytes after" % (result["bytes_before"], result["bytes_after"]))
    print(result["next"])
    return 0


def limit(path: Path, options) -> Dict[str, Any]:
    """Limits a file; returns what --json prints."""
    path = path.parent if path.name == saved_model.FILE else path
    path = path if path.name else path.absolute()
    target = Path(options.output) if options.output else _target(path)
    if os.path.realpath(str(target)) == os.path.realpath(str(path)):
        raise UsageError("--output %s is the file itself; name another" % target)
    if files.is_special(target):
        what = "--output %s is no regular file, and the labels are written beside it; name another"
        raise UsageError(what % target)
    others = {each.name for each in target.iterdir()} if target.is_dir() else set()
    if others.difference((saved_model.FILE, saved_model.VARIABLES)):
        raise UsageError("--output %s is a folder with other files; name another" % target)
    for image in options.check:
        if not Path(image).is_file():
            raise UsageError("--check %s is not a file" % image)
    at = labels.score(options.at, "--at ")
    try:
        finished, names, where = _opened(path, options)
        choices = labels.chosen(options.categories, names, where)
        limits = labels.thresholds(options.threshold or "", choices)
        shifts = {name: logit(at) - logit(score) for name, score in limits.items()}
        wanted = Cutting(choices, shifts, at, options.approximate)
        made = finished.cut(wanted)
        checked = finished.prove(made, wanted, options.check)
    except UsageError:
        raise
    except TodusError as error:
        raise TodusError("%s cannot be limited: %s" % (path, error))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if os.environ.get("TODUS_DEBUG"):
            raise
        what = "%s cannot be limited: it is damaged, or of a layout that is not understood (%s: %s)"
        raise TodusError(what % (path, type(error).__name__, first_line(error)))
    about = _about(path, finished, wanted, made)
    written = _write(path, target, finished, made, wanted.names, about)
    before, after = files.size_of(path), files.size_of(target)
    kept = "%d of %d classes: %s" % (len(choices), finished.classes, shortened(wanted.names))
    return {
        "output": str(target),
        "labels": str(written),
        "classes": wanted.names,
        "columns": wanted.indices,
        "classes_before": finished.classes,
        "classes_text": kept,
        "labels_from": where,
        "bytes_before": before,
        "bytes_after": after,
        "notes": ["labels: " + where] + finished.notes(),
        "proof": proof.sentences(checked, finished.runtime),
        "compared": checked,
        "next": finished.next_command(target)
        or "next: %s %s all --check PHOTO.jpg" % (_program(), shlex.quote(str(target))),
    }


def _target(path: Path) -> Path:
    suffix = "" if path.is_dir() else path.suffix
    return path.with_name(_stem(path) + "-limited" + suffix)


def _stem(path: Path) -> str:
    """The name without the suffix, which a folder has not."""
    return path.name if path.is_dir() else path.stem


def _content(path: Path) -> Path:
    """The file with the graph: that in the folder of a SavedModel, or the file itself."""
    return path / saved_model.FILE if path.is_dir() else path


def _opened(path: Path, options) -> Tuple[Finished, List[str], str]:
    """The file, the names of its classes, and where these are from."""
    about = _description(path)
    given = labels.read(Path(options.labels)) if options.labels else about.get("labels")
    finished = _reader(path, len(given) if given else None)
    count = finished.classes
    if options.labels:
        return finished, labels.fitted(given, count, options.labels), options.labels
    if given:
        where = str(beside_json(path))
        return finished, labels.fitted(given, count, where), where
    own = finished.labels()
    if own:
        return finished, labels.fitted(own, count, "the file"), "the labels in %s" % path
    for pattern in _BESIDE:
        beside = path.with_name(pattern.format(stem=_stem(path)))
        if beside.is_file():
            with contextlib.suppress(TodusError):
                return finished, labels.fitted(labels.read(beside), count, ""), str(beside)
    coco = labels.coco(count)
    if coco is None:
        what = "it has no labels and %d classes; name them, one a line: --labels FILE"
        raise TodusError(what % count)
    return finished, coco, "COCO's %d classes, because %s has no labels" % (count, path)


def _reader(path: Path, count: Optional[int]) -> Finished:
    try:
        data = _content(path).read_bytes() if _content(path).is_file() else None
    except OSError as error:
        raise TodusError("it cannot be read (%s)" % error.strerror)
    if data is None:
        raise TodusError("it is not a file" if path.exists() else "there is no such file")
    if not data:
        raise TodusError("it is empty")
    if path.is_dir():
        return saved_model.SavedModel(data)
    if data[4:8] == b"TFL3":
        from todus.slicing.tflite import TFLite

        return TFLite(data, count)
    if path.suffix.lower() == ".onnx":
        from todus.slicing.onnx import Onnx

        return Onnx(data, count)
    if path.suffix.lower() == ".pb":
        from todus.slicing.tensorflow import FrozenGraph

        return FrozenGraph(data)
    raise TodusError("it is no .tflite, .onnx or .pb file, or is damaged")


def _description(path: Path) -> Dict[str, Any]:
    """FILE.json where it describes this file; {} otherwise."""
    beside = beside_json(path)
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
        names = about.get("labels")
        known = about.get("sha256") in (None, files.sha256(_content(path)))
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    if not known or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        return {}
    return about if names else {}


def _about(path: Path, finished: Finished, wanted: Cutting, made: bytes) -> Dict[str, Any]:
    """The content of FILE.json of the limited file."""
    about = _description(path) or finished.description()
    about = {key: value for key, value in about.items() if key not in ("graph", "edgetpu_compiler")}
    identity = about.get("identity")
    size = identity.get("size") if isinstance(identity, dict) else None
    shape = (about.get("input") or {}).get("shape") or []
    about["labels"] = wanted.names
    about["identity"] = {"labels": wanted.names, "size": size or shape[1:3] or None}
    about["made_from"] = {
        "file": path.name,
        "sha256": files.sha256(_content(path)),
        "columns": wanted.indices,
        "classes": finished.classes,
    }
    if wanted.shifts:
        about["made_from"]["shifts"] = wanted.shifts
    return about


def _write(
    path: Path,
    target: Path,
    finished: Finished,
    made: bytes,
    names: List[str],
    about: Dict[str, Any],
) -> Path:
    """Writes the limited file, its labels and its FILE.json; all of them or none."""
    import hashlib

    of_folder = path.is_dir()
    stem = target.name if of_folder else target.stem
    label_file = target.with_name(stem + "-labels.txt")
    about = dict(about, bytes=len(made), sha256=hashlib.sha256(made).digest().hex())
    contents = {
        beside_json(target): (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode(),
        label_file: ("\n".join(names) + "\n").encode("utf-8"),
        target / saved_model.FILE if of_folder else target: made,
    }
    try:
        with contextlib.ExitStack() as stack:
            if of_folder:
                stack.enter_context(_folders(target, target / saved_model.VARIABLES))
            for place, content in contents.items():
                stack.enter_context(files.replacing(place)).write_bytes(content)
    except OSError as error:
        remedy = "choose another place: --output FOLDER/%s" % shlex.quote(target.name)
        raise TodusError("%s cannot be written (%s); %s" % (target, error.strerror, remedy))
    return label_file


@contextlib.contextmanager
def _folders(*folders: Path) -> Iterator[None]:
    """Makes folders, and removes those that are new and empty on an exception."""
    made = [each for each in folders if not each.is_dir()]
    try:
        for folder in made:
            folder.mkdir()
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def entry() -> None:
    """The command todus-slice."""
    raise SystemExit(command.run(NAME, main, sys.argv[1:]))
