"""HTTP requests and their retries, for `download` (one file) and `many` (many small files)."""

import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Optional
from urllib.parse import urlsplit

from todus import __version__, variables
from todus.errors import TodusError
from todus.text import one_line

if (
    TYPE_CHECKING
):  # imported where a connection is made: a build that has everything on disk does without
    import requests


BLOCK = 1 << 16  # bytes read at once
LONGEST_WAIT = 60.0  # seconds between two tries
LONGEST_ASKED_WAIT = 300.0  # seconds, where the server asks to wait
CUT = "the connection was cut"
FEW_TRIES = 3  # where waiting does not help: the server never answered, or sends a web page or a damaged file


class NotFound(TodusError):
    """The server has no such file."""


class RetryableError(Exception):
    """One try failed; another may succeed.

    Args:
      reason: in a few words.
      wait: seconds that the server asks to wait before the next try.
      hopeless: waiting does not help; there are FEW_TRIES at most.
      final: raised after FEW_TRIES, in place of a TodusError with the reason.
      unanswered: the server did not answer; there are FEW_TRIES at most as long as no byte has arrived.
    """

    def __init__(
        self,
        reason: str,
        wait: float = 0.0,
        hopeless: bool = False,
        final: Optional[Exception] = None,
        unanswered: bool = False,
    ):
        super().__init__(reason)
        self.wait = wait
        self.hopeless = hopeless or final is not None
        self.final = final
        self.unanswered = unanswered


class WebPage(RetryableError):
    """A web page arrived in place of the file."""

    def __init__(self) -> None:
        super().__init__(
            "a web page came in place of the file (a captive portal, or a wrong URL)", hopeless=True
        )


class Policy(NamedTuple):
    """Timeouts and retries of a download."""

    timeout: float = 60.0  # seconds without a byte
    retries: int = 10  # tries in a row without a byte before it fails
    wait: float = 1.0  # seconds before the first retry; doubles up to LONGEST_WAIT

    @staticmethod
    def from_environment() -> "Policy":
        """TIMEOUT, RETRIES and RETRY_WAIT, which every command that downloads obeys. Raises UsageError for a value out of its range."""
        return Policy(
            *(variables.value(name, "model") for name in ("TIMEOUT", "RETRIES", "RETRY_WAIT"))
        )

    def pause(self, failures: int, asked: float) -> float:
        """Seconds to wait after `failures` in a row: it doubles, and varies by chance so that many clients do not return at once.

        `asked` is what the server asks for; it is the least wait, up to LONGEST_ASKED_WAIT.
        """
        return max(
            min(asked, LONGEST_ASKED_WAIT),
            min(self.wait * 2 ** (failures - 1), LONGEST_WAIT) * random.uniform(0.75, 1.0),
        )


def session(connections: int = 1) -> "requests.Session":
    """A session that keeps its connections alive."""
    import requests

    made = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    made.headers.update({"User-Agent": "todus/" + __version__, "Accept-Encoding": "identity"})
    return made


def get(
    connection: "requests.Session",
    url: str,
    policy: Policy,
    headers: Optional[Mapping[str, str]] = None,
    method: str = "GET",
):
    """An answer with status 200, 206 or 416, whose body is not read yet.

    Raises:
      RetryableError: no answer, or a status that passes. NotFound: 403, 404 or 410. TodusError: any other status, or no valid URL.
    """
    import requests
    import urllib3

    try:
        answer = connection.request(
            method,
            url,
            headers=headers,
            stream=True,
            timeout=(min(policy.timeout, 30.0), policy.timeout),
        )
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as error:
        raise TodusError("%s is not a URL to download from (%s)" % (url, one_line(str(error))))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise RetryableError(reason_of(error), unanswered=True)
    status = answer.status_code
    if status in (200, 206, 416):
        return answer
    answer.close()
    if status in (403, 404, 410):
        raise NotFound("the server has no %s (%d); check the name and the URL" % (url, status))
    if status in (408, 425, 429) or status >= 500:
        asked = answer.headers.get("Retry-After", "")
        raise RetryableError(
            "the server answers %d" % status, wait=float(asked) if asked.isdigit() else 0.0
        )
    raise TodusError("the server answers %d to %s; check the URL" % (status, url))


def read(answer: "requests.Response", most: int) -> bytes:
    """The next bytes of an answer's body, at most `most`; none at its end. Raises RetryableError when the connection fails."""
    import requests
    import urllib3

    try:
        return answer.raw.read(most, decode_content=False)
    except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
        raise RetryableError(reason_of(error))


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
        ("IncompleteRead", CUT),
    )
    return next((words for mark, words in known if mark in text), CUT)


def size_of(connection: "requests.Session", url: str, policy: Policy) -> Optional[int]:
    """Bytes of the file at a URL, None where the server does not say. Raises NotFound or TodusError."""

    def ask() -> Optional[int]:
        with contextlib.closing(get(connection, url, policy, method="HEAD")) as answer:
            return length_of(answer.headers)

    return retry(ask, url, policy)


def length_of(headers: Mapping[str, str]) -> Optional[int]:
    """Content-Length, None where there is none."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def retry(
    work: Callable[[], Any],
    url: str,
    policy: Policy,
    progress: Callable[[], int] = lambda: 0,
    note: Optional[Callable[[str], None]] = None,
    stop: Optional[threading.Event] = None,
) -> Any:
    """Calls work() until it raises no RetryableError, and returns its result.

    Args:
      work: one try.
      url: for the message.
      policy: number of tries, and the time between them.
      progress: a number that grows while bytes arrive; the tries are counted from its last growth.
      note: is called with a sentence before each longer wait.
      stop: ends the waiting when set.

    Raises:
      TodusError: too many tries without progress.
    """
    stop = stop or threading.Event()
    failures, hopeless, best = 0, 0, progress()
    while True:
        try:
            return work()
        except RetryableError as error:
            if progress() > best:
                failures, best = 0, progress()
            failures += 1
            hopeless += error.hopeless
            if hopeless >= FEW_TRIES and error.final:
                raise error.final
            most = (
                policy.retries if best or not error.unanswered else min(policy.retries, FEW_TRIES)
            )
            if stop.is_set() or hopeless >= FEW_TRIES or failures >= most:
                raise TodusError(
                    "%s: %s; check the network and the URL, and run this again: it goes on from here"
                    % (url, error)
                )
            pause = policy.pause(failures, error.wait)
            if note and pause >= 1:
                note("%s: %s; again in %d s" % (urlsplit(url).path, error, pause))
            stop.wait(pause)
