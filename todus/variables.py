"""The table of environment variables: kind, range, default, and the commands that read them.

A script first checks its variables (`check`); the commands that it runs read them with `value`. The
script headers explain each; tests/commands/test_interface.py compares them with this table.
"""

import os
import re
import warnings
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple, Union

from todus import forms, sources
from todus.errors import UsageError
from todus.text import one_line


class Text:
    """Any text; the base class of the other kinds.

    Attributes:
      range: the valid values, as in the message "give ...".
    """

    range = "a text"

    def read(self, text: str) -> Any:
        """The value of a text. Raises ValueError if it is not valid."""
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
    """A number from `least` to `most`; `above` and `below` exclude the bounds."""

    def __init__(self, least: float, most: float, above: bool = False, below: bool = False):
        self.least, self.most, self.above, self.below = least, most, above, below
        if above and below:
            self.range = "a number between %g and %g" % (least, most)
        else:
            words = "a number above %g, up to %.10g" if above else "a number from %g to %.10g"
            self.range = words % (least, most)

    def read(self, text: str) -> float:
        value = float(text) if re.fullmatch(r"[0-9.eE+-]{1,40}", text) else float("nan")
        excluded = (self.above and value == self.least) or (self.below and value == self.most)
        if excluded or not self.least <= value <= self.most:
            raise ValueError
        return value


class Percent(Text):
    """A percentage as a fraction: 0.05 for "5%" or "5"."""

    range = "a percentage from 0 to 100"

    def read(self, text: str) -> float:
        match = re.fullmatch(r"([0-9]{1,3}(\.[0-9]{1,6})?)\s*%?", text)
        if not match or float(match.group(1)) > 100:
            raise ValueError
        return float(match.group(1)) / 100


class Like(Text):
    """A text that matches a regular expression."""

    def __init__(self, pattern: str, range_: str):
        self.pattern, self.range = pattern, range_

    def read(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError
        return text


class Pattern(Text):
    """A regular expression; the value is its text."""

    range = r"a regular expression such as (.+)_frame"

    def read(self, text: str) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                re.compile(text)
        except (re.error, OverflowError, RecursionError):
            raise ValueError
        return text


class OneOf(Like):
    """One of several words."""

    def __init__(self, *words: str):
        super().__init__("|".join(map(re.escape, words)), " or ".join(words))


class Switch(OneOf):
    """0 or 1, as a bool."""

    def __init__(self) -> None:
        super().__init__("0", "1")

    def read(self, text: str) -> bool:
        return super().read(text) == "1"


class Some(Text):
    """Several of `words`, separated by spaces or commas; the value is in the order of `words`.

    Args:
      words: the valid words.
      other: other spelling -> one of `words`.
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
    """A number for all splits ("500") or one per split ("train=500 val=100").

    The value is a list of (split or "", number).

    Args:
      splits: the names of the splits.
      word: a word that is valid instead of a number; "" for none.
    """

    def __init__(self, splits: Iterable[str], word: str = ""):
        self.splits, self.word = tuple(splits), word
        number = "a number or %s" % word if word else "a number"
        self.range = '%s, or one per split such as "train=500 val=100"' % number

    def read(self, text: str) -> List[Tuple[str, Any]]:
        found: List[Tuple[str, Any]] = []
        for part in text.replace(",", " ").split():
            split, equals, number = part.rpartition("=")
            is_word = number == self.word != ""
            if equals and split not in self.splits:
                raise ValueError
            if not is_word and not re.fullmatch(r"[0-9]{1,9}", number):
                raise ValueError
            found.append((split, number if is_word else int(number)))
        return found


class Pairs(Text):
    """old=new pairs, separated by commas; the value is a list of (old, new)."""

    range = 'old=new pairs, separated by commas, such as "license plate=plate, auto=car"'

    def read(self, text: str) -> List[Tuple[str, str]]:
        pairs = []
        for part in filter(str.strip, re.split(r"[\n,]", text)):
            old, _, new = part.partition("=")
            if not old.strip() or not new.strip():
                raise ValueError
            pairs.append((old.strip(), new.strip()))
        return pairs


class PerClass(Text):
    """A number from 0 to 1 for all classes, or a list of (class, number)."""

    range = 'a number from 0 to 1, or CLASS=NUMBER pairs with commas, such as "person=0.5, car=0.4"'

    def read(self, text: str) -> Union[float, List[Tuple[str, float]]]:
        number = Decimal(0, 1)
        if "=" not in text:
            return number.read(text.strip())
        return [(name, number.read(value)) for name, value in Pairs().read(text)]


class Weights(Text):
    """NAME=NUMBER pairs, separated by spaces or commas; the value is name -> number."""

    range = 'NAME=NUMBER pairs with numbers from 0.01 to 100, such as "limited=1 voc/raccoon=3"'

    def read(self, text: str) -> Dict[str, float]:
        pairs = [part.rpartition("=") for part in text.replace(",", " ").split()]
        if not all(name for name, _, _ in pairs):
            raise ValueError
        return {name: Decimal(0.01, 100).read(number) for name, _, number in pairs}


class Url(Like):
    """A web address."""

    def read(self, text: str) -> str:
        from urllib.parse import urlsplit  # most commands read no address

        urlsplit(text).port  # noqa: B018 - raises ValueError where it is none
        return super().read(text)


class ExistingFile(Text):
    """The path of an existing file."""

    range = "the path of a file"

    def read(self, text: str) -> str:
        if not os.path.isfile(text):
            raise ValueError
        return text


class ExistingFolder(Text):
    """The path of an existing folder."""

    range = "the path of a folder"

    def read(self, text: str) -> str:
        path = os.path.expanduser(text)
        if not os.path.isdir(path):
            raise ValueError
        return path


class PerSplitOrFolder(PerSplit):
    """A number per split, as PerSplit, or the path of an existing folder, as a str."""

    def __init__(self, splits: Iterable[str], word: str = ""):
        super().__init__(splits, word)
        self.range += ", or the path of a folder"

    def read(self, text: str) -> Union[str, List[Tuple[str, Any]]]:
        try:
            return super().read(text)
        except ValueError:
            return ExistingFolder().read(text)


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
      name: its name in the environment.
      kind: how its value is read.
      default: as typed; "" if there is none, and then the value is None.
      commands: the commands that read it: scripts without .sh, and names after python -m.
      aliases: names that users type by mistake.
      old: its name in earlier versions, which still works.
      old_values: value of the old name -> value of the new one, where they differ.
    """

    name: str
    kind: Text
    default: str
    commands: Tuple[str, ...]
    aliases: Tuple[str, ...] = ()
    old: str = ""
    old_values: Mapping[str, str] = {}


_COCO = ("dataset-complete", "dataset-limited")
_OPENIMAGES = ("dataset-openimages",)
_FOLDERS = sources.commands("folder", "records") + ("dataset",)
_OWN = _FOLDERS + _OPENIMAGES
_DATASETS = _COCO + _OWN + sources.commands("merge")
_CALIBRATED = ("convert-tflite", "device")  # fetches images for FORMAT=int8
_COCO_IMAGES = _COCO + _CALIBRATED + ("frigate", "train")
_LABEL = ("dataset-label",)
_FETCHING = _COCO_IMAGES + _OPENIMAGES + ("model", "limited", "proof") + _LABEL
_OF_MODEL = ("train", "eval", "export", "export-tflite", "benchmark", "sync", "tensorboard")
_OF_MODEL += forms.converters()
_PYTHON = ("model", "eval", "detect", "convert_uff")
_MAKE = ("limited", "frigate", "device", "bench", "doctor", "report", "history", "demo", "proof")

_RUNS_GRAPHS = ("eval", "benchmark", "report", "convert-onnx", "convert-tflite", "slice", "detect")
_RUNS_GRAPHS += ("convert_uff", "dataset-label")

_COUNT = Whole(1)
_INPUT_TYPES = ("image_tensor", "encoded_image_string_tensor", "tf_example")
_SHAPE = r"free|fixed|[1-9]\d{0,4}x[1-9]\d{0,4}"
_INPUT_SHAPE = Like(_SHAPE, "free, fixed or HEIGHTxWIDTH, such as 480x640")
_LAYOUT = OneOf("todus", *forms.ONNX_LAYOUTS, "tensorrt")
_URL = Url(r"https?://[^/\s]\S*", "a web address such as http://images.cocodataset.org")

_RUNNER = Like(
    "memory|processes|--runner=.+", "memory, processes, or options of Apache Beam: --runner=..."
)

_STEPS_ALIASES = ("NUM_STEPS", "STEPS", "TRAIN_STEPS")
_CLASS_ALIASES = ("CATEGORY", "CLASSES", "CLASS")
_DEFAULT_CLASSES = "person bicycle car motorcycle airplane bus train truck boat"
_SPLITS = ("train", "val", "testdev")
# The name of the image that a file exported by Roboflow is a copy of: NAME.rf.DIGEST.jpg
AUGMENTED = r"(.+)\.rf\."
_OPENIMAGES_FLAGS = ("occluded", "truncated", "group", "depiction", "inside")
_OPENIMAGES_SPLITS = Some(("train", "validation", "test"), {"val": "validation"})
_ZOO_URL = Url(r"(https?|file)://\S+", "a web address")
_MOBILEDET = "ssdlite_mobiledet_edgetpu_320x320_coco_2020_05_19"
_ZOO = "https://storage.googleapis.com/download.tensorflow.org/models/object_detection"

TABLE = (
    # datasets
    Variable("CATEGORIES", Text(), _DEFAULT_CLASSES, ("dataset-limited",), _CLASS_ALIASES),
    Variable("CATEGORIES", Text(), "", _OWN + ("dataset-merge", "limited", "demo"), _CLASS_ALIASES),
    Variable("CATEGORIES", Text(), "", ("slice", "frigate", "device") + _LABEL, _CLASS_ALIASES),
    Variable("NAME", Text(), "complete", ("dataset-complete",)),
    Variable("NAME", Text(), "limited", ("dataset-limited",)),
    Variable("NAME", Text(), "", _OWN + ("dataset-merge",)),
    Variable("DATA_DIR", Text(), "", ("dataset-cloud",)),
    Variable("STATS_ONLY", Switch(), "0", _COCO + _OPENIMAGES),
    Variable("SPLITS", Some(_SPLITS), "train val", _COCO),
    Variable("SPLITS", _OPENIMAGES_SPLITS, "train,validation", _OPENIMAGES),
    Variable("MAX_IMAGES", PerSplit(_SPLITS), "0", _COCO),
    Variable("MAX_IMAGES", Whole(0), "0", _OPENIMAGES),
    Variable("NEGATIVES", PerSplitOrFolder(_SPLITS, "all"), "0", ("dataset-limited",)),
    Variable("NEGATIVES", ExistingFolder(), "", ("dataset-complete", "dataset-merge") + _OWN),
    Variable("SEED", Whole(0), "0", _DATASETS + ("torture", "fuzz")),
    Variable("SHARDS", Whole(0, 99999), "0", _COCO),
    Variable("INCLUDE_MASKS", Switch(), "0", _COCO + ("dataset-coco-json", "dataset")),
    Variable("VERIFY", OneOf("structure", "decode"), "structure", _COCO + _OPENIMAGES),
    Variable("RENAME", Pairs(), "", _OWN + ("dataset-merge",)),
    Variable("BALANCE", Decimal(0, 1), "0", _DATASETS),
    Variable("WEIGHTS", Weights(), "", sources.commands("merge")),
    Variable("LABEL_MAP", ExistingFile(), "", _OWN + ("dataset-merge",)),
    Variable("KEEP_EMPTY", Switch(), "0", _FOLDERS),
    Variable("VAL", Decimal(0, 1, above=True, below=True), "0.2", _OWN),
    Variable("TEST", Decimal(0, 0.9), "0", _OWN),
    Variable("GROUP", Pattern(), AUGMENTED, _OWN),
    Variable("REPLACE", Switch(), "0", _OWN),
    Variable("EXIF", OneOf("auto", "upright", "stored"), "auto", _OWN),
    Variable("MAX_SIDE", Whole(32, 65536), "", _OWN),
    Variable("MAX_DROPPED", Percent(), "1%", _COCO),
    Variable("MAX_DROPPED", Percent(), "5%", _OWN),
    Variable("JOBS", Whole(0, 4096), "0", _DATASETS),
    Variable("JOBS", Whole(1, 4096), "", ("torture",)),
    Variable("RUNNER", _RUNNER, "", _DATASETS),
    Variable("EXPAND", OneOf("0", "1", "classes"), "0", _OPENIMAGES),
    Variable("EXCLUDE", Some(_OPENIMAGES_FLAGS), "", _OPENIMAGES),
    Variable("OUT", Text(), "", _LABEL),
    Variable("THRESHOLD", PerClass(), "", _LABEL),
    Variable("DOUBTFUL", Decimal(0, 1, above=True), "0.8", _LABEL),
    # servers
    Variable("COCO_URL", _URL, "http://images.cocodataset.org", _COCO_IMAGES + ("doctor",)),
    Variable(
        "ZOO_URL",
        _ZOO_URL,
        _ZOO,
        ("model", "limited", "frigate", "device", "doctor", "proof") + _LABEL,
    ),
    Variable("OPENIMAGES_URL", Text(), "", ("dataset-openimages", "doctor")),
    Variable("OPENIMAGES_VERSION", OneOf("4", "5", "6", "7"), "7", _OPENIMAGES),
    Variable("KEEP_RAW", Switch(), "1", _COCO),
    Variable("MAX_MISSING", Percent(), "0.1%", _COCO),
    Variable("MAX_MISSING", Percent(), "1%", _OPENIMAGES),
    Variable("CONNECTIONS", Whole(1, 128), "16", _COCO_IMAGES + _OPENIMAGES),
    Variable("TIMEOUT", Decimal(0.001, 86400), "60", _FETCHING),
    Variable("RETRIES", Whole(1, 999999), "10", _FETCHING),
    Variable("RETRY_WAIT", Decimal(0, 3600), "1", _FETCHING),
    # models
    Variable("MODEL_DIR", Text(), "", _OF_MODEL),
    Variable("CHECKPOINT_PREFIX", Text(), "", ("eval", "export", "export-tflite")),
    Variable("MODEL", Text(), "ssd_mobilenet_v1_coco_2018_01_28", ("limited", "device")),
    Variable("MODEL", Text(), _MOBILEDET, ("frigate",)),
    Variable("MODEL", Text(), "", ("report", "proof")),
    Variable("QUANTIZED", Text(), "", ("proof",)),
    Variable("AS", Text(), "", ("limited", "frigate", "device")),
    Variable("FILE", Text(), "", ("slice", "frigate", "device")),
    # training
    Variable("NUM_TRAIN_STEPS", _COUNT, "", ("train", "demo"), _STEPS_ALIASES),
    Variable("BATCH_SIZE", Whole(1, 65536), "", ("train",)),
    Variable("LEARNING_RATE", Decimal(0, 1000000, above=True), "", ("train",), ("LR",)),
    Variable("SAVE_STEPS", _COUNT, "500", ("train",)),
    Variable("KEEP", Whole(1, 100000), "5", ("train",)),
    Variable("LOG_STEPS", _COUNT, "10", ("train",)),
    Variable("COCO_NEGATIVES", Whole(0, 100000), "300", ("train",)),
    Variable("CACHE_GB", Decimal(0, 100000), "4", ("train",)),
    Variable("EVAL_STEPS", Whole(0), "", ("train",)),
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
    Variable("INPUT_TYPE", OneOf(*_INPUT_TYPES), "image_tensor", ("export",)),
    Variable("INPUT_SHAPE", _INPUT_SHAPE, "free", ("export",)),
    Variable("BATCH", Whole(1, 65536), "", ("export",)),
    Variable("SCORE_THRESHOLD", Decimal(0, 1), "", ("export", "export-tflite")),
    Variable("MAX_DETECTIONS", Whole(1, 100000), "", ("export-tflite",)),
    Variable("TFLITE_NMS", OneOf("regular", "fast"), "regular", ("export-tflite",), (), "NMS"),
    Variable("FORMAT", OneOf(*forms.TFLITE_FORMATS), "", _CALIBRATED),
    Variable("INPUT_DTYPE", OneOf("uint8", "int8", "float32"), "", ("convert-tflite",)),
    Variable("CALIBRATION", Whole(1, 1000000), "100", _CALIBRATED),
    Variable("LAYOUT", _LAYOUT, "todus", ("convert-onnx",), (), "NMS", {"graph": "todus"}),
    Variable("OPSET", Whole(11, 99), "11", ("convert-onnx",)),
    Variable("ALLOW_OPS", Text(), "", _RUNS_GRAPHS),
    # the rest
    Variable("ROUNDS", Whole(1, 1000000), "50", ("benchmark",)),
    Variable("THREADS", Whole(1, 4096), "", ("benchmark", "eval", "detect") + _LABEL),
    Variable("DATASET", Text(), "", ("sync", "proof")),
    Variable("PHOTO", ExistingFile(), "", ("proof",)),
    Variable("RSYNC_RSH", Text(), "ssh", ("sync",)),
    Variable("PORT", Whole(1, 65535), "6006", ("tensorboard",)),
    Variable("HOST", Text(), "localhost", ("tensorboard",)),
    Variable("SECTION", Text(), "", ("bench",)),
    Variable("DEEP", Switch(), "0", ("doctor",)),
    Variable("DEMO_HOME", Text(), "demo/out", ("demo",)),
    Variable("COMMANDS", Text(), "", ("torture",)),
    Variable("TRIALS", Whole(1, 100000), "250", ("torture",)),
    Variable("CONTAINERS", Switch(), "0", ("torture",)),
    Variable("MINUTES", Decimal(0, 100000), "5", ("fuzz",)),
    Variable("TARGET", Text(), "", ("fuzz",)),
    Variable("DAMAGES", Whole(0, 100000), "100", ("fuzz",)),
    Variable("WORK", Text(), "", ("torture", "fuzz")),
    Variable("WRITE", Switch(), "0", ("torture", "proof", "fuzz")),
    Variable("PYTHON37", Text(), "", ("install",)),
    Variable("RUNTIMES_PYTHON", Text(), "", ("runtimes",)),
    Variable("UV", Text(), "", ("install", "runtimes")),
    Variable("TODUS_HOME", Text(), "", _DATASETS + _OF_MODEL + _PYTHON + _MAKE + _LABEL),
)

# Variables of other programs whose names are similar to Todus's.
OTHERS = {"USERNAME", "HOSTNAME", "LOGNAME", "JOB", "MODE", "INCLUDE", "NTHREADS", "MODULE_DIR"}

# In names with at least this many letters, up to two wrong letters are reported as a typing error.
LONG_NAME = 7


def find(name: str, command: str) -> Variable:
    """The row of a variable for a command. Raises KeyError if the command does not read it."""
    for row in of_command(command):
        if row.name == name:
            return row
    raise KeyError("%s does not read %s" % (command, name))


def of_command(command: str) -> List[Variable]:
    """The rows of the variables that a command reads."""
    return [row for row in TABLE if command in row.commands]


def value(name: str, command: str, environment: Optional[Mapping[str, str]] = None) -> Any:
    """A variable's value, or its default if it is unset or empty; None if it has no default.

    Raises UsageError, which gives the valid range, for a value outside it.
    """
    row = find(name, command)
    text = _given(row, os.environ if environment is None else environment) or row.default
    return _read(row, text) if text else None


def check(command: str, environment: Mapping[str, str]) -> List[str]:
    """Checks the environment of a command, and returns a line for each old name in use.

    Raises UsageError for a value outside its range, and for a misspelled variable.
    """
    rows, lines = of_command(command), []
    known = {row.name for row in TABLE} | {row.old for row in TABLE}
    for name in sorted(set(environment) - known - OTHERS):
        similar = _similar(name, rows)
        if similar and environment[name]:
            message = "%s is not a variable; did you mean %s? Rename it, or unset %s"
            raise UsageError(message % (one_line(name), similar, one_line(name)))
    for row in rows:
        text = _given(row, environment)
        if text:
            _read(row, text)
        if row.old and not environment.get(row.name) and environment.get(row.old):
            new = "%s=%s" % (row.name, one_line(text))
            lines.append("%s is now called %s; use %s" % (row.old, row.name, new))
    return lines


def _given(row: Variable, environment: Mapping[str, str]) -> str:
    """The text of a variable, under its name or its old name."""
    old = environment.get(row.old, "").strip()
    return environment.get(row.name, "").strip() or row.old_values.get(old, old)


def _read(row: Variable, text: str) -> Any:
    try:
        return row.kind.read(text)
    except ValueError:
        message = "%s=%s: give %s" % (row.name, one_line(text), row.kind.range)
        if row.default and isinstance(row.kind, (Decimal, Percent)):
            message += ", such as %s" % row.default
        raise UsageError(message)


def _similar(name: str, rows: List[Variable]) -> str:
    """The variable of which `name` is an alias or a misspelling; "" if there is none."""
    plain = _plain(name)
    endings = (plain + "S", plain + "ES", re.sub("S$", "", plain), re.sub("ES$", "", plain))
    for row in rows:
        wanted = _plain(row.name)
        length = min(len(plain), len(wanted))
        if name in row.aliases or plain == wanted and (name.isupper() or length >= LONG_NAME):
            return row.name
        is_number = length > 3 and wanted in endings
        if name.isupper() and (is_number or length >= LONG_NAME and distance(plain, wanted) <= 2):
            return row.name
    return ""


def _plain(name: str) -> str:
    return name.replace("_", "").upper()


def distance(one: str, other: str) -> int:
    """The Levenshtein distance of two words."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        before, row[0] = row[0], place
        for at, wanted in enumerate(other, start=1):
            change = before + (letter != wanted)
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, change)
    return row[-1]


def defaults(command: str) -> Dict[str, str]:
    """Name -> default, as typed, for a command. Raises KeyError for an unknown command."""
    found = {row.name: row.default for row in of_command(command)}
    if not found:
        raise KeyError("no row of todus.variables names %s" % command)
    return found
