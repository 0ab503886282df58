"""Labels a folder of images: images/, annotations/, doubtful/ and classes.txt in another folder."""

from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, ContextManager, Deque, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from todus import __version__, files, locks
from todus.dataset.image_folder import ImageFolder, files_under
from todus.detection import media
from todus.detection.detector import Detections, Detector
from todus.errors import TodusError, UsageError
from todus.labelling import mirrored, voc_xml
from todus.labelling.voc_xml import Label
from todus.progress import Progress

LABELS = "labels.json"  # what labelled the images, and how
AHEAD = 4  # images that are decoded while one is detected


@dataclass
class Work:
    """What a folder needs: images to label, and images that a person has labelled."""

    root: Path
    out: Path
    images: List[Path] = field(default_factory=list)
    own: Dict[Path, Path] = field(default_factory=dict)  # image -> its XML below root
    done: int = 0  # images with XML below out
    same_name: List[Path] = field(default_factory=list)  # a.png beside a.jpg

    def target(self, image: Path, kind: str) -> Path:
        return self.out / kind / image.relative_to(self.root)

    def annotation(self, image: Path, kind: str) -> Path:
        """The XML of an image that is sorted into "images" or "doubtful"."""
        folder = "annotations" if kind == "images" else kind
        return self.target(image, folder).with_suffix(".xml")


@dataclass
class Labelled:
    """The result of `label`."""

    images: int = 0
    boxes: Counter = field(default_factory=Counter)  # class name -> boxes that are not doubtful
    doubtful: int = 0  # images
    unreadable: int = 0


def plan(root: Path, out: Path) -> Work:
    """Finds what is to do. Raises UsageError where there are no images, or `out` is `root`."""
    if out == root:
        raise UsageError("OUT is the folder of the images; name another one")
    found = [path for path in files_under(root) if out not in path.parents]
    images = ImageFolder(root, found)
    if not images.paths:
        raise UsageError("no images under %s; name the folder that holds them" % root)
    work = Work(root, out)
    annotations = [path for path in found if path.suffix.lower() == ".xml"]
    own = {images.find_by_stem(path): path for path in annotations}
    taken = set()
    for image in images.paths:
        target = work.annotation(image, "images")
        if target in taken:
            work.same_name.append(image)
        elif target.exists() or work.annotation(image, "doubtful").exists():
            work.done += 1
        elif image in own:
            work.own[image] = own[image]
        else:
            work.images.append(image)
        taken.add(target)
    return work


def take_over(work: Work) -> None:
    """Copies the images that have XML beside them, with it, as they are."""
    for image, annotation in work.own.items():
        _place(work, image, "images")
        with files.replacing(work.annotation(image, "images")) as part:
            part.write_bytes(annotation.read_bytes())


def label(
    detector: Detector, work: Work, thresholds: Mapping[str, float], share: float
) -> Labelled:
    """Labels work.images; an image is done when its XML is there.

    Args:
      detector: knows the classes by name.
      work: from `plan`.
      thresholds: class name -> the score from which a detection is a label.
      share: detections from this share of the threshold on are doubtful.
    """
    result = Labelled()
    total = work.done + len(work.images)
    with Progress("labelling", total, done=work.done, unit="images") as progress:
        for path, image in _read_ahead(work.images, progress.note):
            progress.add(1)
            if image is None:
                result.unreadable += 1
                continue
            found = mirrored.detect(detector, image)
            labels = labels_of(found, image.shape[:2], detector.names, thresholds, share)
            kind = "doubtful" if any(each.doubtful for each in labels) else "images"
            _place(work, path, kind)
            size = image.shape[1], image.shape[0]
            folder = work.target(path, kind).parent.name
            text = voc_xml.text(folder, path.name, size, labels)
            files.write_text(work.annotation(path, kind), text)
            result.images += 1
            result.doubtful += kind == "doubtful"
            result.boxes.update(each.name for each in labels if not each.doubtful)
    return result


def labels_of(
    found: Detections,
    size: Tuple[int, int],
    names: Mapping[int, str],
    thresholds: Mapping[str, float],
    share: float,
) -> List[Label]:
    """The detections that are labels or doubtful; `size` is the image's height and width."""
    height, width = size
    labels = []
    for (ymin, xmin, ymax, xmax), class_id, score in zip(*found):
        name = names.get(int(class_id), "")
        if name not in thresholds or score < share * thresholds[name]:
            continue
        sides = np.clip([xmin, ymin, xmax, ymax], 0, 1) * (width, height, width, height)
        corners = [int(round(side)) for side in sides]
        if corners[0] < corners[2] and corners[1] < corners[3]:
            labels.append(Label(name, float(score), bool(score < thresholds[name]), *corners))
    return labels


def record(out: Path, names: List[str], about: Mapping[str, object]) -> bool:
    """Writes labels.json and classes.txt. Returns whether another labels.json was there."""
    about = dict(todus=__version__, **about)
    path = out / LABELS
    before = files.read_json(path) if path.exists() else about
    files.write_json(path, about)
    files.write_text(out / "classes.txt", "".join(name + "\n" for name in names))
    return before != about


def locked(out: Path) -> ContextManager[None]:
    """A context manager. Raises TodusError where another process labels into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    return locks.exclusive(out, str(out))


def _place(work: Work, image: Path, kind: str) -> None:
    target = work.target(image, kind)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.link_or_copy(image, target)


def _read_ahead(
    images: List[Path], say: Callable[[str], None]
) -> Iterator[Tuple[Path, Optional[np.ndarray]]]:
    """(path, uint8 [height, width, 3] or None) of each image; None for one that cannot be read."""
    with ThreadPoolExecutor(2) as pool:
        pending: Deque = deque()
        for path in [*images, *[None] * AHEAD]:
            pending.append((path, pool.submit(media.read_image, path) if path else None))
            if len(pending) <= AHEAD:
                continue
            first, reading = pending.popleft()
            try:
                image = reading.result()
            except TodusError as error:
                say("%s; left out" % error)
                image = None
            yield first, image
