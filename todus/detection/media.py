"""What detect reads and writes: images, folders of them, videos and cameras."""

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus import files
from todus.errors import TodusError, UsageError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


class Source(NamedTuple):
    """One argument of detect."""

    kind: str  # image, folder or video
    name: str  # as it was typed
    files: List[Path]
    twins: frozenset = frozenset()  # stems that several files have


def sources(names: Sequence[str]) -> List[Source]:
    """What the arguments name. Raises UsageError for one that does not exist, or a folder without images, before anything is detected."""
    result: List[Source] = []
    plain = [
        Path(name)
        for name in names
        if not re.fullmatch(r"camera:\d+", name) and not Path(name).is_dir()
    ]
    twins = _twins(plain)
    for name in names:
        path = Path(name)
        if re.fullmatch(r"camera:\d+", name) or (path.suffix.lower() in VIDEOS and path.is_file()):
            result.append(Source("video", name, [], twins))
        elif path.is_dir():
            listed = sorted(
                each for each in path.rglob("*") if each.suffix.lower() in IMAGES and each.is_file()
            )
            if not listed:
                raise UsageError("%s: no images in this folder" % name)
            result.append(Source("folder", name, listed, _twins(listed)))
        elif path.is_file():
            result.append(Source("image", name, [path], twins))
        else:
            raise UsageError("%s: no such image" % name)
    return result


def _twins(listed: Sequence[Path]) -> frozenset:
    stems = [path.stem for path in listed]
    return frozenset(stem for stem in stems if stems.count(stem) > 1)


def unique_name(path: Path, source: Source) -> str:
    """The picture's name without ending: the file's, with a digest of its path where several files have one name."""
    stem = path.stem.replace(":", "-")
    return (
        "%s-%s" % (stem, hashlib.sha256(str(path).encode("utf-8", "replace")).hexdigest()[:6])
        if path.stem in source.twins
        else stem
    )


def read_image(path: Path) -> np.ndarray:
    """uint8 [height, width, 3]. Raises TodusError that names a file which is no image."""
    from PIL import Image

    from todus.dataset.image_files import decode

    try:
        return decode(path.read_bytes())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TodusError("%s is not an image that can be read (%s)" % (path, error))


def _opencv():
    try:
        import cv2
    except ImportError as error:
        raise TodusError(
            "videos and cameras need OpenCV (%s); run: pip install opencv-python-headless" % error
        )
    return cv2


def frames(source: Source, first: Optional[int]) -> Iterator[Tuple[np.ndarray, float]]:
    """(uint8 [height, width, 3] RGB, frames a second) of a video or camera. Raises TodusError for one that cannot be opened."""
    cv2 = _opencv()
    camera = source.name.partition("camera:")[2]
    capture = cv2.VideoCapture(int(camera) if camera else source.name)
    number = 0
    try:
        rate = capture.get(cv2.CAP_PROP_FPS) if capture.isOpened() else 0
        while first is None or number < first:
            there, frame = capture.read()
            if not there:
                break
            number += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), rate if 0 < rate < 1000 else 25.0
    finally:
        capture.release()
    if not number:
        raise TodusError(
            "%s: no frame can be read; %s"
            % (source.name, "is the camera in use?" if camera else "is it a video?")
        )


@contextlib.contextmanager
def video_writer(target: Path) -> Iterator[Callable]:
    """Yields write(picture, frames a second); the Motion JPEG file takes its place at the end, also when Ctrl-C ends a camera."""
    cv2 = _opencv()
    writer = []
    part = files.beside(target, "part.avi")

    def write(picture, rate: float) -> None:
        if not writer:
            target.parent.mkdir(parents=True, exist_ok=True)
            writer.append(
                cv2.VideoWriter(str(part), cv2.VideoWriter_fourcc(*"MJPG"), rate, picture.size)
            )
        writer[0].write(cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR))

    try:
        yield write
    finally:
        if writer:
            writer[0].release()
            part.replace(target)
