"""A new source or a new form is one file and one row: a toy of each, which every command then knows."""

import json
import sys

import numpy as np
import pytest

from tests.helpers.places import MODEL
from todus import command, files, forms, paths, sources
from todus.commands import benchmark, convert, dataset, evaluate
from todus.detection import catalogue
from todus.doctor import contents
from todus.errors import TodusError

SOURCE = """
def main(argv):
    print("toys of %s" % " ".join(argv))
    return 0
"""

FORM = """
import numpy as np
from todus import files
from todus.detection.detector import Detections, Detector
from todus.model import artefacts

NEEDS = ()

def run(model, say):
    found = artefacts.graph_of(model, "inference_graph")
    path = model.folder / (model.name + ".toy")
    files.write_text(path, "a toy")
    artefacts.write(model, path, model.frozen_graph, found, {"format": "toy"})
    return ["%s made" % path, "next: python -m eval -m %s --format toy" % model.name]

class Toy(Detector):
    form = "toy"

    def __init__(self, path, names, threads=None):
        self.path, self.names, self.workers = path, names, 1

    def detect_prepared(self, images):
        return [Detections(np.array([[0, 0, 1, 1]], np.float32), np.array([1]), np.array([0.9], np.float32)) for _ in images]
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Modules toy_source and toy_form, and a row for each."""
    (tmp_path / "toy_source.py").write_text(SOURCE)
    (tmp_path / "toy_form.py").write_text(FORM)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("toy_source", "toy_form"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    row = sources.Source("toy", "toys", "dataset-toy.sh", "toy_source", "toys")
    monkeypatch.setattr(sources, "SOURCES", sources.SOURCES + (row,))
    form = forms.Form(
        "toy",
        "Toy",
        "{model}.toy",
        "frozen_graph",
        "./export.sh && ./convert-toy.sh",
        "toy_form:Toy",
        "toy_form",
        "toys",
    )
    monkeypatch.setattr(forms, "FORMS", forms.FORMS + [form])


def test_the_commands_know_a_new_source(toys, home, capsys):
    assert dataset.main(["toy", "bear", "duck"]) == 0
    assert capsys.readouterr().out == "toys of bear duck\n"
    with pytest.raises(TodusError, match="dataset-toy.sh"):
        paths.dataset("toys/mine").check()
    assert command.run("dataset", dataset.main, ["no-such"]) == 2
    assert "merge, toy" in capsys.readouterr().err


def test_the_commands_know_a_new_form(toys, exported, capsys, monkeypatch):
    model = paths.model(MODEL)
    monkeypatch.setenv("MODEL_DIR", str(model.folder))
    path = model.folder / (MODEL + ".toy")
    assert command.run("eval", evaluate.main, ["-m", MODEL, "--format", "toy"]) == 1
    assert "%s is missing; run: export MODEL_DIR=" % path in capsys.readouterr().err
    try:
        assert convert.main(["toy"]) == 0
        assert capsys.readouterr().out.endswith("--format toy\n")
        assert evaluate.main(["-m", MODEL, "--format", "toy", "--limit", "3"]) == 0
        assert "toy" in [each.name for each in catalogue.present(model)]
        monkeypatch.setenv("ROUNDS", "1")
        assert benchmark.main() == 0
        assert "Toy" in [
            row["title"]
            for row in json.loads((model.folder / "benchmark.json").read_text())["rows"]
        ]
        assert list(contents.of_exports(model)) == []
        about = files.read_json(paths.beside_json(path))
        files.write_json(
            paths.beside_json(path), dict(about, identity={"labels": ["cat"], "size": None})
        )
        found = list(contents.of_exports(model))
        assert (
            len(found) == 1
            and "Toy" not in found[0].text
            and "detects cat" in found[0].text
            and "convert-toy.sh" in found[0].remedy
        )
        assert "toy" in evaluate.parser().format_help()
        detector = forms.loaded("toy_form:Toy")(path, {})
        assert detector.detect([np.zeros((4, 4, 3), np.uint8)])[0].scores[0] == np.float32(0.9)
    finally:
        for each in (
            path,
            paths.beside_json(path),
            model.folder / "benchmark.json",
            model.folder / "benchmark.png",
        ):
            if each.exists():
                each.unlink()


@pytest.mark.parametrize("source", sources.SOURCES, ids=lambda source: source.name)
def test_a_source_s_row_names_what_there_is(source):
    assert (paths.REPO / source.script).exists()
    assert callable(sources.module_of(source).main)


@pytest.mark.parametrize("form", forms.FORMS, ids=lambda form: form.name)
def test_a_form_s_row_names_what_there_is(form):
    for reference in (form.detector, form.exporter):
        assert not reference or forms.loaded(reference)
    assert not form.made_from or forms.find(form.made_from)
    assert form.exporter == "" or callable(forms.loaded(form.exporter).run)
