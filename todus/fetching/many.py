"""Many small files over many connections that are kept alive."""

import contextlib
import os
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, NamedTuple, Optional, Sequence, Tuple

from todus import files
from todus.errors import TodusError
from todus.fetching import transport
from todus.fetching.archives import looks_like_html
from todus.progress import Progress

if TYPE_CHECKING:
    import requests

Check = Callable[[bytes], str]
LARGEST = 256 << 20  # bytes of one file, which is held in memory


class Wanted(NamedTuple):
    url: str
    path: Path


class Missing(NamedTuple):
    """A file that the server does not have, or that arrives damaged every time."""

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
    """Fetches every file, each written beside its place and renamed.

    Args:
      wanted: the files; their folders exist.
      check: what is wrong with a file's bytes, "" for nothing; a file that is wrong is fetched again, a few times.
      connections: how many at once.
      progress: is told each file's bytes.
      most_missing: more missing files than this end it.
      policy: patience; default the environment's.

    Returns:
      What could not be had, in the order of `wanted`.

    Raises:
      TodusError: the server cannot be reached for long, sends web pages, or has too few of the files.
    """
    crew = _Crew(wanted, check, progress, most_missing, policy or transport.Policy.from_environment())
    with transport.session(connections) as connection:
        threads = [threading.Thread(target=crew.work, args=(connection,), daemon=True) for _ in range(min(connections, len(wanted)))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)
        finally:
            crew.stop.set()
    if crew.failure:
        raise crew.failure
    return [missing for _, missing in sorted(crew.missing)]


class _Crew:
    """What the threads share."""

    def __init__(self, wanted: Sequence[Wanted], check: Check, progress: Progress, most_missing: int, policy: transport.Policy):
        self.check, self.progress, self.most_missing, self.policy = check, progress, most_missing, policy
        self.todo: queue.SimpleQueue = queue.SimpleQueue()
        for pair in enumerate(wanted):
            self.todo.put(pair)
        self.missing: List[Tuple[int, Missing]] = []
        self.failure: Optional[BaseException] = None
        self.stop = threading.Event()
        self.mutex = threading.Lock()
        self.arrived = 0

    def work(self, connection: "requests.Session") -> None:
        try:
            while not self.stop.is_set():
                try:
                    index, wanted = self.todo.get_nowait()
                except queue.Empty:
                    return
                self.one(connection, index, wanted)
        except BaseException as error:
            with self.mutex:
                self.failure = self.failure or error
            self.stop.set()

    def one(self, connection: "requests.Session", index: int, wanted: Wanted) -> None:
        try:
            data = transport.patiently(
                lambda: self.attempt(connection, wanted), wanted.url, self.policy, lambda: self.arrived, self.progress.note, self.stop
            )
        except transport.NotFound:
            self.miss(index, Missing(wanted.path, "the server does not have it"))
        except _Damaged as damage:
            self.miss(index, Missing(wanted.path, str(damage)))
        else:
            part = files.beside(wanted.path, "part")
            part.write_bytes(data)
            os.replace(str(part), str(wanted.path))
            with self.mutex:
                self.arrived += 1
            self.progress.add(len(data))

    def miss(self, index: int, missing: Missing) -> None:
        with self.mutex:
            self.missing.append((index, missing))
            if len(self.missing) > self.most_missing and self.failure is None:
                names = ", ".join("%s (%s)" % (each.path.name, each.reason) for _, each in self.missing[:3])
                self.failure = TodusError(
                    "%d files cannot be had, more than MAX_MISSING allows: %s; check the URL, or raise MAX_MISSING"
                    % (len(self.missing), names)
                )
        if self.failure:
            self.stop.set()

    def attempt(self, connection: "requests.Session", wanted: Wanted) -> bytes:
        with contextlib.closing(transport.get(connection, wanted.url, self.policy)) as answer:
            promised = transport.length_of(answer.headers)
            data = _body(answer, promised)
        if promised is not None and len(data) < promised:
            raise transport.Again("the connection was cut")
        if looks_like_html(data):
            raise transport.Again("a web page came in place of the file (a captive portal, or a wrong URL)", hopeless=True)
        problem = self.check(data)
        if problem:
            raise transport.Again(problem, gives_up=_Damaged(problem))
        return data


def _body(answer: "requests.Response", promised: Optional[int]) -> bytes:
    """What comes, in one piece where the length is promised. Raises Again when the connection fails or far too much comes."""
    if promised is not None and promised > LARGEST:
        raise transport.Again("a file of %d bytes came" % promised, hopeless=True)
    parts: List[bytes] = []
    while True:
        part = transport.read(answer, promised or transport.BLOCK)
        if not part:
            return b"".join(parts)
        parts.append(part)
        if len(part) == promised:
            return part
        if promised is None and len(parts) * transport.BLOCK > LARGEST:
            raise transport.Again("the file does not end", hopeless=True)


class _Damaged(Exception):
    """The same damage every time: the server's own file is bad."""
