"""dataset/mscoco/raw-data: COCO's annotations, and the images that a dataset needs.

    raw-data/annotations_trainval2017.zip   raw-data/annotations/instances_{train,val}2017.json
    raw-data/{train,val,test}2017.zip       read without unpacking
    raw-data/{train,val,test}2017/          single images

Files that the user put there are used like downloaded ones.
"""

import contextlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple
from urllib.parse import quote, urlsplit

from todus import files, locks, paths
from todus.command import say
from todus.dataset import image_files
from todus.dataset.annotations import Image, ZipMember
from todus.dataset.sources.coco_settings import LIMITED, Settings
from todus.errors import TodusError
from todus.fetching import download, many, transport
from todus.fetching.archives import opened_zip
from todus.progress import Progress
from todus.text import megabytes

ZIP_SHARE = 0.6  # of a split's images; when more are absent, its zip is fetched
SAMPLE = 8  # images whose size is requested, to estimate the bytes of all
DISK_FACTOR = 1.5  # free bytes needed for each byte to write


class Split(NamedTuple):
    """COCO's file names of a split."""

    annotations: str  # the JSON file
    archive: str  # the zip of the JSON file
    images: str  # the folder of the images; their zip without .zip


SPLITS: Dict[str, Split] = {
    "train": Split("instances_train2017.json", "annotations_trainval2017.zip", "train2017"),
    "val": Split("instances_val2017.json", "annotations_trainval2017.zip", "val2017"),
    "testdev": Split("image_info_test-dev2017.json", "image_info_test2017.zip", "test2017"),
}


class FetchPlan(NamedTuple):
    """The images to fetch for a split."""

    images: List[Image]
    archive: bool  # True: as the split's zip; False: one by one
    bytes: int  # an estimate


class RawData:
    """The folder raw-data, and the server of its files.

    Args:
      folder: paths.raw_data().
      settings: COCO_URL, timeouts and retries, and how many images are fetched at once.
    """

    def __init__(self, folder: Path, settings: Settings):
        self.folder, self.url = folder, settings.url
        self.policy, self.connections = settings.policy, settings.connections

    def annotations(self, split: str) -> Path:
        return self.folder / "annotations" / SPLITS[split].annotations

    def archive(self, split: str) -> Path:
        return self.folder / (SPLITS[split].images + ".zip")

    def image_path(self, split: str, image: Image) -> Path:
        return self.folder / SPLITS[split].images / image.file_name

    def image_url(self, split: str, image: Image) -> str:
        usual = "/%s/%s" % (SPLITS[split].images, image.file_name)
        return self.url + quote(urlsplit(image.url).path if image.url else usual)

    def remove_temporary_files(self) -> None:
        """Removes the temporary files of killed runs; the caller holds the lock of raw-data."""
        names = ["", "annotations"] + [split.images for split in SPLITS.values()]
        for folder in [self.folder / name for name in names]:
            for leftover in [*folder.glob(".*.part-*"), *folder.glob(".*.jpg.part")]:
                leftover.unlink()

    def fetch_annotations(self, split: str) -> Path:
        """The path of the split's annotations, which are downloaded and unpacked where absent."""
        path = self.annotations(split)
        if path.exists():
            return path
        archive = self.folder / SPLITS[split].archive
        url = "%s/annotations/%s" % (self.url, archive.name)
        for last in (False, True):
            if not archive.exists():
                say("fetching %s" % url)
                with transport.session() as connection:
                    self.check_disk(5 * (transport.size_of(connection, url, self.policy) or 0))
                download.download(url, archive, policy=self.policy)
            try:
                _extract(archive, path)
                break
            except zipfile.BadZipFile as error:
                if last:
                    raise TodusError(
                        "%s is damaged (%s); remove it and run the same command again"
                        % (archive, error)
                    )
                say("%s is damaged (%s); fetching it again" % (archive.name, error))
                archive.unlink()
        return path

    def locate(self, split: str, listed: Sequence[Image]) -> List[Image]:
        """Sets `path` or `member` of each image; returns those that have neither on disk."""
        members = self._members(split)
        folder = self.folder / SPLITS[split].images
        entries = list(os.scandir(str(folder))) if folder.is_dir() else []
        sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        absent = []
        for image in listed:
            path, size = folder / image.file_name, sizes.get(image.file_name)
            image.path, image.member = None, members.get(image.file_name)
            expected = image.member.size if image.member else size
            if size is not None and size == expected and _is_complete(path):
                image.path, image.member = path, None
            elif image.member is None:
                absent.append(image)
        return absent

    def _members(self, split: str) -> Dict[str, ZipMember]:
        """file name -> place in the split's zip; empty without a zip."""
        path = self.archive(split)
        if not path.exists():
            return {}
        try:
            with opened_zip(path) as archive:
                infos = archive.infolist()
        except zipfile.BadZipFile as error:
            raise TodusError(
                "%s is not a complete zip archive (%s); remove it and run the same command again"
                % (path, error)
            )
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        return {
            info.filename.rsplit("/", 1)[-1]: ZipMember(
                path,
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type == zipfile.ZIP_DEFLATED,
            )
            for info in infos
            if info.compress_type in methods and not info.is_dir() and info.file_size < many.LARGEST
        }

    def plan_fetch(self, split: str, absent: List[Image], total: int) -> FetchPlan:
        """How to fetch the images `absent` of a split that has `total` images."""
        if not absent:
            return FetchPlan([], False, 0)
        archive = self.archive(split)
        with transport.session() as connection:
            if len(absent) > ZIP_SHARE * total and not archive.exists():
                with contextlib.suppress(transport.NotFound):
                    size = transport.size_of(connection, self.archive_url(split), self.policy) or 0
                    return FetchPlan(absent, True, max(0, size - download.partial_size(archive)))
            sizes = []
            for image in absent[:: max(1, len(absent) // SAMPLE)][:SAMPLE]:
                url = self.image_url(split, image)
                with contextlib.suppress(transport.NotFound):
                    sizes.append(transport.size_of(connection, url, self.policy) or 0)
        return FetchPlan(absent, False, sum(sizes) * len(absent) // max(1, len(sizes)))

    def archive_url(self, split: str) -> str:
        return "%s/zips/%s" % (self.url, self.archive(split).name)

    def fetch_images(
        self, split: str, plan: FetchPlan, most_missing: int
    ) -> List[Tuple[Image, str]]:
        """Fetches and locates the images of a plan. Returns the missing images, with the reason.

        Raises TodusError for more than `most_missing` of them.
        """
        absent = plan.images
        if plan.archive:
            url, archive = self.archive_url(split), self.archive(split)
            say("fetching %s" % url)
            download.download(url, archive, check=_check_members, policy=self.policy)
            absent = self.locate(split, absent)
        if not absent:
            return []
        folder = self.folder / SPLITS[split].images
        folder.mkdir(parents=True, exist_ok=True)
        by_path = {self.image_path(split, image): image for image in absent}
        urls = [self.image_url(split, image) for image in absent]
        wanted = list(map(many.Wanted, urls, by_path))
        with Progress("%d images of %s" % (len(absent), split), plan.bytes or None) as progress:
            missing = many.download_many(
                wanted, image_files.fault_of, self.connections, progress, most_missing, self.policy
            )
        lost = {each.path for each in missing}
        for path, image in by_path.items():
            image.path = None if path in lost else path
        return [(by_path[each.path], each.reason) for each in missing]

    def check_disk(self, size: int) -> None:
        """Raises TodusError unless DISK_FACTOR times `size` bytes are free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(str(self.folder)).free
        if free < DISK_FACTOR * size:
            raise TodusError(
                "%s has %s free and this needs about %s; free some space, "
                "or set TODUS_HOME to a larger disk"
                % (self.folder, megabytes(free), megabytes(DISK_FACTOR * size))
            )

    def remove_images(self, split: str) -> None:
        """Removes the split's images and their zip, but not its annotations."""
        shutil.rmtree(str(self.folder / SPLITS[split].images), ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.archive(split).unlink()


def _extract(archive: Path, path: Path) -> None:
    """Writes the annotations in a zip to `path`.

    Raises BadZipFile when the zip is damaged, TodusError when it has no such annotations.
    """
    member = "annotations/" + path.name
    with opened_zip(archive) as opened:
        if member not in opened.namelist():
            raise TodusError(
                "%s has no %s; remove it, check COCO_URL, and run the same command again"
                % (archive, member)
            )
        with opened.open(member) as source, files.replacing(path) as part, part.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)


def _check_members(path: Path) -> None:
    """Compares every member of a zip with its CRC. Raises TodusError when one is damaged."""
    try:
        with opened_zip(path) as archive:
            infos = archive.infolist()
            with Progress("checking the images", sum(info.file_size for info in infos)) as progress:
                for info in infos:
                    with archive.open(info) as member:
                        while progress.add(len(member.read(1 << 20))):
                            pass
    except zipfile.BadZipFile as error:
        raise TodusError("not a complete zip archive (%s)" % error)


def _is_complete(path: Path) -> bool:
    """Whether an image file has a JPEG's first and last bytes, or its content has no fault."""
    with path.open("rb", buffering=0) as file:
        first, size = file.read(3), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2))
        if size > 5 and first == b"\xff\xd8\xff" and file.read(2) == b"\xff\xd9":
            return True
    return not image_files.fault_of(path.read_bytes())


@contextlib.contextmanager
def located(split: str, chosen: Callable[[Path], List[Image]]) -> Iterator[Tuple[List[Image], int]]:
    """Yields the images that `chosen` takes of a split's annotations, and how many are missing.

    They are those of raw-data, which is locked meanwhile, and are fetched from COCO_URL where
    absent, as the annotations are. Raises TodusError where the server does not have half of them.
    """
    raw = RawData(paths.raw_data(), Settings.from_environment(LIMITED))
    with locks.exclusive(raw.folder, str(raw.folder)):
        raw.remove_temporary_files()
        images = chosen(raw.fetch_annotations(split))
        absent = raw.locate(split, images)
        plan = FetchPlan(absent, False, 0)
        missing = [image for image, _ in raw.fetch_images(split, plan, len(absent) // 2)]
        yield [image for image in images if image not in missing], len(missing)
