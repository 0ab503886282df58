"""A model prepared again for other classes: each file of the former ones is named in one line whose advice works when typed."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.helpers.places import MODEL, REPO
from todus import categories, command, files, forms, paths
from todus.commands import convert, convert_uff, detect, evaluate, export, export_tflite, report
from todus.commands import model as prepare_command
from todus.errors import TodusError
from todus.model import artefacts, checkpoints, pipeline, prepared
from todus.training import run_record

OLD, NEW = "circle, four point star", "ring, four point star, heart"


@pytest.fixture(scope="module")
def changed_home(exported_home, tmp_path_factory):
    """A TODUS_HOME whose model was trained, exported and converted for OLD, and then prepared for NEW."""
    folder = tmp_path_factory.mktemp("changed") / "home"
    shutil.copytree(str(exported_home), str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(folder))
        model = paths.model(MODEL)
        model.training.mkdir()
        for path in model.limited_checkpoint.parent.glob("model.ckpt.*"):
            shutil.copy2(
                str(path), str(model.training / path.name.replace("model.ckpt", "model.ckpt-7"))
            )
        names = categories.read_label_map(model.limited_label_map)
        manifest = {
            "categories": [{"id": identity, "name": name} for identity, name in names.items()],
            "name": "limited",
        }
        run_record.begin(model, prepared.resolved(model), manifest, 0, {})
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


PICTURE = str(REPO / "docs" / "no-such.jpg")
READERS = {
    "export": (export.main, [], "model.ckpt-7"),
    "export-tflite": (export_tflite.main, [], "model.ckpt-7"),
    "eval of the checkpoint": (
        evaluate.main,
        ["-m", MODEL, "--checkpoint", "latest", "-d", "limited"],
        "model.ckpt-7",
    ),
    "eval of the graph": (
        evaluate.main,
        ["-m", MODEL, "-i", "-d", "limited"],
        "frozen_inference_graph.pb",
    ),
    "eval of the SavedModel": (
        evaluate.main,
        ["-m", MODEL, "--format", "saved_model", "-d", "limited"],
        "saved_model",
    ),
    "eval of TFLite": (
        evaluate.main,
        ["-m", MODEL, "--format", "tflite-float16", "-d", "limited"],
        MODEL + "-float16.tflite",
    ),
    "eval of ONNX": (
        evaluate.main,
        ["-m", MODEL, "--format", "onnx", "-d", "limited"],
        MODEL + ".onnx",
    ),
    "convert tflite": (convert.main, ["tflite"], "tflite_graph.pb"),
    "convert onnx": (convert.main, ["onnx"], "frozen_inference_graph.pb"),
    "convert_uff": (convert_uff.main, ["-m", MODEL, "-i"], "frozen_inference_graph.pb"),
    "detect": (detect.main, ["-m", MODEL, str(REPO / "demo")], "frozen_inference_graph.pb"),
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_file_of_other_classes_is_named_with_its_classes(
    changed, name, capsys, monkeypatch, tmp_path
):
    main, arguments, file = READERS[name]
    if name == "detect":
        from PIL import Image

        Image.new("RGB", (64, 64)).save(str(tmp_path / "a.png"))
        arguments = arguments[:2] + [str(tmp_path / "a.png")]
    assert command.run("it", main, arguments) == 1
    said = capsys.readouterr().err.strip().split("\n")[-1]
    assert (
        file in said and "detects circle, four point star, and %s is prepared for" % MODEL in said
    )
    assert "run: export " in said and "; for circle, four point star again: python -m model" in said


def test_every_form_of_other_classes_is_left_out_of_a_comparison_with_a_line(changed):
    from todus.detection import catalogue

    said = []
    there = catalogue.present(changed, "pretrained", said.append)
    assert [each.name for each in there] == ["checkpoint"]
    exported = [
        form
        for form in forms.runnable()
        if form.name not in ("zoo", "checkpoint") and form.path(changed.folder).exists()
    ]
    assert len(said) == len(exported) >= 6
    assert all(line.startswith("left out: ") for line in said)
    assert (
        catalogue.exported(changed) == []
    )  # what benchmark measures: it opens no checkpoint, whatever classes that one has


def typed(line, home, **more):
    """Runs a command as a person types it in the repository."""
    environment = dict(os.environ, TODUS_HOME=str(home), PYTHON=sys.executable, **more)
    environment["PATH"] = "%s:%s" % (os.path.dirname(sys.executable), environment["PATH"])
    environment.pop("MODEL_DIR", None)
    ran = subprocess.run(
        ["bash", "-c", line],
        cwd=str(REPO),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert ran.returncode == 0, ran.stdout.decode()


def advised(main, arguments, capsys):
    """(the command that makes the file anew, the one that goes back to its classes) of a refusal."""
    assert command.run("it", main, arguments) == 1
    said = capsys.readouterr().err.strip().split("\n")[-1]
    return re.search(r"; run: (.*); for .* again: (.*)", said).groups()


def test_the_advice_of_a_refusal_makes_the_file_anew_or_finds_its_classes(
    changed, tmp_path, monkeypatch, capsys
):
    home = tmp_path / "a home"
    shutil.copytree(os.environ["TODUS_HOME"], str(home))
    monkeypatch.setenv("TODUS_HOME", str(home))
    monkeypatch.setenv("MODEL_DIR", str(home / "model" / MODEL))
    anew, back = advised(
        evaluate.main, ["-m", MODEL, "--format", "tflite", "-d", "limited"], capsys
    )
    typed(anew, home)
    model = paths.model(MODEL)
    artefacts.check_file(model, forms.find("tflite"))
    assert sorted(artefacts.of_file(model.file_of("tflite")).classes) == [
        "four point star",
        "heart",
        "ring",
    ]
    assert artefacts.labels_of(model, forms.find("tflite")) == categories.read_label_map(
        model.limited_label_map
    )
    with pytest.raises(TodusError, match="frozen_inference_graph.pb detects circle"):
        artefacts.graph_of(model, "inference_graph")
    typed(back, home)
    assert artefacts.of_model(paths.model(MODEL)).classes == ("circle", "four point star")
    assert checkpoints.choose(paths.model(MODEL)).name == "model.ckpt-7"
    assert artefacts.graph_of(paths.model(MODEL), "inference_graph").classes == (
        "circle",
        "four point star",
    )


def test_the_advice_on_a_checkpoint_of_other_classes_takes_the_slice(
    changed, tmp_path, monkeypatch, capsys
):
    home = tmp_path / "home"
    shutil.copytree(os.environ["TODUS_HOME"], str(home))
    monkeypatch.setenv("TODUS_HOME", str(home))
    monkeypatch.setenv("MODEL_DIR", str(home / "model" / MODEL))
    assert command.run("export", export.main, []) == 1
    advice = re.search(r"; run: (.*?);", capsys.readouterr().err.strip()).group(1)
    typed("%s && MODEL_DIR='%s' ./export.sh" % (advice, home / "model" / MODEL), home)
    assert artefacts.graph_of(paths.model(MODEL), "inference_graph") == artefacts.of_model(
        paths.model(MODEL)
    )


def test_another_image_size_is_refused_and_the_former_found(
    exported_home, tmp_path, monkeypatch, capsys
):
    home = tmp_path / "home"
    shutil.copytree(str(exported_home), str(home))
    monkeypatch.setenv("TODUS_HOME", str(home))
    model = paths.model(MODEL)
    archive = prepared.prepared_from(model)["archive"]
    before = artefacts.of_model(model).size
    arguments = ["-m", MODEL, "--archive", archive, "-d", "limited", "--image-size", "96x160"]
    assert prepare_command.main(arguments) == 0
    capsys.readouterr()
    with pytest.raises(
        TodusError,
        match=r"%s.tflite takes %dx%d pixels, and .* is prepared for 96x160; run: "
        % ((MODEL,) + before),
    ) as caught:
        artefacts.check_file(model, forms.find("tflite"))
    back = str(caught.value).split("; for the former size: ")[1]
    typed(back, home)
    assert artefacts.of_model(paths.model(MODEL)).size == before
    artefacts.check_file(paths.model(MODEL), forms.find("tflite"))


def test_the_labels_of_a_file_are_its_own_whatever_lies_beside_it(exported, tmp_path):
    model = paths.model(MODEL)
    categories.write_label_map(
        tmp_path / "kept", categories.read_label_map(model.exported_label_map)
    )
    try:
        categories.write_label_map(model.exported_label_map, {1: "wrong", 2: "also wrong"})
        for name in ("frozen_graph", "tflite", "tflite-float16", "onnx"):
            assert list(artefacts.labels_of(model, forms.find(name)).values()) == [
                "circle",
                "four point star",
            ]
    finally:
        shutil.copy2(str(tmp_path / "kept"), str(model.exported_label_map))


def test_every_converted_file_says_what_it_was_made_from(exported):
    model = paths.model(MODEL)
    converted = [
        form for form in forms.FORMS if form.made_from and form.path(model.folder).exists()
    ]
    assert {"tflite", "tflite-float16", "tflite-int8", "onnx", "onnx-tensorrt"} <= {
        form.name for form in converted
    }
    for form in converted:
        about = artefacts.read(form.path(model.folder))
        graph = model.folder / about["made_from"]["graph"]
        assert graph == forms.find(form.made_from).path(model.folder)
        assert about["made_from"]["sha256"] == files.sha256(graph) and about[
            "sha256"
        ] == files.sha256(form.path(model.folder))
        assert not artefacts.is_outdated(model, form)


def test_files_of_earlier_versions_are_known_by_their_labels(tmp_path):
    path = tmp_path / "m.uff"
    files.write_json(
        paths.beside_json(path),
        {
            "format": "uff",
            "labels": ["background", "a", None, "b"],
            "input": {"shape": [1, 3, 300, 320]},
        },
    )
    assert artefacts.of_file(path) == artefacts.Identity(("a", categories.UNUSED, "b"), (300, 320))
    path = tmp_path / "m.tflite"
    files.write_json(
        paths.beside_json(path),
        {"format": "float", "labels": ["a", "b"], "input": {"shape": [1, 300, 320, 3]}},
    )
    assert artefacts.of_file(path) == artefacts.Identity(("a", "b"), (300, 320))
    (tmp_path / "training").mkdir()
    files.write_json(tmp_path / "training" / "run.json", {"classes": ["a", "b"], "events": []})
    assert artefacts.of_run(tmp_path / "training") == artefacts.Identity(("a", "b"))
    assert artefacts.of_run(tmp_path) is None


def test_the_report_names_figures_of_other_classes(changed, capsys):
    files.write_json(changed.folder / "eval.json", [])
    assert command.run("report", report.main, ["-m", MODEL]) == 0
    capsys.readouterr()
    entry = {
        "title": "x",
        "protocol": "y",
        "images_per_second": 1,
        "bytes": 1,
        "score_threshold": 0,
        "per_class": {},
        "classes": ["circle"],
    }
    entry.update(dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop")))
    files.write_json(changed.folder / "eval.json", [entry])
    assert command.run("report", report.main, ["-m", MODEL]) == 1
    said = capsys.readouterr().err
    assert (
        "eval.json is of a model for circle" in said
        and "python -m eval -m %s --all" % MODEL in said
    )
    assert pipeline.input_size(pipeline.read(changed.pipeline))
