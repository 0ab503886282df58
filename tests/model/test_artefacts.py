"""A model prepared again for other classes: its older files are refused with commands that work."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.helpers.places import MODEL, REPO
from todus import categories, command, files, forms, paths
from todus.commands import convert, convert_uff, detect, evaluate, export, export_tflite, report
from todus.commands import model as prepare_command
from todus.errors import TodusError
from todus.model import artefacts, checkpoints, prepared
from todus.training import run_record

OLD, NEW = "circle, four point star", "ring, four point star, heart"


@pytest.fixture(scope="module")
def changed_home(exported_home, tmp_path_factory):
    """A TODUS_HOME with a model trained, exported and converted for OLD, then prepared for NEW."""
    folder = tmp_path_factory.mktemp("changed") / "home"
    shutil.copytree(str(exported_home), str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(folder))
        model = paths.model(MODEL)
        model.training.mkdir()
        for path in model.limited_checkpoint.parent.glob("model.ckpt.*"):
            name = path.name.replace("model.ckpt", "model.ckpt-7")
            shutil.copy2(str(path), str(model.training / name))
        names = categories.read_label_map(model.limited_label_map)
        listed = [{"id": identity, "name": name} for identity, name in names.items()]
        manifest = {"categories": listed, "name": "limited"}
        run_record.begin(model, prepared.resolved(model), names, manifest, 0, {})
        run_record.end(model, 7, "reached num_steps")
        source = prepared.prepared_from(model)
        arguments = ["-m", MODEL, "--archive", source["archive"], "--categories", NEW]
        assert prepare_command.main(arguments) == 0
    return folder


@pytest.fixture
def changed(changed_home, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(changed_home))
    model = paths.model(MODEL)
    monkeypatch.setenv("MODEL_DIR", str(model.folder))
    return model


@pytest.fixture
def copy_home(tmp_path, monkeypatch):
    """Copies a TODUS_HOME, makes the copy the test's, and returns it."""

    def copy(source):
        home = tmp_path / "a home"
        shutil.copytree(str(source), str(home))
        monkeypatch.setenv("TODUS_HOME", str(home))
        monkeypatch.setenv("MODEL_DIR", str(home / "model" / MODEL))
        return home

    return copy


# Command -> its arguments and the file of other classes that it would read.
READERS = {
    "export": (export.main, "", "model.ckpt-7"),
    "export-tflite": (export_tflite.main, "", "model.ckpt-7"),
    "eval of the checkpoint": (evaluate.main, "--checkpoint latest", "model.ckpt-7"),
    "eval of the graph": (evaluate.main, "-i", "frozen_inference_graph.pb"),
    "eval of the SavedModel": (evaluate.main, "--format saved_model", "saved_model"),
    "eval of TFLite": (evaluate.main, "--format tflite-float16", MODEL + "-float16.tflite"),
    "eval of ONNX": (evaluate.main, "--format onnx", MODEL + ".onnx"),
    "convert tflite": (convert.main, "tflite", "tflite_graph.pb"),
    "convert onnx": (convert.main, "onnx", "frozen_inference_graph.pb"),
    "convert_uff": (convert_uff.main, "-m %s -i" % MODEL, "frozen_inference_graph.pb"),
    "detect": (detect.main, "-m %s" % MODEL, "frozen_inference_graph.pb"),
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_file_of_other_classes_is_refused_with_both_classes(changed, name, capsys, tmp_path):
    main, options, file = READERS[name]
    arguments = options.split()
    if main is evaluate.main:
        arguments += ["-m", MODEL, "-d", "limited"]
    if main is detect.main:
        Image.new("RGB", (64, 64)).save(str(tmp_path / "a.png"))
        arguments.append(str(tmp_path / "a.png"))
    assert command.run("it", main, arguments) == 1
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert file in error
    assert "detects circle, four point star, and %s is prepared for" % MODEL in error
    assert "run: export " in error
    assert "; for circle, four point star again: python -m model" in error


def test_forms_of_other_classes_are_left_out_of_a_comparison_with_a_line_each(changed):
    from todus.detection import catalogue

    lines = []
    there = catalogue.present(changed, "pretrained", lines.append)
    assert [each.name for each in there] == ["checkpoint"]
    exported = [
        form
        for form in forms.runnable()
        if form.name not in ("zoo", "checkpoint") and form.path(changed.folder).exists()
    ]
    assert len(lines) == len(exported) >= 6
    assert all(line.startswith("left out: ") for line in lines)
    assert catalogue.exported(changed) == []  # what benchmark measures, which is no checkpoint


def run_line(line, home):
    """Runs a command line as the user does in the repository."""
    environment = dict(os.environ, TODUS_HOME=str(home), PYTHON=sys.executable)
    environment["PATH"] = "%s:%s" % (os.path.dirname(sys.executable), environment["PATH"])
    environment.pop("MODEL_DIR", None)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ran = subprocess.run(["bash", "-c", line], cwd=str(REPO), env=environment, **output)
    assert ran.returncode == 0, ran.stdout.decode()


def test_the_commands_in_a_refusal_make_the_file_again_or_prepare_its_classes(
    changed_home, copy_home, capsys
):
    home = copy_home(changed_home)
    model, form = paths.model(MODEL), forms.find("tflite")
    arguments = ["-m", MODEL, "--format", "tflite", "-d", "limited"]
    assert command.run("it", evaluate.main, arguments) == 1
    error = capsys.readouterr().err.strip().split("\n")[-1]
    again, back = re.search(r"; run: (.*); for .* again: (.*)", error).groups()
    run_line(again, home)
    artefacts.check_file(model, form)
    assert set(artefacts.of_file(form.path(model.folder)).classes) == set(NEW.split(", "))
    assert artefacts.labels_of(model, form) == categories.read_label_map(model.limited_label_map)
    with pytest.raises(TodusError, match="frozen_inference_graph.pb detects circle"):
        artefacts.graph_of(model, "inference_graph")
    run_line(back, home)
    assert artefacts.of_model(model).classes == tuple(OLD.split(", "))
    assert checkpoints.choose(model).name == "model.ckpt-7"
    assert artefacts.graph_of(model, "inference_graph").classes == tuple(OLD.split(", "))


def test_the_command_in_the_refusal_of_a_checkpoint_takes_the_slice(
    changed_home, copy_home, capsys
):
    home = copy_home(changed_home)
    assert command.run("export", export.main, []) == 1
    advice = re.search(r"; run: (.*?);", capsys.readouterr().err.strip()).group(1)
    model = paths.model(MODEL)
    run_line("%s && MODEL_DIR='%s' ./export.sh" % (advice, model.folder), home)
    assert artefacts.graph_of(model, "inference_graph") == artefacts.of_model(model)


def test_a_file_of_another_input_size_is_refused_with_the_command_for_the_former_size(
    exported_home, copy_home
):
    home = copy_home(exported_home)
    model, form = paths.model(MODEL), forms.find("tflite")
    archive = prepared.prepared_from(model)["archive"]
    before = artefacts.of_model(model).size
    arguments = ["-m", MODEL, "--archive", archive, "-d", "limited", "--image-size", "96x160"]
    assert prepare_command.main(arguments) == 0
    text = r"%s.tflite takes %dx%d pixels, and .* is prepared for 96x160; run: "
    with pytest.raises(TodusError, match=text % ((MODEL,) + before)) as caught:
        artefacts.check_file(model, form)
    run_line(str(caught.value).split("; for the former size: ")[1], home)
    assert artefacts.of_model(model).size == before
    artefacts.check_file(model, form)


def test_the_labels_of_a_file_are_not_read_from_the_label_map_beside_it(exported_home, copy_home):
    copy_home(exported_home)
    model = paths.model(MODEL)
    categories.write_label_map(model.exported_label_map, {1: "wrong", 2: "also wrong"})
    for name in ("frozen_graph", "tflite", "tflite-float16", "onnx"):
        labels = artefacts.labels_of(model, forms.find(name))
        assert list(labels.values()) == OLD.split(", "), name


def test_every_converted_file_records_the_digests_of_itself_and_its_graph(exported):
    model = paths.model(MODEL)
    converted = {
        form.name: form
        for form in forms.FORMS
        if form.made_from and form.path(model.folder).exists()
    }
    assert {"tflite", "tflite-float16", "tflite-int8", "onnx", "onnx-tensorrt"} <= set(converted)
    for form in converted.values():
        about = artefacts.read(form.path(model.folder))
        graph = model.folder / about["made_from"]["graph"]
        assert graph == forms.find(form.made_from).path(model.folder)
        assert about["made_from"]["sha256"] == files.sha256(graph)
        assert about["sha256"] == files.sha256(form.path(model.folder))
        assert not artefacts.is_outdated(model, form)


def test_files_of_earlier_versions_are_identified_by_their_labels(tmp_path):
    uff, tflite, training = tmp_path / "m.uff", tmp_path / "m.tflite", tmp_path / "training"
    labels = ["background", "a", None, "b"]
    about = {"format": "uff", "labels": labels, "input": {"shape": [1, 3, 300, 320]}}
    files.write_json(paths.beside_json(uff), about)
    assert artefacts.of_file(uff) == artefacts.Identity(("a", categories.UNUSED, "b"), (300, 320))
    about = {"format": "float", "labels": ["a", "b"], "input": {"shape": [1, 300, 320, 3]}}
    files.write_json(paths.beside_json(tflite), about)
    assert artefacts.of_file(tflite) == artefacts.Identity(("a", "b"), (300, 320))
    training.mkdir()
    files.write_json(training / "run.json", {"classes": ["a", "b"], "events": []})
    assert artefacts.of_run(training) == artefacts.Identity(("a", "b"))
    assert artefacts.of_run(tmp_path) is None


def test_the_report_refuses_figures_of_other_classes(changed_home, copy_home, capsys):
    copy_home(changed_home)
    results = paths.model(MODEL).folder / "eval.json"
    files.write_json(results, [])
    assert command.run("report", report.main, ["-m", MODEL]) == 0
    capsys.readouterr()
    entry = dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop"))
    entry.update(title="x", protocol="y", images_per_second=1, bytes=1, score_threshold=0)
    files.write_json(results, [dict(entry, per_class={}, classes=["circle"])])
    assert command.run("report", report.main, ["-m", MODEL]) == 1
    error = capsys.readouterr().err
    assert "eval.json is of a model for circle" in error
    assert "python -m eval -m %s --all" % MODEL in error
