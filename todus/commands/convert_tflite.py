"""convert-tflite.sh."""

import os
import sys

from todus import command
from todus.commands import chosen_model, number, preflight
from todus.export import tflite


def main(_argv=None) -> int:
    model = chosen_model()
    calibration = number("CALIBRATION", int, tflite.CALIBRATION)
    preflight.convert_tflite()
    path, described = tflite.convert(
        model, os.environ.get("FORMAT", "").strip() or None, calibration, lambda line: command.say("convert-tflite: %s" % line)
    )
    print("%s  %.1f MB, %s" % (path, path.stat().st_size / 1e6, described["format"]))
    print_graph(described)
    print("next: python -m eval -m %s --format %s" % (model.name, path.stem.replace(model.name, "tflite", 1)))
    return 0


def print_graph(described) -> None:
    """What is in the file, and what of it an EdgeTPU takes."""
    graph = described["graph"]
    counted = ", ".join("%d %s" % (count, name) for name, count in sorted(graph["operators"].items()))
    command.say("%d operators (%s), %d tensors" % (sum(graph["operators"].values()), counted, graph["tensors"]))
    command.say(described["labels_note"])
    compiled = described.get("edgetpu_compiler")
    if compiled:
        command.say(
            "edgetpu_compiler wrote %s: %s operators mapped, %s on the CPU" % (compiled["file"], compiled["mapped"], compiled["cpu"])
        )
        for row in compiled["operators"]:
            if not row["status"].startswith("Mapped"):
                command.say("  on the CPU: %d %s: %s" % (row["count"], row["operator"], row["status"]))
        return
    edgetpu = graph["edgetpu"]
    command.say("an EdgeTPU compiler would map %d operators and leave %d on the CPU" % (edgetpu["mapped"], edgetpu["cpu"]))
    for row in edgetpu["left_on_cpu"][:6]:
        command.say("  on the CPU: %d %s: %s" % (row["count"], row["operator"], row["reason"]))


if __name__ == "__main__":
    sys.exit(command.run("convert-tflite", main))
