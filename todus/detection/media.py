"""The inputs and outputs of detect: images, folders of images, videos and cameras."""

import contextlib
import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from todus import files
from todus.errors import TodusError, UsageError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
_CAMERA = re.compile(r"camera:(\d+)")


class Source(NamedTuple):
    """One argument of detect.

    Attributes:
      kind: image, folder or video; a camera is a video.
      name: as typed.
      files: the images.
      repeated: stems that several files have.
    """

    kind: str
    name: str
    files: List[Path]
    repeated: frozenset


def sources(names: Sequence[str]) -> List[Source]:
    """The source of each argument.

    Raises UsageError for one that does not exist, and for a folder without images.
    """
    result: List[Source] = []
    repeated = _repeated_stems(
        [Path(name) for name in names if not _CAMERA.fullmatch(name) and not Path(name).is_dir()]
    )
    for name in names:
        if not name:
            raise UsageError("an image without a name; give an image, a folder, or . for this one")
        path = Path(name)
        if _CAMERA.fullmatch(name) or (path.suffix.lower() in VIDEOS and path.is_file()):
            result.append(Source("video", name, [], repeated))
        elif path.is_dir():
            inner = sorted(path.rglob("*"))
            listed = [each for each in inner if each.suffix.lower() in IMAGES and each.is_file()]
            if not listed:
                raise UsageError("%s: no images in this folder" % name)
            result.append(Source("folder", name, listed, _repeated_stems(listed)))
        elif path.is_file():
            result.append(Source("image", name, [path], repeated))
        else:
            raise UsageError("%s: no such image" % name)
    return result


def _repeated_stems(listed: Sequence[Path]) -> frozenset:
    stems = Counter(path.stem for path in listed)
    return frozenset(stem for stem, count in stems.items() if count > 1)


def unique_name(path: Path, source: Source) -> str:
    """The output's name without ending: the stem, and a digest of the path if it is repeated."""
    stem = path.stem.replace(":", "-")
    if path.stem not in source.repeated:
        return stem
    return "%s-%s" % (stem, hashlib.sha256(str(path).encode("utf-8", "replace")).hexdigest()[:6])


def read_image(path: Path) -> np.ndarray:
    """A uint8 [height, width, 3] RGB image, upright by its EXIF orientation as in a dataset.

    Raises TodusError for a file that is no image.
    """
    from PIL import Image

    from todus.dataset.image_conversion import decode_upright
    from todus.dataset.image_files import BadImage

    try:
        return decode_upright(path.read_bytes())
    except (BadImage, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
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
    """(uint8 [height, width, 3] RGB, frames a second) of each frame of a video or camera.

    Args:
      source: a video.
      first: only the first N frames; None is all.

    Raises:
      TodusError: OpenCV is not installed, or no frame can be read.
    """
    cv2 = _opencv()
    camera = _CAMERA.fullmatch(source.name)
    capture = cv2.VideoCapture(int(camera.group(1)) if camera else source.name)
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
        question = "is the camera in use?" if camera else "is it a video?"
        raise TodusError("%s: no frame can be read; %s" % (source.name, question))


@contextlib.contextmanager
def video_writer(target: Path) -> Iterator[Callable]:
    """Yields write(picture, frames a second), which adds a frame to a Motion JPEG file.

    The file is renamed to `target` at the end, also after Ctrl-C.
    """
    cv2 = _opencv()
    writer = []
    part = files.beside(target, "part.avi")

    def write(picture, rate: float) -> None:
        if not writer:
            target.parent.mkdir(parents=True, exist_ok=True)
            codec = cv2.VideoWriter_fourcc(*"MJPG")
            writer.append(cv2.VideoWriter(str(part), codec, rate, picture.size))
        writer[0].write(cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR))

    try:
        yield write
    finally:
        if writer:
            writer[0].release()
            part.replace(target)
