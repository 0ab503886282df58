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
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # Open Images' name -> ours
BOXES = {
    "4": {split: "2018_04/%s/%s-annotations-bbox.csv" % (split, split) for split in SPLITS},
    "6": {
        "train": "v6/oidv6-train-annotations-bbox.csv",
        "validation": "v5/validation-annotations-bbox.csv",
        "test": "v5/test-annotations-bbox.csv",
    },
}
BOXES["5"] = dict(BOXES["6"], train=BOXES["4"]["train"])
BOXES["7"] = BOXES["6"]


class Site:
    """The location of the box files and images.

    Args:
      source: "" for the public servers, the URL of a mirror of both, or a folder.
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
        """A file of METADATA, which is downloaded unless it is on disk.

        A folder may also hold it at its top or in csv_folder/, and under the name of V4.

        Raises:
          TodusError: the folder does not hold it, or the download fails.
        """
        name = path.rsplit("/", 1)[-1]
        if not self.is_folder:
            url = "%s/%s" % (self.source or METADATA, path)
            return download(url, self.folder / path.replace("/", "-"), check=_check_text)
        for candidate in (path, name, name.replace("oidv6-", ""), "csv_folder/" + name):
            if (self.folder / candidate).is_file():
                return self.folder / candidate
        raise TodusError(
            "%s has no %s; put it there, or unset OPENIMAGES_URL" % (self.folder, name)
        )

    def image(self, split: str, image: str) -> Path:
        """The path of an image file, which may not exist yet."""
        return self.folder / split / (image + ".jpg")

    def fetch_images(
        self, wanted: Dict[str, List[str]], connections: int, most_missing: float
    ) -> List[Tuple[str, str]]:
        """Downloads the images that are not on disk yet.

        Args:
          wanted: split -> image ids.
          connections: how many at once.
          most_missing: the share of the images that may be missing.

        Returns:
          (split/id, reason) of the missing images.
        """
        if self.is_folder:
            return []
        images = [(split, image) for split, ids in wanted.items() for image in ids]
        todo = [
            Wanted("%s/%s/%s.jpg" % (self.source or IMAGES, *each), self.image(*each))
            for each in images
            if not self.image(*each).exists()
        ]
        if not todo:
            return []
        for split in wanted:
            (self.folder / split).mkdir(parents=True, exist_ok=True)
        most = int(most_missing * len(images))
        with Progress("images", len(todo), unit="images") as progress:
            counter = _PerImage(progress)
            missing = download_many(todo, image_files.fault_of, connections, counter, most)
        return [
            ("%s/%s" % (each.path.parent.name, each.path.stem), each.reason) for each in missing
        ]


class _PerImage:
    """A Progress that counts each downloaded file as one image, whatever its bytes."""

    def __init__(self, progress: Progress):
        self.progress = progress
        self.note = progress.note

    def add(self, _bytes: int) -> None:
        self.progress.add(1)


def _check_text(path: Path) -> None:
    """Raises TodusError for a file that is neither CSV nor JSON."""
    with open(str(path), "rb") as file:
        if b"," not in file.read(4096):
            raise TodusError("%s is neither CSV nor JSON" % path.name)
