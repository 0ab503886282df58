"""The table of dataset sources.

A new source is a module in todus/dataset/sources/, a script, and a row here.
"""

import importlib
from types import ModuleType
from typing import NamedTuple, Optional, Tuple

from todus.errors import UsageError


class Source(NamedTuple):
    """Where a dataset comes from.

    Attributes:
      name: the argument of python -m todus.commands.dataset.
      folder: the folder of its datasets, below dataset/.
      script: the script at the top of the repository.
      module: has main(argv), which builds a dataset and returns an exit code.
      group: selects its script's variables in todus.variables: coco, folder (a folder of the
        user's images), records, openimages or merge.
      title: what the user has, as todus.dataset.formats recognises it; "" where it does not.
    """

    name: str
    folder: str
    script: str
    module: str
    group: str
    title: str = ""

    @property
    def command(self) -> str:
        """The script's name without .sh."""
        return self.script[: -len(".sh")]


_MODULE = "todus.dataset.sources.%s"


def _folder(name: str, title: str, module: str = "") -> Source:
    """The row of a source that is a folder of the user's images."""
    script, path = "dataset-%s.sh" % name, _MODULE % (module or name)
    return Source(name, name, script, path, "folder", title)


SOURCES = (
    Source("coco", "mscoco", "dataset-limited.sh", _MODULE % "coco", "coco"),
    _folder("voc", "Pascal VOC XML"),
    _folder("yolo", "YOLO labels"),
    _folder("coco-json", "COCO JSON", "coco_labels"),
    _folder("cvat", "CVAT for images XML"),
    _folder("labelme", "LabelMe JSON"),
    _folder("csv", "CSV of boxes"),
    Source(
        "records",
        "records",
        "dataset-records.sh",
        _MODULE % "records",
        "records",
        "TFRecords of the Object Detection API",
    ),
    Source(
        "openimages", "openimages", "dataset-openimages.sh", _MODULE % "openimages", "openimages"
    ),
    _folder("cloud", "Cloud Annotations"),
    Source("merge", "merged", "dataset-merge.sh", _MODULE % "merge", "merge"),
)


def commands(*groups: str) -> Tuple[str, ...]:
    """The names of the scripts of these groups, without .sh."""
    return tuple(source.command for source in SOURCES if source.group in groups)


def find(name: str) -> Source:
    """The source with this name. Raises UsageError, which lists the names, for an unknown one."""
    by_name = {source.name: source for source in SOURCES}
    if name not in by_name:
        raise UsageError("unknown source %s; choose from %s" % (name, ", ".join(by_name)))
    return by_name[name]


def of_folder(folder: str) -> Optional[Source]:
    """The source whose datasets are in dataset/FOLDER; None if there is none."""
    return next((source for source in SOURCES if source.folder == folder), None)


def module_of(source: Source) -> ModuleType:
    """The imported module of a source."""
    return importlib.import_module(source.module)


def maker(name: str) -> str:
    """The command to type to make a dataset, from its name as in -d: limited, voc/raccoon."""
    folder, _, rest = name.partition("/")
    source = of_folder(folder) if rest else None
    if source:
        return "./%s" % source.script
    if name == "complete":
        return "./dataset-complete.sh"
    return "./dataset-limited.sh" if name == "limited" else "NAME=%s ./dataset-limited.sh" % name
