#!/usr/bin/env python3
"""Detects objects in images or in what a camera sees, with the model beside this file.

  python3 detect.py photo.jpg other.png       a line for each detection: image, class, score, and
                                              xmin, ymin, xmax, ymax in pixels, separated by tabs
  python3 detect.py --json photo.jpg          one JSON object for each image
  python3 detect.py --draw out.jpg photo.jpg  and the boxes drawn; several images: --draw FOLDER
  python3 detect.py --camera 0                each frame of a camera, until Ctrl-C

Needs NumPy, Pillow, and ai-edge-litert or tflite-runtime; a camera needs OpenCV. README.txt has the
versions. NAME_edgetpu.tflite, if it is beside NAME.tflite, runs on an Edge TPU; without one, or
without its library, NAME.tflite runs on the CPU. Python 3.7 or newer.
Exit codes: 0, 1 for an error, 2 for wrong usage.
"""

import argparse
import hashlib
import importlib
import json
import os
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNTIMES = {"ai_edge_litert": "LiteRT", "tflite_runtime": "TensorFlow Lite"}
EDGE_TPU = {"linux": "libedgetpu.so.1", "darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
COMPILED = "_edgetpu"  # what edgetpu_compiler adds to a file's name
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4")
COLORS += ("#008080", "#9a6324", "#800000", "#000075", "#808000")


class Failure(Exception):
    """One line for the user."""

    exit_code = 1


class Usage(Failure):
    exit_code = 2


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Usage("%s; see python3 detect.py --help" % message)


def parser():
    result = Parser(
        "detect.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("images", nargs="*", metavar="IMAGE")
    result.add_argument("--camera", metavar="N", help="a camera's number, or a video or stream")
    result.add_argument("--frames", type=int, metavar="N", help="only the first N of a camera")
    result.add_argument("--json", action="store_true", help="one JSON object for each image")
    result.add_argument("--draw", metavar="OUT", help="a picture with the boxes, .jpg or .png")
    text = "the least score (default: those in the model's .json, else 0.5)"
    result.add_argument("--threshold", type=float, metavar="T", help=text)
    result.add_argument("--threads", type=int, metavar="N", help="default: the number of cores")
    result.add_argument("--cpu", action="store_true", help="do not use an Edge TPU")
    result.add_argument("--model", metavar="FILE", help="default: the .tflite beside detect.py")
    return result


def one_line(text):
    """Text without control characters, which a terminal may obey."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", str(text)).strip()


def say(text):
    print("detect.py: %s" % one_line(text), file=sys.stderr, flush=True)


def imported(name, remedy):
    try:
        return importlib.import_module(name)
    except Exception as error:  # NumPy of another version raises AttributeError, for example
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise Failure("%s; %s" % (lines[0], remedy))


def model_file(given):
    """The .tflite file to run on the CPU, and what its .json says."""
    found = [Path(given)] if given else sorted(HERE.glob("*.tflite"))
    found = [each for each in found if given or not each.stem.endswith(COMPILED)]
    if len(found) != 1:
        what = "%d .tflite files in %s; name one: --model FILE"
        raise Usage(what % (len(found), HERE))
    path = found[0]
    described = path.with_name(path.name.replace(COMPILED + ".tflite", ".tflite") + ".json")
    try:
        about = json.loads(described.read_text(encoding="utf-8"))
        labels, scaling = about["labels"], about.get("input") or {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Failure("%s cannot be read (%s); copy the whole folder again" % (described, error))
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Failure("%s cannot be read (%s); name another: --model FILE" % (path, error.strerror))
    if not path.stem.endswith(COMPILED) and about.get("sha256") not in (None, digest):
        what = "%s is damaged, or not the file that %s describes; copy the whole folder again"
        raise Failure(what % (path, described.name))
    return path, labels, scaling, about.get("thresholds") or {}


class Detector:
    """A .tflite file with TFLite_Detection_PostProcess.

    Attributes:
      title: the runtime, its version, and where it computes.
    """

    def __init__(self, path, scaling, threads, cpu):
        import numpy

        self._np = numpy
        self._interpreter, self.title = opened(path, threads, cpu)
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]
        if len(self._outputs) != 4:
            raise Failure("%s has %d outputs; a detector has 4" % (path, len(self._outputs)))
        self.size = tuple(int(side) for side in self._input["shape"][1:3])
        self._mean = numpy.asarray(scaling.get("mean", 127.5), numpy.float32)
        self._std = numpy.asarray(scaling.get("std", 127.5), numpy.float32)

    def detect(self, image):
        """[(class from 0, score, [ymin, xmin, ymax, xmax] as 0..1)], highest score first.

        Args:
          image: uint8 [height, width, 3], RGB.
        """
        np = self._np
        self._interpreter.set_tensor(self._input["index"], self.prepared(image)[np.newaxis])
        self._interpreter.invoke()
        boxes, classes, scores, count = map(self._interpreter.get_tensor, self._outputs)
        found = zip(classes[0].astype(int), scores[0], np.clip(boxes[0], 0, 1))
        return list(found)[: int(count[0])]

    def prepared(self, image):
        """The model's input: resized, and scaled as its type needs."""
        np, dtype = self._np, self._np.dtype(self._input["dtype"])
        pixels = resized(image, self.size)
        if dtype.kind in "ui":
            return (np.clip(np.round(pixels), 0, 255) + np.iinfo(dtype).min).astype(dtype)
        return (pixels - self._mean) / self._std


def resized(image, size):
    """The image in `size`, as TensorFlow 1 resized those of the training: float32."""
    import numpy as np

    def places(length, wanted):
        at = np.arange(wanted, dtype=np.float32) * (np.float32(length) / np.float32(wanted))
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, length - 1), at - low.astype(np.float32)

    def between(rows):
        pixels = image[rows]
        first, second = (pixels[:, side].astype(np.float32) for side in (left, right))
        return first + (second - first) * across[:, np.newaxis]

    top, bottom, down = places(image.shape[0], size[0])
    left, right, across = places(image.shape[1], size[1])
    upper = between(top)
    return upper + (between(bottom) - upper) * down[:, np.newaxis, np.newaxis]


def opened(path, threads, cpu):
    """An interpreter of the compiled file on an Edge TPU, else of the file itself; its title."""
    module, title = runtime()
    compiled = path.with_name(path.stem.replace(COMPILED, "") + COMPILED + ".tflite")
    if compiled.exists() and not cpu:
        library = EDGE_TPU.get(sys.platform, EDGE_TPU["linux"])
        try:
            delegates = [module.load_delegate(library)]
            interpreter = module.Interpreter(str(compiled), experimental_delegates=delegates)
            interpreter.allocate_tensors()
            return interpreter, title + ", Edge TPU"
        except (ValueError, RuntimeError, OSError) as error:
            if compiled == path:
                raise Failure("%s needs an Edge TPU and %s (%s)" % (path, library, error))
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            say("no Edge TPU (%s); %s runs on the CPU" % (reason, path.name))
    elif compiled == path:
        raise Failure("%s is compiled for an Edge TPU; name another: --model FILE" % path)
    threads = threads or os.cpu_count() or 1
    try:
        interpreter = module.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise Failure("%s cannot run %s (%s); copy the folder again" % (title, path, reason))
    return interpreter, "%s, %d thread%s" % (title, threads, "s" * (threads > 1))


def runtime():
    """The module with Interpreter and load_delegate, and its name and version."""
    reasons = []
    for name, title in RUNTIMES.items():
        try:
            module = importlib.import_module(name + ".interpreter")
        except Exception as error:  # also those of a NumPy that it was not built for
            missing = isinstance(error, ImportError) and str(error).endswith("'%s'" % name)
            reasons += [] if missing else ["%s: %s" % (name, str(error).splitlines()[0])]
            continue
        version = getattr(importlib.import_module(name), "__version__", "")
        return module, ("%s %s" % (title, version)).strip()
    what = " or ".join(name.replace("_", "-") for name in RUNTIMES)
    hint = "; run: pip install ai-edge-litert (README.txt has the versions)"
    raise Failure("; ".join(reasons or ["no %s in %s" % (what, sys.executable)]) + hint)


def images_of(names):
    """(name, uint8 [height, width, 3] RGB) of each image, upright by its EXIF orientation."""
    import numpy
    from PIL import Image, ImageOps

    for name in names:
        try:
            with Image.open(name) as image:
                upright = ImageOps.exif_transpose(image) if image.getexif() else image
                yield name, numpy.asarray(upright.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if not os.path.isfile(name):
                raise Usage("%s: no such image" % name)
            raise Failure("%s is not an image that can be read (%s)" % (name, error))


def frames_of(camera, most):
    """(name, uint8 [height, width, 3] RGB) of each frame."""
    cv2 = imported("cv2", "a camera needs OpenCV: pip install opencv-python-headless")
    capture = cv2.VideoCapture(int(camera) if camera.isdigit() else camera)
    number = 0
    try:
        while most is None or number < most:
            there, frame = capture.read()
            if not there:
                break
            yield "%s#%d" % (camera, number), cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            number += 1
    finally:
        capture.release()
    if not number:
        raise Failure("camera %s gives no frame; is it connected, and not in use?" % camera)


def rows_of(found, labels, limits, shape):
    """[(class, score, [xmin, ymin, xmax, ymax] in pixels, index)] of those that score enough."""
    rows = []
    for index, score, (ymin, xmin, ymax, xmax) in found:
        label = labels[index] if index < len(labels) else str(index + 1)
        if score >= limits(label):
            height, width = shape[:2]
            box = [xmin * width, ymin * height, xmax * width, ymax * height]
            rows.append((label, float(score), [float(side) for side in box], index))
    return rows


def limits_of(thresholds, given):
    """The least score of a class, by its name."""
    if given is not None:
        return lambda label: given
    picked = {}
    for label, each in (thresholds.get("classes") or {}).items():
        if isinstance(each, dict) and isinstance(each.get("threshold"), (int, float)):
            picked[label] = each["threshold"]
    return lambda label: picked.get(label, 0.5)


def print_rows(name, shape, rows, milliseconds, as_json):
    if as_json:
        listed = [
            {"class": label, "score": round(score, 4), "box": [round(side, 1) for side in box]}
            for label, score, box, _ in rows
        ]
        line = {"image": name, "width": shape[1], "height": shape[0], "detections": listed}
        print(json.dumps(dict(line, ms=round(milliseconds, 1)), ensure_ascii=False), flush=True)
        return
    for label, score, box, _ in rows:
        values = (one_line(name), one_line(label), score, *box)
        print("%s\t%s\t%.3f\t%d\t%d\t%d\t%d" % values, flush=True)


def draw(image, rows, target):
    """Writes the image with boxes, classes and scores; the file is complete or as before."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    pen, side = ImageDraw.Draw(picture), max(picture.size)
    font, is_unicode = font_of(max(11, side // 45))
    for label, score, box, index in reversed(rows):
        color = COLORS[index % len(COLORS)]
        pen.rectangle(box, outline=color, width=max(2, side // 250))
        text = "%s %.2f" % (one_line(label), score)
        text = text if is_unicode else text.encode("ascii", "replace").decode()
        width, height = size_of(text, font)
        x = max(0, min(box[0], picture.width - width - 6))
        y = max(0, box[1] - height - 6)
        pen.rectangle((x, y, x + width + 6, y + height + 6), fill=color)
        pen.text((x + 3, y + 3), text, fill="white", font=font)
    part = target.with_name(".%s-%s" % (os.urandom(4).hex(), target.name))
    try:
        picture.save(str(part), quality=90)
        os.replace(str(part), str(target))
    except (OSError, ValueError) as error:
        if part.exists():
            part.unlink()
        raise Failure("%s cannot be written (%s); name another: --draw OUT.jpg" % (target, error))


def font_of(size):
    """A font, and whether it has more than ASCII's letters."""
    from PIL import ImageFont

    for name in ("DejaVuSans.ttf", "Arial.ttf"):
        try:
            return ImageFont.truetype(name, size), True
        except (OSError, ImportError):
            continue
    return ImageFont.load_default(), False


def size_of(text, font):
    """(width, height) in pixels; Pillow before 8 has no getbbox."""
    return font.getbbox(text)[2:] if hasattr(font, "getbbox") else font.getsize(text)


def checked(options):
    """The options. Raises Usage for those that do not go together."""
    if bool(options.images) == (options.camera is not None):
        raise Usage("name images, or a camera: python3 detect.py photo.jpg, or --camera 0")
    for name, most in (("threads", 4096), ("frames", 10**9)):
        value = getattr(options, name)
        if value is not None and not 1 <= value <= most:
            raise Usage("--%s %d: give a whole number from 1 to %d" % (name, value, most))
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise Usage("--threshold %g: give a number from 0 to 1" % options.threshold)
    stems = [Path(name).stem for name in options.images]
    if options.draw and len(stems) > 1:
        if not os.path.isdir(options.draw):
            raise Usage("--draw %s: several images need an existing folder" % options.draw)
        repeated = next((stem for stem in stems if stems.count(stem) > 1), None)
        if repeated:
            raise Usage("--draw: two images have the name %s; draw them one by one" % repeated)
    return options


def target_of(draw_to, name):
    """The picture to write for an image."""
    path = Path(draw_to)
    return path / (Path(name).stem + ".jpg") if path.is_dir() else path


def run(options):
    path, labels, scaling, thresholds = model_file(options.model)
    remedy = "run: pip install numpy pillow (README.txt has the versions)"
    for name in ("numpy", "PIL"):
        imported(name, remedy)
    detector = Detector(path, scaling, options.threads, options.cpu)
    limits, taken = limits_of(thresholds, options.threshold), []
    of_camera = options.camera is not None
    source = frames_of(options.camera, options.frames) if of_camera else images_of(options.images)
    try:
        for name, image in source:
            start = time.perf_counter()
            found = detector.detect(image)
            taken.append(1000 * (time.perf_counter() - start))
            rows = rows_of(found, labels, limits, image.shape)
            print_rows(name, image.shape, rows, taken[-1], options.json)
            if options.draw:
                draw(image, rows, target_of(options.draw, options.camera or name))
    except KeyboardInterrupt:
        if not of_camera:
            raise
    if taken:
        middle = sorted(taken)[len(taken) // 2]
        what = "%.1f ms an image (resize and detection, median of %d), %s"
        say(what % (middle, len(taken), detector.title))
    return 0


def main():
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        return run(checked(parser().parse_args()))
    except Failure as error:
        say(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
