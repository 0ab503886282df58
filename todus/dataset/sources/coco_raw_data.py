"""dataset/mscoco/raw-data: COCO's annotations, and those of its images that a dataset needs.

    raw-data/annotations_trainval2017.zip   raw-data/annotations/instances_{train,val}2017.json
    raw-data/{train,val,test}2017.zip       read in place, never unpacked
    raw-data/{train,val,test}2017/          single images

Files that a person put there are used like downloaded ones.
"""

import contextlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple
from urllib.parse import quote, urlsplit

from todus import files
from todus.command import say
from todus.dataset import image_files
from todus.dataset.annotations import Image, ZipMember
from todus.errors import TodusError
from todus.fetching import download, many, transport
from todus.fetching.archives import opened_zip
from todus.progress import Progress
from todus.text import megabytes

ZIP_SHARE = (
    0.6  # of a split's images; when more are missing, its zip is fetched in place of single images
)
SAMPLE = 8  # images whose size is asked for, to estimate the bytes of all
DISK_FACTOR = 1.5  # free disk that is wanted, in parts of what will be written


class Split(NamedTuple):
    """Where COCO has a split."""

    annotations: str  # the JSON file's name
    archive: str  # the zip it comes in
    images: str  # the folder, and the zip's name without .zip


SPLITS: Dict[str, Split] = {
    "train": Split("instances_train2017.json", "annotations_trainval2017.zip", "train2017"),
    "val": Split("instances_val2017.json", "annotations_trainval2017.zip", "val2017"),
    "testdev": Split("image_info_test-dev2017.json", "image_info_test2017.zip", "test2017"),
}


class FetchPlan(NamedTuple):
    """What must be fetched for a split."""

    images: List[Image]
    archive: bool  # True: the split's zip; False: single images
    bytes: int  # an estimate


class RawData:
    """The folder raw-data, and the server that its files come from.

    Args:
      folder: paths.raw_data().
      url: COCO_URL.
      policy: timeouts and retries of downloads.
      connections: how many images at once.
    """

    def __init__(self, folder: Path, url: str, policy: transport.Policy, connections: int):
        self.folder, self.url, self.policy, self.connections = (
            folder,
            url.rstrip("/"),
            policy,
            connections,
        )

    def annotations(self, split: str) -> Path:
        return self.folder / "annotations" / SPLITS[split].annotations

    def archive(self, split: str) -> Path:
        return self.folder / (SPLITS[split].images + ".zip")

    def image_path(self, split: str, image: Image) -> Path:
        return self.folder / SPLITS[split].images / image.file_name

    def image_url(self, split: str, image: Image) -> str:
        path = (
            urlsplit(image.url).path
            if image.url
            else "/%s/%s" % (SPLITS[split].images, image.file_name)
        )
        return self.url + quote(path)

    def remove_temporary_files(self) -> None:
        """Removes the unfinished files of killed runs; the caller holds the lock of raw-data."""
        for folder in [self.folder, self.folder / "annotations"] + [
            self.folder / split.images for split in SPLITS.values()
        ]:
            for leftover in list(folder.glob(".*.part-*")) + list(folder.glob(".*.jpg.part")):
                leftover.unlink()

    def fetch_annotations(self, split: str) -> Path:
        """Returns the split's annotations, which are unpacked or downloaded when they are not there."""
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
                _extract(archive, "annotations/" + path.name, path)
                return path
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
        """Sets `path` or `member` of each image; returns the images that are neither in the folder nor in the zip."""
        members = self._members(split)
        folder = self.folder / SPLITS[split].images
        sizes = (
            {
                entry.name: entry.stat().st_size
                for entry in os.scandir(str(folder))
                if entry.is_file()
            }
            if folder.is_dir()
            else {}
        )
        absent = []
        for image in listed:
            image.path, image.member = None, members.get(image.file_name)
            same = image.file_name in sizes and (
                image.member is None or sizes[image.file_name] == image.member.size
            )
            if same and _is_whole(folder / image.file_name):
                image.path, image.member = folder / image.file_name, None
            if image.path is None and image.member is None:
                absent.append(image)
        return absent

    def _members(self, split: str) -> Dict[str, ZipMember]:
        """file name -> place in the split's zip; empty where there is no zip."""
        path = self.archive(split)
        if not path.exists():
            return {}
        try:
            with opened_zip(path) as archive:
                infos = archive.infolist()
        except zipfile.BadZipFile as error:
            raise TodusError(
                "%s is not a whole zip archive (%s); remove it and run the same command again"
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
        with transport.session() as connection:
            if len(absent) > ZIP_SHARE * total and not self.archive(split).exists():
                with contextlib.suppress(transport.NotFound):
                    size = transport.size_of(connection, self.archive_url(split), self.policy) or 0
                    return FetchPlan(
                        absent, True, max(0, size - download.partial_size(self.archive(split)))
                    )
            sizes = []
            for image in absent[:: max(1, len(absent) // SAMPLE)][:SAMPLE]:
                with contextlib.suppress(transport.NotFound):
                    sizes.append(
                        transport.size_of(connection, self.image_url(split, image), self.policy)
                        or 0
                    )
        return FetchPlan(absent, False, sum(sizes) * len(absent) // max(1, len(sizes)))

    def archive_url(self, split: str) -> str:
        return "%s/zips/%s" % (self.url, self.archive(split).name)

    def fetch_images(
        self, split: str, plan: FetchPlan, most_missing: int
    ) -> List[Tuple[Image, str]]:
        """Fetches and locates the images of a plan. Returns the missing images, with the reason; more than `most_missing` are an error."""
        absent = plan.images
        if plan.archive:
            say("fetching %s" % self.archive_url(split))
            download.download(
                self.archive_url(split),
                self.archive(split),
                check=_check_members,
                policy=self.policy,
            )
            absent = self.locate(split, absent)
        if not absent:
            return []
        folder = self.folder / SPLITS[split].images
        folder.mkdir(parents=True, exist_ok=True)
        by_path = {self.image_path(split, image): image for image in absent}
        wanted = [
            many.Wanted(self.image_url(split, image), path) for path, image in by_path.items()
        ]
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
                "%s has %s free and this needs about %s; free some, or set TODUS_HOME to a larger disk"
                % (self.folder, megabytes(free), megabytes(DISK_FACTOR * size))
            )

    def remove_images(self, split: str) -> None:
        """Removes the split's images and their zip; the annotations stay."""
        shutil.rmtree(str(self.folder / SPLITS[split].images), ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.archive(split).unlink()


def _extract(archive: Path, member: str, path: Path) -> None:
    """Writes one member of a zip to `path`. Raises BadZipFile when it is damaged, TodusError when the zip has no such member."""
    with opened_zip(archive) as opened:
        if member not in opened.namelist():
            raise TodusError(
                "%s has no %s; remove it, check COCO_URL, and run the same command again"
                % (archive, member)
            )
        with files.replacing(path) as part, opened.open(member) as source, part.open(
            "wb"
        ) as target:
            shutil.copyfileobj(source, target, 1 << 20)


def _check_members(path: Path) -> None:
    """Reads every member of a zip against its CRC. Raises TodusError when one is damaged."""
    try:
        with opened_zip(path) as archive:
            infos = archive.infolist()
            with Progress("checking the images", sum(info.file_size for info in infos)) as progress:
                for info in infos:
                    with archive.open(info) as member:
                        while progress.add(len(member.read(1 << 20))):
                            pass
    except zipfile.BadZipFile as error:
        raise TodusError("not a whole zip archive (%s)" % error)


def _is_whole(path: Path) -> bool:
    """Whether an image file is complete: by its first and last bytes, or, where these are not a JPEG's, by reading it."""
    handle = os.open(str(path), os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        if (
            size > 5
            and os.pread(handle, 3, 0) == b"\xff\xd8\xff"
            and os.pread(handle, 2, size - 2) == b"\xff\xd9"
        ):
            return True
    finally:
        os.close(handle)
    return not image_files.fault_of(path.read_bytes())
