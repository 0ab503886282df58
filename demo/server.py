"""Serves a folder over HTTP on loopback, with the paths of COCO's and the zoo's servers.

    python -m demo.server ROOT [PORT]        # default: a free port; stop with Ctrl-C

It prints two lines to export:

    COCO_URL=http://127.0.0.1:PORT                          the files under ROOT
    ZOO_URL=http://127.0.0.1:PORT/models/object_detection   the zoo's archives

The zoo's archives are those of ROOT/models/object_detection, or of demo/zoo without that folder.
It supports GET and HEAD, keep-alive, Content-Length, ETag, Last-Modified, If-Range and a single
Range (206, 416). Tests make it fail with a `Fault`.
"""

import fnmatch
import http.server
import re
import socket
import sys
import threading
import zlib
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple, Union
from urllib.parse import unquote, urlsplit

from todus.command import Parser, run
from todus.errors import TodusError

ZOO_PATH = "/models/object_detection"
ZOO = Path(__file__).resolve().parent / "zoo"
BLOCK = 1 << 16
TYPES = {
    ".jpg": "image/jpeg",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".json": "application/json",
}
HTML = b"<!DOCTYPE html>\n<html><body><h1>Sign in to this network</h1></body></html>\n"


@dataclass
class Request:
    """A request and its answer.

    Attributes:
      range: the Range header as sent.
      sent: bytes of the body written to the socket.
    """

    method: str
    path: str
    range: Optional[str]
    status: int = 0
    sent: int = 0


@dataclass
class Fault:
    """A failure of the server for requests of `path`.

    Attributes:
      path: the path on the server, such as "/zips/val2017.zip"; * and ? match as in a shell.
      times: how many requests fail, None for all.
      skip: how many requests succeed before the first failure.
      status: answer with this code and an empty body: 404, 503.
      page: answer 200 with this HTML instead of the file, as a captive portal does; True for HTML.
      content: replace the file's content, with a new ETag: the file changed between requests.
      cut: close the connection after this many bytes of the body.
      stall: wait this many seconds after `cut` bytes (default 0), then close the connection.
      length: send this Content-Length, and at most so many bytes of the file.
      ignore_range: answer 200 with the whole file to a Range request.
      ignore_if_range: answer 206 to a Range request, although If-Range has another ETag.
      seen: how many requests of `path` were made.
    """

    path: str
    times: Optional[int] = None
    skip: int = 0
    status: Optional[int] = None
    page: Union[bytes, bool] = False
    content: Optional[bytes] = None
    cut: Optional[int] = None
    stall: float = 0.0
    length: Optional[int] = None
    ignore_range: bool = False
    ignore_if_range: bool = False
    seen: int = field(default=0, init=False)

    def applies_to(self, path: str) -> bool:
        """Counts a request of `path`; returns whether it fails."""
        if not fnmatch.fnmatchcase(path, self.path):
            return False
        self.seen += 1
        return self.seen > self.skip and (self.times is None or self.seen <= self.skip + self.times)


class Server:
    """The server as a context manager, in a thread of this process.

        with Server(root, [Fault("/zips/val2017.zip", cut=1000, times=1)]) as server:
            fetch(server.url + "/zips/val2017.zip")
        assert server.requests["/zips/val2017.zip"] == 2

    Attributes:
      url, zoo_url: the values for COCO_URL and ZOO_URL.
      requests: path -> number of requests.
      bytes_sent: path -> bytes of bodies sent.
      log: every Request, in order of arrival.
      faults: may be changed while the server runs.
    """

    def __init__(
        self,
        root: Union[str, Path],
        faults: Iterable[Fault] = (),
        port: int = 0,
        print_requests: bool = False,
    ):
        self.root = Path(root)
        own = self.root / ZOO_PATH.strip("/")
        self.zoo = own if own.is_dir() else ZOO
        self.faults = list(faults)
        self.print_requests = print_requests
        self.log: List[Request] = []
        self.stopping = threading.Event()
        self._mutex = threading.Lock()
        self._listener = _Listener(("127.0.0.1", port), _Handler)
        self._listener.owner = self
        self.url = "http://127.0.0.1:%d" % self._listener.server_address[1]
        self.zoo_url = self.url + ZOO_PATH

    def __enter__(self) -> "Server":
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.close_connections()

    @property
    def requests(self) -> Counter:
        return Counter(request.path for request in list(self.log))

    @property
    def bytes_sent(self) -> Counter:
        total: Counter = Counter()
        for request in list(self.log):
            total[request.path] += request.sent
        return total

    def file(self, path: str) -> Optional[Path]:
        """The file served at `path`, or None; files outside the two folders are never served."""
        parts = [part for part in path.split("/") if part]
        if any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
            return None
        in_zoo = path.startswith(ZOO_PATH + "/")
        found = self.zoo.joinpath(*parts[2:]) if in_zoo else self.root.joinpath(*parts)
        return found if found.is_file() else None

    def fault(self, path: str) -> Optional[Fault]:
        """Counts a request of `path`; returns the first fault that applies to it."""
        with self._mutex:
            found = [fault for fault in self.faults if fault.applies_to(path)]
        return found[0] if found else None


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: Server

    def __init__(self, *args: object):
        self._open: set = set()
        super().__init__(*args)

    def process_request(self, request: socket.socket, client_address: Tuple[str, int]) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Closes the connections that clients keep alive."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: socket.socket, client_address: Tuple[str, int]) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, *_: object) -> None:
        """Prints nothing: do_GET records the request."""

    def do_GET(self) -> None:
        owner = self.server.owner
        path = unquote(urlsplit(self.path).path)
        request = Request(self.command, path, self.headers.get("Range"))
        owner.log.append(request)
        fault = owner.fault(path) or Fault(path)
        try:
            request.status, headers, body = self._prepare(owner.file(path), fault)
            self.send_response(request.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                for block in self._limited(body, fault):
                    request.sent += len(block)
                    self.wfile.write(block)
        except ConnectionError:
            self.close_connection = True
        if owner.print_requests:
            facts = (self.command, path, request.range or "", request.status, request.sent)
            print("%s %s %s: %d, %d bytes" % facts, file=sys.stderr)

    do_HEAD = do_GET

    def _prepare(
        self, file: Optional[Path], fault: Fault
    ) -> Tuple[int, Dict[str, str], Iterable[bytes]]:
        """Returns the status, headers and body of the answer."""
        page = HTML if fault.page is True else fault.page
        if fault.status or (file is None and fault.content is None and not page):
            return fault.status or 404, {"Content-Length": "0"}, ()
        if page:
            return 200, {"Content-Length": str(len(page)), "Content-Type": "text/html"}, (page,)
        changed = None
        if fault.content is not None:
            size = len(fault.content)
            tag = '"changed-%x"' % zlib.crc32(fault.content)
        else:
            facts = file.stat()
            size = facts.st_size
            tag = '"%x-%x"' % (facts.st_mtime_ns, size)
            changed = formatdate(facts.st_mtime, usegmt=True)
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": tag,
            "Content-Type": TYPES.get(Path(self.path).suffix, "application/octet-stream"),
        }
        if changed:
            headers["Last-Modified"] = changed
        is_same = self.headers.get("If-Range", tag) in (tag, changed) or fault.ignore_if_range
        use_range = is_same and not fault.ignore_range
        span = byte_range(self.headers.get("Range"), size) if use_range else None
        start, stop = span or (0, size)
        if span and start >= stop:
            return 416, {"Content-Range": "bytes */%d" % size, "Content-Length": "0"}, ()
        if span:
            headers["Content-Range"] = "bytes %d-%d/%d" % (start, stop - 1, size)
        headers["Content-Length"] = str(stop - start if fault.length is None else fault.length)
        if fault.content is not None:
            body: Iterable[bytes] = (fault.content[start:stop],)
        else:
            body = _blocks(file, start, stop)
        return 206 if span else 200, headers, body

    def _limited(self, body: Iterable[bytes], fault: Fault) -> Iterable[bytes]:
        """Yields the body up to the fault's limit; closes the connection when there is one."""
        limits = [limit for limit in (fault.cut, fault.length) if limit is not None]
        if fault.stall and fault.cut is None:
            limits.append(0)
        left = min(limits) if limits else sys.maxsize
        for block in body:
            yield block[:left]
            left -= len(block)
            if left <= 0:
                break
        self.server.owner.stopping.wait(fault.stall)
        if limits:
            self.close_connection = True


def byte_range(header: Optional[str], size: int) -> Optional[Tuple[int, int]]:
    """First byte and the one after the last of a Range header (RFC 7233, 2.1).

    The file has no such byte where start >= stop. None where the header is to be ignored: it is
    missing, names several ranges or cannot be parsed.
    """
    match = re.fullmatch(r"bytes=(?:(\d+)-(\d*)|-(\d+))", header or "")
    if not match:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _blocks(file: Path, start: int, stop: int) -> Iterable[bytes]:
    with file.open("rb") as handle:
        handle.seek(start)
        while start < stop:
            block = handle.read(min(BLOCK, stop - start))
            if not block:
                return
            start += len(block)
            yield block


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("demo.server", __doc__)
    parser.add_argument("root", metavar="ROOT")
    parser.add_argument("port", metavar="PORT", type=int, nargs="?", default=0)
    arguments = parser.parse_args(argv)
    root, port = arguments.root, arguments.port
    if not Path(root).is_dir():
        raise TodusError("no folder %s; make one with: python -m demo.shapes %s" % (root, root))
    try:
        server = Server(root, port=port, print_requests=True)
    except (OSError, OverflowError) as error:
        raise TodusError("cannot open port %d (%s); give another, or none" % (port, error))
    with server:
        print("COCO_URL=%s\nZOO_URL=%s" % (server.url, server.zoo_url), flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(run("demo.server", main))
