"""The folder for Frigate: what Frigate's detectors and its config read of it, and bad input."""

import os
import re
import shutil

import numpy as np
import onnxruntime
import pytest
import yaml

from tests.detection.test_detectors import largest_difference, val_images
from tests.export.test_onnx_layouts import from_score, of_rows, read_yolonas
from tests.helpers import finished_files
from tests.helpers.places import MODEL, QUANTIZED
from todus import command, files, paths
from todus.commands import frigate
from todus.detection import catalogue
from todus.detection.resizer import Resizer
from todus.evaluation import score_thresholds
from todus.model import artefacts, pipeline
from todus.paths import beside_json

LABELS = ["circle", "four point star"]
LEAST, MOST = 0.4, 20  # the scores and the detections that Frigate's plugins read

# Frigate's keys and values: frigate/detectors/detector_config.py (ModelConfig, which forbids
# others), frigate/detectors/plugins/*.py and frigate/config/camera/objects.py at e3fa701.
MODEL_KEYS = {
    "path": str,
    "labelmap_path": str,
    "width": int,
    "height": int,
    "input_tensor": ("nchw", "nhwc", "hwnc", "hwcn"),
    "input_pixel_format": ("rgb", "bgr", "yuv"),
    "input_dtype": ("float", "float_denorm", "int"),
    "model_type": ("dfine", "rfdetr", "ssd", "yolox", "yolonas", "yolo-generic"),
}
# Type -> (its settings, the values of model_type that it runs, the file it loads).
DETECTORS = {
    "cpu": ({"num_threads"}, ("ssd",), ".tflite"),
    "edgetpu": ({"device"}, ("ssd", "yolo-generic"), "_edgetpu.tflite"),
    "openvino": ({"device"}, ("ssd", "yolonas", "yolox", "yolo-generic", "rfdetr"), ".onnx"),
    "onnx": ({"device"}, ("yolonas", "yolox", "yolo-generic", "rfdetr", "dfine"), ".onnx"),
    "teflon_tfl": (set(), ("ssd",), ".tflite"),
}
FILTER_KEYS = {"min_score", "threshold"}


@pytest.fixture(scope="module")
def packed_home(exported_home, once):
    """A TODUS_HOME with the folders of both models; do not change it."""

    def make(part):
        shutil.copytree(str(exported_home), str(part / "home"), copy_function=os.link)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TODUS_HOME", str(part / "home"))
            for name in (MODEL, QUANTIZED):
                patch.setenv("MODEL", name)
                assert frigate.main() == 0

    return once("frigate", make) / "home"


@pytest.fixture
def model(packed_home, monkeypatch):
    """MODEL of packed_home."""
    monkeypatch.setenv("TODUS_HOME", str(packed_home))
    return paths.model(MODEL)


@pytest.fixture
def own(packed_home, tmp_path, monkeypatch):
    """MODEL of a TODUS_HOME of the test's own, a copy of packed_home."""
    shutil.copytree(str(packed_home), str(tmp_path / "home"), copy_function=os.link)
    monkeypatch.setenv("TODUS_HOME", str(tmp_path / "home"))
    return paths.model(MODEL)


def run(monkeypatch, **environment):
    """The exit code of make frigate with these variables."""
    for name in ("MODEL", "CATEGORIES", "FILE", "AS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    return command.run("frigate", frigate.main)


def configs(folder):
    """Key of the detector -> the content of config.yml with that one active."""
    text = (folder / "config.yml").read_text(encoding="utf-8")
    text, objects = text[: text.index("\nobjects:")], text[text.index("\nobjects:") :]
    blocks = re.split(r"(?m)^# (\w+): .*\n", text)[1:]
    pairs = zip(blocks[::2], blocks[1::2])
    return {key: yaml.safe_load(re.sub("(?m)^# ", "", each) + objects) for key, each in pairs}


def labels_of(path):
    """What Frigate's load_labels reads: index and name if the first word is a number."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(" ", 1)[0].isdigit()
    return {int(line.split(" ", 1)[0]): line.split(" ", 1)[1].strip() for line in lines}


def test_the_folder_has_the_files_that_its_readme_names(model):
    folder = model.folder / "frigate"
    names = ["README.txt", "config.yml", "labelmap.txt", MODEL + ".onnx", MODEL + ".tflite"]
    assert sorted(path.name for path in folder.iterdir()) == names
    readme = (folder / "README.txt").read_text()
    assert all(name in readme for name in names if name != "README.txt")
    assert "edgetpu_compiler -s %s.tflite" % MODEL in readme and "-m 13" in readme
    assert "Not tested: Edge TPU" in readme
    assert labels_of(folder / "labelmap.txt") == dict(enumerate(LABELS))


def test_every_detector_of_the_config_has_keys_that_frigate_knows_and_a_file_that_fits(model):
    folder = model.folder / "frigate"
    found = configs(folder)
    assert [next(iter(each["detectors"].values()))["type"] for each in found.values()] == list(
        DETECTORS
    )
    active = yaml.safe_load((folder / "config.yml").read_text())
    assert active == found["cpu"]
    for config in found.values():
        assert set(config) == {"detectors", "model", "objects"}
        (detector,) = config["detectors"].values()
        settings, kinds, ending = DETECTORS[detector.pop("type")]
        described = config["model"]
        assert set(detector) <= settings and described["model_type"] in kinds
        assert set(described) == set(MODEL_KEYS)
        for key, valid in MODEL_KEYS.items():
            fits = isinstance(described[key], valid) if valid in (str, int) else None
            assert described[key] in valid if fits is None else fits, key
        assert described["path"] == "/config/%s/%s%s" % (MODEL, MODEL, ending)
        assert described["labelmap_path"] == "/config/%s/labelmap.txt" % MODEL
        assert described["input_tensor"] == ("nchw" if ending == ".onnx" else "nhwc")
        assert (described["width"], described["height"]) == (128, 128)
        assert (described["input_pixel_format"], described["input_dtype"]) == ("rgb", "int")
        assert config["objects"] == {"track": LABELS}


def read_tflite(data, pixels):
    """As Frigate's cpu, edgetpu and teflon_tfl plugins read: by the order of the outputs."""
    boxes, classes, scores, count = (each[0] for each in finished_files.run(data, pixels))
    rows = []
    for at in range(int(count)):
        if scores[at] < LEAST or at == MOST:
            break
        rows.append([classes[at], scores[at], *boxes[at]])
    return of_rows(rows)


def test_what_frigate_reads_of_the_files_are_the_detections_of_the_frozen_graph(model):
    detector = catalogue.open_form(model, catalogue.find(model, "frozen_graph"))
    size = pipeline.input_size(pipeline.read(model.exported_pipeline))
    resize, folder = Resizer(size), model.folder / "frigate"
    data = (folder / (MODEL + ".tflite")).read_bytes()
    session = onnxruntime.InferenceSession(str(folder / (MODEL + ".onnx")))
    (given,) = session.get_inputs()
    assert (given.type, given.shape) == ("tensor(uint8)", [1, 3, *size])
    count = 0
    for image in val_images(6):
        pixels = np.round(resize(image)).astype(np.uint8)
        wanted = from_score(detector.detect([pixels])[0], LEAST)
        rows = session.run(None, {given.name: pixels.transpose(2, 0, 1)[np.newaxis]})
        for found, most in (
            (read_yolonas(rows, size), 1e-4),
            (read_tflite(data, pixels[None]), 0.1),
        ):
            found = from_score(found, LEAST)
            assert largest_difference(from_score(wanted, LEAST + most), found) < most
            assert largest_difference(from_score(found, LEAST + most), wanted) < most
        count += len(wanted.scores)
    assert count > 3


def test_a_quantization_aware_model_gives_its_own_ranges_and_onnx_without_rounding(model):
    model = paths.model(QUANTIZED)
    packed = (model.folder / "frigate" / (QUANTIZED + ".tflite")).read_bytes()
    assert packed == model.file_of("tflite").read_bytes()
    operators = artefacts.read(model.file_of("onnx-yolonas"))["operators"]
    assert "Clip" in operators and "Round" not in operators


def test_a_second_run_replaces_the_folder_and_takes_the_scores_that_eval_picked(own, monkeypatch):
    folder, picked = own.folder / "frigate", own.file_of("tflite-int8")
    for path in (picked, beside_json(picked)):  # links to the shared files
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    classes = {"circle": {"threshold": 0.6127}, "four point star": {"threshold": 0.2}}
    score_thresholds.store(picked, classes, None, 24)
    before = (folder / "config.yml").read_text()
    (folder / "other.txt").write_text("")
    assert run(monkeypatch, MODEL=MODEL) == 0
    assert not (folder / "other.txt").exists()
    text = (folder / "config.yml").read_text()
    assert text.startswith(before[: before.index("  # No scores")])
    filters = yaml.safe_load(text)["objects"]["filters"]
    assert filters == {
        "circle": {"min_score": 0.612, "threshold": 0.612},
        "four point star": {"min_score": LEAST, "threshold": LEAST},
    }
    assert all(set(each) == FILTER_KEYS for each in filters.values())
    assert '"four point star":  # eval picked 0.2, less than Frigate takes' in text


def test_a_finished_file_is_limited_and_packed_with_one_name_for_merged_classes(
    own, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "detect.tflite"
    file.write_bytes(finished_files.detector("uint8"))
    (tmp_path / "labelmap.txt").write_text("cat\ndog\n3 wheeler\nbus\ncar\nbird\nbee\n")
    wanted = "3_wheeler vehicle=bus+car"
    assert run(monkeypatch, FILE=file, CATEGORIES=wanted) == 0
    folder = own.folder.parent / "detect" / "frigate"
    names = ["README.txt", "config.yml", "detect.tflite", "labelmap.txt"]
    assert sorted(path.name for path in folder.iterdir()) == names
    expected = {0: "3 wheeler", 1: "vehicle", 2: "vehicle"}
    assert labels_of(folder / "labelmap.txt") == expected
    found = configs(folder)
    assert list(found) == ["cpu", "coral", "teflon"]
    assert found["cpu"]["objects"]["track"] == ["3 wheeler", "vehicle"]
    assert [found["cpu"]["model"][side] for side in ("width", "height")] == [8, 8]
    assert capsys.readouterr().out.startswith(str(folder))
    assert run(monkeypatch, FILE=folder / "detect.tflite", AS="other") == 0
    assert labels_of(own.folder.parent / "other" / "frigate" / "labelmap.txt") == expected


@pytest.mark.parametrize(
    "environment, words",
    [
        ({}, "no model at .*ssdlite_mobiledet_edgetpu.*MODEL=.*CATEGORIES="),
        ({"MODEL": "ssd_none"}, "no model at .*ssd_none.*MODEL=.*CATEGORIES="),
        ({"CATEGORIES": "unicorn"}, "unicorn"),
        ({"MODEL": "faster_rcnn_resnet50_coco_2018_01_28", "CATEGORIES": "dog"}, "is no SSD"),
        ({"MODEL": "../x"}, "MODEL=../x cannot be a folder's name"),
        ({"FILE": "{tmp}/none.tflite"}, "none.tflite is not a file"),
        ({"FILE": "{tmp}/a.onnx", "CATEGORIES": "dog"}, "take .tflite files"),
        ({"FILE": "{tmp}/float.tflite"}, "takes float32 .1, 8, 8, 3., .*uint8.*make frigate"),
        ({"FILE": "{tmp}/int8.tflite"}, "takes int8 "),
        ({"FILE": "{tmp}/raw.tflite"}, "does not end in .*TFLite_Detection_PostProcess"),
        ({"FILE": "{tmp}/bad.tflite"}, "bad.tflite cannot be read: it is damaged"),
        ({"FILE": "{tmp}/uint8.tflite", "CATEGORIES": "unicorn"}, "unicorn"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    home, tmp_path, monkeypatch, capsys, environment, words
):
    labels = list("abcdefg")
    for kind in ("uint8", "float", "int8", "raw"):
        path = tmp_path / (kind + ".tflite")
        path.write_bytes(
            finished_files.detector(kind.replace("raw", "uint8"), operator=kind != "raw")
        )
        files.write_json(beside_json(path), {"labels": labels})
    whole = (tmp_path / "uint8.tflite").read_bytes()
    (tmp_path / "bad.tflite").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("ZOO_URL", "http://127.0.0.1:9")
    environment = {name: value.format(tmp=tmp_path) for name, value in environment.items()}
    assert run(monkeypatch, **environment) in (1, 2)
    captured = capsys.readouterr()
    assert re.search(words, captured.err.splitlines()[-1]), captured.err
    assert len(captured.err.splitlines()) == 1
    assert not captured.out and not list((home / "model").glob("*"))


def test_without_images_for_the_8_bit_ranges_the_folder_of_before_stays(own, monkeypatch, capsys):
    file = own.file_of("tflite-int8")
    source = own.pretrained / "source.json"
    about = dict(files.read_json(source), dataset=None)
    files.write_json(source, about)
    for path in (file, beside_json(file)):
        path.unlink()
    for name, value in (("COCO_URL", "http://127.0.0.1:9"), ("RETRIES", "1")):
        monkeypatch.setenv(name, value)
    raw = paths.raw_data()
    if raw.exists():
        shutil.rmtree(str(raw))
    before = {path.name: path.read_bytes() for path in (own.folder / "frigate").iterdir()}
    assert run(monkeypatch, MODEL=MODEL) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match("frigate: no images .*refused.*COCO_URL.* quantized in its name", last), last
    assert {path.name: path.read_bytes() for path in (own.folder / "frigate").iterdir()} == before


def test_a_trained_model_is_not_limited_again(own, monkeypatch, capsys):
    own.training.mkdir(exist_ok=True)
    for ending in (".index", ".data-00000-of-00001"):
        (own.training / ("model.ckpt-10" + ending)).write_bytes(b"")
    before = own.pipeline.read_bytes()
    assert run(monkeypatch, MODEL=MODEL, CATEGORIES="circle") == 2
    message = capsys.readouterr().err
    assert re.search("is trained; make frigate MODEL=%s without CATEGORIES" % MODEL, message)
    assert len(message.splitlines()) == 1 and own.pipeline.read_bytes() == before
    assert run(monkeypatch, MODEL=MODEL) == 0
    said = "takes the export of the slice; model.ckpt-10 is newer, for ./export.sh to compare"
    assert capsys.readouterr().err.splitlines() == [said]
