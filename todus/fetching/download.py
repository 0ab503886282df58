"""Downloads one file: resumes what was cut, verifies the result, then renames it into place."""

import base64
import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from todus import files, locks
from todus.errors import TodusError
from todus.fetching import transport
from todus.fetching.archives import check_archive
from todus.fetching.transport import Policy, RetryableError
from todus.fetching.web_pages import looks_like_html
from todus.progress import Progress

if TYPE_CHECKING:
    import requests

Check = Callable[[Path], None]


def download(
    url: str,
    path: files.PathLike,
    sha256: str = "",
    check: Optional[Check] = None,
    policy: Optional[Policy] = None,
) -> Path:
    """Downloads `url` to `path`. A file that is there already, with the right digest where one is given, is not fetched again.

    The bytes are written to a temporary file beside `path`, which is renamed when every check has passed. After a cut the next try, or the
    next run, resumes with Range and If-Range; it starts again where the file changed on the server or the server has no ranges. The size
    and every digest that the server sends are compared. Archives (.zip, .tar.gz, .tgz, .tar) are read to their end.

    Args:
      url: http or https.
      path: the file.
      sha256: hexadecimal, where it is known.
      check: raises TodusError for a file that is not what it should be; replaces the check of archives.
      policy: timeouts and retries; default the environment's.

    Raises:
      NotFound: 404, 403 or 410. TodusError: the server cannot be reached, or every try ends with a bad file.
    """
    path = Path(path)
    if not _is_there(path, sha256):
        with locks.exclusive(path, str(path)):
            if not _is_there(path, sha256):
                _Download(
                    url, path, sha256, check or check_archive, policy or Policy.from_environment()
                ).run()
    return path


def _is_there(path: Path, sha256: str) -> bool:
    return path.exists() and (not sha256 or files.sha256(path) == sha256.lower())


def partial_size(path: files.PathLike) -> int:
    """Bytes that an unfinished download to `path` has on disk, 0 where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return files.beside(path, "part").stat().st_size
    return 0


class _Download:
    """One download. `part` holds the bytes so far, `note` the URL, size, validators and digests of the file that they belong to."""

    def __init__(self, url: str, path: Path, sha256: str, check: Check, policy: Policy):
        self.url, self.path, self.sha256, self.check, self.policy = url, path, sha256, check, policy
        self.part = files.beside(path, "part")
        self.note = files.beside(path, "part.json")
        self.received = 0
        self.is_page = bool(re.search(r"\.html?$", urlsplit(url).path))

    def run(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with transport.session() as connection, Progress(self.path.name, None) as progress:
            transport.retry(
                lambda: self._attempt(connection, progress),
                self.url,
                self.policy,
                lambda: self.received,
                progress.note,
            )

    def _attempt(self, connection: "requests.Session", progress: Progress) -> None:
        facts = self._read_facts()
        if not facts:
            self._discard()
        done = self.part.stat().st_size if facts else 0
        headers = {}
        if done:
            headers["Range"] = "bytes=%d-" % done
            if _validator(facts):
                headers["If-Range"] = _validator(facts)
        with contextlib.closing(
            transport.get(connection, self.url, self.policy, headers)
        ) as answer:
            if answer.status_code == 416:
                self._check_complete(answer, done)
            else:
                start, size = self._begin(answer, facts, done)
                progress.set(start, size)
                self._receive(answer, start, progress)
        self._finish()

    def _read_facts(self) -> Dict[str, Any]:
        """What `note` says about `part`; empty where there is no part, or it is not this URL's."""
        try:
            facts = files.read_json(self.note) if self.part.is_file() else {}
        except TodusError:
            facts = {}
        return facts if isinstance(facts, dict) and facts.get("url") == self.url else {}

    def _discard(self) -> None:
        for path in (self.part, self.note):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _check_complete(self, answer: "requests.Response", done: int) -> None:
        """Handles 416: the part is the complete file, or of another version of it, which is discarded."""
        match = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
        if not done or not match or int(match.group(1)) != done:
            self._discard_changed()

    def _discard_changed(self) -> None:
        self._discard()
        raise RetryableError("the file has changed on the server")

    def _begin(
        self, answer: "requests.Response", facts: Dict[str, Any], done: int
    ) -> Tuple[int, Optional[int]]:
        """Where in the file the answer's body starts (`done` where it continues the part, else 0), and the file's size where it is known.

        For 0 an empty part and its note are written.
        """
        if answer.headers.get("Content-Type", "").startswith("text/html") and not self.is_page:
            raise transport.WebPage()
        found = _facts_of(answer.headers, self.url)
        if answer.status_code == 206:
            match = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "")
            )
            same = all(
                facts.get(key) in (found.get(key), None) or found.get(key) is None
                for key in ("etag", "last_modified")
            )
            total = int(match.group(2)) if match and match.group(2) != "*" else None
            if (
                match
                and same
                and done
                and int(match.group(1)) == done
                and total in (None, facts.get("size"))
            ):
                return done, facts.get("size")
            self._discard_changed()
        size = transport.length_of(answer.headers)
        self.part.write_bytes(b"")
        files.write_json(self.note, dict(found, size=size))
        return 0, size

    def _receive(self, answer: "requests.Response", start: int, progress: Progress) -> None:
        """Writes the answer's body to the part from byte `start` on."""
        promised = transport.length_of(answer.headers)
        with open(str(self.part), "r+b", buffering=0) as file:
            file.truncate(start)
            file.seek(start)
            got = 0
            while True:
                block = transport.read(answer, transport.BLOCK)
                if not block:
                    break
                if start + got == 0 and looks_like_html(block) and not self.is_page:
                    file.truncate(0)
                    raise transport.WebPage()
                file.write(block)
                got += len(block)
                self.received += len(block)
                progress.add(len(block))
            os.fsync(file.fileno())
        if promised is not None and got < promised:
            raise RetryableError(transport.CUT)

    def _finish(self) -> None:
        """Renames the part into place, or discards it when a check fails."""
        problem = self._problem()
        if problem:
            self._discard()
            raise RetryableError(problem, hopeless=True)
        os.replace(str(self.part), str(self.path))
        self._discard()

    def _problem(self) -> str:
        """What is wrong with the complete part, "" for nothing."""
        facts = self._read_facts()
        size = self.part.stat().st_size
        if facts.get("size") not in (None, size):
            return "%d bytes came in place of %d" % (size, facts["size"])
        for kind, wanted in [("sha256", self.sha256.lower())] + sorted(
            facts.get("digests", {}).items()
        ):
            if wanted and _digest(self.part, kind) != wanted:
                return "what arrived has another %s than it should" % kind.upper()
        try:
            self.check(self.part)
        except TodusError as error:
            return "what arrived is damaged: %s" % error
        return ""


def _facts_of(headers: Mapping[str, str], url: str) -> Dict[str, Any]:
    etag = headers.get("ETag")
    return {
        "url": url,
        "etag": etag,
        "last_modified": headers.get("Last-Modified"),
        "digests": digests(headers),
    }


def _validator(facts: Mapping[str, Any]) -> str:
    """The value of If-Range: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    etag = facts.get("etag") or ""
    return etag if etag and not etag.startswith("W/") else facts.get("last_modified") or ""


def digests(headers: Mapping[str, str]) -> Dict[str, str]:
    """sha256, md5 or crc32c -> hexadecimal digest of the complete file, from the headers that object stores send.

    x-goog-hash (Google), Repr-Digest (RFC 9530), Digest (RFC 3230), Content-MD5, and the ETag of Amazon's S3, which is the MD5 of a file
    that was uploaded in one part.
    """
    found: Dict[str, str] = {}
    named = (
        headers.get("x-goog-hash", "")
        + ","
        + headers.get("Digest", "")
        + ","
        + headers.get("Repr-Digest", "")
    )
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
