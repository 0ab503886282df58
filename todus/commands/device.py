"""make device: packs a TFLite file for a device; lib/device.sh has the variables.

MODEL_DIR is the model, or FILE a finished file, which needs no TensorFlow.
"""

import sys
from pathlib import Path
from typing import List, Optional

from todus import command, files, variables
from todus.errors import UsageError
from todus.packages import device

NAME = "device"


def main(_argv: Optional[List[str]] = None) -> int:
    file = variables.value("FILE", NAME)
    wanted = device.checked_format(variables.value("FORMAT", NAME))
    if file and wanted:
        raise UsageError("FORMAT=%s: FILE has its format; unset FORMAT" % wanted)
    folder = of_file(Path(file)) if file else of_model(wanted)
    print("%s  %.1f MB" % (folder, files.size_of(folder) / 1e6))
    print("next: cat %s" % (folder / "README.txt"))
    return 0


def of_file(file: Path) -> Path:
    categories = variables.value("CATEGORIES", NAME) or ""
    return device.pack_file(file, categories, variables.value("AS", NAME) or "")


def of_model(wanted: Optional[str]) -> Path:
    from todus.commands import chosen_model, preflight
    from todus.export import tflite

    model = chosen_model()
    chosen = device.choose(model, wanted, command.say)
    if chosen is None:
        preflight.convert()
        tflite.convert(model, wanted, variables.value("CALIBRATION", NAME), command.say)
        chosen = device.choose(model, wanted, command.say)
    kind = chosen.about["format"]
    why = device.FORMATS[kind] if wanted is None else "by FORMAT=%s" % wanted
    command.say("packs %s: %s, %s" % (chosen.path.name, kind, why))
    return device.pack(model, chosen)


if __name__ == "__main__":
    sys.exit(command.run(NAME, main))
