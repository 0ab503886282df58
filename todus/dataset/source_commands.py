"""The commands of sources that are a folder, or files beside a folder of images."""

from pathlib import Path
from typing import Callable, List, Optional

from todus.command import Parser
from todus.dataset.build import build, fingerprint, target
from todus.dataset.image_folder import files_under, given_path, is_image
from todus.dataset.labelled_images import LabelledSource
from todus.dataset.settings import Settings
from todus.errors import UsageError
from todus.sources import Source


def build_folder(
    source: Source,
    made_of: str,
    suffixes: List[str],
    read: Callable[[Path, bool], LabelledSource],
    argv: Optional[List[str]],
) -> int:
    """Makes a dataset of DIR. Returns the exit code.

    Args:
      source: its row.
      made_of: for the help text.
      suffixes: of the files that the dataset depends on, beside the images.
      read: the source's reader, of the folder and KEEP_EMPTY.
      argv: None is that of the process.
    """
    parser = _parser(source, made_of)
    parser.add_argument("folder", metavar="DIR")
    root = given_path(parser.parse_args(argv).folder)
    settings = Settings.from_environment(source.command)
    labelled = read(root, settings.keep_empty)
    files = files_under(root)
    used = [path for path in files if path.suffix.lower() in suffixes or is_image(path)]
    inputs = {"files": fingerprint(used)}
    return build(target(source, root.name), labelled, settings, inputs, tables=True, folder=root)


def build_tables(
    source: Source,
    made_of: str,
    read: Callable[[List[Path], Path], LabelledSource],
    tables_under: Callable[[Path], List[Path]],
    argv: Optional[List[str]],
    named_by_table: bool = False,
) -> int:
    """Makes a dataset of FILE... IMAGES, or of DIR with both. Returns the exit code.

    Args:
      source: its row.
      made_of: for the help text.
      read: the source's reader, of the files and the folder of the images.
      tables_under: the files of a folder.
      argv: None is that of the process.
      named_by_table: whether a single FILE, and not the folder, gives the default NAME.
    """
    parser = _parser(source, made_of)
    parser.add_argument("paths", metavar="PATH", nargs="+")
    paths = [given_path(text) for text in parser.parse_args(argv).paths]
    if len(paths) == 1 and not paths[0].is_dir():
        text = "name also the folder of the images: ./%s FILE IMAGES"
        raise UsageError(text % source.script)
    folder, settings = paths[-1], Settings.from_environment(source.command)
    tables = paths[:-1] or tables_under(folder)
    labelled = read(tables, folder)
    inputs = {"files": fingerprint(tables + [each.path for each in labelled.images])}
    default = tables[0].stem if named_by_table and len(paths) == 2 else folder.name
    return build(target(source, default), labelled, settings, inputs, tables=True, folder=folder)


def _parser(source: Source, made_of: str) -> Parser:
    text = "Makes a dataset of %s; see ./%s --help." % (made_of, source.script)
    return Parser("dataset " + source.name, text)
