"""Recognises the labels under a path and makes a dataset of them; dataset.sh runs this.

python -m todus.commands.find_dataset PATH
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import List, Optional

from todus import command, sources
from todus.dataset import formats
from todus.dataset.image_folder import files_under, given_path, is_image
from todus.dataset.labelled_images import LabelledSource
from todus.dataset.split import SPLITS
from todus.dataset.summary import counted
from todus.errors import TodusError

TITLES = [source.title for source in sources.SOURCES if source.title]
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")


def main(argv: Optional[List[str]] = None) -> int:
    parser = command.Parser("dataset", "Recognises labels; see ./dataset.sh --help.")
    parser.add_argument("path", metavar="PATH")
    path = given_path(parser.parse_args(argv).path)
    if (path / "dataset.json").is_file() and (path / "label_map.pbtxt").is_file():
        text = "%s is a dataset already; use it with python -m model -d %s"
        raise TodusError(text % (path, path))
    found = formats.found(path)
    if not found:
        raise TodusError(_nothing(path))
    if len(found) > 1:
        kinds = ["%s (%d files)" % (_title(each), each.count) for each in found]
        commands = " or ".join(each.command for each in found)
        raise TodusError("%s holds %s; choose one: %s" % (path, " and ".join(kinds), commands))
    (only,) = found
    module = sources.module_of(only.source)
    command.say("%s: %s" % (path, _summary(only, module)))
    command.say(only.command)
    return module.main([str(each) for each in only.arguments])


def _title(found: formats.Found) -> str:
    return found.source.title or found.source.name


def _summary(found: formats.Found, module: ModuleType) -> str:
    """What was found: "YOLO labels, 548 images, 3 classes, no val"."""
    if found.source.group != "folder":
        return _title(found)
    *tables, folder = found.arguments
    if found.takes_tables:
        labelled = module.read(tables or module.tables_under(folder), folder)
    else:
        labelled = module.read(folder)
    names = {box.name for each in labelled.images for box in each.boxes}
    counts = counted(len(labelled.images), "image"), counted(len(names), "class", "classes")
    return ", ".join([_title(found), *counts, _splits(labelled)])


def _splits(labelled: LabelledSource) -> str:
    given = [split for split in SPLITS if any(each.split == split for each in labelled.images)]
    return " and ".join(given) if len(given) > 1 and given[0] == "train" else "no val"


def _nothing(path: Path) -> str:
    """The message for a path without labels of a known format."""
    if path.is_file():
        if path.suffix.lower() in ARCHIVES:
            return "%s is an archive; unpack it, and name the folder" % path
        return "%s has no labels of a known format: %s" % (path, ", ".join(TITLES))
    images = sum(map(is_image, files_under(path)))
    if not images:
        return "no labels or images under %s; name the folder that holds them" % path
    return "%s but no labels of a known format under %s; export one of these from your tool: %s" % (
        counted(images, "image"),
        path,
        ", ".join(TITLES),
    )


if __name__ == "__main__":
    sys.exit(command.run(os.environ.get("TODUS_COMMAND", "dataset"), main))
