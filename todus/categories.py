"""CATEGORIES, class names and label maps."""

import csv
import difflib
import os
import re
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Sequence

from todus import files
from todus.errors import TodusError, UsageError
from todus.text import megabytes, one_line, shortened

MOST_LABEL_MAP_BYTES = 4000000  # some 80,000 classes, read in seconds
LABELS = Path(__file__).resolve().parent / "labels"


def bundled(source: str) -> Dict[int, str]:
    """id -> name of the classes of "coco" (80 of the ids 1 to 90) or "openimages" (1 to 601)."""
    with (LABELS / (source + ".csv")).open(newline="", encoding="utf-8") as file:
        return {int(row["id"]): row["name"] for row in csv.DictReader(file)}


def canonical(name: str) -> str:
    """`name` normalised for comparison: Polar_bear, "polar bear" and polar-bear are one class."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def choose(text: str, known: Mapping[int, str], where: str) -> Dict[int, str]:
    """id -> name of the classes that CATEGORIES lists, ordered by id.

    Args:
      text: names separated by spaces (traffic_light or "traffic light" for two words) or by commas,
        or @FILE with one name per line, or "all".
      known: id -> name.
      where: where the names are looked up, for the message.

    Raises:
      UsageError: no name, or an unknown one; the message lists the nearest known names.
    """
    if text.strip() == "all":
        return dict(sorted(known.items()))
    by_name = {canonical(name): identity for identity, name in known.items()}
    names = split_names(text, by_name)
    unknown = [name for name in names if canonical(name) not in by_name]
    if unknown:
        raise UsageError("; ".join(_unknown(name, known, where) for name in unknown))
    if not names:
        example = " ".join(list(known.values())[:3])
        raise UsageError('CATEGORIES is empty; list classes, such as CATEGORIES="%s"' % example)
    chosen = {by_name[canonical(name)] for name in names}
    return {identity: known[identity] for identity in sorted(chosen)}


def _unknown(name: str, known: Mapping[int, str], where: str) -> str:
    """The message for an unknown class."""
    names = {canonical(each): each for each in known.values()}
    near = difflib.get_close_matches(canonical(name), names)
    near = near or [key for key in names if canonical(name) in key][:3]
    hint = "known classes: %s" % shortened(known.values())
    if near:
        hint = "did you mean %s?" % " or ".join(names[key] for key in near)
    return 'no class "%s" in %s; %s' % (name, where, hint)


def split_names(text: str, known: Iterable[str] = ()) -> List[str]:
    """The names in a CATEGORIES value.

    `known` holds canonical names: with it, an unquoted `traffic light` is one name.
    """
    text = text.strip()
    if text.startswith("@"):
        return _names_in_file(text[1:])
    if "," in text or "\n" in text:
        return [name.strip() for name in re.split(r"[,\n]", text) if name.strip()]
    words = ["".join(each) for each in re.findall(r'"([^"]*)"|\'([^\']*)\'|(\S+)', text)]
    return _joined(words, set(known))


def _joined(words: List[str], known: set) -> List[str]:
    """Joins up to four adjacent words into a known name, unless the first is itself one."""
    names, at = [], 0
    while at < len(words):
        length = 1
        if canonical(words[at]) not in known:
            phrases = ((size, canonical(" ".join(words[at : at + size]))) for size in (4, 3, 2))
            length = next((size for size, phrase in phrases if phrase in known), 1)
        names.append(" ".join(words[at : at + length]))
        at += length
    return names


def _names_in_file(path: str) -> List[str]:
    path = os.path.expanduser(path)
    if files.is_special(path):
        raise UsageError("CATEGORIES=@%s is a device or a FIFO; give a text file" % path)
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "CATEGORIES=@%s cannot be read (%s); give a text file with one class per line"
            % (path, error)
        )
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def renumbered(chosen: Mapping[int, str]) -> Dict[int, str]:
    """id -> name of a limited dataset: ids 1..N in the order of the source ids."""
    return {number: chosen[identity] for number, identity in enumerate(sorted(chosen), start=1)}


def match_by_name(wanted: Mapping[int, str], known: Mapping[int, str]) -> Dict[int, int]:
    """Wanted id -> known id, for each wanted class whose name is in `known`."""
    by_name = {canonical(name): identity for identity, name in known.items()}
    return {
        identity: by_name[canonical(name)]
        for identity, name in wanted.items()
        if canonical(name) in by_name
    }


def read_label_map(path: files.PathLike) -> Dict[int, str]:
    """id -> name (display_name, if set) of a label map file in StringIntLabelMap text format.

    Raises TodusError for a file that is not a label map, an id that occurs twice or is below 1, and
    an item without a name. A background item with id 0 is skipped.
    """
    from google.protobuf import text_format
    from object_detection.protos import string_int_label_map_pb2

    label_map = string_int_label_map_pb2.StringIntLabelMap()
    if files.is_special(path):
        raise TodusError("%s is a device or a FIFO; give the file of a label map" % path)
    if os.path.isfile(str(path)) and os.path.getsize(str(path)) > MOST_LABEL_MAP_BYTES:
        what = "%s has more than %s, which no label map has; give another file"
        raise TodusError(what % (path, megabytes(MOST_LABEL_MAP_BYTES)))
    try:
        text_format.Merge(Path(path).read_text(encoding="utf-8"), label_map)
    except FileNotFoundError:
        raise TodusError("label map %s is missing; rerun the command that writes it" % path)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise TodusError(
            "%s is not a label map (%s); restore it, or rerun the command that writes it"
            % (path, error)
        )
    names: Dict[int, str] = {}
    for item in label_map.item:
        name = one_line(item.display_name or item.name)
        if item.id == 0 and canonical(name) in ("background", "???", ""):
            continue
        if item.id < 1 or item.id in names or not name:
            raise TodusError(
                '%s: item with id %d and name "%s"; ids must be 1 or more, unique, with a name'
                % (path, item.id, name)
            )
        names[item.id] = name
    if not names:
        raise TodusError("label map %s has no item; rerun the command that writes it" % path)
    return dict(sorted(names.items()))


def label_map_text(names: Mapping[int, str]) -> str:
    """A label map in StringIntLabelMap text format."""
    from google.protobuf import text_format
    from object_detection.protos import string_int_label_map_pb2

    label_map = string_int_label_map_pb2.StringIntLabelMap()
    for identity, name in sorted(names.items()):
        label_map.item.add(id=identity, name=name)
    return text_format.MessageToString(label_map, as_utf8=True)


def write_label_map(path: files.PathLike, names: Mapping[int, str]) -> None:
    files.write_text(path, label_map_text(names))


# The first id of a label map. TFLite and TensorRT outputs and labels.txt count from 0:
# id = index + FIRST_ID.
FIRST_ID = 1

# The label of an id that the label map does not use.
UNUSED = "???"


def labels(names: Mapping[int, str]) -> List[str]:
    """Class names by index from 0, without background; UNUSED for ids that are not in `names`."""
    return [names.get(identity, UNUSED) for identity in range(FIRST_ID, max(names) + 1)]


def names_of(labels_: Sequence[str]) -> Dict[int, str]:
    """id -> name, from class names by index from 0; the inverse of `labels`."""
    return {index: label for index, label in enumerate(labels_, start=FIRST_ID) if label != UNUSED}
