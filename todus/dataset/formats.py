"""Recognises the format of labels by the beginnings of files, and the command that reads it."""

import csv
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

from todus import sources
from todus.dataset.box_tables import NEEDED, columns_of, is_headless
from todus.dataset.image_folder import files_under, split_named_file
from todus.dataset.records import tfrecord
from todus.errors import TodusError
from todus.sources import Source

HEAD = 1 << 16  # bytes read at a file's beginning, and at its end
MOST = 200  # files of one suffix that are read
CLASS_LISTS = ("classes.txt", "obj.names", "_darknet.labels")  # of YOLO: one class a line
LABEL = re.compile(rb"\s*\d+(\.0*)?([\s,;]+[+-]?[\d.,eE+-]+){4,}[\s,;]*(\n|$)")
_OID_LABEL = re.compile(rb"\s*[A-Za-z][^\n\d]*(\s+[\d.]+){4}\s*(\n|$)")  # of OIDv4_ToolKit
RECORDS = re.compile(r"records?($|[-.@])|-\d{5}-of-\d{5}", re.IGNORECASE)  # names of TFRecords
_WITH_TABLES = ("csv", "coco-json", "cvat")
_ABOVE = {"annotations", "annotation", "labels", "label", "xml", "json"}


class Found(NamedTuple):
    """A source that a path holds."""

    source: Source
    files: List[Path]  # the annotation files that were recognised
    arguments: List[Path]  # of its command
    count: int  # files with the suffixes of `files`

    @property
    def takes_tables(self) -> bool:
        """Whether the command takes files before the folder of their images."""
        return self.source.name in _WITH_TABLES

    @property
    def command(self) -> str:
        words = ["./" + self.source.script, *(shlex.quote(str(path)) for path in self.arguments)]
        return " ".join(words)


def kind_of(path: Path) -> str:
    """The name of the source whose annotations a file has; "" for none."""
    reader = _READERS.get(path.suffix.lower(), _records if RECORDS.search(path.name) else None)
    if path.name.lower() in CLASS_LISTS:
        return "yolo"
    try:
        if not reader or not path.is_file():
            return ""
        with path.open("rb") as file:
            head = file.read(HEAD)
            file.seek(max(HEAD, path.stat().st_size - HEAD))
            text = head + file.read(HEAD)
    except OSError:
        return ""
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = text.decode("utf-16", "ignore").encode("utf-8")
    return reader(path, text[3:] if text.startswith(b"\xef\xbb\xbf") else text)


def _xml(path: Path, text: bytes) -> str:
    root = re.search(rb"<(annotations?)[\s>]", text, re.IGNORECASE)
    return "" if not root else "voc" if len(root.group(1)) == len("annotation") else "cvat"


def _json(path: Path, text: bytes) -> str:
    if not text.lstrip().startswith(b"{"):
        return ""
    if re.search(rb'"shapes"\s*:\s*\[', text) and re.search(rb'"image(Path|Data|Height)"', text):
        return "labelme"
    if path.name == "_annotations.json" or re.search(rb'"annotations"\s*:\s*\{', text):
        return "cloud"
    is_coco = re.search(rb'"(images|annotations|categories)"\s*:\s*\[', text)
    return "coco-json" if is_coco else ""


def _table(path: Path, text: bytes) -> str:
    line = text.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    if line.startswith("ImageID,"):
        return "openimages"
    try:
        row = next(csv.reader([line], delimiter=max(",;\t", key=line.count)), [])
    except csv.Error:
        return ""
    return "csv" if set(NEEDED) <= set(columns_of(row)) or is_headless(row) else ""


def _yaml(path: Path, text: bytes) -> str:
    return "yolo" if re.search(rb"(?m)(^|[{,])\s*[\"']?names[\"']?\s*:", text) else ""


def _text(path: Path, text: bytes) -> str:
    if path.parent.name == "Label" and _OID_LABEL.match(text):
        return "openimages"
    return "yolo" if LABEL.match(text) else ""


def _records(path: Path, text: bytes) -> str:
    is_record = tfrecord.is_header(text) or text[:2] == b"\x1f\x8b"
    return "records" if is_record else ""


_READERS: Dict[str, Callable[[Path, bytes], str]] = {
    ".xml": _xml,
    ".json": _json,
    ".csv": _table,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".txt": _text,
}


def found(path: Path) -> List[Found]:
    """The sources that a file or a folder holds; those with the most files first.

    Raises TodusError for a path that does not exist.
    """
    if not path.exists():
        raise TodusError("%s does not exist; name a folder of images and labels" % path)
    if path.is_file():
        kind = kind_of(path)
        return [_found(kind, [path], path, 1)] if kind else []
    by_suffix: Dict[str, List[Path]] = {}
    for each in files_under(path):
        suffix = ".record" if RECORDS.search(each.name) else each.suffix.lower()
        by_suffix.setdefault(suffix, []).append(each)
    kinds: Dict[str, List[Path]] = {}
    counts: Counter = Counter()
    for members in by_suffix.values():
        tried: Dict[str, List[Path]] = {}
        for each in members[: MOST // 2] + members[MOST // 2 :][-MOST // 2 :]:
            tried.setdefault(kind_of(each), []).append(each)
        for kind, own in tried.items():
            kinds.setdefault(kind, []).extend(own)
            counts[kind] += len(members) if len(tried) == 1 else len(own)
    kinds.pop("", None)
    if len(kinds) > 1 and not any(map(_is_label, kinds.get("yolo", ()))):
        kinds.pop("yolo", None)  # a list of classes alone
    named = [_found(kind, own, path, counts[kind]) for kind, own in kinds.items()]
    return sorted(named, key=lambda each: -each.count)


def _is_label(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and path.name.lower() not in CLASS_LISTS


def _found(kind: str, files: List[Path], given: Path, count: int) -> Found:
    """The command's arguments for what the user gave."""
    folder = given
    if given.is_file():
        above = given.parent
        folder = above.parent if above.name.lower() in _ABOVE else above
    if kind == "records":
        arguments = _record_arguments(files, above if given.is_file() else given)
        return Found(sources.find(kind), files, arguments, count)
    names_files = kind == "csv" or (given.is_file() and kind in _WITH_TABLES)
    return Found(sources.find(kind), files, [*files, folder] if names_files else [folder], count)


def _record_arguments(files: List[Path], folder: Path) -> List[Path]:
    """The patterns of the files, in the order of splits, and the label map of their folder."""
    patterns = {re.sub(r"-\d{5}-of-", "-?????-of-", str(path)): path for path in files}
    words = {text: split_named_file(path) for text, path in patterns.items()}
    order = ("train", "val", "test", "")
    listed = sorted(patterns, key=lambda text: (order.index(words[text]), text))
    maps = [path for path in files_under(folder) if path.suffix.lower() == ".pbtxt"]
    return [Path(each) for each in listed] + (maps[:1] or [folder / "label_map.pbtxt"])


def advice(path: Path, own: Source, otherwise: str) -> str:
    """What to type for what a path holds: the command of a source but `own`, else `otherwise`."""
    try:
        others = [each for each in found(path) if each.source != own]
    except TodusError:
        return otherwise
    if not others:
        return otherwise
    return "it is %s: run %s" % (others[0].source.title or others[0].source.name, others[0].command)
