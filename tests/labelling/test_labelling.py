"""dataset-label.sh: a detector labels a folder of images as Pascal VOC XML."""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from demo.server import Server
from tests.helpers import own_images as own
from tests.helpers.places import MODEL
from todus import files, paths
from todus.commands import label
from todus.dataset.sources import voc
from todus.detection.detector import Detections, Detector
from todus.errors import TodusError, UsageError
from todus.labelling import folder, mirrored, thresholds

AT = {"cat": 0.5, "dog": 0.5}


class Seen(Detector):
    """Finds a cat where the red channel is 255; `scores` are those of image and mirror image."""

    names = {1: "cat", 2: "dog"}

    def __init__(self, *scores, fails_after=99):
        self.scores, self.left = scores, fails_after

    def detect_prepared(self, images):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return [self._found(*pair) for pair in zip(images, self.scores)]

    def _found(self, image, score):
        rows, columns = np.nonzero(image[..., 0] == 255)
        sides = np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]])
        boxes = sides / np.array([*image.shape[:2], *image.shape[:2]])
        return Detections(boxes.astype(np.float32), np.array([1]), np.array([score], np.float32))


def draw(path: Path, corner=(4, 6)) -> Path:
    """A PNG of 40x30 with a red square of 10x10."""
    from PIL import Image

    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[corner[1] : corner[1] + 10, corner[0] : corner[0] + 10] = 255, 0, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(str(path))
    return path


def made(root: Path, detector: Detector, share: float = 0.5):
    work = folder.plan(root, root.with_name("out"))
    folder.take_over(work)
    return work, folder.label(detector, work, AT, share)


def names_in(out: Path):
    return sorted(own.tree(out))


def test_the_boxes_and_scores_of_an_image_and_its_mirror_image_are_averaged():
    image = np.zeros((30, 40, 3), np.uint8)
    image[6:16, 4:14] = 255
    (box,), _, (score,) = mirrored.detect(Seen(0.9, 0.5), image)
    assert np.allclose(box, [6 / 30, 4 / 40, 16 / 30, 14 / 40]) and score == pytest.approx(0.7)

    def of(*rows):
        boxes, classes, scores = zip(*rows) if rows else ((), (), ())
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(boxes, np.array(classes, np.int64), np.array(scores, np.float32))

    one = of(([0, 0, 0.5, 0.5], 1, 0.8), ([0, 0, 0.5, 0.4], 1, 0.6), ([0, 0, 1, 1], 2, 0.4))
    other = of(([0, 0, 0.5, 0.6], 1, 0.4), ([0.6, 0.6, 1, 1], 1, 0.2))
    boxes, classes, scores = mirrored.mean(one, other)
    assert np.allclose(scores, [0.6, 0.3, 0.2, 0.1]) and classes.tolist() == [1, 1, 2, 1]
    assert np.allclose(boxes[0], [0, 0, 0.5, 0.55]) and np.allclose(boxes[3], [0.6, 0.6, 1, 1])
    assert len(mirrored.mean(of(), of()).scores) == 0


def test_sure_and_doubtful_images_are_sorted_and_the_tree_is_kept(tmp_path):
    root = tmp_path / "in"
    draw(root / "train" / "a.png")
    _, result = made(root, Seen(0.9, 0.7))
    draw(root / "b.png")
    draw(root / "c.png")
    work, second = made(root, Seen(0.4, 0.4))
    assert (result.images, result.doubtful, dict(result.boxes)) == (1, 0, {"cat": 1})
    assert (work.done, second.images, second.doubtful, dict(second.boxes)) == (1, 2, 2, {})
    pairs = ["doubtful/b.png", "doubtful/b.xml", "doubtful/c.png", "doubtful/c.xml"]
    assert names_in(work.out) == ["annotations/train/a.xml", *pairs, "images/train/a.png"]
    found = ElementTree.parse(str(work.out / "annotations" / "train" / "a.xml")).getroot()
    corners = [found.find("object/bndbox/" + side).text for side in voc.CORNERS]
    assert corners == ["4", "6", "14", "16"] and found.find("object/score").text == "0.800"
    assert [found.find(tag).text for tag in ("folder", "filename")] == ["train", "a.png"]


def test_doubtful_boxes_count_in_a_dataset_once_a_person_has_saved_the_file(tmp_path):
    root = tmp_path / "in"
    draw(root / "b.png")
    out = made(root, Seen(0.4, 0.4))[0].out
    before = voc.read(out)
    assert [box.is_crowd for each in before.images for box in each.boxes] == [True]
    assert before.mended[voc.NOT_LOOKED_AT] == 1
    path = out / "doubtful" / "b.xml"
    kept = re.sub("\n.*<(doubtful|score)>.*", "", path.read_text())  # as LabelImg does
    path.write_text(kept)
    after = voc.read(out)
    assert [box.is_crowd for each in after.images for box in each.boxes] == [False]
    assert not after.mended


def test_labels_that_exist_are_never_written_again_and_an_interrupted_run_continues(tmp_path):
    root = tmp_path / "in"
    for name in "abcd":
        draw(root / (name + ".png"))
    theirs = own.annotate(root / "b.png", [("dog", 1, 2, 30, 20)])
    with pytest.raises(KeyboardInterrupt):
        made(root, Seen(0.9, 0.9, fails_after=1))
    out = tmp_path / "out"
    assert (out / "annotations" / "b.xml").read_bytes() == theirs.read_bytes()
    (out / "annotations" / "a.xml").write_text("corrected")
    work, result = made(root, Seen(0.9, 0.9))
    assert (work.done, result.images) == (2, 2)
    assert (out / "annotations" / "a.xml").read_text() == "corrected"
    assert len(voc.read(out).images) == 3
    os.rename(str(out / "annotations" / "d.xml"), str(out / "doubtful.xml"))
    (out / "doubtful").mkdir()
    os.rename(str(out / "doubtful.xml"), str(out / "doubtful" / "d.xml"))
    assert folder.plan(root, out).images == []


def test_a_file_that_is_no_image_and_a_second_image_of_one_name_are_counted(tmp_path, capsys):
    root = tmp_path / "in"
    draw(root / "a.png")
    draw(root / "a.jpg")
    (root / "broken.jpg").write_bytes(b"no image")
    work, result = made(root, Seen(0.9, 0.9))
    assert (len(work.same_name), result.images, result.unreadable) == (1, 1, 1)
    assert capsys.readouterr().err.count("broken.jpg") == 1


def test_folders_without_images_and_out_in_the_wrong_place_are_refused(tmp_path):
    draw(tmp_path / "in" / "a.png")
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="OUT is the folder of the images"):
        folder.plan(tmp_path / "in", tmp_path / "in")
    with pytest.raises(UsageError, match="no images under"):
        folder.plan(tmp_path / "none", tmp_path / "out")
    with pytest.raises(TodusError, match="is not a folder"):
        folder.plan(tmp_path / "gone", tmp_path / "out")
    draw(tmp_path / "in" / "out" / "images" / "b.png")
    assert len(folder.plan(tmp_path / "in", tmp_path / "in" / "out").images) == 1


def test_thresholds_are_given_or_those_stored_by_eval_or_a_half(home):
    from todus.detection.catalogue import Present

    model, names = paths.Model(home / "m"), {1: "cat", 2: "dog", 3: "owl"}
    graph = model.folder / "g.pb"
    own.write(graph, "")
    form = Present("frozen_graph", graph, "")
    at = thresholds.choose(model, form, names, None)
    assert set(at.by_class.values()) == {0.5} and "python -m eval -m m --all" in at.source
    picked = {"cat": {"threshold": 0.3}, "dog": None, "owl": {"threshold": 0.7}}
    entry = {"format": "frozen_graph", "file": "g.pb", "thresholds": picked}
    files.write_json(model.folder / "eval.json", [entry])
    at = thresholds.choose(model, form, names, None)
    assert at == ({"cat": 0.3, "dog": 0.5, "owl": 0.7}, "picked on val, but 0.5 for dog")
    assert thresholds.choose(model, form, names, 0.6).by_class == dict.fromkeys(at.by_class, 0.6)
    at = thresholds.choose(model, form, names, [("Dog", 0.2)])
    assert at.by_class == {"cat": 0.3, "dog": 0.2, "owl": 0.7}
    with pytest.raises(UsageError, match="THRESHOLD: no class duck here; choose from cat, dog"):
        thresholds.choose(model, form, names, [("duck", 0.2)])
    os.utime(str(model.folder / "eval.json"), (0, 0))  # of a graph before this one
    assert set(thresholds.choose(model, form, names, None).by_class.values()) == {0.5}


def test_a_zoo_model_labels_and_its_labels_become_a_dataset(drawn, tmp_path, monkeypatch, capsys):
    home, root = tmp_path / "home", tmp_path / "my pictures"
    root.mkdir()
    for path in sorted((drawn / "val2017").glob("*.jpg"))[:6]:
        (root / path.name).write_bytes(path.read_bytes())
    run = own.runner(label.main, home, monkeypatch, capsys)
    code, _, err = run(root, "-m", "no-such-model")
    assert code == 1 and "no model at" in err and err.count("\n") == 1
    given = {"CATEGORIES": "circle, four point star", "THRESHOLD": "circle=0.3"}
    with Server(drawn) as server:
        code, output, err = run(root, "-m", MODEL, ZOO_URL=server.zoo_url, **given)
    out = tmp_path / "my pictures-labelled"
    assert code == 0 and "score threshold circle 0.30, four point star 0.50" in err
    assert output.startswith("%s: 6 images labelled, " % out)
    assert output.endswith("next: ./dataset-voc.sh '%s'\n" % out)
    assert (out / "classes.txt").read_text().split("\n") == ["circle", "four point star", ""]
    assert files.read_json(out / "labels.json")["model"] == MODEL
    before = own.tree(out)
    code, output, err = run(root, "-m", MODEL, **given)
    assert code == 0 and "up to date; nothing to do" in output and own.tree(out) == before
    code, output, _ = own.runner(voc.main, home, monkeypatch, capsys)(out, NAME="d")
    assert code == 0 and set(own.label_map("voc/d").values()) <= {
        "circle",
        "four point star",
    }
