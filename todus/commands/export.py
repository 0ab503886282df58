"""export.sh."""

import sys
from typing import List, Optional

from todus import command, files, variables
from todus.commands import chosen_model, preflight
from todus.errors import UsageError
from todus.export import inference_graph
from todus.model import checkpoints, pipeline
from todus.paths import Model
from todus.training import best_of_run

NAME = "export"


def main(_argv=None) -> int:
    model = chosen_model()
    given = variables.value("CHECKPOINT_PREFIX", NAME) or ""
    prefix = best_of_run.choose(model, given, lambda line: command.say("%s: %s" % (NAME, line)))
    input_type = variables.value("INPUT_TYPE", NAME)
    preflight.export(model, prefix)
    graph = inference_graph.export(
        model, prefix, input_type, input_shape(model), variables.value("SCORE_THRESHOLD", NAME)
    )
    size, origin = graph.stat().st_size, checkpoints.described(prefix)
    print("%s  %.1f MB, from %s" % (graph, size / 1e6, origin))
    print("%s  %.1f MB" % (model.saved_model, files.size_of(model.saved_model) / 1e6))
    print("next: python -m eval -m %s -i, or ./export-tflite.sh" % model.name)
    return 0


def input_shape(model: Model) -> Optional[List[Optional[int]]]:
    """[batch, height, width, 3] from INPUT_SHAPE and BATCH; None in it for any size.

    None where neither variable is set.
    """
    text, batch = variables.value("INPUT_SHAPE", NAME), variables.value("BATCH", NAME)
    if text == "free":
        return [batch, None, None, 3] if batch else None
    if text == "fixed":
        size = pipeline.input_size(pipeline.read(model.pipeline))
        if not size:
            raise UsageError(
                "%s has no fixed input size; give one, such as INPUT_SHAPE=480x640" % model.name
            )
        return [batch, *size, 3]
    height, _, width = text.partition("x")
    return [batch, int(height), int(width), 3]


if __name__ == "__main__":
    sys.exit(command.run(NAME, main))
