"""export-tflite.sh."""

import os
import sys

from todus import command
from todus.commands import choice, chosen_model, number, preflight
from todus.export import graphs
from todus.model import checkpoints


def main(_argv=None) -> int:
    model = chosen_model()
    prefix = checkpoints.choose(model, os.environ.get("CHECKPOINT_PREFIX", ""))
    preflight.export(model, prefix)
    graph = graphs.export_tflite_graph(
        model,
        prefix,
        max_detections=number("MAX_DETECTIONS", int, 100),
        regular_nms=choice("NMS", ("regular", "fast"), "regular") == "regular",
        score_threshold=number("SCORE_THRESHOLD", float, None),
    )
    print("%s  %.1f MB, from %s" % (graph, graph.stat().st_size / 1e6, prefix.name if prefix.parent.name != "limited" else "the slice"))
    print("next: ./convert-tflite.sh")
    return 0


if __name__ == "__main__":
    sys.exit(command.run("export-tflite", main))
