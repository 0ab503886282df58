"""Reads TFRecords of the OD API that someone else wrote, and their label map.

Every image is read back to a file, so that it is checked and written as those of other sources.
"""

import glob
import re
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, Optional, Tuple

from todus import categories, sources
from todus.categories import canonical
from todus.command import Parser
from todus.dataset.box_fitting import FRACTIONS, NamedBox
from todus.dataset.build import build, fingerprint, is_up_to_date, target, work_folder
from todus.dataset.image_folder import given_path, split_named_file
from todus.dataset.labelled_images import LabelledImage, LabelledSource
from todus.dataset.records import example, tfrecord
from todus.dataset.records.example import BadExample
from todus.dataset.settings import Settings
from todus.dataset.split import SPLITS
from todus.dataset.summary import print_up_to_date
from todus.errors import TodusError, UsageError
from todus.fetching import archives
from todus.progress import Progress
from todus.text import one_line

SOURCE = sources.find("records")

IN_PIXELS = "box in pixels, where the OD API has fractions of the image"
NO_CLASS = "box of a class that the label map does not have"
OTHER_ID = "box whose class/label is not the id of its class/text, which is used"
NO_SHARD = "shard that is missing"
CUT = "compressed file that is damaged; the records before the damage are used"
MOST_FRACTION = 2.0  # a coordinate beyond it is no fraction
LONGEST_NAME = 120  # characters of a file name
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = {"is_crowd": ("is_crowd", "group_of"), "difficult": ("difficult",)}
_FLAGS["truncated"] = ("truncated",)


class Classes:
    """The classes of a label map, found by name or id."""

    def __init__(self, names: Dict[int, str]):
        self.names = names
        self._by_name = {canonical(name): name for name in names.values()}

    def find(self, text: str, identity: Optional[int]) -> Tuple[str, bool]:
        """(name, whether text and id differ) of a box; "" for a class that is not in the map.

        As in the OD API's decoder the text counts, and the id where there is no text.
        """
        by_id = self.names.get(identity, "")
        by_text = self._by_name.get(canonical(text), "")
        return by_text or by_id, bool(by_text and by_id and by_text != by_id)


def read(
    files: List[Tuple[str, Path]], names: Dict[int, str], work: Path, total: int
) -> LabelledSource:
    """The images in the files, written to `work`, with their boxes.

    Args:
      files: (train, val, test or "", file) of each.
      names: id -> name of the label map.
      work: an existing empty folder.
      total: bytes of the files.

    Raises:
      TodusError: a file is not a TFRecord file.
    """
    classes = Classes(names)
    source = LabelledSource(class_order=list(names.values()), upright=False)
    for shard in missing_shards([path for _, path in files]):
        source.leave_out(shard, NO_SHARD)
    with Progress("reading records", total) as progress:
        for split, path in files:
            for record in _scan(path, work, source):
                try:
                    if record.fault:
                        raise BadExample(record.fault)
                    source.images += _image(record.data, split, classes, work, source)
                except BadExample as error:
                    place = "%s, offset %d" % (path.name, record.offset)
                    source.leave_out(place, "record: %s" % error)
            progress.add(path.stat().st_size)
    return source


def _scan(path: Path, work: Path, source: LabelledSource) -> Iterator[tfrecord.Record]:
    """Every record of a file, compressed or not. Raises TodusError where it has none."""
    plain = path
    with path.open("rb") as file:
        head = file.read(tfrecord.HEADER)
    if head and not tfrecord.is_header(head) and _is_compressed(head):
        plain = work / "decompressed"
        if not _decompress(path, plain):
            source.leave_out(path.name, CUT)
    is_intact = False
    faults = []
    for record in tfrecord.scan(plain, resume=True):
        is_intact = is_intact or not record.fault
        if is_intact:
            yield from faults
            faults = []
            yield record
        else:
            faults.append(record)
    if faults:
        raise TodusError("%s is not a TFRecord file; name the files of records" % path)


def _is_compressed(head: bytes) -> bool:
    """Whether a file begins as GZIP or ZLIB, the compressions of TFRecords."""
    is_zlib = head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0
    return is_zlib or head[:2] == b"\x1f\x8b"


def _decompress(path: Path, to: Path) -> bool:
    """Writes a file's content to `to`, up to the first damage; returns whether it is complete.

    Raises TodusError for a content that is too large for the file.
    """
    most = archives.MOST_RATIO * path.stat().st_size + archives.ALLOWANCE
    with path.open("rb") as file, to.open("wb") as out:
        stream, block = zlib.decompressobj(47), b""
        while True:
            block = block or file.read(1 << 20)
            try:
                if not block:
                    out.write(stream.flush())
                    return stream.eof
                if stream.eof:  # GZIP files may have several members
                    stream = zlib.decompressobj(47)
                out.write(stream.decompress(block, 1 << 20))
            except zlib.error:
                return False
            if out.tell() > most:
                raise TodusError("%s unpacks to too much for its size; do not trust it" % path)
            block = stream.unconsumed_tail or stream.unused_data


def _image(
    data: bytes, split: str, classes: Classes, work: Path, source: LabelledSource
) -> Iterator[LabelledImage]:
    """The image of a record, written to `work`; none for a further record by BALANCE.

    Raises BadExample where the record has no image, or lists of different lengths.
    """
    feature = example.parse(data)
    if _values(feature, example.REPEAT):
        return
    encoded = _values(feature, "image/encoded")
    if len(encoded) != 1 or not isinstance(encoded[0], bytes) or not encoded[0]:
        raise BadExample("has no image/encoded")
    boxes = list(_boxes(feature))
    path = _place(feature, work / (split or "images"), len(source.images))
    path.write_bytes(encoded[0])
    name = path.relative_to(work if split else work / "images").as_posix()
    labelled = LabelledImage(name, path, frame=FRACTIONS, split=split)
    for corners, text, identity, flags in boxes:
        found, differ = classes.find(text, identity)
        if not found:
            labelled.dropped[NO_CLASS] += 1
        elif any(abs(corner) > MOST_FRACTION for corner in corners):
            labelled.dropped[IN_PIXELS] += 1
        else:
            source.mended.update([OTHER_ID] if differ else [])
            labelled.boxes.append(NamedBox(found, *corners, **flags))
    yield labelled


def _boxes(feature: Any) -> Iterator[Tuple[List[float], str, Optional[int], Dict[str, bool]]]:
    """Corners, class/text, class/label and flags of each box; a key that is missing is empty."""
    lists = {
        key: _values(feature, "image/object/" + key)
        for key in ("class/text", "class/label", *("bbox/" + side for side in _SIDES))
    }
    number = len(lists["bbox/xmin"])
    for key, values in lists.items():
        if len(values) != number and (values or key.startswith("bbox/")):
            raise BadExample(
                "image/object/%s has %d values for %d boxes" % (key, len(values), number)
            )
    if number and not lists["class/text"] and not lists["class/label"]:
        raise BadExample("has boxes without class/text and class/label")
    flags = {
        name: [_values(feature, "image/object/" + key) for key in keys]
        for name, keys in _FLAGS.items()
    }
    for index in range(number):
        text = lists["class/text"][index] if lists["class/text"] else b""
        identity = lists["class/label"][index] if lists["class/label"] else None
        corners = [lists["bbox/" + side][index] for side in _SIDES]
        if isinstance(text, int) or not all(isinstance(each, (int, float)) for each in corners):
            raise BadExample("its boxes or classes are of the wrong kind")
        yield (
            [float(corner) for corner in corners],
            text.decode("utf-8", "replace") if isinstance(text, bytes) else "",
            identity if isinstance(identity, int) else None,
            {
                name: any(len(each) == number and bool(each[index]) for each in found)
                for name, found in flags.items()
            },
        )


def _values(feature: Any, key: str) -> List[Any]:
    """The values of a key, of any kind; none where it is missing."""
    kind = feature[key].WhichOneof("kind") if key in feature else None
    return list(getattr(feature[key], kind).value) if kind else []


def _place(feature: Any, folder: Path, number: int) -> Path:
    """A new file in `folder`, with the record's file name where it has one."""
    given = (_values(feature, "image/filename") or _values(feature, "image/source_id") or [b""])[0]
    text = given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given)
    name = PurePosixPath(one_line(text).replace("\\", "/").replace("\0", "")).name.lstrip(".")
    name = name[-LONGEST_NAME:] if name else "record-%d" % number
    while len(name.encode("utf-8", "replace")) > 2 * LONGEST_NAME:
        name = name[1:]
    path = folder / name
    if path.exists():
        path = folder / (".%d" % number) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def missing_shards(paths: List[Path]) -> Iterator[str]:
    """The names of shards that NAME-00000-of-00010 promises and that are not in the list."""
    present = {path.name for path in paths}
    for name in sorted(present):
        match = re.fullmatch(r"(.*-)0{5}(-of-(\d{5}).*)", re.sub(r"-\d{5}-of-", "-00000-of-", name))
        for index in range(int(match.group(3))) if match else ():
            shard = "%s%05d%s" % (match.group(1), index, match.group(2))
            if shard not in present:
                present.add(shard)
                yield shard


def files_of(text: str) -> List[Path]:
    """The files of a path, a pattern, NAME of NAME-00000-of-00010, or NAME@10.

    Raises TodusError where there is none.
    """
    path = str(given_path(text))
    if Path(path).is_file():
        return [Path(path)]
    name = re.sub(r"@(\d+)$", lambda found: "-*-of-%05d" % int(found.group(1)[:5]), path)
    for pattern in (name, glob.escape(path) + "-*-of-*"):
        found = [Path(each) for each in sorted(glob.glob(pattern)) if Path(each).is_file()]
        if found:
            return found
    raise TodusError(
        '%s is no file or pattern of records; type: ./%s "DIR/train*" "DIR/val*" LABEL_MAP'
        % (path, SOURCE.script)
    )


def with_splits(given: List[List[Path]]) -> List[Tuple[str, Path]]:
    """(split, file) of what the user typed: TRAIN and VAL, or files whose names have a split.

    Raises UsageError where it is neither.
    """
    listed = [(split_named_file(path), path) for paths in given for path in paths]
    named = {split for split, _ in listed}
    if len(given) == 1:
        return [("", path) for _, path in listed]
    if len(given) == 2 and (len(named) > 1 or "" in named):
        return [(split, path) for split, paths in zip(SPLITS, given) for path in paths]
    if "" in named:
        raise UsageError(
            'quote the patterns: ./%s "DIR/train*" "DIR/val*" LABEL_MAP' % SOURCE.script
        )
    return listed if len(named) > 1 else [("", path) for _, path in listed]


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser(
        "dataset " + SOURCE.name,
        "Makes a dataset of TFRecords of the OD API; see ./%s --help." % SOURCE.script,
    )
    parser.add_argument("records", metavar="TRAIN VAL", nargs="+")
    parser.add_argument("label_map", metavar="LABEL_MAP")
    arguments = parser.parse_args(argv)
    files = with_splits([files_of(text) for text in arguments.records])
    label_map = given_path(arguments.label_map)
    names = categories.read_label_map(label_map)
    settings = Settings.from_environment(SOURCE.command)
    paths = [path for _, path in files]
    folder = paths[0].parent
    dataset = target(SOURCE, folder.name)
    splits = ["%s %s" % (split, path.name) for split, path in files]
    inputs = {"files": fingerprint([*paths, label_map], "\n".join(splits))}
    with work_folder(dataset, "records") as work:
        if is_up_to_date(dataset, settings, inputs):
            print_up_to_date(dataset)
            return 0
        source = read(files, names, work, sum(path.stat().st_size for path in paths))
        return build(dataset, source, settings, inputs, tables=True, folder=folder)
