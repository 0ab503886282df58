"""The TensorFlow 1 detection zoo: its table, its archives, and one layout for their files."""

import csv
import difflib
import glob
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from todus import categories, files, variables
from todus.errors import TodusError, UsageError
from todus.fetching import archives, download, transport

TABLE = categories.LABELS / "zoo.csv"


@dataclass
class Entry:
    """A row of the table.

    Speed in ms an image on the zoo's machine (a Titan X unless stated otherwise), mAP as the zoo
    states it. sha256 is the archive's where it has been published (for the models of OpenVINO's
    Open Model Zoo), else empty.
    """

    name: str
    archive: str
    input: str
    milliseconds: str
    map: str
    kind: str
    labels: str
    sha256: str


def table() -> List[Entry]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [Entry(**row) for row in csv.DictReader(file)]


def find(name: str) -> Optional[Entry]:
    return next((entry for entry in table() if entry.name == name), None)


def nearest(name: str) -> List[str]:
    """The names in the table that are most like `name`, nearest first."""
    names = [entry.name for entry in table()]
    begins = [each for each in names if each.startswith(name)]
    return (begins or difflib.get_close_matches(name, names, n=3, cutoff=0.5))[:3]


def base_url() -> str:
    return variables.value("ZOO_URL", "model").rstrip("/")


def archive_url(name: str) -> str:
    """The URL of the archive of a zoo model."""
    entry = find(name)
    archive = (entry.archive if entry else "") or name + ".tar.gz"
    return archive if "://" in archive else "%s/%s" % (base_url(), archive)


def label_map_of(name: str, pretrained: Path) -> Dict[int, str]:
    """id -> name of a zoo model's classes: by the archive's label map, the table's or COCO's."""
    own = pretrained / "label_map.pbtxt"
    if own.exists():
        return categories.read_label_map(own)
    entry = find(name)
    return categories.bundled(entry.labels if entry else "coco")


def fetch_archive(name: str, archive: Optional[str], folder: Path) -> Path:
    """The .tar.gz of a model, in `folder` unless it is a local file.

    Args:
      name: the zoo's name.
      archive: a URL or a local path instead of the zoo's.
      folder: for what is downloaded.

    Raises:
      TodusError: there is no such archive; the message has the nearest names of the zoo.
    """
    if archive and "://" not in archive:
        path = Path(archive).expanduser()
        if not path.is_file():
            raise UsageError("--archive %s is not a file; give a .tar.gz or its URL" % archive)
        return path
    url = archive or archive_url(name)
    target = folder / (hashlib.sha256(url.encode("utf-8")).hexdigest()[:16] + ".tar.gz")
    try:
        download.download(url, target)
    except transport.NotFound:
        near = nearest(name) if not archive else []
        hint = "did you mean %s?" % " or ".join(near) if near else "see python -m model --list"
        raise TodusError("no model %s at %s; %s" % (name, url, hint))
    if not archive and base_url() == variables.defaults("model")["ZOO_URL"]:
        check_published(name, target)
    return target


def check_published(name: str, path: Path) -> None:
    """Raises TodusError, and removes the file, where its digest is not the published one.

    The archives of a mirror (ZOO_URL) and of the user (--archive) are not checked.
    """
    entry = find(name)
    digest = files.sha256(path) if entry and entry.sha256 else ""
    if digest and digest != entry.sha256:
        path.unlink()
        raise TodusError(
            "%s: the downloaded archive has the SHA-256 %s, the zoo's has %s; "
            "fetch it by another way and give it with --archive" % (name, digest, entry.sha256)
        )


def unpack_archive(archive: Path, folder: Path, quantized: bool = False) -> None:
    """Unpacks an archive of any layout into the layout of pretrained/.

    Args:
      archive: a zoo .tar.gz.
      folder: an empty folder; gets model.ckpt.*, zoo-pipeline.config and, where the archive has
        them, frozen_inference_graph.pb, saved_model/, label_map.pbtxt.
      quantized: take uint8/ of an archive with fp32/ and uint8/.
    """
    inside = folder / ".archive"
    archives.unpack_tar(archive, inside)
    prefix = _checkpoint(inside, quantized, archive)
    for part in sorted(prefix.parent.glob(glob.escape(prefix.name) + ".*")):
        os.replace(str(part), str(folder / ("model.ckpt" + part.name[len(prefix.name) :])))
    state = 'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
    files.write_text(folder / "checkpoint", state)
    places = [place for place in prefix.parents if place == inside or inside in place.parents]
    for target, names in (
        ("zoo-pipeline.config", ["pipeline.config"]),
        ("frozen_inference_graph.pb", ["frozen_inference_graph.pb", "frozen_graph.pb"]),
        ("label_map.pbtxt", ["label_map.pbtxt", "*label_map*.pbtxt"]),
        ("saved_model", ["saved_model"]),
    ):
        patterns = ((place, name) for place in places for name in names)
        found = next((path for at, name in patterns for path in sorted(at.glob(name))), None)
        if found:
            os.replace(str(found), str(folder / target))
    shutil.rmtree(str(inside))


def _checkpoint(folder: Path, quantized: bool, archive: Path) -> Path:
    """The prefix of the archive's checkpoint: of the wanted half, with the highest step."""
    indexes = [path for path in folder.rglob("*.index") if "variables" not in path.parent.name]
    if not indexes:
        text = "%s holds no checkpoint (no *.index file); give a detection model's archive"
        raise TodusError(text % archive.name)
    wanted, other = ("uint8", "fp32") if quantized else ("fp32", "uint8")

    def rank(path: Path):
        step = re.search(r"-(\d+)\.index$", path.name)
        parts = path.relative_to(folder).parts
        newest = -int(step.group(1)) if step else 0
        return wanted not in parts, other in parts, len(parts), newest, str(path)

    return min(indexes, key=rank).with_suffix("")
