"""Prints the demo's result table; writes demo/out/summary.json and demo/out/detections.png.

python -m demo.summary SECONDS
"""

import itertools
import statistics
import sys
import time

from todus import categories, command, files, paths
from todus.dataset.records import reader
from todus.errors import TodusError
from todus.model import pipeline

MODEL = "ssd_mobilenet_v1_shapes"
IMAGES = 60


def main(argv=None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    home = paths.home()
    model = paths.model(MODEL).check()
    ap = {}
    for name in ("zoo", "limited", "trained", "frozen", "tflite"):
        path = home / "results" / (name + ".json")
        if not path.exists():
            raise TodusError("%s is missing; run demo/run.sh without --stage" % path)
        ap[name] = files.read_json(path)["ap"]
    summary = {"ap_%s" % name: value for name, value in ap.items()}
    summary.update({"ms_%s" % name: value for name, value in latencies(model).items()})
    summary["bytes_zoo"] = model.zoo_frozen_graph.stat().st_size
    summary["bytes_limited"] = model.frozen_graph.stat().st_size
    summary["bytes_tflite"] = model.file_of("tflite").stat().st_size
    summary["seconds"] = int(argv[0]) if argv else None
    draw_sheet(model, home / "detections.png")
    files.write_json(home / "summary.json", summary)
    print_table(model, summary)
    facts = (home / "detections.png", home / "summary.json")
    print("detections drawn in %s, figures in %s" % facts)
    return 0


def print_table(model, summary) -> None:
    few = categories.read_label_map(model.limited_label_map)
    zoo = "zoo model, %d classes" % len(categories.read_label_map(model.zoo_label_map))
    rows = [
        (zoo, "zoo", "zoo"),
        ("limited to %d, before training" % len(few), "limited", None),
        ("trained a little", "trained", None),
        ("exported frozen graph", "frozen", "limited"),
        ("TFLite file", "tflite", "tflite"),
    ]
    row = "%-34s %7s %10s %12s"
    print(row % ("", "AP", "kB", "ms per image"))
    for label, name, form in rows:
        size = "%.0f" % (summary["bytes_" + form] / 1e3) if form else ""
        speed = "%.1f" % summary["ms_" + form] if form else ""
        print(row % (label, "%.3f" % summary["ap_" + name], size, speed))
    threshold = pipeline.non_max_suppression(pipeline.read(model.zoo_pipeline)).score_threshold
    print("AP on %s at score threshold %g" % (", ".join(few.values()), threshold))


def detectors_of(model):
    from todus.detection import frozen_graph, tflite

    few = categories.read_label_map(model.exported_label_map)
    names = categories.read_label_map(model.zoo_label_map)
    return {
        "zoo": frozen_graph.FrozenGraph(model.zoo_frozen_graph, names),
        "limited": frozen_graph.FrozenGraph(model.frozen_graph, few),
        "tflite": tflite.TFLite(model.file_of("tflite"), few),
    }


def val_images(count: int):
    from todus.dataset.image_files import decode

    examples = reader.read_examples(paths.dataset("limited"), "val")
    return [decode(example.encoded) for example in itertools.islice(examples, count)]


def latencies(model) -> dict:
    """Detector -> median milliseconds per image, one image at a time, detectors interleaved."""
    images, chosen = val_images(IMAGES), detectors_of(model)
    spent = {name: [] for name in chosen}
    for image in images[:3] + images:
        for name, detector in chosen.items():
            start = time.perf_counter()
            detector.detect([image])
            spent[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values[3:]) for name, values in spent.items()}


def draw_sheet(model, path) -> None:
    """Draws the limited model's detections on six val images, three in a row."""
    from PIL import Image

    from todus.detection import drawing

    detector = detectors_of(model)["limited"]
    pictures = [
        drawing.draw(image, detector.detect([image])[0], detector.names, 0.5)
        for image in val_images(6)
    ]
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (3 * width, 2 * height), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % 3 * width, place // 3 * height))
    with files.replacing(path) as part:
        sheet.save(str(part), "PNG")


if __name__ == "__main__":
    sys.exit(command.run("demo", main))
