"""The table at the end of the demo, demo/out/summary.json and a picture: python -m demo.summary SECONDS"""

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
            raise TodusError("%s is missing; run demo/run.sh from its beginning" % path)
        ap[name] = files.read_json(path)["ap"]
    milliseconds = latencies(model)
    picture = draw_sheet(model, home / "detections.png")
    summary = {"ap_%s" % name: value for name, value in ap.items()}
    summary.update({"ms_%s" % name: value for name, value in milliseconds.items()})
    summary["bytes_zoo"] = model.zoo_frozen_graph.stat().st_size
    summary["bytes_limited"] = model.frozen_graph.stat().st_size
    summary["bytes_tflite"] = model.file_of("tflite").stat().st_size
    summary["seconds"] = int(argv[0]) if argv else None
    files.write_json(home / "summary.json", summary)
    print_table(model, summary)
    print("detections drawn in %s, figures in %s" % (picture, home / "summary.json"))
    return 0


def print_table(model, summary) -> None:
    names = categories.read_label_map(model.zoo_label_map)
    few = categories.read_label_map(model.limited_label_map)
    row = "%-34s %7s %10s %12s"
    print(row % ("", "AP", "kB", "ms an image"))
    lines = [
        ("zoo model, %d classes" % len(names), "zoo", summary["bytes_zoo"], summary["ms_zoo"]),
        ("limited to %d, before training" % len(few), "limited", None, None),
        ("trained a little", "trained", None, None),
        ("exported frozen graph", "frozen", summary["bytes_limited"], summary["ms_limited"]),
        ("TFLite file", "tflite", summary["bytes_tflite"], summary["ms_tflite"]),
    ]
    for label, name, size, speed in lines:
        print(
            row
            % (
                label,
                "%.3f" % summary["ap_" + name],
                "%.0f" % (size / 1e3) if size else "",
                "%.1f" % speed if speed else "",
            )
        )
    config = pipeline.read(model.zoo_pipeline)
    print(
        "AP on %s at score threshold %g"
        % (", ".join(few.values()), pipeline.non_max_suppression(config).score_threshold)
    )


def detectors_of(model):
    from todus.detection import frozen_graph, tflite

    few = categories.read_label_map(model.exported_label_map)
    return {
        "zoo": frozen_graph.FrozenGraph(
            model.zoo_frozen_graph, categories.read_label_map(model.zoo_label_map)
        ),
        "limited": frozen_graph.FrozenGraph(model.frozen_graph, few),
        "tflite": tflite.TFLite(model.file_of("tflite"), few),
    }


def val_images(count: int):
    from todus.dataset.image_files import decode

    dataset = paths.dataset("limited")
    return [
        decode(example.encoded)
        for _, example in zip(range(count), reader.read_examples(dataset, "val"))
    ]


def latencies(model) -> dict:
    """Median milliseconds an image, one image at a time, the models taking turns."""
    images, chosen = val_images(IMAGES), detectors_of(model)
    spent = {name: [] for name in chosen}
    for image in images[:3] + images:
        for name, detector in chosen.items():
            start = time.perf_counter()
            detector.detect([image])
            spent[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values[3:]) for name, values in spent.items()}


def draw_sheet(model, path):
    """Six val images with the limited model's detections, three in a row."""
    from PIL import Image

    from todus.detection import drawing

    detector = detectors_of(model)["limited"]
    pictures = [
        drawing.draw(image, detector.detect([image])[0], detector.names, 0.5)
        for image in val_images(6)
    ]
    width, height = (
        max(picture.width for picture in pictures),
        max(picture.height for picture in pictures),
    )
    sheet = Image.new("RGB", (3 * width, 2 * height), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % 3 * width, place // 3 * height))
    with files.replacing(path) as part:
        sheet.save(str(part), "PNG")
    return path


if __name__ == "__main__":
    sys.exit(command.run("demo", main))
