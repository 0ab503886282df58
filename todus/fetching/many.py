"""Downloads many small files in parallel over keep-alive connections."""

import contextlib
import functools
import os
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, NamedTuple, Optional, Sequence, Tuple

from todus import files
from todus.errors import TodusError
from todus.fetching import transport
from todus.fetching.web_pages import looks_like_html
from todus.progress import Progress

if TYPE_CHECKING:
    import requests

Check = Callable[[bytes], str]
LARGEST = 256 << 20  # bytes of one file, which is held in memory


class Wanted(NamedTuple):
    """A file to download."""

    url: str
    path: Path


class Missing(NamedTuple):
    """A file that the server does not have, or sends damaged each time."""

    path: Path
    reason: str


def download_many(
    wanted: Sequence[Wanted],
    check: Check,
    connections: int,
    progress: Progress,
    most_missing: int,
    policy: Optional[transport.Policy] = None,
) -> List[Missing]:
    """Downloads each file to a temporary file, which is then renamed.

    Args:
      wanted: the files; their folders exist.
      check: returns what is wrong with a file's bytes, or ""; a wrong file is downloaded again, up
        to FEW_TRIES times.
      connections: the number of parallel connections.
      progress: counts the bytes.
      most_missing: the number of missing files that is not an error.
      policy: timeouts and retries; default: from the environment.

    Returns:
      The missing files, in the order of `wanted`.

    Raises:
      TodusError: the server cannot be reached, sends web pages, or lacks too many of the files.
    """
    policy = policy or transport.Policy.from_environment()
    batch = _Batch(wanted, check, progress, most_missing, policy)
    with transport.session(connections) as connection:
        threads = [
            threading.Thread(target=batch.work, args=(connection,), daemon=True)
            for _ in range(min(connections, len(wanted)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)
        finally:
            batch.stop.set()
    if batch.failure:
        raise batch.failure
    return [missing for _, missing in sorted(batch.missing)]


class _Batch:
    """The state that the threads share."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        check: Check,
        progress: Progress,
        most_missing: int,
        policy: transport.Policy,
    ):
        self.check, self.progress = check, progress
        self.most_missing, self.policy = most_missing, policy
        self.todo: queue.SimpleQueue = queue.SimpleQueue()
        for pair in enumerate(wanted):
            self.todo.put(pair)
        self.missing: List[Tuple[int, Missing]] = []
        self.failure: Optional[BaseException] = None
        self.stop = threading.Event()
        self.mutex = threading.Lock()
        self.arrived = 0  # files

    def work(self, connection: "requests.Session") -> None:
        """Downloads files until none is left or a thread has failed."""
        try:
            with contextlib.suppress(queue.Empty):
                while not self.stop.is_set():
                    self._download(connection, *self.todo.get_nowait())
        except BaseException as error:
            with self.mutex:
                self.failure = self.failure or error
            self.stop.set()

    def _download(self, connection: "requests.Session", index: int, wanted: Wanted) -> None:
        work = functools.partial(self._fetch, connection, wanted)
        try:
            data = transport.retry(
                work, wanted.url, self.policy, lambda: self.arrived, self.progress.note, self.stop
            )
        except transport.NotFound:
            self._add_missing(index, Missing(wanted.path, "the server does not have it"))
        except _Damaged as damage:
            self._add_missing(index, Missing(wanted.path, str(damage)))
        else:
            part = files.beside(wanted.path, "part")
            part.write_bytes(data)
            os.replace(str(part), str(wanted.path))
            with self.mutex:
                self.arrived += 1
            self.progress.add(len(data))

    def _add_missing(self, index: int, missing: Missing) -> None:
        with self.mutex:
            self.missing.append((index, missing))
            if len(self.missing) > self.most_missing and self.failure is None:
                first = [each for _, each in self.missing[:3]]
                names = ", ".join("%s (%s)" % (each.path.name, each.reason) for each in first)
                self.failure = TodusError(
                    "%d files are missing, more than MAX_MISSING allows: %s; "
                    "check the URL, or raise MAX_MISSING" % (len(self.missing), names)
                )
        if self.failure:
            self.stop.set()

    def _fetch(self, connection: "requests.Session", wanted: Wanted) -> bytes:
        """The file's bytes, in one try."""
        with contextlib.closing(transport.get(connection, wanted.url, self.policy)) as answer:
            promised = transport.length_of(answer.headers)
            data = _body(answer, promised)
        if promised is not None and len(data) < promised:
            raise transport.RetryableError(transport.CUT)
        if looks_like_html(data):
            raise transport.WebPage()
        problem = self.check(data)
        if problem:
            raise transport.RetryableError(problem, final=_Damaged(problem))
        return data


def _body(answer: "requests.Response", promised: Optional[int]) -> bytes:
    """The answer's body. Raises RetryableError if the connection fails or the body is too long."""
    if promised is not None and promised > LARGEST:
        raise transport.RetryableError("the file has %d bytes" % promised, hopeless=True)
    parts: List[bytes] = []
    for part in iter(lambda: transport.read(answer, promised or transport.BLOCK), b""):
        if len(part) == promised:
            return part
        parts.append(part)
        if promised is None and len(parts) * transport.BLOCK > LARGEST:
            raise transport.RetryableError("the file does not end", hopeless=True)
    return b"".join(parts)


class _Damaged(Exception):
    """The server sends a damaged file each time; the message describes the damage."""
