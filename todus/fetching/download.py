"""Downloads one file: resumes, verifies the result, then renames it."""

import base64
import contextlib
import functools
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

from todus import files, locks
from todus.errors import TodusError
from todus.fetching import transport
from todus.fetching.archives import check_archive
from todus.fetching.transport import Policy, RetryableError
from todus.fetching.web_pages import looks_like_html
from todus.progress import Progress
from todus.text import without_credentials

if TYPE_CHECKING:
    import requests

Check = Callable[[Path], None]
_DIGITS = {"sha256": 64, "md5": 32, "crc32c": 8}  # of the digests, in hexadecimal
MOST_UNKNOWN = 8 << 30  # bytes of a file whose size the server does not send


def download(
    url: str,
    path: files.PathLike,
    sha256: str = "",
    check: Check = check_archive,
    policy: Optional[Policy] = None,
) -> Path:
    """Downloads `url` to `path`, unless the file exists with the right digest.

    Writes a temporary file beside `path` and renames it after all checks. An interrupted download
    resumes with Range and If-Range, and restarts if the file changed on the server or the server
    does not support ranges. The size and each digest that the server sends are compared.

    Args:
      url: http or https.
      path: the file to write.
      sha256: the expected digest in hexadecimal; "" if unknown.
      check: raises TodusError for a wrong file; the default reads archives to their end.
      policy: timeouts and retries; default: from the environment.

    Raises:
      NotFound: the server answers 404, 403 or 410.
      TodusError: the server cannot be reached, or each try ends with a wrong file.
    """
    path = Path(path)
    if not _exists(path, sha256):
        with locks.exclusive(path, str(path)):
            if not _exists(path, sha256):
                policy = policy or Policy.from_environment()
                _Download(url, path, sha256, check, policy).run()
    return path


def _exists(path: Path, sha256: str) -> bool:
    return path.exists() and (not sha256 or files.sha256(path) == sha256.lower())


def partial_size(path: files.PathLike) -> int:
    """Bytes on disk of an unfinished download to `path`; 0 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return files.beside(path, "part").stat().st_size
    return 0


class _Download:
    """One download.

    Attributes:
      part: the file with the bytes so far.
      note: a JSON file with the URL, size, validators and digests of the file being downloaded.
      furthest: the furthest byte of the file that this process has received.
      is_page: whether the URL is that of a web page.
    """

    def __init__(self, url: str, path: Path, sha256: str, check: Check, policy: Policy):
        self.url, self.path, self.sha256, self.check, self.policy = url, path, sha256, check, policy
        self.part = files.beside(path, "part")
        self.note = files.beside(path, "part.json")
        self.furthest = 0
        self._name = without_credentials(url)
        self.is_page = bool(re.search(r"\.html?$", transport.path_of(url)))

    def run(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with transport.session() as connection, Progress(self.path.name, None) as progress:
            work = functools.partial(self._attempt, connection, progress)
            transport.retry(work, self.url, self.policy, lambda: self.furthest, progress.note)

    def _attempt(self, connection: "requests.Session", progress: Progress) -> None:
        facts = self._read_facts()
        if not facts:
            self._discard()
        done = self.part.stat().st_size if facts else 0
        headers = {}
        if done:
            headers["Range"] = "bytes=%d-" % done
            headers.update(_if_range(facts))
        request = transport.get(connection, self.url, self.policy, headers)
        with contextlib.closing(request) as answer:
            if answer.status_code == 416:
                self._check_complete(answer, done)
            else:
                start, size = self._begin(answer, facts, done)
                progress.set(start, size)
                self._receive(answer, start, progress)
        self._finish()

    def _read_facts(self) -> Dict[str, Any]:
        """The content of `note`; empty if there is no part, or it is of another URL."""
        try:
            facts = files.read_json(self.note) if self.part.is_file() else {}
        except TodusError:
            facts = {}
        return facts if _are_facts(facts) and facts["url"] == self._name else {}

    def _discard(self) -> None:
        for path in (self.part, self.note):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _check_complete(self, answer: "requests.Response", done: int) -> None:
        """Handles status 416: the part is the complete file, or of another version of it."""
        match = re.fullmatch(r"bytes \*/([0-9]{1,18})", answer.headers.get("Content-Range", ""))
        if not done or not match or int(match.group(1)) != done:
            self._discard_changed()

    def _discard_changed(self) -> None:
        self._discard()
        raise RetryableError("the file has changed on the server")

    def _begin(
        self, answer: "requests.Response", facts: Dict[str, Any], done: int
    ) -> Tuple[int, Optional[int]]:
        """Prepares the part for the answer's body.

        Returns the byte of the file at which the body starts (`done` if it continues the part,
        otherwise 0), and the size of the file, if known.
        """
        if answer.headers.get("Content-Type", "").startswith("text/html") and not self.is_page:
            raise transport.WebPage()
        found = {"url": self._name, "digests": digests(answer.headers)}
        found["etag"] = answer.headers.get("ETag")
        found["last_modified"] = answer.headers.get("Last-Modified")
        if answer.status_code == 206:
            content_range = answer.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]+|\*)", content_range)
            is_same = all(
                None in (facts.get(key), found[key]) or facts[key] == found[key]
                for key in ("etag", "last_modified")
            )
            sizes = ("*", str(facts.get("size")))
            is_next = match and done == int(match.group(1)) > 0 and match.group(2) in sizes
            if not (is_next and is_same):
                self._discard_changed()
            return done, facts.get("size")
        size = transport.length_of(answer.headers)
        self.part.write_bytes(b"")
        files.write_json(self.note, dict(found, size=size))
        return 0, size

    def _receive(self, answer: "requests.Response", start: int, progress: Progress) -> None:
        """Writes the answer's body to the part, from byte `start` on."""
        promised = transport.length_of(answer.headers)
        with self._discarding(promised), open(str(self.part), "r+b", buffering=0) as file:
            file.truncate(start)
            file.seek(start)
            got = 0
            for block in iter(lambda: transport.read(answer, transport.BLOCK, at_once=True), b""):
                if start + got == 0 and looks_like_html(block) and not self.is_page:
                    file.truncate(0)
                    raise transport.WebPage()
                file.write(block)
                got += len(block)
                if promised is None and got > MOST_UNKNOWN:
                    what = "%s does not end (%d bytes, and no Content-Length); check the URL"
                    raise TodusError(what % (self.url, got))
                self.furthest = max(self.furthest, start + got)
                progress.add(len(block))
            os.fsync(file.fileno())
        if promised is not None and got < promised:
            raise RetryableError(transport.CUT)

    @contextlib.contextmanager
    def _discarding(self, promised: Optional[int]) -> Iterator[None]:
        """Removes a part that has filled the disk, or that need never end: no run can resume it."""
        try:
            yield
        except (OSError, TodusError):
            if promised is None:
                self._discard()
            raise

    def _finish(self) -> None:
        """Renames the part, or discards it if a check fails."""
        problem = self._problem()
        if not problem:
            os.replace(str(self.part), str(self.path))
        self._discard()
        if problem:
            raise RetryableError(problem, hopeless=True)

    def _problem(self) -> str:
        """What is wrong with the complete part; "" if it is right."""
        facts = self._read_facts()
        size = self.part.stat().st_size
        if facts.get("size") not in (None, size):
            return "the downloaded file has %d bytes instead of %d" % (size, facts["size"])
        expected = [("sha256", self.sha256.lower())] + sorted(facts.get("digests", {}).items())
        for kind, digest in expected:
            if digest and _digest(self.part, kind) != digest:
                return "the downloaded file has the wrong %s" % kind.upper()
        try:
            self.check(self.part)
        except TodusError as error:
            return "the downloaded file is damaged: %s" % error
        return ""


def _are_facts(facts: Any) -> bool:
    """Whether a value is what `note` has: a damaged one is that of no download."""
    if not isinstance(facts, dict) or not isinstance(facts.get("digests", {}), dict):
        return False
    digests_ = facts.get("digests", {})
    texts = [facts.get(key) for key in ("etag", "last_modified")] + list(digests_.values())
    return (
        isinstance(facts.get("url"), str)
        and isinstance(facts.get("size"), (int, type(None)))
        and all(isinstance(text, (str, type(None))) for text in texts)
        and set(digests_) <= set(_DIGITS)
    )


def _if_range(facts: Mapping[str, Any]) -> Dict[str, str]:
    """The header If-Range with a strong ETag, otherwise the date (RFC 9110, 13.1.5), if known."""
    etag = facts.get("etag") or ""
    validator = ("" if etag.startswith("W/") else etag) or facts.get("last_modified")
    return {"If-Range": validator} if validator else {}


def digests(headers: Mapping[str, str]) -> Dict[str, str]:
    """sha256, md5 or crc32c -> hexadecimal digest of the complete file, from the answer's headers.

    Reads x-goog-hash (Google), Repr-Digest (RFC 9530), Digest (RFC 3230), Content-MD5, and the ETag
    of Amazon S3, which is the MD5 of a file that was uploaded in one part.
    """
    found: Dict[str, str] = {}
    named = [headers.get(name, "") for name in ("x-goog-hash", "Digest", "Repr-Digest")]
    pairs = re.findall(r"([\w-]+)=:?([A-Za-z0-9+/]+={0,2})", ",".join(named))
    if headers.get("Content-MD5"):
        pairs.append(("md5", headers["Content-MD5"]))
    kinds = {"sha-256": "sha256", "md5": "md5", "crc32c": "crc32c"}
    for kind, value in pairs:
        with contextlib.suppress(KeyError, ValueError):
            found[kinds[kind.lower()]] = base64.b64decode(value, validate=True).hex()
    match = re.fullmatch(r'"([0-9a-f]{32})"', headers.get("ETag", ""))
    if match and headers.get("Server", "") == "AmazonS3":
        found["md5"] = match.group(1)
    return {kind: value for kind, value in found.items() if len(value) == _DIGITS[kind]}


def _digest(path: Path, kind: str) -> str:
    if kind == "crc32c":
        import google_crc32c

        return files.hexdigest(path, google_crc32c.Checksum())
    return files.hexdigest(path, hashlib.new(kind))
