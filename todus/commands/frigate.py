"""make frigate: packs a detector for Frigate; lib/frigate.sh has the variables.

FILE is a finished file, which needs no TensorFlow; else MODEL is under model/ or of the zoo.
"""

import sys
from pathlib import Path
from typing import List, Optional

from todus import command, files, paths, variables
from todus.command import say
from todus.errors import TodusError, UsageError
from todus.packages import frigate

NAME = "frigate"


def main(_argv: Optional[List[str]] = None) -> int:
    file = variables.value("FILE", NAME)
    folder = of_file(Path(file)) if file else of_model()
    print("%s  %.1f MB" % (folder, files.size_of(folder) / 1e6))
    print("next: cat %s" % (folder / "README.txt"))
    return 0


def of_file(file: Path) -> Path:
    wanted, name = (variables.value(each, NAME) or "" for each in ("CATEGORIES", "AS"))
    return frigate.pack_file(file, wanted, name, say)


def of_model() -> Path:
    from todus.commands import preflight
    from todus.export import onnx
    from todus.model import artefacts
    from todus.packages import frigate_model

    zoo_name, wanted = variables.value("MODEL", NAME), variables.value("CATEGORIES", NAME)
    name = variables.value("AS", NAME) or zoo_name
    model = paths.Model(paths.models_folder() / paths.checked_name(name, "MODEL"))
    if not wanted and not model.pipeline.exists():
        what = "no model at %s: name one with MODEL=, or limit the zoo's with CATEGORIES=%s"
        raise UsageError(what % (model.folder, '"person dog"'))
    preflight.convert(*onnx.NEEDS)
    if wanted:
        made = frigate_model.limit(model, zoo_name, wanted)
        say("%s: limited to %s" % (model.name, ", ".join(made.names.values())))
    frigate_model.check(model)
    export(model, "pretrained" if wanted else "")
    labels = artefacts.graph_of(model, "tflite_graph").labels
    file, other = tflite_file(model), onnx_file(model)
    compiled, picked = frigate_model.compiled(file), frigate_model.thresholds(model, file)
    return frigate.write(model.folder, frigate.Content(file, compiled, other, labels, picked))


def tflite_file(model: paths.Model) -> Path:
    """The 8-bit file of the exported graph. Raises TodusError without images for its ranges."""
    from todus.export import tflite, tflite_calibration
    from todus.model import artefacts
    from todus.packages import frigate_model

    exported = artefacts.tflite_graph(model)
    wanted = "uint8" if exported["quantized"] else "int8"
    words = ["tflite"] + [wanted] * (wanted == "int8") + ["fast"] * (exported["nms"] == "fast")
    ready = frigate_model.up_to_date(model, "-".join(words))
    try:
        return ready or tflite.convert(model, wanted, say=say, dtype="uint8")[0]
    except tflite_calibration.NoImages as error:
        what = "%s; name another server with COCO_URL, or take a MODEL with quantized in its name"
        raise TodusError(what % error.reason)


def onnx_file(model: paths.Model) -> Optional[Path]:
    """The ONNX file of the exported graph; None where it cannot have the layout."""
    from todus.export import onnx
    from todus.packages import frigate_model

    try:
        ready = frigate_model.up_to_date(model, "onnx-" + frigate.LAYOUT)
        return ready or onnx.convert(model, frigate.LAYOUT)[0]
    except TodusError as error:
        say("without %s.onnx for the detectors openvino and onnx: %s" % (model.name, error))
        return None


def export(model: paths.Model, prefix: str) -> None:
    """Makes both graphs of the model those of one checkpoint, unless they are.

    Args:
      model: a prepared model.
      prefix: as CHECKPOINT_PREFIX; "" takes the checkpoint of the latest export.
    """
    from todus.commands import preflight
    from todus.export import inference_graph, tflite_graph
    from todus.model import artefacts, checkpoints
    from todus.training import best_of_run

    exports = {
        model.tflite_graph: ("tflite_graph", tflite_graph.export),
        model.frozen_graph: ("inference_graph", inference_graph.export),
    }
    origins = artefacts.exported(model.inference_graph)
    present = [origins.get(name) for path, (name, _) in exports.items() if path.exists()]
    present = [origin for origin in present if origin]
    latest = present[0]["checkpoint"] if present else ""
    digests = {origin["checkpoint_sha256"] for origin in present}
    if not prefix and len(present) == len(exports) and len(digests) == 1:
        newest = checkpoints.latest(model)
        is_old = newest and newest[1].name != latest
        more = "; %s is newer, for ./export.sh to compare" % newest[1].name if is_old else ""
        say("takes the export of %s%s" % (latest.replace("pretrained", "the slice"), more))
        return
    chosen = best_of_run.choose(model, prefix or latest, say)
    digest = files.sha256(str(chosen) + ".index")
    for path, (name, run) in exports.items():
        if not path.exists() or origins.get(name, {}).get("checkpoint_sha256") != digest:
            say("exports %s, %s" % (checkpoints.described(chosen), name))
            preflight.export(model, chosen)
            run(model, chosen)


if __name__ == "__main__":
    sys.exit(command.run(NAME, main))
