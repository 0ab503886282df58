"""make proof: the comparison of all classes with some, its files, and the README's figures."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bench.proof import __main__ as proof
from bench.proof import drawing, measuring, models, page
from tests.helpers.places import MODEL, REPO
from todus import command, paths
from todus.errors import TodusError

KEYS = ("MODEL", "QUANTIZED", "DATASET", "PHOTO", "WRITE")
KEPT = sorted(path for path in (REPO / "docs" / "proof").glob("*/*") if path.is_file())


@pytest.fixture(autouse=True)
def without_variables(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def evaluated(*rows):
    """An Evaluation of one image of 100 x 50 pixels, with rows of x, y, width, height, score."""
    truth = SimpleNamespace(images=[{"id": 1, "width": 100, "height": 50}])
    table = np.array([[1, *row, 1] for row in rows], float).reshape(-1, 7)
    return SimpleNamespace(truth=truth, rows=table)


def test_the_readme_has_the_figures_of_the_results():
    found = page.BLOCK.search((REPO / "README.md").read_text(encoding="utf-8"))
    assert found and found.group() == found.group(1) + page.block() + found.group(2)


def test_the_readme_shows_the_chart_of_the_same_results_and_the_scene():
    text = (REPO / "README.md").read_text(encoding="utf-8")
    assert "](docs/proof/coco/chart.png)" in text and "](docs/proof/miniature/scene.png)" in text


def test_the_pictures_are_of_the_results_beside_them_and_small():
    folders = {path.parent for path in KEPT}
    assert {folder.name for folder in folders} == {"miniature", "coco"}
    for path in KEPT:
        if path.suffix == ".png":
            digest = hashlib.sha256((path.parent / "results.json").read_bytes()).hexdigest()
            with Image.open(str(path)) as picture:
                assert picture.text["results"] == digest, path
    assert sum(path.stat().st_size for path in KEPT) < 300e3


@pytest.mark.parametrize("name", ["miniature", "coco"])
def test_the_results_say_what_was_measured_when_and_where_and_that_no_score_changed(name):
    found = json.loads((REPO / "docs" / "proof" / name / "results.json").read_text())
    assert found["date"] and found["machine"]["processor"] and found["versions"]["tensorflow"]
    assert found["training_steps"] == 0 and len(found["rows"]) == 4
    measuring.check(found)
    for row in found["rows"]:
        assert row["whole"]["classes"] > row["limited"]["classes"]
        assert row["limited"]["ap"] > row["whole"]["ap"] - 0.001
        assert row["limited"]["mb"] < row["whole"]["mb"]


def test_a_detection_that_is_lost_or_scored_otherwise_is_missing():
    whole = evaluated((10, 10, 20, 20, 0.9), (50, 10, 20, 20, 0.4))
    same = measuring.compared_detections(whole, evaluated(*whole.rows[:, 1:6], (0, 0, 9, 9, 0.1)))
    assert (same["detections"], same["missing"], same["score_difference"]) == (2, 0, 0.0)
    lower = evaluated((10, 10, 20, 20, 0.89), (50, 10, 20, 20, 0.4))
    assert measuring.compared_detections(whole, lower)["missing"] == 1
    assert measuring.compared_detections(whole, evaluated())["missing"] == 2
    moved = evaluated((10, 10, 20, 20, 0.9), (51, 10, 20, 20, 0.4))
    equal = measuring.compared_detections(whole, moved)
    assert equal["missing"] == 1
    with pytest.raises(TodusError, match="of 2 detections of the kept classes, .* lacks 1"):
        measuring.check({"rows": [{"form": "ONNX", "runtime": "R", "equal": equal}]})


@pytest.fixture
def compared(exported, tmp_path, monkeypatch):
    """Models of a frozen graph and an ONNX file, and few calls of them."""
    made = exported / "model" / MODEL
    ignored = shutil.ignore_patterns("*.tflite*", "*.uff*", "saved_model", "model.ckpt*")
    copy = tmp_path / "copied" / "model" / MODEL
    shutil.copytree(str(made), str(copy), ignore=ignored)
    model = paths.Model(copy)
    monkeypatch.setattr(measuring, "ROUNDS", 5)
    monkeypatch.setattr(measuring, "IMAGES", 2)
    result = models.Compared(MODEL, "", paths.dataset("limited"), [(model, model)])
    monkeypatch.setattr(models, "of_the_miniature", lambda home, say: result)
    return result


def test_the_tree_is_clean_after_the_proof_and_its_outputs_are_where_it_says(
    compared, tmp_path, monkeypatch, capsys
):
    def tree():
        return {path: path.read_bytes() for path in KEPT + [REPO / "README.md"]}

    photo = tmp_path / "a photo.png"
    Image.new("RGB", (60, 40), "white").save(str(photo))
    monkeypatch.setattr(proof.tempfile, "tempdir", str(tmp_path))
    before = tree()
    monkeypatch.setattr(proof, "SCENE", 0)
    assert command.run("proof", proof.main) == 0
    output = capsys.readouterr()
    (folder,) = tmp_path.glob("todus-proof-*")
    assert "written to %s" % folder in output.err
    assert tree() == before
    names = {path.name for path in folder.iterdir()}
    assert names == {"results.json", "chart.png", "scene.png"}
    found = json.loads((folder / "results.json").read_text())
    for row in found["rows"]:
        assert row["equal"]["missing"] == 0 < row["equal"]["detections"]
        assert row["whole"]["ap"] == row["limited"]["ap"] > 0.1
        assert page.cells(row)[0] in output.out
    drawing.photo(compared, photo, folder / "photo.png")
    with Image.open(str(folder / "photo.png")) as picture:
        assert picture.size[0] > 2 * picture.size[1]


@pytest.mark.parametrize(
    "variables, words",
    [
        ({"MODEL": "m"}, "give both: MODEL=ZOO_NAME DATASET=limited"),
        ({"DATASET": "limited"}, "give both"),
        ({"QUANTIZED": "m"}, "QUANTIZED needs MODEL"),
        ({"PHOTO": __file__, "WRITE": "1"}, "leave out PHOTO or WRITE"),
        ({"PHOTO": "none.jpg"}, "PHOTO=none.jpg"),
    ],
)
def test_variables_that_do_not_fit_together_are_wrong_usage(variables, words, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert command.run("proof", proof.main) == 2
    line = capsys.readouterr().err
    assert words in line and line.count("\n") == 1


def test_writing_replaces_only_what_is_between_the_markers(tmp_path, monkeypatch):
    text = "# A\n\n<!-- proof -->\nold\n<!-- /proof -->\nrest\n"
    readme = tmp_path / "README.md"
    readme.write_text(text)
    monkeypatch.setattr(page, "README", readme)
    page.write_readme()
    assert readme.read_text() == text.replace("old\n", page.block())
    readme.write_text("# A\n")
    with pytest.raises(TodusError, match="has no line <!-- proof -->"):
        page.write_readme()
