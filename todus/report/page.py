"""One HTML page about a model, with everything in it"""

import base64
import io
import os
import platform
import shlex
from html import escape
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from todus import __version__, categories, files, paths
from todus.detection import catalogue
from todus.errors import TodusError
from todus.model import artefacts, pipeline, prepared
from todus.paths import Model
from todus.report import measurements
from todus.text import one_line

SAMPLES = 4
THRESHOLD = 0.4
PACKAGES = ("tensorflow", "tf-models-research-object-detection", "pycocotools", "tf2onnx", "onnxruntime", "tflite-support", "numpy")

STYLE = """
:root { --ink: #1d2530; --soft: #5a6675; --line: #dde3ea; --paper: #fff; --band: #f5f7fa; --accent: #0b62a8; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .7rem; padding-top: .7rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0 .8rem; overflow-wrap: anywhere; } .soft { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1.2rem 0; padding: 0; }
.facts div { background: var(--band); border-radius: .5rem; padding: .7rem .9rem; }
.facts b { display: block; font-size: 1.45rem; line-height: 1.25; color: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
th { color: var(--soft); font-weight: 600; }
img { max-width: 100%; height: auto; display: block; border-radius: .3rem; }
.chart { min-width: 40rem; } figure { margin: 0; } figcaption { font-size: .85rem; color: var(--soft); padding: .25rem 0 .5rem; }
.samples { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr));
  gap: .6rem; margin-bottom: .8rem; align-items: start; }
pre { background: var(--band); padding: .8rem 1rem; border-radius: .5rem; overflow-x: auto; font-size: .85rem; }
@media (max-width: 40rem) { .samples { grid-template-columns: 1fr; margin-bottom: 1.6rem; } body { padding: 1rem .9rem 3rem; } }
"""


def write(model: Model) -> Path:
    """Makes model/MODEL/report.html. Raises TodusError when the model is not prepared."""
    parts = [_head(model), _accuracy(model), _training(model), _samples(model), _speed(model), _thresholds(model), _commands(model)]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        "<title>%s</title><style>%s</style></head>\n<body>\n%s\n</body></html>\n"
    ) % (_text(model.name), STYLE, "\n".join(parts))
    path = model.folder / "report.html"
    files.write_text(path, page)
    return path


def _text(value) -> str:
    return escape(one_line(str(value)))


def _number(value, places: int = 3) -> str:
    return "–" if value is None else "%.*f" % (places, round(value, places) + 0.0)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join("<th>%s</th>" % _text(name) for name in head)
    body = "".join("<tr>%s</tr>" % "".join("<td>%s</td>" % _text(cell) for cell in row) for row in rows)
    return '<div class="scroll"><table><thead><tr>%s</tr></thead><tbody>%s</tbody></table></div>' % (cells, body)


def _missing(what: str, how: str) -> str:
    return '<p class="soft">%s: not measured yet; run <code>%s</code></p>' % (_text(what), _text(how))


def _picture(path: Path, text: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return '<figure class="scroll"><img class="chart" alt="%s" src="data:image/png;base64,%s"></figure>' % (_text(text), data)


def _head(model: Model) -> str:
    zoo_names, names = categories.read_label_map(model.zoo_label_map), categories.read_label_map(model.limited_label_map)
    config = pipeline.read(model.pipeline)
    size = pipeline.input_size(config)
    source = prepared.prepared_from(model) or {}
    entries, benchmark = measurements.entries(model), measurements.benchmark(model)
    facts = [("%d → %d" % (len(zoo_names), len(names)), "classes")]
    if entries and entries[0]["ap"] is not None:
        facts.append((_number(entries[0]["ap"]), "AP, %s" % entries[0]["title"]))
    if model.zoo_frozen_graph.exists() and model.frozen_graph.exists():
        sizes = [path.stat().st_size / 1e6 for path in (model.zoo_frozen_graph, model.frozen_graph)]
        facts.append(("%.1f → %.1f MB" % tuple(sizes), "frozen graph, zoo to limited"))
    if benchmark:
        best = max(benchmark["rows"][1:], key=lambda row: row["gain"], default=None)
        if best:
            facts.append(("%.1f×" % best["gain"], "faster than the zoo model as %s" % best["title"]))
    listed = ", ".join(names[identity] for identity in sorted(names)[:40]) + (" …" if len(names) > 40 else "")
    about = "%s from %s, %s input%s. Dataset: %s." % (
        pipeline.extractor(config),
        Path(str(source.get("archive", source.get("zoo", "the zoo")))).name,
        "%d×%d" % size if size else "any size of",
        ", quantization-aware" if pipeline.is_quantized(config) else "",
        source.get("dataset") or "none",
    )
    cards = "".join("<div><b>%s</b>%s</div>" % (_text(value), _text(label)) for value, label in facts)
    return '<h1>%s</h1>\n<p class="soft">%s</p>\n<p>Detects: %s</p>\n<div class="facts">%s</div>' % (
        _text(model.name),
        _text(about),
        _text(listed),
        cards,
    )


def _accuracy(model: Model) -> str:
    title, entries = "<h2>Average precision</h2>", measurements.entries(model)
    if not entries:
        return title + _missing("AP of each format", "python -m eval -m %s --all" % model.name)
    columns = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop")
    head = ["format", "AP", "AP50", "AP75", "small", "medium", "large", "drop", "images/s", "MB"]
    rows = [
        [entry["title"]]
        + [_number(entry[name]) for name in columns]
        + [_number(entry["images_per_second"], 1), _number(entry["bytes"] / 1e6, 1)]
        for entry in entries
    ]
    by_class = [[name] + [_number(entry["per_class"].get(name)) for entry in entries] for name in entries[0]["per_class"]]
    note = '<p class="soft">%s; score threshold %g for every format.</p>' % (_text(entries[0]["protocol"]), entries[0]["score_threshold"])
    picture = model.folder / "eval.png"
    return "\n".join(
        [title, note, _table(head, rows), "<p></p>", _table(["AP of"] + [entry["title"] for entry in entries], by_class)]
        + ([_picture(picture, "precision-recall curves")] if picture.exists() else [])
    )


def _training(model: Model) -> str:
    curves = model.training / "curves.png"
    if curves.exists():
        return "<h2>Training</h2>" + _picture(curves, "loss and AP by step")
    return '<h2>Training</h2><p class="soft">Not trained, or no curves yet: the weights are those the export names.</p>'


def _samples(model: Model) -> str:
    title = "<h2>Detections side by side</h2>"
    try:
        dataset = prepared.dataset_of(model)
        rows = _drawn(model, dataset)
    except TodusError as error:
        return title + '<p class="soft">No samples: %s</p>' % _text(error)
    note = '<p class="soft">Val images with the most boxes of different classes, detections that score at least %g.</p>' % THRESHOLD
    return title + note + "".join(rows)


def _drawn(model: Model, dataset) -> List[str]:
    """A row for each sample image: zoo, limited, quantized."""
    from todus.dataset.image_files import decode
    from todus.detection import drawing
    from todus.evaluation.average_precision import examples_of

    detectors = [(form.title, catalogue.open_form(model, form)) for form in _compared(model)]
    kept = set(categories.read_label_map(model.limited_label_map).values())
    identities = {name: identity for identity, name in categories.read_label_map(model.zoo_label_map).items()}
    examples = sorted(examples_of(dataset, "val", 200), key=lambda each: (-len(set(each.classes)), -len(each.boxes)))[:SAMPLES]
    rows = []
    for example in examples:
        image, cells = decode(example.encoded), []
        for title, detector in detectors:
            found = detector.detect([image])[0]
            encoded = io.BytesIO()
            ids = {each: identities.get(name, each) for each, name in detector.names.items()}  # so that a class has one colour
            shown = found._replace(classes=np.array([ids.get(int(each), each) for each in found.classes], int))
            names = {ids[each]: name for each, name in detector.names.items()}
            drawing.thumbnail(drawing.draw(image, shown, names, THRESHOLD), 480).save(encoded, "JPEG", quality=82)
            strong = [detector.names.get(int(each)) for each, score in zip(found.classes, found.scores) if score >= THRESHOLD]
            others = sum(name not in kept for name in strong)
            caption = "%s: %d detections%s" % (title, len(strong), ", %d of other classes" % others if others else "")
            data = base64.b64encode(encoded.getvalue()).decode("ascii")
            image_tag = '<img alt="%s" src="data:image/jpeg;base64,%s">' % (_text(caption), data)
            cells.append("<figure>%s<figcaption>%s</figcaption></figure>" % (image_tag, _text(caption)))
        rows.append('<div class="samples" style="--columns: %d">%s</div>' % (len(cells), "".join(cells)))
    return rows


def _compared(model: Model) -> List[catalogue.Form]:
    """The zoo model, the limited one, and an 8-bit file of it where there is one."""
    there = catalogue.present(model)
    limited = next((form for form in there if form.name == "frozen_graph"), there[0])
    small = [form for form in there if form.title in ("TFLite uint8", "TFLite int8")] or [form for form in there if form.name == "tflite"]
    return [catalogue.find(model, "zoo"), limited] + small[:1]


def _speed(model: Model) -> str:
    title, result = "<h2>Speed and size</h2>", measurements.benchmark(model)
    if not result:
        return title + _missing("latency of each format", "MODEL_DIR=%s ./benchmark.sh" % _relative(model))
    head = ["", "classes", "median ms", "p90", "resize", "network", "decode", "NMS", "gain", "MB"]
    parts = ("median_ms", "p90_ms", "preprocess_ms", "network_ms", "decode_ms", "nms_ms")
    rows = [
        [row["title"], str(row["classes"])]
        + [_number(row[name], 1) for name in parts]
        + ["%.2f×" % row["gain"], _number(row["bytes"] / 1e6, 1)]
        for row in result["rows"]
    ]
    limited = next((row for row in result["rows"] if row["format"] == "frozen_graph"), None)
    note = "One interleaved run of %d rounds on %s cores, milliseconds an image." % (result["rounds"], result.get("cores", "?"))
    if limited and result.get("expected_gain"):
        note += " Fewer classes in the frozen graph: expected %.2f×, measured %.2f×." % (result["expected_gain"], limited["gain"])
    picture = model.folder / "benchmark.png"
    shown = _picture(picture, "latency of each format") if picture.exists() else ""
    return title + '<p class="soft">%s</p>' % _text(note) + _table(head, rows) + "<p></p>" + shown


def _thresholds(model: Model) -> str:
    entries = measurements.entries(model)
    entry: Optional[Dict] = next((each for each in reversed(entries) if each.get("thresholds")), None)
    if not entry:
        return ""
    head, rows = ["class", "keep scores from", "precision", "recall", "F1"], []
    for name, picked in entry["thresholds"].items():
        values = [
            _number((picked or {}).get(key), places) for key, places in (("threshold", 3), ("precision", 2), ("recall", 2), ("f1", 2))
        ]
        rows.append([name] + values)
    note = '<p class="soft">Picked on val for %s at IoU 0.5; each file has its own in FILE.json.</p>' % _text(entry["title"])
    return "<h2>Score thresholds</h2>" + note + _table(head, rows)


def _commands(model: Model) -> str:
    where = "export MODEL_DIR=%s" % _relative(model)
    lines = [where, "./export.sh", "./export-tflite.sh && ./convert-tflite.sh", "./convert-onnx.sh"]
    lines += ["python -m eval -m %s --all" % model.name, "./benchmark.sh", "make report MODEL=%s" % model.name]
    exported = artefacts.exported(model.inference_graph)
    versions = [("Todus", __version__), ("Python", platform.python_version())] + _versions()
    rows = [[name, version] for name, version in versions]
    for graph, origin in exported.items():
        about = "checkpoint %s, score threshold %g" % (origin["checkpoint"], origin["score_threshold"])
        rows.append([graph.replace("_", " "), about])
    return "<h2>Commands and versions</h2><pre>%s</pre>%s" % (escape("\n".join(lines)), _table(["", ""], rows))


def _relative(model: Model) -> str:
    return shlex.quote(os.path.relpath(str(model.folder), str(paths.home())))


def _versions() -> List:
    import pkg_resources

    return [(each.project_name, each.version) for each in pkg_resources.working_set if each.key in PACKAGES]
