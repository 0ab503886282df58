"""The benchmark and the report of a model."""

import json
import os
import re
import shutil

import pytest
from jinja2 import UndefinedError

from tests.helpers.places import MODEL
from todus import files, paths
from todus.commands import report
from todus.dataset import image_files
from todus.errors import UsageError
from todus.evaluation import average_precision, latency
from todus.report import measurements, page, pictures
from todus.training import metrics

PARTS = ("preprocess_ms", "network_ms", "decode_ms", "nms_ms")


@pytest.fixture(scope="module")
def measured(exported_home):
    """The benchmark of each form of the model: 3 rounds on 2 images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(exported_home))
        examples = average_precision.examples_of(paths.dataset("limited"), "val", 2)
        images = [image_files.decode(each.encoded) for each in examples]
        return latency.run(paths.model(MODEL), images, 3, None, lambda title: None, print)


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """copy(home): a hard-linked copy of the home's model, in a TODUS_HOME with its dataset."""

    def copy(home):
        (tmp_path / "dataset").symlink_to(home / "dataset")
        target = tmp_path / "model" / MODEL
        shutil.copytree(str(home / "model" / MODEL), str(target), copy_function=os.link)
        monkeypatch.setenv("TODUS_HOME", str(tmp_path))
        return paths.model(MODEL)

    return copy


@pytest.fixture
def evaluated(limited_home, copy_of):
    """page_of(entry): the report of a model with this entry in eval.json."""
    model = copy_of(limited_home)

    def page_of(entry):
        (model.folder / "eval.json").write_text(json.dumps([entry]))
        return page.write(model).read_text(encoding="utf-8")

    return page_of


def entry(**more):
    """An entry of eval.json."""
    numbers = dict.fromkeys(measurements.AP + ("images_per_second", "bytes"), 0.5)
    texts = {"title": "TFLite", "format": "tflite", "protocol": "p"}
    return {**numbers, **texts, "score_threshold": 0.1, "per_class": {}, **more}


def test_the_benchmark_measures_each_part_of_the_latency(measured, tmp_path):
    rows = {row["format"]: row for row in measured["rows"]}
    assert measured["rows"][0]["format"] == "zoo" and measured["rows"][0]["gain"] == 1
    assert {"frozen_graph", "tflite", "tflite-int8", "onnx"} <= set(rows)
    assert all(rows["frozen_graph"][name] is not None for name in PARTS)
    assert rows["frozen_graph"]["multiply_adds"] < rows["zoo"]["multiply_adds"]
    assert measured["expected_gain"] > 1
    latency.draw(tmp_path / "bars.png", measured)
    assert (tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_of_the_benchmark_has_a_row_for_each_form_in_columns(measured, capsys):
    latency.print_table(measured)
    first, head, *rows, last = capsys.readouterr().out.splitlines()
    assert first == "3 rounds, all threads, ms an image" and "expected" in last
    assert " ".join(head.split()) == "classes median p90 preprocess network decode nms gain MB"
    assert [row.split("  ")[0] for row in rows] == [row["title"] for row in measured["rows"]]
    assert {len(line) for line in rows} == {len(head)}


def test_the_page_has_every_part_and_loads_nothing_from_the_network(
    exported_home, copy_of, measured
):
    model = copy_of(exported_home)
    files.write_json(model.folder / "benchmark.json", measured)
    html = page.write(model).read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"'](?!data:)", html)
    assert "http" not in re.sub(r"base64,[^\"]*", "", html)
    assert "Detects: circle, four point star" in html and "tensorflow" in html
    assert "Detections side by side" in html and "Speed and size" in html
    assert html.count("data:image/jpeg") == 4 * pictures.SAMPLES  # with the groundtruth
    assert html.count("groundtruth: ") == 2 * pictures.SAMPLES  # caption and text for the blind


def test_a_part_that_is_not_measured_shows_its_command(limited_home, copy_of):
    html = page.write(copy_of(limited_home)).read_text(encoding="utf-8")
    assert "python -m eval -m %s --all" % MODEL in html and "./benchmark.sh" in html


def test_new_classes_a_training_and_its_commands_are_in_the_report(limited_home, copy_of):
    model = copy_of(limited_home)
    source = model.pretrained / "source.json"
    about = files.read_json(source)
    for fresh, shown in (
        (["circle"], "→ 1 + 1</b>classes, kept and new"),
        (["circle", "four point star"], "<b>2</b>classes, none the zoo model"),
    ):
        files.write_json(source, dict(about, fresh=fresh))
        html = page.write(model).read_text(encoding="utf-8")
        assert shown in html and "python -m model -m %s" % MODEL in html
    assert "CATEGORIES=&#39;circle,four point star&#39; ./dataset-limited.sh\n" in html
    assert "./train.sh\n" not in html
    model.training.mkdir()
    for name in ("index", "data-00000-of-00001"):
        (model.training / ("model.ckpt-7." + name)).write_bytes(b"")
    row = {"step": 7, "time": "", "seconds": 1.0, "images": 2, "sample": 1, "val": ""}
    metrics.add(model, dict(row, ap=0.75, ap50=0.8, ap75=0.7, ar100=0.6))
    html = page.write(model).read_text(encoding="utf-8")
    assert "<b>0.750</b>AP in training, at step 7" in html and "./train.sh\n" in html


def test_a_form_is_named_with_its_runtime(evaluated):
    assert "<td>TFLite, LiteRT 2.3.0</td>" in evaluated(entry(runtime="LiteRT 2.3.0"))


def test_false_alarms_are_shown_at_the_thresholds_and_at_90_percent_recall(evaluated):
    alarms = {"per_100_images": 62.5, "images": 16, "detections": 10, "at": "T"}
    row = "<td>TFLite</td><td>62.5</td><td>10 in 16 images</td><td>T</td><td>%s</td>"
    assert row % "–" in evaluated(entry(false_alarms=alarms))  # of an earlier version
    alarms["at_recall"] = {"recall": 0.9, "per_100_images": 12.5, "thresholds": {}}
    assert row % "12.5" in evaluated(entry(false_alarms=alarms))


def test_the_bar_of_a_form_is_as_long_as_its_label_says(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn, barh = {}, Axes.barh

    def record(axes, place, width, left=0, **more):
        drawn[place] = max(drawn.get(place, 0), width + left)
        return barh(axes, place, width, left=left, **more)

    monkeypatch.setattr(Axes, "barh", record)
    row = {"title": "A", "classes": 2, "gain": 1.0, "median_ms": 10.0, **dict.fromkeys(PARTS, 4.0)}
    rows = [row, dict(row, median_ms=20.0), dict(row, **dict.fromkeys(PARTS))]
    latency.draw(tmp_path / "bars.png", {"rows": rows})
    assert [drawn[place] for place in range(3)] == pytest.approx([10, 20, 10])


def test_class_names_are_shown_as_text(evaluated):
    names = ("<script>alert(1)</script>", "<b>", "{{ 7 * 7 }}", "{% raw %}", "\x1b[2J\n")
    picked = {"threshold": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    thresholds, per_class = dict.fromkeys(names, picked), dict.fromkeys(names, 0.5)
    html = evaluated(entry(title=names[0], thresholds=thresholds, per_class=per_class))
    assert "<script>" not in html and "<b>&lt;" not in html and "\x1b" not in html
    assert html.count("<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>") == 3
    for shown in ("{{ 7 * 7 }}", "{% raw %}", "[2J"):
        assert html.count("<td>%s</td>" % shown) == 2


def test_an_unknown_number_is_shown_as_a_dash(evaluated):
    html = evaluated(entry(ap=None, per_class={"circle": None}))
    assert "<tr><td>TFLite</td><td>–</td><td>0.500</td>" in html
    assert "<th>AP of</th><th>circle</th>" in html and "<td>TFLite</td><td>–</td></tr>" in html
    assert "AP, TFLite" not in html


def test_a_value_that_the_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        page.template().render({"model": {}})


def test_a_report_without_a_model_name_is_wrong_usage(monkeypatch):
    monkeypatch.delenv("MODEL", raising=False)
    with pytest.raises(UsageError, match="MODEL=NAME"):
        report.main([])
