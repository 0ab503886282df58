"""Compares a zoo model with all its classes and the same model limited to some; make proof."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional

from bench.proof import drawing, measuring, models, page
from todus import command, files, paths, variables
from todus.detection import runtimes
from todus.errors import TodusError, UsageError

# What a person has set for other commands must not change the models that are compared.
CALLED = ("dataset-limited", "export", "export-tflite", "convert-tflite", "convert-onnx")
SCENE = 226  # the drawn image of scene.png: two of its five shapes are of the kept classes


def main(argv: Optional[List[str]] = None) -> int:
    wanted: Dict = {
        name: variables.value(name, "proof")
        for name in ("MODEL", "QUANTIZED", "DATASET", "PHOTO", "WRITE")
    }
    check(wanted)
    folder = page.FOLDER / ("coco" if wanted["MODEL"] else "miniature")
    if not wanted["WRITE"]:
        folder = Path(tempfile.mkdtemp(prefix="todus-proof-"))
    for row in (row for name in CALLED for row in variables.of_command(name)):
        if row.name not in {each.name for each in variables.of_command("proof")}:
            os.environ.pop(row.name, None)
    dataset = paths.dataset(wanted["DATASET"]).check() if wanted["DATASET"] else None
    with tempfile.TemporaryDirectory(prefix="todus-proof-home-") as home:
        os.environ["TODUS_HOME"] = home
        if dataset is None:
            compared = models.of_the_miniature(Path(home), measuring.say)
        else:
            names = (wanted["MODEL"], wanted["QUANTIZED"])
            compared = models.of_the_zoo(Path(home), dataset, names, measuring.say)
        found = measuring.measure(compared)
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / "results.json", found)
        drawing.chart(found, folder)
        if wanted["PHOTO"]:
            drawing.photo(compared, Path(wanted["PHOTO"]), folder / "photo.png")
        elif dataset is None:
            drawing.scene(compared, SCENE, folder)
    if wanted["WRITE"]:
        page.write_readme()
    print("\n".join(page.lines(found)))
    command.say("proof: written to %s" % folder)
    measuring.check(found)
    return 0


def check(wanted: Dict) -> None:
    """Raises UsageError or TodusError where the variables do not fit together."""
    if bool(wanted["MODEL"]) != bool(wanted["DATASET"]):
        raise UsageError("give both: MODEL=ZOO_NAME DATASET=limited; or neither, for the miniature")
    if wanted["QUANTIZED"] and not wanted["MODEL"]:
        raise UsageError("QUANTIZED needs MODEL and DATASET")
    if wanted["PHOTO"] and wanted["WRITE"]:
        raise UsageError("a photo is not written to docs/proof; leave out PHOTO or WRITE")
    if wanted["WRITE"] and not runtimes.installed():
        raise TodusError("WRITE=1 needs the newest runtimes; run: make -C %s runtimes" % paths.REPO)


if __name__ == "__main__":
    sys.exit(command.run("proof", main, sys.argv[1:]))
