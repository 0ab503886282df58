"""The benchmark and the report of a model."""

import json
import re

import pytest
from jinja2 import UndefinedError

from tests.helpers.places import MODEL
from todus import files, paths
from todus.commands import report
from todus.dataset import image_files
from todus.errors import UsageError
from todus.evaluation import average_precision, latency
from todus.report import page, pictures


@pytest.fixture(scope="module")
def measured(exported_home):
    import os

    before = os.environ.get("TODUS_HOME")
    os.environ["TODUS_HOME"] = str(exported_home)
    images = [
        image_files.decode(each.encoded)
        for each in average_precision.examples_of(paths.dataset("limited"), "val", 2)
    ]
    result = latency.run(paths.model(MODEL), images, 3, None, lambda title: None, print)
    os.environ.pop("TODUS_HOME")
    if before is not None:
        os.environ["TODUS_HOME"] = before
    return result


def test_the_benchmark_tells_the_parts_apart(measured, tmp_path):
    rows = {row["format"]: row for row in measured["rows"]}
    assert measured["rows"][0]["format"] == "zoo" and measured["rows"][0]["gain"] == 1
    assert {"frozen_graph", "tflite", "tflite-int8", "onnx"} <= set(rows)
    for name in ("preprocess_ms", "network_ms", "decode_ms", "nms_ms"):
        assert rows["frozen_graph"][name] is not None
    assert rows["frozen_graph"]["multiply_adds"] < rows["zoo"]["multiply_adds"]
    assert measured["expected_gain"] > 1
    latency.draw(tmp_path / "bars.png", measured)
    assert (tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"


def test_the_benchmarks_table_has_a_row_for_each_form_in_columns(measured, capsys):
    latency.print_table(measured)
    first, head, *rows, last = capsys.readouterr().out.splitlines()
    assert first == "3 rounds, all threads, ms an image" and "expected" in last
    assert head.split() == [
        "classes",
        "median",
        "p90",
        "preprocess",
        "network",
        "decode",
        "nms",
        "gain",
        "MB",
    ]
    assert [row.split("  ")[0] for row in rows] == [row["title"] for row in measured["rows"]]
    assert {len(line) for line in rows} == {len(head)}


def test_the_page_holds_everything_and_fetches_nothing(exported, measured):
    model = paths.model(MODEL)
    files.write_json(model.folder / "benchmark.json", measured)
    html = page.write(model).read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"'](?!data:)", html) and "http" not in re.sub(
        r"base64,[^\"]*", "", html
    )
    for words in (
        "Detects: circle, four point star",
        "Detections side by side",
        "Speed and size",
        "tensorflow",
    ):
        assert words in html
    assert html.count("data:image/jpeg") == 3 * pictures.SAMPLES


def test_a_missing_part_names_the_command(prepared):
    html = page.write(paths.model(MODEL)).read_text(encoding="utf-8")
    assert "python -m eval -m %s --all" % MODEL in html and "./benchmark.sh" in html


def entry(**more):
    """One of eval.json."""
    numbers = (
        "ap",
        "ap50",
        "ap75",
        "ap_small",
        "ap_medium",
        "ap_large",
        "drop",
        "images_per_second",
        "bytes",
    )
    return dict(
        dict.fromkeys(numbers, 0.5),
        title="TFLite",
        protocol="p",
        score_threshold=0.1,
        per_class={},
        format="tflite",
        **more,
    )


@pytest.fixture
def evaluated(prepared):
    """Writes eval.json; it is removed after the test."""
    path = paths.model(MODEL).folder / "eval.json"
    yield lambda *entries: path.write_text(json.dumps(entries))
    path.unlink()


def test_a_class_name_cannot_be_markup_nor_template(evaluated):
    picked = {"threshold": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    hostile = ("<script>alert(1)</script>", "<b>", "{{ 7 * 7 }}", "{% raw %}", "\x1b[2J\n")
    evaluated(
        dict(
            entry(thresholds=dict.fromkeys(hostile, picked)),
            title=hostile[0],
            per_class=dict.fromkeys(hostile, 0.5),
        )
    )
    html = page.write(paths.model(MODEL)).read_text(encoding="utf-8")
    assert "<script>" not in html and "<b>&lt;" not in html and "\x1b" not in html
    assert html.count("<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>") == 3
    assert (
        html.count("<td>{{ 7 * 7 }}</td>")
        == html.count("<td>{% raw %}</td>")
        == html.count("<td>[2J</td>")
        == 2
    )


def test_a_number_that_is_unknown_is_a_dash(evaluated):
    evaluated(dict(entry(), ap=None, per_class={"circle": None}))
    html = page.write(paths.model(MODEL)).read_text(encoding="utf-8")
    assert (
        "<tr><td>TFLite</td><td>–</td><td>0.500</td>" in html
        and "<tr><td>circle</td><td>–</td></tr>" in html
    )
    assert "AP, TFLite" not in html


def test_a_value_that_the_template_misses_is_an_error():
    with pytest.raises(UndefinedError):
        page.template().render({"model": {}})


def test_without_a_name_the_usage_is_told(monkeypatch):
    monkeypatch.delenv("MODEL", raising=False)
    with pytest.raises(UsageError, match="MODEL=NAME"):
        report.main([])
