"""Writes images as TFRecord shards, in several processes."""

import concurrent.futures
import contextlib
import ctypes
import gc
import hashlib
import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from todus.dataset import image_bytes, image_files
from todus.dataset.annotations import Image, id_order
from todus.dataset.records import example, tfrecord, verify
from todus.dataset.seeded_order import sort_key
from todus.errors import TodusError
from todus.machine.cores import cores

SHARD_BYTES = 256 << 20
OTHER_SIZE = "image has another size than its annotations"


@dataclass
class Options:
    """How records are written. Every option but `jobs` changes the bytes."""

    seed: int = 0  # of the order of the examples
    shards: int = 0  # per split; 0: one for about SHARD_BYTES each
    jobs: int = 0  # processes; 0: the cores
    decode: bool = False  # decode every pixel to find damaged images
    masks: bool = False  # write image/object/mask


class Shard(NamedTuple):
    """A shard that was written and checked."""

    file: str
    bytes: int
    sha256: str
    examples: int
    counts: verify.Counts
    dropped: List[Tuple[Image, str]]  # images that were not written, and why


@dataclass
class Plan:
    """A shard to write."""

    path: Path
    split: str
    images: List[Image]


@dataclass
class _Work:
    """The data that the processes share. They inherit it by fork, because it may be large."""

    plans: List[Plan] = field(default_factory=list)
    names: Dict[int, str] = field(default_factory=dict)  # new id -> name
    id_map: Dict[int, int] = field(default_factory=dict)  # source category id -> new id
    options: Options = field(default_factory=Options)
    parent: int = 0
    stop: Any = None  # an Event that stops the processes


_work = _Work()


def plan(folder: Path, split: str, listed: Sequence[Image], options: Options) -> List[Plan]:
    """Divides the images, in an order given by the seed, into shards of about equal size.

    There is at least one shard; with images, no shard is empty.
    """
    ordered = sorted(
        listed, key=lambda image: (sort_key(options.seed, split, image.id), id_order(image.id))
    )
    sizes = [image_bytes.size(image) for image in ordered]
    total = sum(sizes)
    number = max(1, min(options.shards or -(-total // SHARD_BYTES), len(ordered), 99999))
    parts: List[List[Image]] = [[] for _ in range(number)]
    before, at = 0, 0
    for index, (image, size) in enumerate(zip(ordered, sizes)):
        share = min(before * number // total if total else 0, number - 1)
        at = max(at, min(share, at + 1 if parts[at] else at), number - (len(ordered) - index))
        parts[at].append(image)
        before += size
    return [
        Plan(folder / ("%s.record-%05d-of-%05d" % (split, index, number)), split, part)
        for index, part in enumerate(parts)
    ]


def write(
    plans: List[Plan], names: Dict[int, str], id_map: Dict[int, int], options: Options
) -> Iterator[Tuple[Plan, Shard]]:
    """Writes the shards and yields each with its plan, in the order of the plans.

    Raises TodusError where a process is killed, an image is missing, or a check of a shard fails.
    """
    global _work
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    gc.freeze()  # garbage collection would write to the shared pages, and so copy them
    _work = _Work(plans, names, id_map, options, os.getpid(), stop)
    jobs = min(options.jobs or cores(), len(plans))
    try:
        if jobs <= 1:
            for index, each in enumerate(plans):
                yield each, _write_shard(index)
            return
        with concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_end_with_parent
        ) as pool:
            futures = [pool.submit(_write_shard, index) for index in range(len(plans))]
            try:
                for each, future in zip(plans, futures):
                    yield each, future.result()
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
    except concurrent.futures.process.BrokenProcessPool:
        raise TodusError(
            "a process that wrote records was killed, perhaps for lack of memory; "
            "set JOBS=1 and run this again"
        )
    finally:
        gc.unfreeze()
        _work = _Work()


def _end_with_parent() -> None:
    """Terminates this process with the build: on Linux by a signal, else by _check_parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)
    _check_parent()


def _check_parent() -> None:
    """Exits where the parent has exited. Raises TodusError where the build is stopped."""
    if os.getpid() != _work.parent and os.getppid() != _work.parent:
        os._exit(1)
    if _work.stop.is_set():
        raise TodusError("stopped")


def _write_shard(index: int) -> Shard:
    each = _work.plans[index]
    dropped: List[Tuple[Image, str]] = []
    expected = verify.Counts()
    with open(str(each.path), "wb", buffering=1 << 16) as file:
        writer = tfrecord.Writer(file)
        for image in each.images:
            _check_parent()
            try:
                data = encode(image, _work.names, _work.id_map, _work.options)
            except image_files.BadImage as error:
                dropped.append((image, str(error)))
                continue
            writer.write(*data)
            ids = (_work.id_map.get(box.category_id) for box in image.boxes)
            expected.add([_work.names[identity] for identity in ids if identity is not None])
    _self_check(each.path, expected)
    return Shard(each.path.name, writer.bytes, writer.sha256, writer.records, expected, dropped)


def _self_check(path: Path, expected: verify.Counts) -> None:
    """Reads the shard back. Raises TodusError where it differs from the annotations."""
    counts, problems = verify.check_shard(path, _work.names, hashes=False)
    for problem in problems:
        text = "self-check: %s; the disk or memory may be failing; run this again"
        raise TodusError(text % problem)
    if counts != expected:
        raise TodusError(
            "self-check: %s does not hold the boxes of the annotations; "
            "the disk may be failing; run this again" % path.name
        )


def encode(
    image: Image, names: Dict[int, str], id_map: Dict[int, int], options: Options
) -> Tuple[bytes, ...]:
    """The serialised tf.train.Example of an image, in pieces.

    Raises BadImage where training cannot decode the image.
    """
    data = image_bytes.read(image)
    header = image_files.inspect(data)
    if (header.height, header.width) != (image.height, image.width):
        raise image_files.BadImage(OTHER_SIZE)
    if options.decode:
        image_files.decode_every_pixel(data)
    boxes = [box for box in image.boxes if box.category_id in id_map]
    ids = [id_map[box.category_id] for box in boxes]
    features: Dict[str, Any] = {
        "image/format": [header.format.encode("ascii")],
        "image/filename": [image.file_name.encode("utf-8")],
        "image/source_id": [str(image.id).encode("utf-8")],
        "image/key/sha256": [hashlib.sha256(data).hexdigest().encode("ascii")],
        "image/height": [image.height],
        "image/width": [image.width],
        "image/object/bbox/ymin": [box.ymin / image.height for box in boxes],
        "image/object/bbox/xmin": [box.xmin / image.width for box in boxes],
        "image/object/bbox/ymax": [box.ymax / image.height for box in boxes],
        "image/object/bbox/xmax": [box.xmax / image.width for box in boxes],
        "image/object/class/text": [names[identity].encode("utf-8") for identity in ids],
        "image/object/class/label": ids,
        "image/object/area": [box.area for box in boxes],
        "image/object/is_crowd": [int(box.is_crowd) for box in boxes],
        "image/object/difficult": [int(box.difficult) for box in boxes],
        "image/object/truncated": [int(box.truncated) for box in boxes],
    }
    if options.masks:
        from todus.dataset.records import masks

        features[example.MASK] = [masks.png(box, image.height, image.width) for box in boxes]
    return example.encode(data, features, example.KINDS)
