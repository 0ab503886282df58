"""The benchmark and the report of a model."""

import json
import re

import pytest

from helpers.places import MODEL
from todus import files, paths
from todus.commands import report
from todus.dataset import image_files
from todus.errors import UsageError
from todus.evaluation import average_precision, latency
from todus.report import page


@pytest.fixture(scope="module")
def measured(exported_home):
    import os

    before = os.environ.get("TODUS_HOME")
    os.environ["TODUS_HOME"] = str(exported_home)
    images = [image_files.decode(each.encoded) for each in average_precision.examples_of(paths.dataset("limited"), "val", 2)]
    result = latency.run(paths.model(MODEL), images, 3, None, lambda title: None)
    os.environ.pop("TODUS_HOME")
    if before is not None:
        os.environ["TODUS_HOME"] = before
    return result


def test_the_benchmark_tells_the_parts_apart(measured, tmp_path, capsys):
    rows = {row["format"]: row for row in measured["rows"]}
    assert measured["rows"][0]["format"] == "zoo" and measured["rows"][0]["gain"] == 1
    assert {"frozen_graph", "tflite", "tflite-int8", "onnx"} <= set(rows)
    for name in ("preprocess_ms", "network_ms", "decode_ms", "nms_ms"):
        assert rows["frozen_graph"][name] is not None
    assert rows["frozen_graph"]["multiply_adds"] < rows["zoo"]["multiply_adds"]
    assert measured["expected_gain"] > 1
    latency.draw(tmp_path / "bars.png", measured)
    assert (tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"
    latency.print_table(measured)
    assert "expected" in capsys.readouterr().out


def test_the_page_holds_everything_and_fetches_nothing(exported, measured):
    model = paths.model(MODEL)
    files.write_json(model.folder / "benchmark.json", measured)
    html = page.write(model).read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"'](?!data:)", html) and "http" not in re.sub(r"base64,[^\"]*", "", html)
    for words in ("Detects: circle, four point star", "Detections side by side", "Speed and size", "tensorflow"):
        assert words in html
    assert html.count("data:image/jpeg") == 3 * page.SAMPLES


def test_a_missing_part_names_the_command(prepared):
    html = page.write(paths.model(MODEL)).read_text(encoding="utf-8")
    assert "python -m eval -m %s --all" % MODEL in html and "./benchmark.sh" in html


def test_a_class_name_cannot_be_markup(exported, monkeypatch):
    entry = {"title": "<script>alert(1)</script>", "protocol": "p", "score_threshold": 0.1, "per_class": {"<b>": 0.5}, "format": "tflite"}
    entry.update(dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop", "images_per_second", "bytes"), 0.5))
    path = paths.model(MODEL).folder / "eval.json"
    before = path.read_text() if path.exists() else None
    path.write_text(json.dumps([entry]))
    try:
        assert "<script>" not in page._accuracy(paths.model(MODEL)) and "<b>&lt;" not in page._accuracy(paths.model(MODEL))
        assert "&lt;script&gt;" in page._accuracy(paths.model(MODEL))
    finally:
        path.unlink() if before is None else path.write_text(before)


def test_without_a_name_the_usage_is_told(monkeypatch):
    monkeypatch.delenv("MODEL", raising=False)
    with pytest.raises(UsageError, match="MODEL=NAME"):
        report.main([])
