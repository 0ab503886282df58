"""A loopback HTTP server laid out like COCO's and the zoo's, with ranges, and with faults on demand.

    python -m demo.server ROOT [PORT]        # PORT 0, the default, takes a free one; Ctrl-C stops it

It prints two lines to export:

    COCO_URL=http://127.0.0.1:PORT                             what lies under ROOT, such as /zips/val2017.zip
    ZOO_URL=http://127.0.0.1:PORT/models/object_detection      ROOT/models/object_detection where there is one, else demo/zoo

GET and HEAD, keep-alive, Content-Length, ETag, Last-Modified, If-Range, and a single Range (206, 416), as an object store answers.
"""

import fnmatch
import http.server
import re
import socket
import sys
import threading
import zlib
from collections import Counter
from dataclasses import dataclass
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
    """What was asked and what was answered."""

    method: str
    path: str
    range: Optional[str]  # the Range header as sent
    status: int = 0
    sent: int = 0  # bytes of the body that went out, or are about to


class Fault:
    """Something that goes wrong when `path` is asked for.

    Args:
      path: the path on the server, such as "/zips/val2017.zip"; * and ? match as in a shell.
      times: how many requests it strikes, None for all.
      skip: how many requests go well before it strikes.
      status: answer with this code and an empty body: 404, 503.
      page: answer 200 with this HTML in place of the file, as a captive portal does; True for a page of the server's own.
      content: the file's content from now on, with a new ETag: the file changed between requests.
      cut: close the connection after this many bytes of the body.
      stall: wait so many seconds after `cut` bytes (0 if not given), then close the connection.
      length: the Content-Length that is claimed; the body is the file's, as far as that allows.
      ignore_range: answer 200 with the whole file to a Range request.
    """

    def __init__(
        self,
        path: str,
        times: Optional[int] = None,
        skip: int = 0,
        status: Optional[int] = None,
        page: Union[bytes, bool] = False,
        content: Optional[bytes] = None,
        cut: Optional[int] = None,
        stall: float = 0.0,
        length: Optional[int] = None,
        ignore_range: bool = False,
    ):
        self.path = path
        self.times = times
        self.skip = skip
        self.status = status
        self.page = HTML if page is True else page
        self.content = content
        self.cut = 0 if stall and cut is None else cut
        self.stall = stall
        self.length = length
        self.ignore_range = ignore_range
        self.seen = 0

    def strikes(self, path: str) -> bool:
        """Counts a request for `path` and says whether this fault applies to it."""
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
      url, zoo_url: what COCO_URL and ZOO_URL are set to.
      requests: path -> number of requests.
      bytes_sent: path -> bytes of bodies that went out.
      log: every Request, in the order they came.
      faults: may be changed while it runs.
    """

    def __init__(
        self,
        root: Union[str, Path],
        faults: Iterable[Fault] = (),
        port: int = 0,
        zoo: Union[str, Path, None] = None,
        talk: bool = False,
    ):
        self.root = Path(root)
        own = self.root / ZOO_PATH.strip("/")
        self.zoo = Path(zoo) if zoo else own if own.is_dir() else ZOO
        self.faults = list(faults)
        self.talk = talk
        self.log: List[Request] = []
        self.stopping = threading.Event()
        self._mutex = threading.Lock()
        self._listener = _Listener(("127.0.0.1", port), _Handler)
        self._listener.owner = self
        self.url = "http://127.0.0.1:%d" % self._listener.server_address[1]
        self.zoo_url = self.url + ZOO_PATH

    def __enter__(self) -> "Server":
        threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.hang_up()

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
        """The file behind a path on the server, or None; nothing outside the two folders is served."""
        parts = [part for part in path.split("/") if part]
        if any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
            return None
        zoo = path.startswith(ZOO_PATH + "/")
        found = (
            (self.zoo.joinpath(*parts[2:]) if zoo else self.root.joinpath(*parts))
            if parts
            else self.root
        )
        return found if found.is_file() else None

    def fault(self, path: str) -> Optional[Fault]:
        """The first fault that strikes this request."""
        with self._mutex:
            striking = [fault for fault in self.faults if fault.strikes(path)]
        return striking[0] if striking else None


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

    def hang_up(self) -> None:
        """Ends the connections that clients keep alive."""
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

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Requests are recorded by the server itself."""

    def _answer(self) -> None:
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
        if owner.talk:
            print(
                "%s %s %s: %d, %d bytes"
                % (self.command, path, request.range or "", request.status, request.sent),
                file=sys.stderr,
            )

    def _prepare(
        self, file: Optional[Path], fault: Fault
    ) -> Tuple[int, Dict[str, str], Iterable[bytes]]:
        """Status, headers and body of the answer."""
        if fault.status or (file is None and fault.content is None and not fault.page):
            return fault.status or 404, {"Content-Length": "0"}, ()
        if fault.page:
            return (
                200,
                {"Content-Length": str(len(fault.page)), "Content-Type": "text/html"},
                (fault.page,),
            )
        if fault.content is not None:
            size, tag, changed = (
                len(fault.content),
                '"changed-%x"' % zlib.crc32(fault.content),
                None,
            )
        else:
            facts = file.stat()
            size, tag, changed = (
                facts.st_size,
                '"%x-%x"' % (facts.st_mtime_ns, facts.st_size),
                formatdate(facts.st_mtime, usegmt=True),
            )
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": tag,
            "Content-Type": TYPES.get(Path(self.path).suffix, "application/octet-stream"),
        }
        if changed:
            headers["Last-Modified"] = changed
        heeded = not fault.ignore_range and self.headers.get("If-Range", tag) in (tag, changed)
        span = byte_range(self.headers.get("Range"), size) if heeded else None
        start, stop = span or (0, size)
        if span and start >= stop:
            return 416, {"Content-Range": "bytes */%d" % size, "Content-Length": "0"}, ()
        if span:
            headers["Content-Range"] = "bytes %d-%d/%d" % (start, stop - 1, size)
        headers["Content-Length"] = str(stop - start if fault.length is None else fault.length)
        body = (
            (fault.content[start:stop],)
            if fault.content is not None
            else _blocks(file, start, stop)
        )
        return 206 if span else 200, headers, body

    def _limited(self, body: Iterable[bytes], fault: Fault) -> Iterable[bytes]:
        """The body as far as the fault lets it go; closes the connection where it is not whole."""
        limits = [limit for limit in (fault.cut, fault.length) if limit is not None]
        left = min(limits) if limits else None
        for block in body:
            yield block if left is None else block[:left]
            left = None if left is None else left - len(block)
            if left is not None and left <= 0:
                break
        if fault.stall:
            self.server.owner.stopping.wait(fault.stall)
        if limits:
            self.close_connection = True


def byte_range(header: Optional[str], size: int) -> Optional[Tuple[int, int]]:
    """First byte and the one after the last of a Range header (RFC 7233, 2.1); start >= stop where the file has no such byte.

    None for no header, more than one range, or one that cannot be read: such a header is to be ignored.
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
    if not Path(arguments.root).is_dir():
        raise TodusError(
            "no folder %s; make one with: python -m demo.shapes %s"
            % (arguments.root, arguments.root)
        )
    try:
        server = Server(arguments.root, port=arguments.port, talk=True)
    except (OSError, OverflowError) as error:
        raise TodusError(
            "port %d cannot be had (%s); give another, or none for a free one"
            % (arguments.port, error)
        )
    with server:
        print("COCO_URL=%s\nZOO_URL=%s" % (server.url, server.zoo_url), flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(run("demo.server", main))
