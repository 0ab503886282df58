"""export.sh."""

import os
import re
import sys
from typing import List, Optional

from todus import command, files
from todus.commands import choice, chosen_model, number, preflight
from todus.errors import UsageError
from todus.export import graphs
from todus.model import checkpoints, pipeline
from todus.paths import Model


def main(_argv=None) -> int:
    model = chosen_model()
    prefix = checkpoints.choose(model, os.environ.get("CHECKPOINT_PREFIX", ""))
    input_type = choice("INPUT_TYPE", graphs.INPUT_TYPES, "image_tensor")
    preflight.export(model, prefix)
    graph = graphs.export_inference_graph(model, prefix, input_type, input_shape(model), number("SCORE_THRESHOLD", float, None))
    print("%s  %.1f MB, from %s" % (graph, graph.stat().st_size / 1e6, prefix.name if prefix.parent.name != "limited" else "the slice"))
    saved = graph.parent / "saved_model"
    print("%s  %.1f MB" % (saved, files.size_of(saved) / 1e6))
    print("next: python -m eval -m %s -i, or ./export-tflite.sh" % model.name)
    return 0


def input_shape(model: Model) -> Optional[List[Optional[int]]]:
    """[batch, height, width, 3] that INPUT_SHAPE and BATCH name, None for what is free; None where neither is set."""
    text, batch = os.environ.get("INPUT_SHAPE", "").strip() or "free", number("BATCH", int, None)
    if text == "free":
        return [batch, None, None, 3] if batch else None
    if text == "fixed":
        size = pipeline.input_size(pipeline.read(model.pipeline))
        if not size:
            raise UsageError("INPUT_SHAPE=fixed: %s has an input of no fixed size; name one, such as INPUT_SHAPE=480x640" % model.name)
        return [batch, size[0], size[1], 3]
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise UsageError("INPUT_SHAPE=%s is not free, fixed or HEIGHTxWIDTH, such as 480x640" % text)
    return [batch, int(match.group(1)), int(match.group(2)), 3]


if __name__ == "__main__":
    sys.exit(command.run("export", main))
