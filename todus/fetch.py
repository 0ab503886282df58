"""Downloads that go on after a cut, are verified, and are whole when they have their name. See fetch_many for many small files."""

import base64
import contextlib
import hashlib
import os
import random
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, NamedTuple, Optional
from urllib.parse import urlsplit

from todus import __version__, files
from todus.command import one_line
from todus.errors import TodusError, UsageError
from todus.progress import Progress
from todus.unpack import check_archive, looks_like_html, unpack_tar, unpack_zip

if TYPE_CHECKING:  # imported where a connection is made: a build that has everything on disk does without
    import requests

__all__ = ["NotFound", "Policy", "download", "session", "size_of", "unpack_tar", "unpack_zip"]

BLOCK = 1 << 16
LONGEST_WAIT = 60.0
FEW = 3  # tries where waiting does not help: no first contact, a web page, a damaged file

Check = Callable[[Path], None]


class NotFound(TodusError):
    """The server has no such file."""


class Again(Exception):
    """This try failed; another may not.

    Args:
      reason: in a few words.
      after: seconds that the server asks to wait.
      hopeless: more than a few tries do not help.
      gives_up: what to raise after a few tries, in place of a TodusError with the reason.
      silent: nobody answered; before the first answer of all, only a few tries are made.
    """

    def __init__(self, reason: str, after: float = 0.0, hopeless: bool = False, gives_up: Optional[Exception] = None, silent: bool = False):
        super().__init__(reason)
        self.silent = silent
        self.after = after
        self.hopeless = hopeless or gives_up is not None
        self.gives_up = gives_up


class Policy(NamedTuple):
    """How patient a download is."""

    timeout: float = 60.0  # seconds without a byte
    retries: int = 10  # tries without a byte of progress before it gives up
    wait: float = 1.0  # seconds before the first retry; doubles up to LONGEST_WAIT

    @staticmethod
    def from_environment() -> "Policy":
        """TIMEOUT, RETRIES and RETRY_WAIT. Raises UsageError for what is no number."""
        values = []
        for name, default in (("TIMEOUT", Policy().timeout), ("RETRIES", Policy().retries), ("RETRY_WAIT", Policy().wait)):
            text = os.environ.get(name) or str(default)
            if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or (name != "RETRY_WAIT" and float(text) == 0):
                raise UsageError("%s=%s: give a number such as %g" % (name, one_line(text), default))
            values.append(float(text))
        return Policy(values[0], int(values[1]), values[2])

    def pause(self, failures: int, asked: float) -> float:
        """Seconds to wait after so many failures in a row: doubling, with a little chance so that many clients do not return at once."""
        return max(min(asked, 300.0), min(self.wait * 2 ** (failures - 1), LONGEST_WAIT) * random.uniform(0.75, 1.0))


def session(connections: int = 1) -> "requests.Session":
    """A session that keeps its connections alive."""
    import requests

    made = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    made.headers.update({"User-Agent": "todus/" + __version__, "Accept-Encoding": "identity"})
    return made


def get(connection: "requests.Session", url: str, policy: Policy, headers: Optional[Mapping[str, str]] = None, method: str = "GET"):
    """An answer whose body can be read. Raises Again or NotFound for one that has none, TodusError for a URL that is none."""
    import requests
    import urllib3

    try:
        answer = connection.request(method, url, headers=headers, stream=True, timeout=(min(policy.timeout, 30.0), policy.timeout))
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
        raise TodusError("%s is not a URL to download from (%s)" % (url, one_line(str(error))))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise Again(reason_of(error), silent=True)
    status = answer.status_code
    if status in (200, 206, 416):
        return answer
    answer.close()
    if status in (403, 404, 410):
        raise NotFound("the server has no %s (%d); check the name and the URL" % (url, status))
    if status in (408, 425, 429) or status >= 500:
        after = answer.headers.get("Retry-After", "")
        raise Again("the server answers %d" % status, float(after) if after.isdigit() else 0.0)
    raise TodusError("the server answers %d to %s; check the URL" % (status, url))


def read(answer: "requests.Response", most: int) -> bytes:
    """The next bytes of an answer's body, at most `most`; none at its end. Raises Again when the connection fails."""
    import requests
    import urllib3

    try:
        return answer.raw.read(most, decode_content=False)
    except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
        raise Again(reason_of(error))


def reason_of(error: Exception) -> str:
    """A few words for an exception of requests or urllib3."""
    text = repr(error)
    known = (
        ("NameResolution", "its name is not known"),
        ("Name or service", "its name is not known"),
        ("Temporary failure in name", "its name is not known"),
        ("Connection refused", "it refuses the connection"),
        ("unreachable", "the network is unreachable"),
        ("CERTIFICATE", "its certificate cannot be verified"),
        ("imeout", "no answer in time"),
        ("timed out", "no answer in time"),
        ("IncompleteRead", "the connection was cut"),
    )
    return next((words for mark, words in known if mark in text), "the connection was cut")


def size_of(connection: "requests.Session", url: str, policy: Policy) -> Optional[int]:
    """Content-Length of a URL, None where the server gives none. Raises NotFound or TodusError."""

    def ask() -> Optional[int]:
        with contextlib.closing(get(connection, url, policy, method="HEAD")) as answer:
            return length_of(answer.headers)

    return patiently(ask, url, policy)


def length_of(headers: Mapping[str, str]) -> Optional[int]:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def patiently(
    work: Callable[[], Any],
    url: str,
    policy: Policy,
    progress: Callable[[], int] = lambda: 0,
    note: Optional[Callable[[str], None]] = None,
    stop: Optional[threading.Event] = None,
) -> Any:
    """Calls work() until it raises no Again.

    Args:
      work: one try.
      url: for the message.
      policy: how often, with how much time between.
      progress: a number that grows while bytes arrive; each growth makes the tries start over.
      note: is told why and how long it waits.
      stop: ends the waiting when set.

    Raises:
      TodusError: too many tries without progress.
    """
    stop = stop or threading.Event()
    failures, few, best = 0, 0, progress()
    reached = best > 0
    while True:
        try:
            return work()
        except Again as error:
            if progress() > best:
                failures, best, reached = 0, progress(), True
            failures += 1
            few += error.hopeless
            if few >= FEW and error.gives_up:
                raise error.gives_up
            if stop.is_set() or few >= FEW or failures >= (policy.retries if reached or not error.silent else min(policy.retries, FEW)):
                raise TodusError("%s: %s; check the network and the URL, and run this again: it goes on from here" % (url, error))
            pause = policy.pause(failures, error.after)
            if note and pause >= 1:
                note("%s: %s; again in %d s" % (urlsplit(url).path, error, pause))
            stop.wait(pause)


def download(url: str, path: files.PathLike, sha256: str = "", check: Optional[Check] = None, policy: Optional[Policy] = None) -> Path:
    """Fetches `url` to `path`, which has that name only when it is whole; what is there already, and has the digest, is not fetched again.

    A cut is resumed with Range and If-Range; a file that changed on the server, or a server that knows no ranges, starts again. The size
    must be the promised one, and every digest that the server gives must hold. Archives (.zip, .tar.gz, .tgz, .tar) are read to their end.

    Args:
      url: http or https.
      path: the file; its unfinished part lies beside it, hidden, and survives.
      sha256: hexadecimal, where it is known.
      check: raises TodusError when the file is not what it should be; in place of the check of archives.
      policy: patience; default the environment's.

    Raises:
      NotFound: 404, 403 or 410. TodusError: the network fails for long, or what arrives is never whole.
    """
    path = Path(path)
    if not _is_there(path, sha256):
        with files.lock(path, str(path)):
            if not _is_there(path, sha256):
                _Download(url, path, sha256, check or check_archive, policy or Policy.from_environment()).run()
    return path


def _is_there(path: Path, sha256: str) -> bool:
    return path.exists() and (not sha256 or files.sha256(path) == sha256.lower())


def arrived(path: files.PathLike) -> int:
    """Bytes of a download to `path` that was begun and not ended."""
    with contextlib.suppress(FileNotFoundError):
        return files.beside(path, "part").stat().st_size
    return 0


class _Download:
    """One file on its way: PART and, beside it, PART.json with what the server said about it."""

    def __init__(self, url: str, path: Path, sha256: str, check: Check, policy: Policy):
        self.url, self.path, self.sha256, self.check, self.policy = url, path, sha256, check, policy
        self.part = files.beside(path, "part")
        self.note = files.beside(path, "part.json")
        self.received = 0

    def run(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with session() as connection, Progress(self.path.name, None) as progress:
            patiently(lambda: self._attempt(connection, progress), self.url, self.policy, lambda: self.received, progress.note)

    def _attempt(self, connection: "requests.Session", progress: Progress) -> None:
        facts = self._facts()
        done = self.part.stat().st_size if facts else 0
        headers = {}
        if done:
            headers["Range"] = "bytes=%d-" % done
            if _validator(facts):
                headers["If-Range"] = _validator(facts)
        with contextlib.closing(get(connection, self.url, self.policy, headers)) as answer:
            if answer.status_code == 416:
                self._beyond(answer, done)
            else:
                done = self._accept(answer, facts, done)
                progress.set(done, self._facts().get("size"))
                self._receive(answer, done, progress)
        self._finish()

    def _facts(self) -> Dict[str, Any]:
        """What is known of the part; empty, and no part, where there is nothing to go on from."""
        try:
            facts = files.read_json(self.note) if self.part.is_file() else {}
        except TodusError:
            facts = {}
        if isinstance(facts, dict) and facts.get("url") == self.url:
            return facts
        self._discard()
        return {}

    def _discard(self) -> None:
        for path in (self.part, self.note):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _beyond(self, answer: "requests.Response", done: int) -> None:
        """416: the part is as long as the file, or belongs to another file."""
        match = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
        if not done or not match or int(match.group(1)) != done:
            self._discard()
            raise Again("the file has changed on the server")

    def _accept(self, answer: "requests.Response", facts: Dict[str, Any], done: int) -> int:
        """Where in the file the answer's body starts: `done` for a part that fits, 0 for the whole file."""
        kind = answer.headers.get("Content-Type", "")
        if kind.startswith("text/html") and not re.search(r"\.html?$", urlsplit(self.url).path):
            raise Again("a web page came in place of the file (a captive portal, or a wrong URL)", hopeless=True)
        found = _described(answer.headers, self.url)
        if answer.status_code == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            same = all(facts.get(key) in (found.get(key), None) or found.get(key) is None for key in ("etag", "last_modified"))
            total = int(match.group(2)) if match and match.group(2) != "*" else None
            if match and same and done and int(match.group(1)) == done and total in (None, facts.get("size")):
                return done
            self._discard()
            raise Again("the file has changed on the server")
        length = length_of(answer.headers)
        self.part.write_bytes(b"")
        files.write_json(self.note, dict(found, size=length))
        return 0

    def _receive(self, answer: "requests.Response", done: int, progress: Progress) -> None:
        promised = length_of(answer.headers)
        with open(str(self.part), "r+b", buffering=0) as file:
            file.truncate(done)
            file.seek(done)
            got = 0
            while True:
                block = read(answer, BLOCK)
                if not block:
                    break
                if done + got == 0 and looks_like_html(block) and not re.search(r"\.html?$", urlsplit(self.url).path):
                    file.truncate(0)
                    raise Again("a web page came in place of the file (a captive portal, or a wrong URL)", hopeless=True)
                file.write(block)
                got += len(block)
                self.received += len(block)
                progress.add(len(block))
            os.fsync(file.fileno())
        if promised is not None and got < promised:
            raise Again("the connection was cut")

    def _finish(self) -> None:
        """The part gets its name when every check holds; else it goes."""
        problem = self._problem()
        if problem:
            self._discard()
            raise Again(problem, hopeless=True)
        os.replace(str(self.part), str(self.path))
        self._discard()

    def _problem(self) -> str:
        facts = self._facts()
        size = self.part.stat().st_size
        if facts.get("size") not in (None, size):
            return "%d bytes came in place of %d" % (size, facts["size"])
        for kind, wanted in [("sha256", self.sha256.lower())] + sorted(facts.get("digests", {}).items()):
            if wanted and _digest(self.part, kind) != wanted:
                return "what arrived has another %s than it should" % kind.upper()
        try:
            self.check(self.part)
        except TodusError as error:
            return "what arrived is damaged: %s" % error
        return ""


def _described(headers: Mapping[str, str], url: str) -> Dict[str, Any]:
    etag = headers.get("ETag")
    return {"url": url, "etag": etag, "last_modified": headers.get("Last-Modified"), "digests": digests(headers)}


def _validator(facts: Mapping[str, Any]) -> str:
    """What If-Range may say: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    etag = facts.get("etag") or ""
    return etag if etag and not etag.startswith("W/") else facts.get("last_modified") or ""


def digests(headers: Mapping[str, str]) -> Dict[str, str]:
    """kind -> hexadecimal digest of the whole file, from what object stores send.

    x-goog-hash (Google), Repr-Digest (RFC 9530), Digest (RFC 3230), Content-MD5, and the ETag of Amazon's S3, which is the MD5 of a file
    that was put there in one part.
    """
    found: Dict[str, str] = {}
    named = headers.get("x-goog-hash", "") + "," + headers.get("Digest", "") + "," + headers.get("Repr-Digest", "")
    for kind, value in re.findall(r"([\w-]+)=:?([A-Za-z0-9+/]+={0,2})", named):
        kind = {"sha-256": "sha256", "md5": "md5", "crc32c": "crc32c"}.get(kind.lower(), "")
        with contextlib.suppress(ValueError):
            if kind:
                found[kind] = base64.b64decode(value, validate=True).hex()
    with contextlib.suppress(ValueError):
        if headers.get("Content-MD5"):
            found["md5"] = base64.b64decode(headers["Content-MD5"], validate=True).hex()
    match = re.fullmatch(r'"([0-9a-f]{32})"', headers.get("ETag", ""))
    if match and headers.get("Server", "") == "AmazonS3":
        found["md5"] = match.group(1)
    lengths = {"sha256": 64, "md5": 32, "crc32c": 8}
    return {kind: value for kind, value in found.items() if len(value) == lengths[kind]}


def _digest(path: Path, kind: str) -> str:
    if kind == "crc32c":
        import google_crc32c

        digest = google_crc32c.Checksum()
    else:
        digest = hashlib.new(kind)
    with open(str(path), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.digest().hex()
