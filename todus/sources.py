"""The sources of datasets, a row each, of plain strings that are resolved on use.

A new source is one file in todus/dataset/sources/, one script, and one row here.
"""

import importlib
from types import ModuleType
from typing import NamedTuple, Optional, Tuple

from todus.errors import UsageError


class Source(NamedTuple):
    """Where a dataset comes from.

    Attributes:
      name: what python -m todus.commands.dataset takes.
      folder: below dataset/, where its datasets lie.
      script: the script at the top that a person types.
      module: has main(argv), which builds a dataset and returns an exit code.
      group: which variables its script obeys (todus.variables): coco, folder (a folder of a person's own images), openimages or merge.
    """

    name: str
    folder: str
    script: str
    module: str
    group: str

    @property
    def command(self) -> str:
        """What messages and todus.variables call its script."""
        return self.script[: -len(".sh")]


SOURCES = (
    Source("coco", "mscoco", "dataset-limited.sh", "todus.dataset.sources.coco", "coco"),
    Source("voc", "voc", "dataset-voc.sh", "todus.dataset.sources.voc", "folder"),
    Source("csv", "csv", "dataset-csv.sh", "todus.dataset.sources.csv", "folder"),
    Source(
        "openimages",
        "openimages",
        "dataset-openimages.sh",
        "todus.dataset.sources.openimages",
        "openimages",
    ),
    Source("cloud", "cloud", "dataset-cloud.sh", "todus.dataset.sources.cloud", "folder"),
    Source("merge", "merged", "dataset-merge.sh", "todus.dataset.sources.merge", "merge"),
)


def commands(*groups: str) -> Tuple[str, ...]:
    """What the scripts of the sources of these groups are called."""
    return tuple(source.command for source in SOURCES if source.group in groups)


def find(name: str) -> Source:
    """The source of that name. Raises UsageError, with the names there are, for an unknown one."""
    for source in SOURCES:
        if source.name == name:
            return source
    raise UsageError(
        "no source %s; there is: %s" % (name, ", ".join(source.name for source in SOURCES))
    )


def of_folder(folder: str) -> Optional[Source]:
    """The source whose datasets lie in dataset/FOLDER, None where there is none."""
    return next((source for source in SOURCES if source.folder == folder), None)


def module_of(source: Source) -> ModuleType:
    """The module that reads a source."""
    return importlib.import_module(source.module)


def maker(name: str) -> str:
    """The command that makes the dataset of a name as -d takes it: limited, voc/raccoon."""
    folder, _, rest = name.partition("/")
    source = of_folder(folder) if rest else None
    if source:
        return "./%s" % source.script
    if name == "complete":
        return "./dataset-complete.sh"
    return "./dataset-limited.sh" if name == "limited" else "NAME=%s ./dataset-limited.sh" % name
