"""A server whose answers are damaged, and the commands that download from it."""

import contextlib
import random
import socket
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List, Optional
from urllib.parse import unquote, urlsplit

from tests.helpers import bad_input_data as data
from tests.helpers import bad_input_models as models
from tests.helpers.bad_input import RAW, Struck, World
from todus.command import Parser
from todus.commands import model as model_command
from todus.fetching import bounded, download, many, transport

FAST = {"RETRIES": "3", "RETRY_WAIT": "0", "TIMEOUT": "1"}
GZIP = b"Content-Encoding: gzip\r\n"
SLOW = 2.0  # seconds instead of SLOW_SECONDS
MOST = 4 << 20  # bytes of a body instead of gigabytes

Answer = Callable[[random.Random, bytes, str], Iterator[bytes]]


def _head(status: str = "200 OK", *lines: bytes) -> bytes:
    ends = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 " + status.encode() + b"\r\n" + ends + b"\r\n"


def _length(number: object) -> bytes:
    return ("Content-Length: %s" % number).encode("utf-8")


def _right(chance, body, url):
    yield _head("200 OK", _length(len(body)), b'ETag: "a"') + body


def _wrong_length(chance, body, url):
    size = len(body)
    wrong = [size + 1, size - 1, size * 2, 0, -1, 1 << 62, "\u00b2", "x", "1,2", "1e3", "0x10", ""]
    yield _head("200 OK", _length(chance.choice(wrong))) + body


def _two_lengths(chance, body, url):
    yield _head("200 OK", _length(len(body)), _length(chance.randrange(len(body) + 9))) + body


def _cut(chance, body, url):
    whole = _head("200 OK", _length(len(body))) + body
    yield whole[: chance.randrange(len(whole))]


def _damaged(chance, body, url):
    at = chance.randrange(max(1, len(body)))
    changed = body[:at] + bytes([chance.randrange(256)]) * 3 + body[at + 3 :]
    yield _head("200 OK", _length(len(body))) + changed


def _headers(chance, body, url):
    junk = [b"a" * 70000, b"no colon", b": x", b"A: \xff\xfe", b"\0: \0", b"X: y\r\n z"]
    junk += [b"Set-Cookie: " + b"a=b;" * 999, b"Retry-After: 99999999999", b"ETag: \xff"]
    junk += [b"Content-Type: text/html", b"Content-Type: text/html; charset=\xff", b"Digest: md5=="]
    junk += [b"Digest: sha-256=" + b"A" * 44, b"Content-MD5: A===", b"x-goog-hash: crc32c=AAAAAA=="]
    junk += [b"Location: http://[::1", b"Transfer-Encoding: gzip", b"Connection: close, keep-alive"]
    some = [chance.choice(junk) for _ in range(chance.choice((1, 2, 5, 120)))]
    status = chance.choice(("200 OK", "200", "200 \xff", "999 X", "000 X", "20 X", "600 X"))
    yield _head(status, *some, _length(len(body))) + body


def _status(chance, body, url):
    status = chance.choice((201, 204, 206, 300, 304, 400, 401, 403, 404, 408, 410, 416, 429, 500))
    more = chance.choice((b"Content-Range: bytes 0-1/2", b"Content-Range: bytes */x", b"A: b"))
    retry = b"Retry-After: " + chance.choice(
        (b"0", b"-1", b"Wed, 21 Oct 2099", b"\xc2\xb2", b"1e9")
    )
    yield _head("%d X" % status, more, retry, _length(len(body))) + body


def _redirect(chance, body, url):
    places = [
        "/x",
        url,
        "//" + urlsplit(url).netloc + "/" + "x" * chance.randrange(3000),
        "http://[::1/",
    ]
    places += [
        "file:///etc/passwd",
        "ftp://x/y",
        "https://127.0.0.1:1/",
        "",
        "\xff",
        "x:y:z",
        "http:///",
    ]
    places += [
        "http://127.0.0.1:99999/",
        "http://a:b@127.0.0.1:9/x",
        "javascript:1",
        "http://\u2603/",
    ]
    place = chance.choice(places).encode("utf-8")
    yield _head(
        chance.choice(("301 X", "302 X", "307 X", "308 X")), b"Location: " + place, _length(0)
    )


def _gzip(chance, body, url):
    junk = bytes(chance.randrange(256) for _ in range(999))
    yield _head("200 OK", GZIP.strip(), _length(999)) + b"\x1f\x8b\x08" + junk[3:]


def _chunked(chance, body, url):
    sizes = [
        b"%x" % len(body),
        b"-1",
        b"ffffffffffffffff",
        b"x",
        b"",
        b"5;" + b"e" * 70000,
        b"\xff",
    ]
    yield _head("200 OK", b"Transfer-Encoding: chunked") + chance.choice(sizes) + b"\r\n" + body
    yield chance.choice((b"\r\n0\r\n\r\n", b"", b"\r\n0\r\n", b"\r\nx\r\n"))


def _endless(chance, body, url):
    """Lines without end: informational answers, headers, trailers, a body, chunks."""
    starts = {
        b"": _head("100 Continue"),
        _head("200 OK")[:-2]: b"A: b\r\n",
        _head("200 OK", b"Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n": b"A: b\r\n",
        _head("200 OK") + body[:9]: b"\0" * 99,
        _head("200 OK", b"Transfer-Encoding: chunked"): b"1\r\nx\r\n",
    }
    start, line = chance.choice(list(starts.items()))
    yield start
    end = time.monotonic() + 60
    while time.monotonic() < end:
        yield line * 100


def _drip(chance, body, url):
    whole = _head("200 OK", _length(len(body) + 100000)) + body
    start = chance.choice((0, whole.find(b"\r\n\r\n") + 8))
    yield whole[:start]
    end = time.monotonic() + 60
    for byte in whole[start:]:
        yield bytes([byte])
        time.sleep(0.05)
        if time.monotonic() > end:
            return


def _silent(chance, body, url):
    whole = _head("200 OK", _length(len(body))) + body
    yield whole[: chance.choice((0, 20, len(whole) // 2))]
    time.sleep(3)


def _page(chance, body, url):
    kind = chance.choice((b"Content-Type: text/html", b"Content-Type: image/jpeg"))
    page = b"<!DOCTYPE html><html><body>Sign in</body></html>"
    yield _head("200 OK", kind, _length(len(page))) + page


def _noise(chance, body, url):
    yield bytes(chance.randrange(256) for _ in range(chance.choice((0, 1, 50, 5000))))


def _range(chance, body, url):
    """A part of the file, which nobody or somebody asked for."""
    at, size = chance.randrange(len(body)), len(body)
    ranges = ["bytes %d-%d/%d" % (at, size - 1, size), "bytes 0-/", "bytes %d-1/1" % at, "x"]
    ranges += ["bytes 0-0/*", "bytes %d-%d/*" % (at, size - 1), "bytes 9999999999999999999-1/1"]
    which = ("Content-Range: " + chance.choice(ranges)).encode()
    yield _head("206 X", which, _length(size - at)) + body[at:]


ANSWERS: List[Answer] = [
    _wrong_length, _two_lengths, _cut, _damaged, _headers, _status, _redirect, _gzip, _chunked,
    _endless, _drip, _silent, _page, _noise, _range,
]  # fmt: skip


class Server:
    """Serves the files of a folder on loopback; every answer, or all but a few, is damaged."""

    def __init__(self, root: Path, seed: int, only: str = ""):
        self._root, self._seed, self._only = root, seed, only
        self._answers = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(50)
        self.url = "http://127.0.0.1:%d" % self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            request = connection.recv(1 << 16)
            words = request.split(b" ")
            path = unquote(words[1].decode("ascii", "replace")) if len(words) > 1 else "/"
            self._answers += 1
            chance = random.Random("%d %d" % (self._seed, self._answers))
            answer: Answer = ANSWERS[self._seed % len(ANSWERS)]
            is_damaged = self._only in path and chance.random() < 0.8
            body = self._body(path)
            if body is None:
                connection.sendall(_head("404 X", _length(0)))
                return
            is_head = words[0] == b"HEAD"
            for part in (answer if is_damaged else _right)(chance, body, self.url + path):
                connection.sendall(
                    part.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if is_head else part
                )
                if is_head:
                    return

    def _body(self, path: str) -> Optional[bytes]:
        place = self._root / path.strip("/")
        return place.read_bytes() if place.is_file() else None


def _impatient(world: World, **more: str) -> None:
    world.variables(**FAST, **more)
    world.replace(bounded, "SLOW_SECONDS", SLOW)
    world.replace(transport, "LONGEST_ASKED_WAIT", 0.1)
    world.replace(download, "MOST_UNKNOWN", MOST)
    world.replace(many, "LARGEST", MOST)


def one_file(world: World, seed: int) -> Struck:
    """A download of one archive to a path, for odd seeds of one that was begun."""
    _impatient(world)
    served = world.top / "served"
    served.mkdir()
    body = models.ARCHIVE.read_bytes()
    small = world.top / "served" / "m.bin"
    small.write_bytes(body[:50000])
    server = Server(served, seed)
    target = world.given / "m.bin"
    if seed % 2:
        note = '{"url": "%s/m.bin", "digests": {}, "etag": "\\"a\\"", "size": 50000}' % server.url
        (world.given / ".m.bin.part").write_bytes(body[:20000])
        (world.given / ".m.bin.part.json").write_text(note)

    def main(argv: Optional[List[str]]) -> int:
        Parser("download", "Downloads a file.").parse_args(argv)
        download.download(server.url + "/m.bin", target, policy=transport.Policy(1, 3, 0))
        return 0

    touched = ("in/m.bin", "in/.m.bin.part", "in/.m.bin.part.json", "in/.m.bin.lock")
    return Struck("download", main, [], (), (), touched)


def zoo_archive(world: World, seed: int) -> Struck:
    """python -m model with an archive from a server; a model is there already."""
    _impatient(world)
    world.take("limited", models.FOLDER + "/pretrained")
    served = world.top / "served"
    served.mkdir()
    (served / "m.tar.gz").write_bytes(models.ARCHIVE.read_bytes())
    server = Server(served, seed)
    argv = ["-m", "m", "--archive", server.url + "/m.tar.gz", "--categories", "circle"]
    touched = ("home/model/.archives", "home/model/m", "home/model/.m.lock")
    return Struck("model", model_command.main, argv, (), ("home/model/m",), touched)


def _coco_struck(world: World, seed: int, only: str) -> Struck:
    struck = data.limited(world)
    _impatient(world, MAX_IMAGES="6")
    server = Server(world.stores("drawn"), seed, only)
    world.variables(COCO_URL=server.url, MAX_MISSING="50%", CONNECTIONS="4")
    return struck._replace(touched=("home/" + RAW,))


def annotations(world: World, seed: int) -> Struck:
    """./dataset-limited.sh whose annotations come damaged; an earlier dataset is there."""
    world.take("limited", "dataset/mscoco/limited")
    return _coco_struck(world, seed, ".zip")


def images(world: World, seed: int) -> Struck:
    """./dataset-limited.sh with annotations, whose images come damaged."""
    world.take("limited", "dataset/mscoco/limited", RAW + "/annotations")
    return _coco_struck(world, seed, ".jpg")
