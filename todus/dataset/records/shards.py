"""Annotations to TFRecord shards, in several processes: which image goes into which shard, and the writing of one shard."""

import concurrent.futures
import contextlib
import ctypes
import gc
import hashlib
import multiprocessing
import os
import signal
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from todus.dataset import image_files
from todus.dataset.annotations import Box, Image, Member, Span, order
from todus.dataset.records import example, tfrecord, verify
from todus.errors import TodusError

SHARD_BYTES = 256 << 20
OTHER_SIZE = "image has another size than its annotations say"


@dataclass
class Options:
    """How records are written. Only `jobs` has no influence on the bytes."""

    seed: int = 0  # of the order of the examples
    shards: int = 0  # a split; 0: as many as make about SHARD_BYTES each
    jobs: int = 0  # processes; 0: the cores
    decode: bool = False  # look at every pixel
    masks: bool = False  # write image/object/mask


class Shard(NamedTuple):
    """What was written to one file, counted from the file itself, and what could not be."""

    file: str
    bytes: int
    sha256: str
    examples: int
    counts: "verify.Counts"
    dropped: List[Tuple[Image, str]]  # images and the reason


@dataclass
class Plan:
    """One shard to write."""

    path: Path
    split: str
    images: List[Image]


@dataclass
class Work:
    """What every process knows; handed to them by fork, for it may be large."""

    plans: List[Plan] = field(default_factory=list)
    names: Dict[int, str] = field(default_factory=dict)  # new id -> name
    id_map: Dict[int, int] = field(default_factory=dict)  # source category id -> new id
    options: Options = field(default_factory=Options)
    parent: int = 0
    stop: Any = None  # an Event that ends the processes early


_work = Work()


def shuffled(listed: Sequence[Image], seed: int, split: str) -> List[Image]:
    """The images in an order that depends on their ids, the seed and the split alone."""

    def key(image: Image) -> Tuple:
        return hashlib.sha256(("%d/%s/%s" % (seed, split, image.id)).encode("utf-8")).digest(), order(image.id)

    return sorted(listed, key=key)


def plan(folder: Path, split: str, listed: Sequence[Image], options: Options) -> List[Plan]:
    """Cuts the shuffled images into shards of about the same number of bytes; at least one shard, and no shard without an image."""
    ordered = shuffled(listed, options.seed, split)
    sizes = [_size(image) for image in ordered]
    total = sum(sizes)
    number = max(1, min(options.shards or -(-total // SHARD_BYTES), len(ordered), 99999))
    parts: List[List[Image]] = [[] for _ in range(number)]
    before, at = 0, 0
    for index, (image, size) in enumerate(zip(ordered, sizes)):
        share = min(before * number // total if total else 0, number - 1)
        at = max(at, min(share, at + 1 if parts[at] else at), number - (len(ordered) - index))
        parts[at].append(image)
        before += size
    return [Plan(folder / ("%s.record-%05d-of-%05d" % (split, index, number)), split, part) for index, part in enumerate(parts)]


def _size(image: Image) -> int:
    if image.member:
        return image.member.size
    try:
        return os.stat(str(image.path)).st_size
    except OSError as error:
        raise _unreadable(image, error)


def _unreadable(image: Image, error: OSError) -> TodusError:
    return TodusError("%s cannot be read (%s); run the same command again" % (image.path or image.file_name, error.strerror or error))


def write(plans: List[Plan], names: Dict[int, str], id_map: Dict[int, int], options: Options) -> Iterator[Tuple[Plan, Shard]]:
    """Writes the shards and yields each with its plan, in the order of the plans.

    Raises TodusError when a process dies, when an image that was there has gone, or when a file does not hold what went into it.
    """
    global _work
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    gc.freeze()  # the search for cycles would write to, and so copy, the pages that the processes share
    _work = Work(plans, names, id_map, options, os.getpid(), stop)
    jobs = min(options.jobs or cores(), len(plans))
    try:
        if jobs <= 1:
            for index, each in enumerate(plans):
                yield each, _write(index)
            return
        with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent) as pool:
            futures = [pool.submit(_write, index) for index in range(len(plans))]
            try:
                for each, future in zip(plans, futures):
                    yield each, future.result()
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
    except concurrent.futures.process.BrokenProcessPool:
        raise TodusError("a process that wrote records was killed, perhaps for want of memory; set JOBS=1 and run this again")
    finally:
        gc.unfreeze()
        _work = Work()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    """A killed build must leave no process that goes on writing: Linux is asked to kill it; elsewhere each image asks (_check_parent)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)
    _check_parent()


def _check_parent() -> None:
    if os.getpid() != _work.parent and os.getppid() != _work.parent:
        os._exit(1)
    if _work.stop.is_set():
        raise TodusError("stopped")


def _write(index: int) -> Shard:
    each = _work.plans[index]
    dropped: List[Tuple[Image, str]] = []
    expected = verify.Counts()
    with open(str(each.path), "wb", buffering=1 << 16) as file:
        writer = tfrecord.Writer(file)
        for image in each.images:
            _check_parent()
            try:
                data = encoded(image, _work.names, _work.id_map, _work.options)
            except image_files.BadImage as error:
                dropped.append((image, str(error)))
                continue
            writer.write(*data)
            expected.add([_work.names[_work.id_map[box.category_id]] for box in image.boxes if box.category_id in _work.id_map])
    found = _self_check(each.path, expected)
    return Shard(each.path.name, writer.bytes, writer.sha256, writer.records, found, dropped)


def _self_check(path: Path, expected: "verify.Counts") -> "verify.Counts":
    """Reads the shard back. Raises TodusError when it does not hold what the annotations say."""
    found = verify.Counts()
    for problem in verify.shard(path, _work.names, found, hashes=False):
        raise TodusError("self-check: %s; the disk or memory may be failing; run this again" % problem)
    if found != expected:
        raise TodusError("self-check: %s does not hold the boxes of the annotations; the disk may be failing; run this again" % path.name)
    return found


def read(image: Image) -> bytes:
    """The bytes of an image. Raises TodusError when it cannot be read, BadImage when its archive holds other bytes than it promised."""
    try:
        if image.member is None:
            with open(str(image.path), "rb") as file:
                return file.read()
        if isinstance(image.member, Span):
            with open(str(image.member.file), "rb") as file:
                file.seek(image.member.offset)
                return file.read(image.member.size)
        return read_member(image.member)
    except OSError as error:
        raise _unreadable(image, error)


def read_member(member: Member) -> bytes:
    """A zip archive's member (APPNOTE.TXT 4.3.7 for the local header). Raises BadImage when its CRC is wrong."""
    with open(str(member.archive), "rb") as file:
        file.seek(member.offset)
        local = file.read(30)
        if len(local) < 30 or local[:4] != b"PK\x03\x04":
            raise image_files.BadImage("image is damaged in its archive")
        name, extra = struct.unpack_from("<HH", local, 26)
        file.seek(name + extra, os.SEEK_CUR)
        data = file.read(member.packed)
    if member.deflated:
        try:
            data = zlib.decompressobj(-15).decompress(data, member.size)
        except zlib.error:
            data = b""
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise image_files.BadImage("image is damaged in its archive")
    return data


def encoded(image: Image, names: Dict[int, str], id_map: Dict[int, int], options: Options) -> Tuple[bytes, ...]:
    """The pieces of the serialised tf.train.Example of an image. Raises BadImage when training could not decode it."""
    data = read(image)
    header = image_files.inspect(data)
    if (header.height, header.width) != (image.height, image.width):
        raise image_files.BadImage(OTHER_SIZE)
    if options.decode:
        image_files.decode_every_pixel(data)
    boxes = [box for box in image.boxes if box.category_id in id_map]
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
        "image/object/class/text": [names[id_map[box.category_id]].encode("utf-8") for box in boxes],
        "image/object/class/label": [id_map[box.category_id] for box in boxes],
        "image/object/area": [box.area for box in boxes],
        "image/object/is_crowd": [int(box.is_crowd) for box in boxes],
        "image/object/difficult": [int(box.difficult) for box in boxes],
        "image/object/truncated": [int(box.truncated) for box in boxes],
    }
    if options.masks:
        features[example.MASK] = [_mask(box, image) for box in boxes]
    return example.encode(data, features, example.KINDS)


def _mask(box: Box, image: Image) -> bytes:
    from todus.dataset.records import masks

    return masks.png(box, image.height, image.width)
