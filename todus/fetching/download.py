"""One file, fetched to its end: a cut is resumed, and the file gets its name when every check holds."""

import base64
import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional
from urllib.parse import urlsplit

from todus import files, locks
from todus.errors import TodusError
from todus.fetching.archives import check_archive, looks_like_html
from todus.fetching.transport import Again, Policy, get, length_of, patiently, read, session
from todus.progress import Progress

if TYPE_CHECKING:
    import requests

BLOCK = 1 << 16


Check = Callable[[Path], None]


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
        with locks.exclusive(path, str(path)):
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
