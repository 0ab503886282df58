"""CATEGORIES, class names and label maps."""

import csv
import difflib
import os
import re
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Sequence

from todus import files
from todus.errors import TodusError, UsageError
from todus.text import one_line, shortened

LABELS = Path(__file__).resolve().parent / "labels"


def bundled(source: str) -> Dict[int, str]:
    """id -> name of the classes of "coco" (80 of the ids 1 to 90) or "openimages" (the 601 boxable classes, 1 to 601)."""
    with (LABELS / (source + ".csv")).open(newline="", encoding="utf-8") as file:
        return {int(row["id"]): row["name"] for row in csv.DictReader(file)}


def canonical(name: str) -> str:
    """The form in which names are compared: Polar_bear, "polar bear" and polar-bear are one class."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def choose(text: str, known: Mapping[int, str], where: str) -> Dict[int, str]:
    """The classes that CATEGORIES names, by their ids in `known`, ordered by id whatever the order typed.

    Args:
      text: names separated by spaces (traffic_light or "traffic light" for a name of two words), by commas,
        or @FILE with a name a line; "all" is every known class.
      known: id -> name.
      where: what the names were looked up in, for the message.

    Raises:
      UsageError: a name is unknown; the message has the nearest known ones.
    """
    if text.strip() == "all":
        return dict(sorted(known.items()))
    by_name = {canonical(name): identity for identity, name in known.items()}
    chosen, unknown = set(), []
    for name in split_names(text, by_name):
        if canonical(name) in by_name:
            chosen.add(by_name[canonical(name)])
        else:
            unknown.append(name)
    if unknown:
        raise UsageError("; ".join(_unknown(name, known, where) for name in unknown))
    if not chosen:
        raise UsageError(
            'CATEGORIES is empty; name classes, such as CATEGORIES="%s"'
            % " ".join(list(known.values())[:3])
        )
    return {identity: known[identity] for identity in sorted(chosen)}


def _unknown(name: str, known: Mapping[int, str], where: str) -> str:
    names = {canonical(each): each for each in known.values()}
    near = [
        names[each] for each in difflib.get_close_matches(canonical(name), names, n=3, cutoff=0.6)
    ]
    if not near:
        near = [each for key, each in names.items() if canonical(name) in key][:3]
    hint = (
        "did you mean %s?" % " or ".join(near)
        if near
        else "there is: %s" % shortened(known.values())
    )
    return 'no class "%s" in %s; %s' % (name, where, hint)


def split_names(text: str, known: Iterable[str] = ()) -> List[str]:
    """The names in a CATEGORIES value. `known` holds canonical names, so that `traffic light` unquoted can be told from two classes."""
    text = text.strip()
    if text.startswith("@"):
        return _names_in_file(text[1:])
    if "," in text or "\n" in text:
        return [name.strip() for name in re.split(r"[,\n]", text) if name.strip()]
    quoted = [
        one or two or bare for one, two, bare in re.findall(r'"([^"]*)"|\'([^\']*)\'|(\S+)', text)
    ]
    return _joined(quoted, set(known))


def _joined(words: List[str], known: set) -> List[str]:
    """Joins neighbouring words that make a known name only together: traffic light."""
    names, at = [], 0
    while at < len(words):
        for length in (4, 3, 2):
            phrase = " ".join(words[at : at + length])
            if (
                len(words[at : at + length]) == length
                and canonical(words[at]) not in known
                and canonical(phrase) in known
            ):
                names.append(phrase)
                at += length
                break
        else:
            names.append(words[at])
            at += 1
    return names


def _names_in_file(path: str) -> List[str]:
    try:
        lines = Path(os.path.expanduser(path)).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "CATEGORIES=@%s cannot be read (%s); give a text file with one class a line"
            % (path, error)
        )
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def renumbered(chosen: Mapping[int, str]) -> Dict[int, str]:
    """The label map of a limited dataset: ids 1..N in the order of the source ids."""
    return {number: chosen[identity] for number, identity in enumerate(sorted(chosen), start=1)}


def match_by_name(wanted: Mapping[int, str], known: Mapping[int, str]) -> Dict[int, int]:
    """wanted id -> known id for each wanted class whose name is known."""
    by_name = {canonical(name): identity for identity, name in known.items()}
    return {
        identity: by_name[canonical(name)]
        for identity, name in wanted.items()
        if canonical(name) in by_name
    }


def read_label_map(path: files.PathLike) -> Dict[int, str]:
    """id -> name (display_name where there is one) of a label map in the OD API's StringIntLabelMap text format.

    Raises TodusError for a file that is no label map, has an id twice, or has an id below 1.
    """
    from google.protobuf import text_format
    from object_detection.protos import string_int_label_map_pb2

    label_map = string_int_label_map_pb2.StringIntLabelMap()
    try:
        text_format.Merge(Path(path).read_text(encoding="utf-8"), label_map)
    except FileNotFoundError:
        raise TodusError("label map %s is missing; run the command that makes it again" % path)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise TodusError(
            "%s is not a label map (%s); restore it, or run the command that makes it again"
            % (path, error)
        )
    names: Dict[int, str] = {}
    for item in label_map.item:
        name = one_line(item.display_name or item.name)
        if item.id == 0 and canonical(name) in ("background", "???", ""):
            continue
        if item.id < 1 or item.id in names or not name:
            raise TodusError(
                '%s: item with id %d and name "%s"; ids must be 1 or more, each once, with a name'
                % (path, item.id, name)
            )
        names[item.id] = name
    if not names:
        raise TodusError("label map %s has no item; run the command that makes it again" % path)
    return dict(sorted(names.items()))


def label_map_text(names: Mapping[int, str]) -> str:
    """The label map in the OD API's StringIntLabelMap text format."""
    from google.protobuf import text_format
    from object_detection.protos import string_int_label_map_pb2

    label_map = string_int_label_map_pb2.StringIntLabelMap()
    for identity, name in sorted(names.items()):
        label_map.item.add(id=identity, name=name)
    return text_format.MessageToString(label_map, as_utf8=True)


def write_label_map(path: files.PathLike, names: Mapping[int, str]) -> None:
    files.write_text(path, label_map_text(names))


# The first id of a label map. The outputs of TFLite and TensorRT, and files of labels, count from 0: id = index + FIRST_ID.
FIRST_ID = 1

# In the place of a class that no id of a label map has.
UNUSED = "???"


def labels(names: Mapping[int, str]) -> List[str]:
    """Class names by index from 0, without background; UNUSED where an id of the label map is not used."""
    return [names.get(identity, UNUSED) for identity in range(FIRST_ID, max(names) + 1)]


def names_of(labels_: Sequence[str]) -> Dict[int, str]:
    """id -> name of class names by index from 0."""
    return {index: label for index, label in enumerate(labels_, start=FIRST_ID) if label != UNUSED}
