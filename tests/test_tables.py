"""A new source or form is a module and a row of the table; the commands read the table."""

import os
import shutil
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
        box, score = np.array([[0, 0, 1, 1]], np.float32), np.array([0.9], np.float32)
        return [Detections(box, np.array([1]), score) for _ in images]
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Adds a source and a form named toy: their modules and rows."""
    (tmp_path / "toy_source.py").write_text(SOURCE)
    (tmp_path / "toy_form.py").write_text(FORM)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("toy_source", "toy_form"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    row = sources.Source("toy", "toys", "dataset-toy.sh", "toy_source", "toys")
    monkeypatch.setattr(sources, "SOURCES", sources.SOURCES + (row,))
    command = "./export.sh && ./convert-toy.sh"
    uses = {"made_from": "frozen_graph", "detector": "toy_form:Toy", "exporter": "toy_form"}
    form = forms.Form("toy", "Toy", "{model}.toy", command, "toys", **uses)
    monkeypatch.setattr(forms, "FORMS", forms.FORMS + [form])


@pytest.fixture
def model(exported, tmp_path, monkeypatch):
    """The exported model in a TODUS_HOME of the test; large files are hard links."""
    home = tmp_path / "home"
    shutil.copytree(str(exported), str(home), copy_function=os.link)
    monkeypatch.setenv("TODUS_HOME", str(home))
    copied = paths.model(MODEL)
    monkeypatch.setenv("MODEL_DIR", str(copied.folder))
    return copied


def test_the_commands_accept_a_new_source(toys, home, capsys):
    assert dataset.main(["toy", "bear", "duck"]) == 0
    assert capsys.readouterr().out == "toys of bear duck\n"
    with pytest.raises(TodusError, match="dataset-toy.sh"):
        paths.dataset("toys/mine").check()
    assert command.run("dataset", dataset.main, ["no-such"]) == 2
    assert "merge, toy" in capsys.readouterr().err


def test_the_commands_accept_a_new_form(toys, model, capsys, monkeypatch):
    path = model.folder / (MODEL + ".toy")
    assert "toy" in evaluate.parser().format_help()
    assert command.run("eval", evaluate.main, ["-m", MODEL, "--format", "toy"]) == 1
    assert "%s is missing; run: export MODEL_DIR=" % path in capsys.readouterr().err
    assert convert.main(["toy"]) == 0
    assert capsys.readouterr().out.endswith("--format toy\n")
    assert evaluate.main(["-m", MODEL, "--format", "toy", "--limit", "3"]) == 0
    assert "toy" in [each.name for each in catalogue.present(model)]
    detector = forms.loaded("toy_form:Toy")(path, {})
    assert detector.detect([np.zeros((4, 4, 3), np.uint8)])[0].scores[0] == np.float32(0.9)
    monkeypatch.setenv("ROUNDS", "1")
    assert benchmark.main() == 0
    rows = files.read_json(model.folder / "benchmark.json")["rows"]
    assert "Toy" in [row["title"] for row in rows]
    assert list(contents.of_exports(model)) == []
    about = files.read_json(paths.beside_json(path))
    about["identity"] = {"labels": ["cat"], "size": None}
    files.write_json(paths.beside_json(path), about)
    (finding,) = contents.of_exports(model)
    assert "detects cat" in finding.text and "Toy" not in finding.text
    assert "convert-toy.sh" in finding.remedy


@pytest.mark.parametrize("source", sources.SOURCES, ids=lambda source: source.name)
def test_the_script_and_the_module_of_a_source_exist(source):
    assert (paths.REPO / source.script).exists()
    assert callable(sources.module_of(source).main)


@pytest.mark.parametrize("form", forms.FORMS, ids=lambda form: form.name)
def test_the_detector_and_the_exporter_of_a_form_exist(form):
    assert not form.detector or callable(forms.loaded(form.detector))
    assert not form.exporter or callable(forms.loaded(form.exporter).run)
    assert not form.made_from or forms.find(form.made_from)
