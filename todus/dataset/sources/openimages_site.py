"""The files of Open Images: on the public servers, on a mirror, or in a folder."""

import os
from pathlib import Path
from typing import Dict, List, Tuple

from todus import paths
from todus.dataset import image_files
from todus.errors import TodusError
from todus.fetching.download import download
from todus.fetching.many import Wanted, download_many
from todus.progress import Progress

METADATA = "https://storage.googleapis.com/openimages"
IMAGES = "https://open-images-dataset.s3.amazonaws.com"
HIERARCHY = "2018_04/bbox_labels_600_hierarchy.json"
BOXES = {
    "4": {
        split: "2018_04/%s/%s-annotations-bbox.csv" % (split, split)
        for split in ("train", "validation", "test")
    },
    "6": {
        "train": "v6/oidv6-train-annotations-bbox.csv",
        "validation": "v5/validation-annotations-bbox.csv",
        "test": "v5/test-annotations-bbox.csv",
    },
}
BOXES["5"] = dict(BOXES["6"], train=BOXES["4"]["train"])
BOXES["7"] = BOXES["6"]
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # Open Images' name -> ours


class Site:
    """Where box files and images are.

    Args:
      source: "" for the public servers, the URL of a mirror laid out like both of them, or a folder.
    """

    def __init__(self, source: str):
        self.source = source[len("file://") :] if source.startswith("file://") else source
        self.is_folder = bool(self.source) and not self.source.startswith(("http://", "https://"))
        self.folder = (
            Path(os.path.abspath(os.path.expanduser(self.source)))
            if self.is_folder
            else paths.home() / "dataset/openimages/raw-data"
        )

    def file(self, path: str) -> Path:
        """A file of METADATA, downloaded when it is not there. A folder may have it there, under its name alone, or under V4's name."""
        name = path.rsplit("/", 1)[-1]
        if not self.is_folder:
            return download(
                "%s/%s" % (self.source or METADATA, path),
                self.folder / path.replace("/", "-"),
                check=_check_text,
            )
        for candidate in (path, name, name.replace("oidv6-", ""), "csv_folder/" + name):
            if (self.folder / candidate).is_file():
                return self.folder / candidate
        raise TodusError(
            "%s has no %s; put it there, or unset OPENIMAGES_URL" % (self.folder, name)
        )

    def image(self, split: str, image: str) -> Path:
        """The path of an image file, which need not be there yet."""
        return self.folder / split / (image + ".jpg")

    def _image_url(self, split: str, image: str) -> str:
        return "%s/%s/%s.jpg" % (self.source or IMAGES, split, image)

    def fetch_images(
        self, wanted: Dict[str, List[str]], connections: int, most_missing: float
    ) -> List[Tuple[str, str]]:
        """Downloads the images that are not there yet.

        Args:
          wanted: split -> image ids.
          connections: how many at once.
          most_missing: the share of the images that may be missing.

        Returns:
          (split/id, reason) of the missing images.
        """
        if self.is_folder:
            return []
        todo = [
            Wanted(self._image_url(split, image), self.image(split, image))
            for split, ids in wanted.items()
            for image in ids
        ]
        todo = [each for each in todo if not each.path.exists()]
        for split in wanted:
            (self.folder / split).mkdir(parents=True, exist_ok=True)
        most = int(most_missing * sum(len(ids) for ids in wanted.values()))
        with Progress("images", len(todo), unit="images") as progress:
            missing = (
                download_many(todo, image_files.fault_of, connections, _PerImage(progress), most)
                if todo
                else []
            )
        return [
            ("%s/%s" % (each.path.parent.name, each.path.stem), each.reason) for each in missing
        ]


class _PerImage:
    """A Progress that counts images where the downloads report bytes."""

    def __init__(self, progress: Progress):
        self.progress = progress
        self.note = progress.note

    def add(self, _bytes: int) -> None:
        self.progress.add(1)


def _check_text(path: Path) -> None:
    """Raises TodusError for a file that is neither CSV nor JSON."""
    with open(str(path), "rb") as file:
        if b"," not in file.read(4096):
            raise TodusError("%s is not what it should be" % path.name)
