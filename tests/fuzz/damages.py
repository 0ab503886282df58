"""Runs the commands on damaged files and answers, and checks what they print and leave behind.

A damage is held where the exit code is 0, 1 or 2, an error is one line without a traceback, the
command takes at most SECONDS of processor, writes only below its own folder, and leaves the inputs
and, if it fails, the earlier dataset, model or file as they were. A dataset that is made has to
pass `verify`. Each damage is drawn by its number, and runs in a process of its own.
"""

import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Tuple
from unittest import mock

from tests.fuzz import answers, guard
from tests.fuzz.mutation import mutated
from tests.helpers import bad_input, damage, finished_files, finished_onnx, homes
from tests.helpers import bad_input_data as data
from tests.helpers import bad_input_models as models
from tests.helpers import own_images as own
from tests.helpers.bad_input import Struck, World
from tests.helpers.places import REPO
from todus import command, files, variables
from todus.commands import device, frigate
from todus.dataset.records import verify
from todus.paths import Dataset
from todus.slicing import command as slicing
from todus.slicing import proof

SECONDS = 10.0  # of processor
MOST_WAIT = 180.0  # seconds of waiting, on a busy machine
FIRST = 1 << 20  # seeds below are those of tests/commands/test_bad_input.py
COLUMNS = ("refused", "accepted", "traceback", "hang", "outside", "changed", "other")
BEGIN, END = "<!-- damages -->", "<!-- end of damages -->"
JSON_SOURCES = ("json", "coco-json", "labelme")


class Damaged(NamedTuple):
    """A kind of damage; `share` of them among those of all kinds."""

    share: int
    strike: Callable[[World, int], Struck]


def again(kind: str) -> Callable[[World, int], Struck]:
    """A source whose dataset is there already, with one damaged file."""

    def strike(world: World, seed: int) -> Struck:
        draw, group, main, arguments = damage.SOURCES[kind]
        root = world.given / "own"
        path = draw(root)
        world.variables(NAME="d", JOBS="1", CATEGORIES="Car" if group == "openimages" else "")
        world.variables(OPENIMAGES_URL=str(root), SPLITS="validation", MAX_DROPPED="100%")
        argv = arguments(root)
        with quiet():
            assert command.run("dataset", main, argv) == 0, kind
        bad_input.rewritten(path, mutated([path.read_bytes()], seed, kind in JSON_SOURCES))
        made = ("home/dataset/%s" % group,)
        return Struck("dataset-%s" % group, main, argv, (), made)

    return strike


def _new(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pictures(world: World, seed: int) -> Struck:
    return again(("jpeg", "png", "gif")[seed % 3])(world, seed)


def sliced(suffix: str) -> Callable[[World, int], Struck]:
    """make slice of a damaged file whose limited copy is there already."""

    def strike(world: World, seed: int) -> Struck:
        makers = {
            "tflite": lambda kind: finished_files.detector(kind, shared=kind == "float"),
            "onnx": lambda kind: finished_onnx.anchor_free()[0],
        }
        kind = random.Random(seed).choice(("float", "float16", "uint8"))
        if suffix == "pb":
            world.take("exported", models.FOLDER + "/inference-graph/frozen_inference_graph.pb")
            folder = world.home / models.FOLDER / "inference-graph"
            (folder / "frozen_inference_graph.pb").rename(world.given / "a.pb")
            names = ["circle", "four point star"]
        else:
            _new(world.given / ("a." + suffix), makers[suffix](kind))
            names = ["class %d" % number for number in range(7 if suffix == "tflite" else 6)]
        if suffix != "onnx":
            own.write(world.given / "labels.txt", "\n".join(names))
        path = world.given / ("a." + suffix)
        if seed % 8:  # a comparison in a runtime takes seconds
            world.replace(proof, "python_for", lambda kind: None)
        argv = [str(path), ",".join(names[-2:])]
        with quiet(), mock.patch.object(proof, "python_for", lambda kind: None):
            assert command.run("slice", slicing.main, argv) == 0
        bad_input.rewritten(path, mutated([path.read_bytes()], seed))
        made = ["in/a-limited." + suffix, "in/a-limited.%s.json" % suffix]
        return Struck("slice", slicing.main, argv, (), (*made, "in/a-limited-labels.txt"))

    return strike


def packed(main: Callable, name: str) -> Callable[[World, int], Struck]:
    """make frigate and make device with FILE."""

    def strike(world: World, seed: int) -> Struck:
        path = _new(world.given / "a.tflite", finished_files.detector("uint8"))
        labels = own.write(world.given / "a-labels.txt", "\n".join("abcdefg"))
        world.replace(proof, "python_for", lambda kind: None)
        world.variables(FILE=str(path), CATEGORIES="a,c", AS="m")
        with quiet():
            code = command.run(name, main, [])
        assert code == 0, (name, code)
        target = labels if seed % 5 == 0 else path
        bad_input.rewritten(target, mutated([target.read_bytes()], seed))
        return Struck(name, main, [], (), ("home/model/m",))

    return strike


def quiet() -> "mock._patch":
    return mock.patch.multiple(sys, stdout=open(os.devnull, "w"), stderr=open(os.devnull, "w"))


# title in the table -> damages; of 1,000 about as many as the shares say
KINDS: Dict[str, Damaged] = {
    "COCO annotations": Damaged(40, data.coco_annotations),
    "COCO archives (zip)": Damaged(20, data.coco_archives),
    "zoo archives (tar)": Damaged(60, models.zoo_archives),
    "COCO JSON": Damaged(45, again("coco-json")),
    "LabelMe JSON": Damaged(40, again("labelme")),
    "Cloud Annotations JSON": Damaged(40, again("json")),
    "dataset.json": Damaged(40, data.manifests),
    "dataset.json to merge": Damaged(20, data.merged_manifests),
    "run.json": Damaged(30, models.training_file("run.json")),
    "metrics.csv": Damaged(20, models.training_file("metrics.csv")),
    "VOC XML": Damaged(50, again("xml")),
    "CVAT XML": Damaged(45, again("cvat")),
    "CSV": Damaged(45, again("csv")),
    "Open Images CSV": Damaged(30, again("openimages")),
    "YOLO labels": Damaged(30, again("yolo")),
    "data.yaml": Damaged(45, again("yaml")),
    "JPEG, PNG, GIF": Damaged(30, pictures),
    "TFRecord files": Damaged(40, again("records")),
    "shards of a dataset": Damaged(20, data.shards),
    "label maps": Damaged(40, data.own_label_maps),
    "pipeline.config": Damaged(40, models.zoo_configs),
    "TFLite, make slice": Damaged(40, sliced("tflite")),
    "TFLite, make frigate": Damaged(15, packed(frigate.main, "frigate")),
    "TFLite, make device": Damaged(15, packed(device.main, "device")),
    "ONNX, make slice": Damaged(40, sliced("onnx")),
    "frozen graphs, make slice": Damaged(15, sliced("pb")),
    "frozen graphs, eval": Damaged(12, models.frozen_graphs),
    "checkpoints, eval": Damaged(8, models.checkpoints),
    "export.json": Damaged(8, models.exports),
    "TFLite and ONNX, detect": Damaged(8, models.converted),
    "answers: one file": Damaged(100, answers.one_file),
    "answers: a zoo archive": Damaged(50, answers.zoo_archive),
    "answers: COCO's annotations": Damaged(40, answers.annotations),
    "answers: COCO's images": Damaged(60, answers.images),
}


def main(count: int, seed: int, work: Path, write: bool) -> List[str]:
    """Runs `count` damages; prints the table, and returns what did not hold, a line each."""
    importlib.import_module("todus.tf")  # once, before the processes of the damages
    stores = {name: work / "homes" / name for name in ("drawn", "limited", "exported")}
    prepare(stores)
    totals: Dict[str, Counter] = {}
    findings = []
    before = ""
    for title, number in plan(count, seed):
        if title != before:
            command.say("fuzz: %s" % title)
            before = title
        with tempfile.TemporaryDirectory(prefix="todus-damage-") as folder:
            found = attempt(title, number, Path(folder), stores)
        row = totals.setdefault(title, Counter())
        row.update({found["result"]: 1, "damages": 1})
        row["seconds"] = max(row["seconds"], found["seconds"])
        if found["result"] not in ("refused", "accepted"):
            findings.append("%s, number %d: %s" % (title, number, found["text"]))
            command.say("    " + findings[-1])
    lines = table(totals)
    print("\n".join(lines))
    if write:
        into_page(lines, count, seed)
    return findings


def prepare(stores: Dict[str, Path]) -> None:
    makers = {
        "drawn": homes.draw,
        "limited": lambda folder: homes.limit(folder, stores["drawn"]),
        "exported": lambda folder: homes.export(folder, stores["limited"]),
    }
    for name, folder in stores.items():
        if not folder.exists():
            command.say("fuzz: making %s" % folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing_folder(folder) as part:
                part.rmdir()
                makers[name](part)


def plan(count: int, seed: int) -> Iterator[Tuple[str, int]]:
    """(kind, seed) of each damage."""
    whole = sum(kind.share for kind in KINDS.values())
    ends = [0]
    for kind in KINDS.values():
        ends.append(ends[-1] + kind.share)
    for title, first, last in zip(KINDS, ends, ends[1:]):
        number = round(last * count / whole) - round(first * count / whole)
        for place in range(number):
            yield title, FIRST + seed * 100000 + place


def attempt(title: str, number: int, folder: Path, stores: Dict[str, Path]) -> Dict:
    """The result of one damage, of a process of its own: {"result", "text", "seconds"}."""
    answer = folder / "answer.json"
    process = os.fork()
    if not process:
        try:
            os.setsid()
            _child(title, number, folder, stores, answer)
        finally:
            os._exit(0)
    end = time.monotonic() + MOST_WAIT
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return {"result": "hang", "text": "more than %d s" % MOST_WAIT, "seconds": MOST_WAIT}
        time.sleep(0.01)
    if not answer.exists():
        return {"result": "other", "text": "the process died", "seconds": 0.0}
    return json.loads(answer.read_text(encoding="utf-8"))


class _Patch:
    """What World needs of pytest's monkeypatch, in a process that ends after one damage."""

    def setenv(self, name: str, value: str) -> None:
        os.environ[name] = value

    def setattr(self, target, name: str, value) -> None:
        setattr(target, name, value)


def _child(title: str, number: int, folder: Path, stores: Dict[str, Path], answer: Path) -> None:
    for name in {row.name for row in variables.TABLE}:
        os.environ.pop(name, None)
    top = folder / "w"
    (top / "tmp").mkdir(parents=True)
    tempfile.tempdir = str(top / "tmp")
    os.environ.update(TODUS_HOME=str(top / "home"), TMPDIR=str(top / "tmp"))
    os.chdir(str(top))
    world = World(top, _Patch(), lambda name: stores[name])
    try:
        struck = KINDS[title].strike(world, number)
    except BaseException as error:
        text = "cannot be drawn: %r" % error
        files.write_json(answer, {"result": "other", "text": text, "seconds": 0.0})
        return
    before = own.tree(top)
    found = _run(struck, folder / "printed", top)
    result = {"seconds": round(found[2], 1)}
    result["result"], result["text"] = _judged(struck, found, before, own.tree(top), top)
    files.write_json(answer, result)


def _run(struck: Struck, printed: Path, top: Path) -> Tuple[int, str, float]:
    """Exit code, what is printed, and seconds of processor; the code is -1 outside, -2 after
    SECONDS."""
    from tests.fuzz.targets import TimeOut, at_most

    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    saved = [os.dup(number) for number in (1, 2)]
    with printed.open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    began, extra = _used(), ""
    try:
        with guard.writing_only_below(top), at_most(SECONDS):
            code = command.run(struck.command, struck.main, struck.argv)
    except guard.Outside as error:
        code, extra = -1, str(error)
    except TimeOut:
        code = -2
    except SystemExit as error:
        code, extra = -3, "exits with %s" % error.code
    finally:
        sys.stdout.flush()
        for number, handle in zip((1, 2), saved):
            os.dup2(handle, number)
    text = printed.read_bytes().decode("utf-8", "backslashreplace")
    return code, text + extra, _used() - began


def _used() -> float:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in found)


def _judged(
    struck: Struck,
    found: Tuple[int, str, float],
    before: Dict[str, bytes],
    after: Dict[str, bytes],
    top: Path,
) -> Tuple[str, str]:
    code, text, _ = found
    last = (text.strip().splitlines() or [""])[-1]
    if code == -1:
        return "outside", last
    if code == -2:
        return "hang", "more than %g s of processor" % SECONDS
    if "Traceback" in text or "unexpected " in last or code not in (0, 1, 2):
        return "traceback", last
    free = struck.touched + (() if code else struck.made)
    kept, now = bad_input.outside(before, free), bad_input.outside(after, free)
    names = sorted(name for name in {*kept, *now} if kept.get(name) != now.get(name))
    if names:
        return "changed", "%s; %s" % (", ".join(names[:4]), last)
    if code and not last.startswith(struck.command + ": "):
        return "other", "no line of the command: " + last
    if code and text.count(last) != 1:
        return "other", "printed twice: " + last
    if "\x1b" in text:
        return "other", "terminal escapes: " + last
    for path in top.glob("home/dataset/*/*/dataset.json") if not code else ():
        problems = verify.dataset(Dataset(path.parent))[1]
        if problems and struck.command.startswith("dataset"):
            return "other", "its dataset does not verify: %s" % problems[0]
    return ("accepted", "") if not code else ("refused", last)


def table(totals: Dict[str, Counter]) -> List[str]:
    """Lines of a Markdown table."""
    head = "| input | damages | refused in one line | accepted as valid | tracebacks | hangs | "
    lines = [head + "written outside | bytes lost | other |", "|---|" + "---|" * 8]
    sums: Counter = Counter()
    for row in totals.values():
        sums.update({name: row[name] for name in ("damages", *COLUMNS)})
    for title, row in [*totals.items(), ("all", sums)]:
        cells = [str(row[name]) for name in ("damages", *COLUMNS)]
        lines.append("| %s | %s |" % (title, " | ".join(cells)))
    return lines


def into_page(lines: List[str], count: int, seed: int) -> None:
    """Writes the table between its marks in docs/reliability.md."""
    path = REPO / "docs" / "reliability.md"
    start, rest = path.read_text(encoding="utf-8").split(BEGIN)
    text = "%s\n%d damages, seed %d:\n\n%s\n%s" % (BEGIN, count, seed, "\n".join(lines), END)
    files.write_text(path, start + text + rest.split(END)[1])
