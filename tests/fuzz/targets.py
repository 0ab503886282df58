"""The parsers that are fuzzed: each draws its valid inputs in a folder, and reads one from there.

A finding is anything but a result or a refusal: another exception, more than SECONDS of processor,
more memory than BYTES, a file written outside the target's folder.
"""

import functools
import hashlib
import io
import json
import resource
import shutil
import signal
import socket
import tarfile
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union
from unittest import mock

import urllib3.util.connection

from tests.fuzz.guard import Outside, writing_only_below
from tests.helpers import damage, finished_files, finished_onnx
from tests.helpers import own_images as own
from tests.helpers.places import MODEL, ZOO
from todus import categories, files
from todus.dataset import image_files
from todus.dataset.records import example, reader, tfrecord, verify
from todus.dataset.sources import (
    cloud,
    coco_annotations,
    coco_labels,
    csv,
    cvat,
    labelme,
    openimages_rows,
    records,
    voc,
    yolo,
)
from todus.errors import TodusError
from todus.evaluation import score_thresholds
from todus.fetching import archives, download, many, transport
from todus.model import artefacts, checkpoint_files, pipeline, zoo
from todus.paths import Dataset, Model
from todus.progress import Progress
from todus.slicing import command as slicing
from todus.slicing import graph_def, labels, proof
from todus.training import metrics, run_record

SECONDS = 10  # of processor
BYTES = 3 << 30  # of address space, beyond what the libraries have at the start
LARGEST = 1 << 16  # bytes of an input
PARSERS = "%s/" % Path(files.__file__).parent
NEXT = b"\0NEXT ANSWER\0"  # between the answers of a server


class TimeOut(BaseException):
    """Derives from BaseException, so that no parser catches it."""


class Target(NamedTuple):
    """A parser.

    Attributes:
      draw: fills an empty folder; returns its file whose bytes are the input.
      read: reads the file; what it makes is in `out`, beside it.
      others: more inputs that are valid.
      refusals: exceptions that refuse an input, beside TodusError.
      is_json: the input is JSON.
    """

    draw: Callable[[Path], Path]
    read: Callable[[Path], Any]
    others: Callable[[], Sequence[bytes]] = tuple
    refusals: Tuple = ()
    is_json: bool = False


class Fuzzed:
    """A target with its folder and its valid inputs."""

    def __init__(self, name: str, folder: Path):
        self.name, self._target = name, TARGETS[name]
        self.folder = folder / "input"
        self.folder.mkdir(parents=True)
        self.path = self._target.draw(self.folder)
        self.seeds = [self.path.read_bytes()] + list(self._target.others())

    def run(self, data: bytes, refused: bool = True) -> str:
        """Reads an input; returns "" or what is wrong: the exception and its place in Todus.

        `refused` is whether the input may be refused.
        """
        self.path.write_bytes(data)
        out = self.folder / "out"
        out.mkdir()
        try:
            with writing_only_below(self.folder), at_most(SECONDS):
                self._target.read(self.path)
        except (TodusError, *self._target.refusals) as error:
            return "" if refused else finding(error)
        except (Exception, Outside, TimeOut) as error:
            return finding(error)
        finally:
            shutil.rmtree(str(out))
        return ""


def finding(error: BaseException) -> str:
    """An exception as a line: its type, its text, and the last place in Todus."""
    frames = [
        each for each in traceback.extract_tb(error.__traceback__) if each[0].startswith(PARSERS)
    ]
    place = "%s:%d" % (frames[-1][0][len(PARSERS) :], frames[-1][1]) if frames else "?"
    return "%s at %s: %s" % (type(error).__name__, place, str(error).split("\n")[0][:200])


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeOut after this many seconds of processor."""

    def stop(*_: object) -> None:
        raise TimeOut("more than %d s" % seconds)

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory() -> None:
    """Lets this process have BYTES more of address space; beyond them is a MemoryError."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))


def _drawn(kind: str) -> Callable[[Path], Path]:
    """The drawing of a source in tests/helpers/damage.py."""

    def draw(folder: Path) -> Path:
        return damage.SOURCES[kind][0](folder / "drawn")

    return draw


def _file(name: str, content: Union[str, bytes]) -> Callable[[Path], Path]:
    def draw(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return draw


# Archives.

_CONFIG = "model { ssd { num_classes: 2 } }\n"


def _tar(compression: str = "", **options: Any) -> bytes:
    """A zoo archive in small, with names that need long headers."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:" + compression, **options) as archive:
        for name in ("pipeline.config", "model.ckpt.index", "model.ckpt.data-00000-of-00001"):
            member = tarfile.TarInfo("m/%s" % name)
            member.size = len(_CONFIG)
            archive.addfile(member, io.BytesIO(_CONFIG.encode()))
        long = tarfile.TarInfo("m/saved_model/%s/\u00e9" % ("n" * 120))
        archive.addfile(long)
    if compression:
        return data.getvalue()
    short = data.getvalue().rstrip(b"\0")
    return short + bytes(-len(short) % 512 + 1024)


def _with_checksums(data: bytes) -> bytes:
    """A tar whose headers have the right checksums, so that what is in them is read."""
    blocks = [bytearray(data[at : at + 512]) for at in range(0, len(data), 512)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == 512:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def _unpack(path: Path) -> None:
    path.write_bytes(_with_checksums(path.read_bytes()))
    with suppress(TodusError):
        archives.check_archive(path)
    archives.unpack_tar(path, path.parent / "out" / "tar")
    zoo.unpack_archive(path, path.parent / "out")


def _draw_zip(folder: Path) -> Path:
    path = folder / "images.zip"
    with archives.zipfile.ZipFile(str(path), "w", archives.zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.json", "b/c.jpg"):
            archive.writestr(name, "0123456789" * 20)
    return path


def _read_zip(path: Path) -> None:
    archives.check_archive(path)
    with archives.opened_zip(path) as archive:
        for member in archive.infolist():
            archive.read(member)


# Answers of servers.


class _Impatient(transport.Policy):
    def pause(self, failures: int, asked: float) -> float:
        return 0.0


_BODY = _tar("gz")
_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: \"a\"\r\n\r\n" % len(_BODY) + _BODY,
    b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\nLast-Modified: x\r\n\r\n" + _BODY[:99] + NEXT +
    b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 99-9998/9999\r\n\r\n" + _BODY[99:],
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n" + NEXT +
    b"HTTP/1.1 200 OK\r\n\r\n" + _BODY,
    b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\n\r\n" + NEXT +
    b"HTTP/1.1 416 Range\r\nContent-Range: bytes */99\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/html\r\n"
    b"x-goog-hash: crc32c=AAAAAA==,md5=AAAA\r\nDigest: sha-256=x\r\nContent-MD5: y\r\n\r\n<html>",
]  # fmt: skip


@contextmanager
def answering(path: Path) -> Iterator[None]:
    """Each connection of urllib3 gets the next answer in the file; the last one again and again."""
    answers = path.read_bytes().split(NEXT)
    ends: List[socket.socket] = []

    def connect(*_: object, **__: object) -> socket.socket:
        mine, theirs = socket.socketpair()
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            theirs.send(answers[0] if len(answers) == 1 else answers.pop(0))
        theirs.shutdown(socket.SHUT_WR)
        ends.append(theirs)
        return mine

    with mock.patch.object(urllib3.util.connection, "create_connection", connect):
        try:
            yield
        finally:
            for end in ends:
                end.close()


_POLICY = _Impatient(timeout=2, retries=3, wait=0)
_URL = "http://127.0.0.1:9/m.tar.gz"


def _download(path: Path) -> None:
    with answering(path):
        download.download(_URL, path.parent / "out" / "m.tar.gz", policy=_POLICY)


def _resume(path: Path) -> None:
    """The input is the note of an unfinished download."""
    target = path.parent / "out" / "m.tar.gz"
    files.beside(target, "part").write_bytes(_BODY[:99])
    files.beside(target, "part.json").write_bytes(path.read_bytes())
    path.write_bytes(_REST)
    with answering(path):
        download.download(_URL, target, policy=_POLICY)


def _download_many(path: Path) -> None:
    wanted = [many.Wanted(_URL, path.parent / "out" / "i.jpg")]
    with answering(path), Progress("images", None) as progress:
        many.download_many(wanted, image_files.fault_of, 1, progress, 1, _POLICY)


def _draw_image_answer(folder: Path) -> Path:
    return _file("answers", b"HTTP/1.1 200 OK\r\n\r\n" + _png())(folder)


_NOTE = {"url": _URL, "digests": {"md5": hashlib.md5(_BODY).hexdigest()}, "etag": '"a"'}
_NOTE.update(last_modified="x", size=len(_BODY))
_PLACE = b"Content-Range: bytes 99-%d/%d" % (len(_BODY) - 1, len(_BODY))
_REST = b"HTTP/1.1 206 Partial\r\n" + _PLACE + b"\r\n\r\n" + _BODY[99:]


# Annotations and records.


def _coco(path: Path) -> None:
    names = coco_annotations.read_categories(path)
    coco_annotations.read(path, names, list(names)[:1], masks=True)


_COCO = {
    "info": {"year": 2017},
    "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30, "coco_url": "x"}],
    "annotations": [
        {
            "segmentation": [[1, 2, 9, 2, 9, 9]],
            "area": 20.5,
            "iscrowd": 0,
            "image_id": 1,
            "bbox": [1, 2, 8, 7.5],
            "category_id": category,
            "id": category,
        }
        for category in (1, 2, 3)
    ],
    "licenses": [{"a": {"b": [1, {}]}}],
    "categories": [{"id": n, "name": "c%d" % n, "supercategory": "x"} for n in (1, 2, 3)],
}


def _records(path: Path) -> None:
    given = [("", path)]
    records.read(given, {1: "cat"}, path.parent.parent / "out", path.stat().st_size)


def _shard(path: Path) -> None:
    verify.check_shard(path, {1: "cat"})
    list(tfrecord.scan(path, resume=True))


def _draw_dataset(folder: Path) -> Path:
    """A dataset of five images in folder/dataset/voc/d."""
    environment = mock.patch.dict("os.environ", TODUS_HOME=str(folder), NAME="d", JOBS="1")
    with environment, mock.patch("sys.stderr", io.StringIO()), mock.patch("sys.stdout"):
        voc.main([str(own.voc_folder(folder / "voc", 5))])
    return folder / "dataset" / "voc" / "d" / "dataset.json"


def _draw_example(folder: Path) -> Path:
    shard = next(_draw_dataset(folder).parent.glob("train.record-*"))
    (record, *_) = tfrecord.scan(shard)
    return _file("example", record.data)(folder)


def _dataset(path: Path) -> None:
    dataset = Dataset(path.parent)
    list(verify.shard_faults(dataset, reader.read_manifest(dataset)))
    verify.dataset(dataset)


# Models.


def _unpacked(name: str, place: str) -> Callable[[Path], Path]:
    """A file of the archive of the miniature zoo."""

    def draw(folder: Path) -> Path:
        with tarfile.open(str(ZOO / (MODEL + ".tar.gz"))) as archive:
            return _file(place, archive.extractfile("%s/%s" % (MODEL, name)).read())(folder)

    return draw


def _draw_checkpoint(folder: Path) -> Path:
    _unpacked("model.ckpt.data-00000-of-00001", "model.ckpt.data-00000-of-00001")(folder)
    return _unpacked("model.ckpt.index", "model.ckpt.index")(folder)


def _config(path: Path) -> None:
    config = pipeline.read(path, lambda line: None)
    for read in (pipeline.architecture, pipeline.extractor, pipeline.input_size):
        read(config)
    pipeline.to_text(config)


def _label_map(path: Path) -> None:
    for read in (categories.read_label_map, labels.read):
        with suppress(TodusError):
            read(path)


_LABEL_MAP = "item {\n  id: 1\n  name: 'cat'\n}\nitem { id: 2 display_name: \"d\\tog\" }\n"
_ORIGIN = {"checkpoint": "c", "checkpoint_sha256": "0", "score_threshold": 0.1, "quantized": False}
_EXPORT = {"inference_graph": _ORIGIN, "tflite_graph": dict(_ORIGIN, nms="fast", max_detections=9)}
_EVENT = {"started": "2024-01-01T00:00:00+0000", "pid": 1, "host": "h", "step": 0}
_RUN = {"todus": "1", "model": "m", "classes": ["a"], "dataset": "d", "events": [_EVENT]}
_RUN["events"] = [_EVENT, {"stopped": None, "step": 4, "reason": "ended"}]
_ABOUT = {
    "format": "float",
    "labels": ["a"],
    "identity": {"labels": ["a"], "size": [8, 8]},
    "input": {"shape": [1, 8, 8, 3], "mean": [127.5, 1, 2], "std": 127.5},
    "exported": {"score_threshold": 0.1},
    "thresholds": {"classes": {"a": {"threshold": 0.4}}},
}
_METRICS = "step,time,seconds,images,sample,ap,ap50,ap75,ar100,train_images,train_ap,train_ap50\n"
_METRICS += "0,t,1.0,24,1,0.31,0.5,0.3,0.4,,,\n20,t,1.0,24,1,0.35,0.5,0.3,0.4,10,0.4,0.5\n"


def _export(path: Path) -> None:
    artefacts.exported(path.parent)
    artefacts.tflite_graph(Model(path.parent.parent))


def _run(path: Path) -> None:
    model = Model(path.parent.parent)
    run_record.last_start(run_record.read(model))
    artefacts.of_run(model.training)


def _about(path: Path) -> None:
    model = Path(str(path)[: -len(".json")])
    artefacts.of_file(model)
    score_thresholds.stored(model)


def _metrics(path: Path) -> None:
    model = Model(path.parent.parent)
    rows = metrics.read(model)
    metrics.best(rows)
    metrics.enough(rows, 0.5, 1)
    metrics.overfitting(rows)


def _slice(path: Path) -> None:
    """Limits a finished file to its first class, without the comparison in a runtime."""
    out = path.with_name("out") / path.name if path.parent.name != "out" else path.with_name("o.pb")
    argv = [str(path), "class 1,class 3", "--output", str(out)]
    with mock.patch.object(proof, "python_for", lambda kind: None):
        slicing.limit(path, slicing.parser().parse_args(argv))


@functools.lru_cache()
def _graph() -> Any:
    """The frozen graph of the miniature zoo, with constants of one value."""
    with tarfile.open(str(ZOO / (MODEL + ".tar.gz"))) as archive:
        data = archive.extractfile(MODEL + "/frozen_inference_graph.pb").read()
    graph = graph_def.messages()["Graph"].FromString(data)
    for node in graph.node:
        for each in node.attr:
            if len(each.value.tensor.tensor_content) > 64:
                each.value.tensor.tensor_content = b""
    return graph


def _edited(recipe: bytes) -> Any:
    """The graph after the changes in a recipe, five bytes each: node, kind, values."""
    graph = graph_def.messages()["Graph"]()
    graph.CopyFrom(_graph())
    for at in range(0, min(len(recipe) - 4, 50), 5):
        node = graph.node[int.from_bytes(recipe[at : at + 2], "big") % len(graph.node)]
        what, place, value = recipe[at + 2 : at + 5]
        other = graph.node[(place * 256 + value) % len(graph.node)]
        _edit(node, other, what % 9, place, value)
    return graph


def _edit(node: Any, other: Any, what: int, place: int, value: int) -> None:
    number = (0, -1, 1, 2, 1 << 20, (1 << 31) - 1, -(1 << 31), 7)[value % 8]
    held = node.attr[place % len(node.attr)].value if node.attr else None
    if what == 0 and node.input:
        node.input[place % len(node.input)] = other.name
    elif what == 1 and node.input:
        del node.input[place % len(node.input)]
    elif what == 2:
        node.op = other.op
    elif what == 3:
        node.name = other.name
    elif held and what == 4:
        del node.attr[place % len(node.attr)]
    elif held and what == 5 and held.tensor.tensor_shape.dim:
        held.tensor.tensor_shape.dim[value % len(held.tensor.tensor_shape.dim)].size = number
    elif held and what == 6:
        held.tensor.dtype = value % 24
    elif held and what == 7:
        held.i = number
    elif what == 8:
        node.input.append(other.name)


def _slice_graph(path: Path) -> None:
    _file("out/graph-labels.txt", "\n".join("class %d" % n for n in range(22)))(path.parent)
    graph = _edited(path.read_bytes()).SerializeToString()
    _slice(_file("out/graph.pb", graph)(path.parent))


def _draw_tflite(folder: Path) -> Path:
    _file("a-labels.txt", "\n".join("class %d" % n for n in range(7)))(folder)
    return _file("a.tflite", finished_files.detector())(folder)


def _tflite_seeds() -> List[bytes]:
    return [
        finished_files.detector("uint8"),
        finished_files.detector("float16", shared=True),
        finished_files.detector("int8", background=False, operator=False),
    ]


def _frozen(path: Path) -> None:
    """What detect and eval check before TensorFlow imports a graph; needs TensorFlow."""
    from todus.detection import frozen_graph
    from todus.slicing import graph_operations

    found = frozen_graph.parsed(path)
    graph_operations.check(graph_operations.needed(found, ["detection_boxes", "c"]), path)


def _small_graph() -> bytes:
    graph = graph_def.messages()["Graph"]()
    for op, inputs in (("Placeholder", []), ("Const", []), ("Add", ["Placeholder", "Const:0"])):
        node = graph.node.add(name=op, op=op, input=inputs)
        node.attr.add(key="dtype").value.type = 1
    shape = graph.node[1].attr.add(key="value").value.tensor
    shape.dtype, _ = 1, shape.tensor_shape.dim.add(size=3)
    graph.node.add(name="detection_boxes", op="Identity", input=["Add"])
    return graph.SerializeToString()


def _inspect(path: Path) -> None:
    data = path.read_bytes()
    header = image_files.inspect(data)
    if header.height * header.width < 1 << 20:
        image_files.decode_every_pixel(data)


def _read_in_folder(read: Callable[[Path], Any], levels: int = 1) -> Callable[[Path], Any]:
    return lambda path: read(path.parents[levels - 1])


def _table(read: Callable) -> Callable[[Path], Any]:
    return lambda path: read([path], path.parent)


TARGETS: Dict[str, Target] = {
    "tar": Target(
        _file("m.tar", _tar(format=tarfile.GNU_FORMAT)),
        _unpack,
        lambda: [_tar(format=tarfile.PAX_FORMAT), _tar("gz"), _tar("bz2"), _tar("xz")],
    ),
    "zip": Target(_draw_zip, _read_zip, refusals=(archives.zipfile.BadZipFile,)),
    "http": Target(_file("answers", _ANSWERS[0]), _download, lambda: _ANSWERS[1:]),
    "http-many": Target(_draw_image_answer, _download_many, lambda: _ANSWERS),
    "part.json": Target(_file("note", json.dumps(_NOTE)), _resume, is_json=True),
    "coco": Target(_file("instances.json", json.dumps(_COCO)), _coco, is_json=True),
    "coco-json": Target(_drawn("coco-json"), _table(coco_labels.read), is_json=True),
    "labelme": Target(_drawn("labelme"), _read_in_folder(labelme.read), is_json=True),
    "cloud": Target(_drawn("json"), _read_in_folder(cloud.read), is_json=True),
    "voc": Target(_drawn("xml"), _read_in_folder(voc.read)),
    "cvat": Target(_drawn("cvat"), _table(cvat.read)),
    "csv": Target(_drawn("csv"), _table(csv.read)),
    "openimages": Target(
        _drawn("openimages"), lambda path: openimages_rows.read(path, {"/m/0k4j": 1})
    ),
    "yolo": Target(_drawn("yolo"), _read_in_folder(yolo.read, 2)),
    "data.yaml": Target(_drawn("yaml"), _read_in_folder(yolo.read)),
    "image": Target(
        _drawn("jpeg"),
        _inspect,
        lambda: [_png()],
        refusals=(image_files.BadImage,),
    ),
    "records": Target(_drawn("records"), _records),
    "shard": Target(_drawn("records"), _shard),
    "example": Target(
        _draw_example,
        lambda path: example.decode(path.read_bytes()),
        refusals=(example.BadExample,),
    ),
    "dataset.json": Target(_draw_dataset, _dataset, is_json=True),
    "label map": Target(_file("map.pbtxt", _LABEL_MAP), _label_map),
    "pipeline.config": Target(_unpacked("pipeline.config", "pipeline.config"), _config),
    "checkpoint": Target(
        _draw_checkpoint,
        lambda path: checkpoint_files.check(path.with_suffix(""), "take another"),
    ),
    "export.json": Target(
        _file("inference-graph/export.json", json.dumps(_EXPORT)), _export, is_json=True
    ),
    "run.json": Target(_file("training/run.json", json.dumps(_RUN)), _run, is_json=True),
    "FILE.json": Target(_file("a.tflite.json", json.dumps(_ABOUT)), _about, is_json=True),
    "metrics.csv": Target(_file("training/metrics.csv", _METRICS), _metrics),
    "tflite": Target(_draw_tflite, _slice, _tflite_seeds),
    "onnx": Target(
        _file("a.onnx", finished_onnx.anchor_free()[0]),
        _slice,
        lambda: [finished_onnx.with_objectness()[0], finished_onnx.boxes_and_scores()[0]],
    ),
    "graph": Target(
        _file("recipe", b""), _slice_graph, lambda: [bytes(range(5)), bytes(range(50))]
    ),
    "graph.pb": Target(_file("a.pb", _small_graph()), _slice),
    "frozen graph": Target(_file("a.pb", _small_graph()), _frozen),
}
WITH_TENSORFLOW = ("frozen graph",)  # plain mutations: TensorFlow is not measured


def _png() -> bytes:
    data = io.BytesIO()
    damage.own.Image.fromarray(own.pixels(1)).save(data, "PNG")
    return data.getvalue()
