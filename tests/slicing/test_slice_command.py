"""python -m slice: what it writes, prints and refuses."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys

import pytest

from tests.helpers import finished_files
from tests.helpers.places import REPO
from todus import command, files
from todus.slicing import command as slice_command
from todus.slicing import proof, tflite, tflite_file
from todus.slicing import tflite_schema as schema

NAMES = ["person", "bicycle", "car", "motorcycle", "airplane", "bus", "traffic light"]


@pytest.fixture
def detector(tmp_path):
    """A detector of seven classes, and its labels beside it."""
    path = tmp_path / "detect.tflite"
    path.write_bytes(finished_files.detector())
    (tmp_path / "labelmap.txt").write_text("\n".join(["???"] + NAMES) + "\n")
    return path


@pytest.fixture
def unchecked(monkeypatch):
    """No runtime: nothing is compared, which takes seconds."""
    monkeypatch.setattr(proof, "python_for", lambda kind: None)


def run(capsys, *argv):
    """Exit code, stdout and stderr of the command."""
    code = command.run("slice", slice_command.main, [str(each) for each in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_it_writes_the_limited_file_its_labels_and_its_description(detector, capsys):
    code, out, err = run(capsys, detector, "car person")
    assert code == 0
    made = detector.with_name("detect-limited.tflite")
    assert made.with_name("detect-limited-labels.txt").read_text() == "car\nperson\n"
    about = json.loads(made.with_name("detect-limited.tflite.json").read_text())
    assert about["labels"] == about["identity"]["labels"] == ["car", "person"]
    assert about["sha256"] == files.sha256(made)
    assert tflite.TFLite(made.read_bytes()).labels() == ["car", "person"]
    # Compared with the uncut file in TensorFlow's interpreter here, or in LiteRT in .runtimes.
    difference = re.search(r"raw scores and boxes of the kept classes differ by (\S+)", err)
    assert float(difference.group(1)) <= 1e-6
    assert "detections of the kept classes: " in err
    last = out.strip().splitlines()
    assert last[-2] == "%d bytes before, %d bytes after" % (
        detector.stat().st_size,
        made.stat().st_size,
    )
    assert last[-1].startswith("next")


def test_without_a_runtime_it_says_that_nothing_was_compared(detector, unchecked, capsys):
    code, _, err = run(capsys, detector, "car")
    assert code == 0
    assert "not compared with the uncut file" in err and "pip install ai-edge-litert" in err


def test_a_difference_between_the_two_files_stops_it(detector, monkeypatch, capsys):
    good = tflite.variants
    other = finished_files.detector(background=False)
    monkeypatch.setattr(
        tflite,
        "variants",
        lambda data: good(data if len(data) == detector.stat().st_size else other),
    )
    code, _, err = run(capsys, detector, "car")
    assert code == 1 and "the limited copy is not the same" in err
    assert sorted(path.name for path in detector.parent.iterdir()) == [
        "detect.tflite",
        "labelmap.txt",
    ]


def test_classes_can_share_a_name_and_a_limited_file_is_limited_by_it(detector, unchecked, capsys):
    code, out, _ = run(capsys, detector, "person vehicle=car+bus")
    assert code == 0
    made = detector.with_name("detect-limited.tflite")
    labels = made.with_name("detect-limited-labels.txt")
    assert labels.read_text().splitlines() == ["person", "vehicle", "vehicle"]
    code, _, _ = run(capsys, made, "vehicle", "--json", "-o", detector.with_name("v.tflite"))
    assert code == 0
    assert detector.with_name("v-labels.txt").read_text().splitlines() == ["vehicle", "vehicle"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("traffic_light car", ["traffic light", "car"]),
        ('"traffic light" car', ["traffic light", "car"]),
        ("car, traffic light", ["car", "traffic light"]),
        ("all", NAMES),
    ],
)
def test_classes_are_listed_as_in_the_other_commands(detector, unchecked, capsys, text, expected):
    code, out, _ = run(capsys, detector, text, "--json")
    assert code == 0 and json.loads(out)["classes"] == expected


@pytest.mark.parametrize(
    "content, count, expected",
    [
        ("0  person\n2  car\n", 3, ["person", "car"]),
        ('item { id: 2 name: "b" display_name: "two" }\nitem { id: 1 name: "one" }', 2, None),
        ("one\ntwo\n", 2, None),
        ("background\none\ntwo\n", 2, None),
    ],
    ids=["numbered", "label map", "lines", "background"],
)
def test_the_labels_can_be_in_any_usual_form(tmp_path, unchecked, capsys, content, count, expected):
    path, labels = tmp_path / "detect.tflite", tmp_path / "own.txt"
    path.write_bytes(finished_files.detector(classes=count))
    labels.write_text(content)
    code, out, _ = run(capsys, path, "all", "--labels", labels, "--json")
    assert code == 0 and json.loads(out)["classes"] == (expected or ["one", "two"])


@pytest.mark.parametrize("count, name", [(80, "person toothbrush"), (90, "toothbrush person")])
def test_a_file_without_labels_has_cocos_where_their_number_fits(
    tmp_path, unchecked, capsys, count, name
):
    path = tmp_path / "detect.tflite"
    path.write_bytes(finished_files.detector(classes=count))
    code, out, _ = run(capsys, path, name, "--json")
    columns = {"person": 0, "toothbrush": count - 1}
    result = json.loads(out)
    assert code == 0 and result["columns"] == [columns[each] for each in name.split()]
    assert "COCO's %d classes" % count in result["labels_from"]


def test_thresholds_move_onto_one_number(detector, capsys):
    code, _, err = run(
        capsys, detector, "person car", "--threshold", "person=0.7 car=0.35", "--at", "0.5"
    )
    assert code == 0 and "0 changed sides" in err and " 0 of" not in err


@pytest.mark.parametrize(
    "argv, words",
    [
        (["persn"], 'no class "persn" in '),
        (["persn"], "did you mean person?"),
        (["car car"], 'the class "car" is listed twice'),
        (["car v=car+bus"], 'the class "car" is listed twice'),
        ([""], "no class is named"),
        (["car", "--labels", "{folder}/none.txt"], "cannot be read"),
        (["car", "--labels", "{folder}/short.txt"], "has 2 labels and the file detects 7"),
        (["car", "--threshold", "bus=0.5"], 'names "bus", which is not kept'),
        (["car", "--threshold", "car=1.5"], "give a score between 0 and 1"),
        (["car", "--at", "x"], "give a score between 0 and 1"),
        (["car", "--check", "{folder}/none.jpg"], "is not a file"),
        (["car", "-o", "{folder}/detect.tflite"], "is the file itself"),
        (["car", "-o", "{folder}/labelmap.txt/a.tflite"], "cannot be written"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(detector, unchecked, capsys, argv, words):
    (detector.parent / "short.txt").write_text("a\nb\n")
    before = {path.name: path.read_bytes() for path in detector.parent.iterdir()}
    argv = [each.format(folder=detector.parent) for each in argv]
    code, out, err = run(capsys, detector, *argv)
    assert code in (1, 2) and words in err and err.count("\n") == 1 and not out
    assert before == {path.name: path.read_bytes() for path in detector.parent.iterdir()}


def test_an_output_that_is_no_regular_file_is_wrong_use(detector, unchecked, capsys):
    fifo, link = detector.parent / "fifo", detector.parent / "link.tflite"
    os.mkfifo(str(fifo))
    link.symlink_to(detector)
    for output, words in ((fifo, "is no regular file"), (link, "is the file itself")):
        code, _, err = run(capsys, detector, "car", "-o", output)
        assert code == 2 and words in err and err.count("\n") == 1


def test_a_tflite_file_with_an_operator_that_could_write_files_is_refused(
    detector, unchecked, capsys, monkeypatch
):
    model = tflite_file.read(detector.read_bytes())
    code = schema.OperatorCodeT()
    code.customCode, code.builtinCode, code.deprecatedBuiltinCode = "FlexWriteFile", 32, 32
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, [], []
    model.subgraphs[0].operators.append(operator)
    detector.write_bytes(tflite_file.packed(model))
    code, _, err = run(capsys, detector, "car")
    assert code == 1 and "ALLOW_OPS=WriteFile" in err
    monkeypatch.setenv("ALLOW_OPS", "WriteFile")
    assert "ALLOW_OPS" not in run(capsys, detector, "car")[2]


def test_200_damaged_files_are_one_line_each_and_write_nothing(tmp_path, unchecked, capsys):
    chance = random.Random(7)
    path, whole = tmp_path / "detect.tflite", finished_files.detector("int8")
    refused = 0
    for number in range(200):
        data = bytearray(whole)
        if number % 2:
            data = data[: chance.randrange(len(data))]
        for _ in range(chance.randrange(20) if number % 2 else 8):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        (tmp_path / "labels.txt").write_text("\n".join(NAMES))
        code, out, err = run(capsys, path, "car person")
        assert path.read_bytes() == data
        if code == 0:  # the damage is in numbers of the weights, or in names
            for each in tmp_path.glob("*limited*"):
                each.unlink()
            continue
        refused += 1
        assert code == 1 and err.count("\n") == 1 and err.startswith("slice: ") and not out
        assert sorted(each.name for each in tmp_path.iterdir()) == ["detect.tflite", "labels.txt"]
    assert refused > 150


def test_a_full_disk_is_one_line_and_leaves_nothing(detector):
    def no_space():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    (detector.parent / "none").mkdir()
    before = sorted(detector.parent.rglob("*"))
    code = "import sys; from todus.slicing import proof; proof.python_for = lambda kind: None; "
    code += "from todus.slicing.command import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(detector), "car"],
        cwd=str(REPO),
        env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=no_space,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr and "--output" in done.stderr
    assert sorted(detector.parent.rglob("*")) == before


def test_the_advice_to_install_a_runtime_names_the_pip_that_an_environment_has(tmp_path):
    python = tmp_path / "with space" / "bin" / "python"
    assert proof.pip_install(str(python)) == "'%s' -m pip install" % python
    python.parent.mkdir(parents=True)
    wheel = tmp_path / "with space" / "pip-24.0-py3-none-any.whl"
    wheel.touch()
    assert proof.pip_install(str(python)) == "'%s' '%s/pip' install" % (python, wheel)
