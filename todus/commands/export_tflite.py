"""export-tflite.sh."""

import sys

from todus import command, variables
from todus.commands import chosen_model, preflight
from todus.export import tflite_graph
from todus.model import checkpoints
from todus.training import best_of_run

NAME = "export-tflite"


def main(_argv=None) -> int:
    model = chosen_model()
    given = variables.value("CHECKPOINT_PREFIX", NAME) or ""
    prefix = best_of_run.choose(model, given, lambda line: command.say("%s: %s" % (NAME, line)))
    preflight.export(model, prefix)
    graph = tflite_graph.export(
        model,
        prefix,
        max_detections=variables.value("MAX_DETECTIONS", NAME),
        regular_nms=variables.value("TFLITE_NMS", NAME) == "regular",
        score_threshold=variables.value("SCORE_THRESHOLD", NAME),
    )
    size, origin = graph.stat().st_size, checkpoints.described(prefix)
    print("%s  %.1f MB, from %s" % (graph, size / 1e6, origin))
    print("next: ./convert-tflite.sh")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(NAME, main))
