"""export.sh."""

import os
import sys

from todus import checkpoints, command, export
from todus.commands import choice, chosen_model, number


def main(_argv=None) -> int:
    model = chosen_model()
    prefix = checkpoints.choose(model, os.environ.get("CHECKPOINT_PREFIX", ""))
    input_type = choice("INPUT_TYPE", export.INPUT_TYPES, "image_tensor")
    graph = export.export_inference_graph(model, prefix, input_type, score_threshold=number("SCORE_THRESHOLD", float, None))
    print("%s  %.1f MB, from %s" % (graph, graph.stat().st_size / 1e6, prefix.name if prefix.parent.name != "limited" else "the slice"))
    print("next: python -m eval -m %s -i, or ./export-tflite.sh" % model.name)
    return 0


if __name__ == "__main__":
    sys.exit(command.run("export", main))
