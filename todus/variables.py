"""Every environment variable that a person may set: how it is read, its range, its default, and the commands that obey it.

The headers of the scripts say in words what each does; tests/commands/test_interface.py compares them with this table. A script checks
its variables before anything else (`check`), and what runs below it reads them by `value`.
"""

import os
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from todus import forms, sources
from todus.errors import UsageError
from todus.text import one_line


class Text:
    """Any text. The other kinds derive from this.

    Attributes:
      range: completes "give ...".
    """

    range = "a text"

    def read(self, text: str) -> Any:
        """The value that a text means. Raises ValueError for one that means nothing."""
        return text


class Whole(Text):
    """A whole number from `least` to `most`."""

    def __init__(self, least: int, most: int = 10**9):
        self.least, self.most = least, most
        self.range = "a whole number from %d to %d" % (least, most)

    def read(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not self.least <= int(text) <= self.most:
            raise ValueError
        return int(text)


class Decimal(Text):
    """A number from `least` to `most`; `above`: more than `least`; `below`: less than `most`."""

    def __init__(self, least: float, most: float, above: bool = False, below: bool = False):
        self.least, self.most, self.above, self.below = least, most, above, below
        if above and below:
            self.range = "a number between %g and %g" % (least, most)
        else:
            self.range = "a number %s %g%s %.10g" % (
                "above" if above else "from",
                least,
                ", up to" if above else " to",
                most,
            )

    def read(self, text: str) -> float:
        value = float(text) if re.fullmatch(r"[0-9.eE+-]{1,40}", text) else float("nan")
        if (
            not self.least <= value <= self.most
            or (self.above and value == self.least)
            or (self.below and value == self.most)
        ):
            raise ValueError
        return value


class Percent(Text):
    """A share: 0.05 of "5%" or "5"."""

    range = "a percentage from 0 to 100"

    def read(self, text: str) -> float:
        match = re.fullmatch(r"([0-9]{1,3}(\.[0-9]{1,6})?)\s*%?", text)
        if not match or float(match.group(1)) > 100:
            raise ValueError
        return float(match.group(1)) / 100


class OneOf(Text):
    """One of a few words."""

    def __init__(self, *words: str):
        self.words = words
        self.range = " or ".join(words)

    def read(self, text: str) -> str:
        if text not in self.words:
            raise ValueError
        return text


class Switch(OneOf):
    """0 or 1, as a truth value."""

    def __init__(self) -> None:
        super().__init__("0", "1")

    def read(self, text: str) -> bool:
        return super().read(text) == "1"


class Some(Text):
    """Some of a few words, with spaces or commas; the value has them in the order of `words`.

    Args:
      words: what there is.
      other: other spellings: word -> one of `words`.
    """

    def __init__(self, words: Iterable[str], other: Optional[Mapping[str, str]] = None):
        self.words, self.other = tuple(words), dict(other or {})
        self.range = "some of " + " ".join(self.words)

    def read(self, text: str) -> List[str]:
        given = [self.other.get(word, word) for word in text.replace(",", " ").split()]
        if set(given) - set(self.words):
            raise ValueError
        return [word for word in self.words if word in given]


class PerSplit(Text):
    """A number for every split, as "500", or one a split, as "train=500 val=100": a list of (split or "", number).

    Args:
      splits: their names.
      word: what may stand in the place of a number, "" for nothing.
    """

    def __init__(self, splits: Iterable[str], word: str = ""):
        self.splits, self.word = tuple(splits), word
        self.range = 'a number%s, or one a split such as "train=500 val=100"' % (
            " or " + word if word else ""
        )

    def read(self, text: str) -> List[Tuple[str, Any]]:
        found: List[Tuple[str, Any]] = []
        for part in text.replace(",", " ").split():
            split, equals, number = part.rpartition("=")
            if (equals and split not in self.splits) or not (
                number == self.word != "" or re.fullmatch(r"[0-9]{1,9}", number)
            ):
                raise ValueError
            found.append((split, number if number == self.word else int(number)))
        return found


class Pairs(Text):
    """old=new pairs with commas: a list of (old, new)."""

    range = 'old=new, several with commas, such as "license plate=plate, auto=car"'

    def read(self, text: str) -> List[Tuple[str, str]]:
        pairs = [
            tuple(side.strip() for side in part.split("=", 1))
            for part in text.replace("\n", ",").split(",")
            if part.strip()
        ]
        if any(len(pair) != 2 or not all(pair) for pair in pairs):
            raise ValueError
        return pairs  # type: ignore[return-value]


class Like(Text):
    """A text of a form."""

    def __init__(self, pattern: str, range_: str):
        self.pattern, self.range = pattern, range_

    def read(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError
        return text


class ExistingFile(Text):
    """The path of a file that is there."""

    range = "the path of a file"

    def read(self, text: str) -> str:
        if not os.path.isfile(text):
            raise ValueError
        return text


class Either(Text):
    """A word, or a value of another kind."""

    def __init__(self, word: str, kind: Text):
        self.word, self.kind = word, kind
        self.range = "%s, or %s" % (word, kind.range)

    def read(self, text: str) -> Any:
        return text if text == self.word else self.kind.read(text)


class Variable(NamedTuple):
    """A row of the table.

    Attributes:
      name: in the environment.
      kind: how it is read.
      default: as it would be typed; "" where there is none, and then the value is None.
      commands: those that obey it: scripts without .sh, and the names after python -m.
      aliases: names that people type by mistake.
      old: its name of earlier versions, which still works.
      old_values: what the old name's values are called now, where they differ.
    """

    name: str
    kind: Text
    default: str
    commands: Tuple[str, ...]
    aliases: Tuple[str, ...] = ()
    old: str = ""
    old_values: Mapping[str, str] = {}


_COCO = ("dataset-complete", "dataset-limited")
_FOLDERS = sources.commands("folder")
_OWN = sources.commands("folder", "openimages")
_DATASETS = _COCO + sources.commands("folder", "openimages", "merge")
_FETCHING = _COCO + ("dataset-openimages", "model", "limited")
_OF_MODEL = (
    "train",
    "eval",
    "export",
    "export-tflite",
    "benchmark",
    "sync",
    "tensorboard",
) + forms.converters()
_PYTHON = ("model", "eval", "detect", "convert_uff")
_MAKE = ("limited", "bench", "doctor", "report", "history", "demo")

_COUNT = Whole(1)
_URL = Like(r"https?://[^/\s]\S*", "a web address such as http://images.cocodataset.org")

# Of "python bus car train" and the like, see todus.categories.choose.
_NAMES_CLASSES = ("CATEGORY", "CLASSES", "CLASS")

TABLE = (
    # datasets
    Variable(
        "CATEGORIES",
        Text(),
        "person bicycle car motorcycle airplane bus train truck boat",
        ("dataset-limited",),
        _NAMES_CLASSES,
    ),
    Variable("CATEGORIES", Text(), "", _OWN + ("dataset-merge", "limited", "demo"), _NAMES_CLASSES),
    Variable("NAME", Text(), "complete", ("dataset-complete",)),
    Variable("NAME", Text(), "limited", ("dataset-limited",)),
    Variable("NAME", Text(), "", _OWN + ("dataset-merge",)),
    Variable("DATA_DIR", Text(), "", ("dataset-cloud",)),
    Variable("STATS_ONLY", Switch(), "0", _COCO + ("dataset-openimages",)),
    Variable("SPLITS", Some(("train", "val", "testdev")), "train val", _COCO),
    Variable(
        "SPLITS",
        Some(("train", "validation", "test"), {"val": "validation"}),
        "train,validation",
        ("dataset-openimages",),
    ),
    Variable("MAX_IMAGES", PerSplit(("train", "val", "testdev")), "0", _COCO),
    Variable("MAX_IMAGES", Whole(0), "0", ("dataset-openimages",)),
    Variable("NEGATIVES", PerSplit(("train", "val", "testdev"), "all"), "0", ("dataset-limited",)),
    Variable("SEED", Whole(0), "0", _DATASETS + ("torture",)),
    Variable("SHARDS", Whole(0, 99999), "0", _COCO),
    Variable("INCLUDE_MASKS", Switch(), "0", _COCO),
    Variable("VERIFY", OneOf("structure", "decode"), "structure", _COCO + ("dataset-openimages",)),
    Variable("RENAME", Pairs(), "", _OWN + ("dataset-merge",)),
    Variable("LABEL_MAP", ExistingFile(), "", _OWN + ("dataset-merge",)),
    Variable("KEEP_EMPTY", Switch(), "0", _FOLDERS),
    Variable("VAL", Decimal(0, 1, above=True, below=True), "0.2", _OWN),
    Variable("EXIF", OneOf("auto", "upright", "stored"), "auto", _OWN),
    Variable("MAX_DROPPED", Percent(), "1%", _COCO),
    Variable("MAX_DROPPED", Percent(), "5%", _OWN),
    Variable("JOBS", Whole(0, 4096), "0", _DATASETS),
    Variable("EXPAND", OneOf("0", "1", "classes"), "0", ("dataset-openimages",)),
    Variable(
        "EXCLUDE",
        Some(("occluded", "truncated", "group", "depiction", "inside")),
        "",
        ("dataset-openimages",),
    ),
    # servers
    Variable("COCO_URL", _URL, "http://images.cocodataset.org", _COCO + ("doctor",)),
    Variable(
        "ZOO_URL",
        Like(r"(https?|file)://\S+", "a web address"),
        "https://storage.googleapis.com/download.tensorflow.org/models/object_detection",
        ("model", "limited", "doctor"),
    ),
    Variable("OPENIMAGES_URL", Text(), "", ("dataset-openimages", "doctor")),
    Variable("OPENIMAGES_VERSION", OneOf("4", "5", "6", "7"), "7", ("dataset-openimages",)),
    Variable("KEEP_RAW", Switch(), "1", _COCO),
    Variable("MAX_MISSING", Percent(), "0.1%", _COCO),
    Variable("MAX_MISSING", Percent(), "1%", ("dataset-openimages",)),
    Variable("CONNECTIONS", Whole(1, 128), "16", _COCO + ("dataset-openimages",)),
    Variable("TIMEOUT", Decimal(0.001, 86400), "60", _FETCHING),
    Variable("RETRIES", Whole(1, 999999), "10", _FETCHING),
    Variable("RETRY_WAIT", Decimal(0, 3600), "1", _FETCHING),
    # models
    Variable("MODEL_DIR", Text(), "", _OF_MODEL),
    Variable("CHECKPOINT_PREFIX", Text(), "", ("eval", "export", "export-tflite")),
    Variable("MODEL", Text(), "ssd_mobilenet_v1_coco_2018_01_28", ("limited",)),
    Variable("MODEL", Text(), "", ("report",)),
    Variable("AS", Text(), "", ("limited",)),
    # training
    Variable(
        "NUM_TRAIN_STEPS", _COUNT, "", ("train", "demo"), ("NUM_STEPS", "STEPS", "TRAIN_STEPS")
    ),
    Variable("BATCH_SIZE", Whole(1, 65536), "", ("train",)),
    Variable("LEARNING_RATE", Decimal(0, 1000000, above=True), "", ("train",), ("LR",)),
    Variable("SAVE_STEPS", _COUNT, "500", ("train",)),
    Variable("KEEP", Whole(1, 100000), "5", ("train",)),
    Variable("LOG_STEPS", _COUNT, "10", ("train",)),
    Variable("EVAL_STEPS", Whole(0), "1000", ("train",)),
    Variable("EVAL", OneOf("inline", "separate"), "inline", ("train",)),
    Variable("EVAL_SAMPLE", _COUNT, "1", ("train",)),
    Variable("EVAL_TRAIN", Switch(), "0", ("train",)),
    Variable("TARGET_AP", Either("pretrained", Decimal(0, 1, above=True)), "", ("train",)),
    Variable("PATIENCE", Whole(0), "0", ("train",)),
    Variable("BACKGROUND", Switch(), "0", ("train",)),
    # evaluation
    Variable("METRICS", OneOf("coco", "pascal", "openimages"), "coco", ("eval",)),
    Variable("PRECISION", Decimal(0, 1, above=True), "", ("eval",)),
    # export and conversion
    Variable(
        "INPUT_TYPE",
        OneOf("image_tensor", "encoded_image_string_tensor", "tf_example"),
        "image_tensor",
        ("export",),
    ),
    Variable(
        "INPUT_SHAPE",
        Like(
            r"free|fixed|[1-9]\d{0,4}x[1-9]\d{0,4}", "free, fixed or HEIGHTxWIDTH, such as 480x640"
        ),
        "free",
        ("export",),
    ),
    Variable("BATCH", Whole(1, 65536), "", ("export",)),
    Variable("SCORE_THRESHOLD", Decimal(0, 1), "", ("export", "export-tflite")),
    Variable("MAX_DETECTIONS", Whole(1, 100000), "100", ("export-tflite",)),
    Variable("TFLITE_NMS", OneOf("regular", "fast"), "regular", ("export-tflite",), (), "NMS"),
    Variable("FORMAT", OneOf(*forms.TFLITE_FORMATS), "", ("convert-tflite",)),
    Variable("CALIBRATION", Whole(1, 1000000), "100", ("convert-tflite",)),
    Variable(
        "LAYOUT",
        OneOf("todus", "tensorrt"),
        "todus",
        ("convert-onnx",),
        (),
        "NMS",
        {"graph": "todus"},
    ),
    Variable("OPSET", Whole(11, 99), "11", ("convert-onnx",)),
    # the rest
    Variable("ROUNDS", Whole(1, 1000000), "50", ("benchmark",)),
    Variable("THREADS", Whole(1, 4096), "", ("benchmark",)),
    Variable("DATASET", Text(), "", ("sync",)),
    Variable("RSYNC_RSH", Text(), "ssh", ("sync",)),
    Variable("PORT", Whole(1, 65535), "6006", ("tensorboard",)),
    Variable("HOST", Text(), "localhost", ("tensorboard",)),
    Variable("SECTION", Text(), "", ("bench",)),
    Variable("DEEP", Switch(), "0", ("doctor",)),
    Variable("DEMO_HOME", Text(), "demo/out", ("demo",)),
    Variable("COMMANDS", Text(), "", ("torture",)),
    Variable("TRIALS", Whole(1, 100000), "200", ("torture",)),
    Variable("WORK", Text(), "", ("torture",)),
    Variable("WRITE", Switch(), "0", ("torture",)),
    Variable("PYTHON37", Text(), "", ("install",)),
    Variable("UV", Text(), "", ("install",)),
    Variable("TODUS_HOME", Text(), "", _DATASETS + _OF_MODEL + _PYTHON + _MAKE),
)

# Names that are like a variable's and are other programs' own.
OTHERS = frozenset(
    ("USERNAME", "HOSTNAME", "LOGNAME", "JOB", "MODE", "INCLUDE", "NTHREADS", "MODULE_DIR")
)

LONG_ENOUGH = 7  # letters of a name from which two wrong ones are taken for a slip


def find(name: str, command: str) -> Variable:
    """The row of a variable for a command. Raises KeyError where there is none: the command does not obey it."""
    for row in TABLE:
        if row.name == name and command in row.commands:
            return row
    raise KeyError("%s does not obey %s" % (command, name))


def of_command(command: str) -> List[Variable]:
    """The rows that a command obeys."""
    return [row for row in TABLE if command in row.commands]


def value(name: str, command: str, environment: Optional[Mapping[str, str]] = None) -> Any:
    """What a variable is set to, read as its kind says; its default where it is unset or empty, None where it has none.

    Raises UsageError, with the range, for a value outside it.
    """
    row = find(name, command)
    text = _given(row, os.environ if environment is None else environment) or row.default
    return _read(row, text) if text else None


def check(command: str, environment: Mapping[str, str]) -> List[str]:
    """Lines on old names, where the variables of a command are right.

    Raises UsageError for a value outside its range, and for a variable that is nearly one that the command obeys.
    """
    rows, said = of_command(command), []
    known = {row.name for row in TABLE} | {row.old for row in TABLE}
    for name in sorted(set(environment) - known - OTHERS):
        meant = _meant(name, rows)
        if meant and environment[name]:
            raise UsageError(
                "%s is not a variable; did you mean %s? Rename it, or unset %s"
                % (one_line(name), meant, one_line(name))
            )
    for row in rows:
        text = _given(row, environment)
        if text:
            _read(row, text)
        if row.old and not environment.get(row.name) and environment.get(row.old):
            said.append(
                "%s is called %s now; %s=%s means the same"
                % (row.old, row.name, row.name, one_line(text))
            )
    return said


def _given(row: Variable, environment: Mapping[str, str]) -> str:
    """The text that a variable is set to, under its name or its old one."""
    text = environment.get(row.name, "").strip()
    if not text and row.old:
        old = environment.get(row.old, "").strip()
        text = row.old_values.get(old, old)
    return text


def _read(row: Variable, text: str) -> Any:
    try:
        return row.kind.read(text)
    except ValueError:
        example = (
            ", such as %s" % row.default
            if row.default and isinstance(row.kind, (Decimal, Percent))
            else ""
        )
        raise UsageError("%s=%s: give %s%s" % (row.name, one_line(text), row.kind.range, example))


def _meant(name: str, rows: List[Variable]) -> str:
    """The variable that somebody meant who typed `name`, "" for none."""
    plain = _plain(name)
    for row in rows:
        wanted = _plain(row.name)
        long_enough = min(len(plain), len(wanted)) >= LONG_ENOUGH
        if name in row.aliases or (name.isupper() or long_enough) and plain == wanted:
            return row.name
        if (
            name.isupper()
            and min(len(plain), len(wanted)) > 3
            and wanted in _singular_and_plural(plain)
        ):
            return row.name
        if name.isupper() and long_enough and distance(plain, wanted) <= 2:
            return row.name
    return ""


def _plain(name: str) -> str:
    return name.replace("_", "").upper()


def _singular_and_plural(name: str) -> Tuple[str, ...]:
    return (name + "S", name + "ES", re.sub("S$", "", name), re.sub("ES$", "", name))


def distance(one: str, other: str) -> int:
    """How many letters must be put in, left out or changed to make one word the other (Levenshtein)."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        before, row[0] = row[0], place
        for at, wanted in enumerate(other, start=1):
            before, row[at] = (
                row[at],
                min(row[at] + 1, row[at - 1] + 1, before + (letter != wanted)),
            )
    return row[-1]


def defaults(command: str) -> Dict[str, str]:
    """Name -> default, as typed, of the variables that a command obeys. Raises KeyError for a command that is in no row."""
    found = {row.name: row.default for row in of_command(command)}
    if not found:
        raise KeyError("no row of todus.variables names %s" % command)
    return found
