"""The folder for a device: its files, and its detect.py, run as on a device."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.detection.test_detectors import val_images
from tests.helpers import finished_files
from tests.helpers.places import MODEL, QUANTIZED, REPO
from todus import command, paths
from todus.commands import detect, device
from todus.detection import runtimes

FILES = ["README.txt", "detect.py", "labels.txt"]

# A runtime that finds a box of each of three classes in every image.
RUNTIME = """
import os
import numpy as np

def load_delegate(library, options=None):
    if not os.environ.get("EDGE_TPU"):
        raise ValueError("Failed to load delegate from %s\\n" % library)
    return library

class Interpreter:
    def __init__(self, model_path, num_threads=None, experimental_delegates=None):
        self.values = {
            1: np.float32([[[0.1, 0.2, 0.5, 0.6], [-0.1, 0, 1.5, 1], [0, 0, 0.5, 0.5], [0] * 4]]),
            2: np.float32([[0, 1, 2, 0]]),
            3: np.float32([[0.9, 0.6, 0.4, 0]]),
            4: np.float32([3]),
        }

    def allocate_tensors(self):
        pass

    def get_input_details(self):
        return [{"index": 0, "shape": np.array([1, 8, 8, 3]), "dtype": np.uint8}]

    def get_output_details(self):
        return [{"index": index} for index in (1, 2, 3, 4)]

    def set_tensor(self, index, value):
        assert value.shape == (1, 8, 8, 3) and value.dtype == np.uint8

    def invoke(self):
        pass

    def get_tensor(self, index):
        return self.values[index]
"""

CAMERA = """
import numpy as np

CAP_PROP_FPS, COLOR_BGR2RGB = 5, 4

class VideoCapture:
    def __init__(self, source):
        self.left = 3 if source == 0 else 0
    def read(self):
        self.left -= 1
        return self.left >= 0, np.zeros((40, 80, 3), np.uint8)
    def release(self):
        pass

def cvtColor(image, code):
    return image[:, :, ::-1]
"""


@pytest.fixture
def model(exported, tmp_path, monkeypatch):
    """model(NAME) copies an exported model into the TODUS_HOME of the test and chooses it."""

    def chosen(name):
        folder = tmp_path / "home" / "model" / name
        shutil.copytree(str(exported / "model" / name), str(folder))
        monkeypatch.setenv("MODEL_DIR", str(folder))
        return folder

    monkeypatch.setenv("TODUS_HOME", str(tmp_path / "home"))
    return chosen


def packed(capsys, monkeypatch, **settings):
    """The exit code of make device, and what it prints to stderr."""
    for name in ("FILE", "FORMAT", "CATEGORIES", "AS"):
        monkeypatch.setenv(name, str(settings.get(name, "")))
    code = command.run("device", device.main, [])
    return code, capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    """A folder with detect.py, the description of a model, and a runtime that stands for LiteRT."""
    made = tmp_path / "device"
    (made / "tflite_runtime").mkdir(parents=True)
    shutil.copyfile(str(REPO / "todus" / "packages" / "device_detect.py"), str(made / "detect.py"))
    (made / "tflite_runtime" / "__init__.py").write_text("__version__ = '2.0'")
    (made / "tflite_runtime" / "interpreter.py").write_text(RUNTIME)
    (made / "m.tflite").write_bytes(b"a model")
    labels = ["cup \033[31m", "wine glass", "cat"]
    (made / "m.tflite.json").write_text(json.dumps({"labels": labels, "input": {}}))
    Image.new("RGB", (200, 100), "gray").save(str(made / "photo.jpg"))
    return made


def run_program(folder, *arguments, python=sys.executable, **environment):
    """(exit code, lines of stdout, lines of stderr) of detect.py."""
    done = subprocess.run(
        [python, "detect.py", *map(str, arguments)],
        cwd=str(folder),
        env=dict(os.environ, PYTHONPATH="", **environment),
        capture_output=True,
    )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode().splitlines()


def has_litert_and_pillow():
    python = str(runtimes.FOLDER / "bin" / "python")
    code = "import ai_edge_litert.interpreter, PIL"
    return (
        runtimes.installed()
        and not subprocess.run([python, "-I", "-c", code], stderr=subprocess.DEVNULL).returncode
    )


def test_the_program_detects_in_litert_what_python_m_detect_does(
    model, exported, tmp_path, monkeypatch, capsys
):
    if not has_litert_and_pillow():
        pytest.skip("no LiteRT and Pillow in .runtimes; make runtimes installs them")
    monkeypatch.setenv("TODUS_HOME", str(exported))
    images = []
    for number, image in enumerate(val_images(8)):
        images.append(str(tmp_path / ("%d.png" % number)))
        Image.fromarray(image).save(images[-1])
    monkeypatch.setenv("TODUS_HOME", str(tmp_path / "home"))
    python = str(runtimes.FOLDER / "bin" / "python")
    for name, formats in ((MODEL, ("float", "int8")), (QUANTIZED, ("uint8",))):
        made = model(name)
        for wanted in formats:
            form = "tflite-int8" if wanted == "int8" else "tflite"
            arguments = ["-m", name, "--format", form, "--threshold", "0.3"]
            arguments += ["--out", str(tmp_path / "drawn")]
            assert command.run("detect", detect.main, arguments + images) == 0
            expected = capsys.readouterr().out.splitlines()
            assert packed(capsys, monkeypatch, FORMAT=wanted)[0] == 0
            code, lines, said = run_program(
                made / "device", "--threshold", "0.3", *images, python=python
            )
            assert code == 0 and "LiteRT" in said[-1]
            assert len(expected) > 5 and lines == expected, (name, wanted)


def test_the_folder_has_the_eight_bit_file_if_there_is_one_and_the_command_says_why(
    model, monkeypatch, capsys
):
    made = model(MODEL)
    code, said = packed(capsys, monkeypatch)
    assert code == 0 and "packs %s-int8.tflite: int8, 8 bits after" % MODEL in said
    assert "FORMAT=float packs the exact file" in said
    names = sorted(each.name for each in (made / "device").iterdir())
    assert names == sorted(FILES + [MODEL + ".tflite", MODEL + ".tflite.json"])
    about = json.loads((made / "device" / (MODEL + ".tflite.json")).read_text())
    assert (about["format"], about["input"]["dtype"]) == ("int8", "uint8")
    assert (made / "device" / "labels.txt").read_text() == "circle\nfour point star\n"
    readme = (made / "device" / "README.txt").read_text()
    assert "edgetpu_compiler -s %s.tflite" % MODEL in readme
    assert "scp -r %s" % (made / "device") in readme
    assert packed(capsys, monkeypatch, FORMAT="float16")[0] == 0  # again, in place of the first
    assert "FORMAT=int8" in (made / "device" / "README.txt").read_text()
    assert sorted(each.name for each in (made / "device").iterdir()) == names
    (made / (MODEL + "-int8.tflite")).unlink()
    assert "float, there is no 8-bit file; FORMAT=int8 makes" in packed(capsys, monkeypatch)[1]
    code, said = packed(capsys, monkeypatch, FORMAT="dummy")
    assert code == 2 and said.startswith("device: FORMAT=dummy measures speed")


def test_a_format_that_is_missing_is_made(model, monkeypatch, capsys):
    made = model(QUANTIZED)
    code, said = packed(capsys, monkeypatch, FORMAT="float")
    assert code == 0 and "packs %s-float.tflite: float, by FORMAT=float" % QUANTIZED in said
    assert (made / (QUANTIZED + "-float.tflite")).exists()
    code, said = packed(capsys, monkeypatch, FORMAT="int8")
    assert code == 1 and said.count("\n") == 1 and "it has its own 8-bit ranges" in said


def test_a_finished_file_is_limited_and_packed_whole_or_not_at_all(model, monkeypatch, capsys):
    file = model(MODEL) / (MODEL + ".tflite")
    monkeypatch.delenv("MODEL_DIR")
    assert packed(capsys, monkeypatch, FILE=file, CATEGORIES="circle", AS="one")[0] == 0
    made = paths.models_folder() / "one" / "device"
    names = sorted(FILES + ["one.tflite", "one.tflite.json"])
    assert sorted(each.name for each in made.iterdir()) == names
    assert (made / "labels.txt").read_text() == "circle\n"
    code, said = packed(capsys, monkeypatch, FILE=file, CATEGORIES="bird", AS="two")
    assert code == 2 and said.count("\n") == 1 and "bird" in said
    assert not (paths.models_folder() / "two").exists()
    code, said = packed(capsys, monkeypatch, FILE=file.with_suffix(".pb"))
    assert code == 2 and ".pb: detect.py runs .tflite files; name one" in said
    code, said = packed(capsys, monkeypatch, FILE="no.tflite")
    assert code == 2 and "FILE=no.tflite is not a file" in said
    code, said = packed(capsys, monkeypatch, FILE=file, FORMAT="int8")
    assert code == 2 and "FORMAT=int8: FILE has its format; unset FORMAT" in said


def test_a_file_that_several_threads_make_lose_a_class_is_mended(home, monkeypatch, capsys):
    file = home / "old.tflite"
    file.write_bytes(finished_files.detector(classes=5))
    (home / "old.txt").write_text("a\nb\nc\nd\ne\n")
    assert b"every_class/" not in file.read_bytes()
    assert packed(capsys, monkeypatch, FILE=file)[0] == 0
    made = home / "model" / "old" / "device"
    assert b"every_class/" in (made / "old.tflite").read_bytes()
    assert (made / "labels.txt").read_text() == "a\nb\nc\nd\ne\n"


def test_make_device_without_a_model_says_what_to_type(home):
    script = [str(REPO / "lib" / "device.sh")]
    done = subprocess.run(
        script, env=dict(os.environ, MODEL="none", PYTHON=sys.executable), stderr=subprocess.PIPE
    )
    text = 'device: no model at %s; limit one of the zoo: CATEGORIES="person car"; see' % (
        home / "model" / "none"
    )
    assert done.returncode == 2 and done.stderr.decode().startswith(text)
    assert done.stderr.count(b"\n") == 1 and not list(home.iterdir())


def test_the_program_prints_lines_json_and_pictures(folder):
    code, lines, said = run_program(folder, "photo.jpg")
    assert code == 0 and len(said) == 1 and "TensorFlow Lite 2.0, " in said[0]
    assert lines == [
        "photo.jpg\tcup  [31m\t0.900\t40\t10\t120\t50",
        "photo.jpg\twine glass\t0.600\t0\t0\t200\t100",
    ]
    about = json.loads((folder / "m.tflite.json").read_text())
    about["thresholds"] = {"classes": {"cat": {"threshold": 0.4}, "wine glass": None}}
    (folder / "m.tflite.json").write_text(json.dumps(about))
    code, lines, _ = run_program(folder, "--json", "--draw", "out.png", "photo.jpg")
    found = json.loads(lines[0])
    assert code == 0 and [each["class"] for each in found["detections"]] == about["labels"]
    assert found["detections"][2] == {"class": "cat", "score": 0.4, "box": [0, 0, 100, 50]}
    assert (found["image"], found["width"], found["height"]) == ("photo.jpg", 200, 100)
    assert found["ms"] > 0
    with Image.open(str(folder / "out.png")) as picture:
        assert picture.size == (200, 100) and len(picture.getcolors(9999)) > 3
    assert len(run_program(folder, "--threshold", "0.7", "photo.jpg")[1]) == 1


def test_the_program_reads_a_camera(folder):
    (folder / "cv2.py").write_text(CAMERA)
    code, lines, said = run_program(folder, "--camera", "0", "--frames", "2", "--threshold", "0.7")
    assert code == 0 and [line.split("\t")[0] for line in lines] == ["0#0", "0#1"]
    assert "median of 2" in said[-1]
    code, _, said = run_program(folder, "--camera", "7")
    assert (code, len(said)) == (1, 1) and "camera 7 gives no frame" in said[0]


def test_the_program_falls_back_from_the_edge_tpu_with_one_line(folder):
    (folder / "m_edgetpu.tflite").write_bytes(b"compiled")
    code, lines, said = run_program(folder, "photo.jpg")
    assert code == 0 and len(lines) == 2
    text = "detect.py: no Edge TPU (Failed to load delegate from libedgetpu.so.1); m.tflite runs on"
    assert said[0].startswith(text) and "thread" in said[1]
    assert len(run_program(folder, "--cpu", "photo.jpg")[2]) == 1
    code, lines, said = run_program(folder, "photo.jpg", EDGE_TPU="1")
    assert code == 0 and len(lines) == 2 and said[0].endswith("TensorFlow Lite 2.0, Edge TPU")
    code, _, said = run_program(folder, "--model", "m_edgetpu.tflite", "photo.jpg")
    assert (code, len(said)) == (1, 1) and "needs an Edge TPU" in said[0]


def test_an_error_of_the_program_is_one_line(folder):
    (folder / "text.jpg").write_text("no image")
    wrong = [
        (2, "name images, or a camera", []),
        (2, "name images, or a camera", ["photo.jpg", "--camera", "0"]),
        (2, "no.jpg: no such image", ["no.jpg"]),
        (1, "text.jpg is not an image that can be read", ["text.jpg"]),
        (2, "--threshold 2: give a number from 0 to 1", ["photo.jpg", "--threshold", "2"]),
        (2, "--threshold nan: give a number from 0", ["photo.jpg", "--threshold", "nan"]),
        (2, "--threshold -inf: give a number", ["photo.jpg", "--threshold=-inf"]),
        (2, "invalid int value", ["photo.jpg", "--threads", "1e9"]),
        (2, "--threads 0: give a whole number", ["photo.jpg", "--threads", "0"]),
        (2, "--threads 4097: give a whole number from 1", ["photo.jpg", "--threads", "4097"]),
        (2, "--frames -1: give a whole number", ["--camera", "0", "--frames", "-1"]),
        (2, "several images need an existing folder", ["photo.jpg", "x.jpg", "--draw", "o.jpg"]),
        (2, "unrecognized arguments: --fast; see", ["photo.jpg", "--fast"]),
        (1, "o.xyz cannot be written", ["photo.jpg", "--draw", "o.xyz"]),
        (1, "a camera needs OpenCV: pip install", ["--camera", "0"]),
    ]
    (folder / "cv2.py").write_text("raise ImportError('No module named cv2')")
    for expected, words, arguments in wrong:
        code, _, said = run_program(folder, *arguments)
        assert code == expected and len(said) == 1 and words in said[0], (arguments, said)
    shutil.rmtree(str(folder / "tflite_runtime"))
    code, _, said = run_program(folder, "photo.jpg")
    assert (code, len(said)) == (1, 1) and "no ai-edge-litert or tflite-runtime in" in said[0]
    about = json.loads((folder / "m.tflite.json").read_text())
    (folder / "m.tflite.json").write_text(json.dumps(dict(about, sha256="00")))
    code, _, said = run_program(folder, "photo.jpg")
    assert (code, len(said)) == (1, 1) and "m.tflite is damaged, or not the file that" in said[0]
    (folder / "m.tflite.json").unlink()
    code, _, said = run_program(folder, "photo.jpg")
    assert (code, len(said)) == (1, 1) and "copy the whole folder again" in said[0]


def test_the_program_resizes_as_the_graph_does(tmp_path):
    import importlib.util

    from todus.detection.resizer import Resizer

    path = REPO / "todus" / "packages" / "device_detect.py"
    spec = importlib.util.spec_from_file_location("device_detect", str(path))
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    random = np.random.RandomState(0)
    for shape, size in (((480, 641, 3), (300, 300)), ((7, 5, 3), (320, 192)), ((96, 96, 3),) * 2):
        image = random.randint(0, 256, shape).astype(np.uint8)
        expected = Resizer(size[:2])(image)
        assert np.abs(program.resized(image, size[:2]) - expected).max() < 1e-4
