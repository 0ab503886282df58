"""HTTP requests and their retries, for `download` (one file) and `many` (many small files)."""

import contextlib
import random
import re
import threading
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Optional
from urllib.parse import urlsplit

from todus import __version__, variables
from todus.command import say
from todus.errors import TodusError
from todus.text import one_line

if TYPE_CHECKING:
    # At run time requests is imported when a connection is made: other commands start faster.
    import requests

BLOCK = 1 << 16  # bytes read at once
LONGEST_WAIT = 60.0  # seconds between two tries
LONGEST_ASKED_WAIT = 300.0  # seconds, if the server sends Retry-After
CUT = "the connection was interrupted"
# For faults that waiting rarely fixes: no answer at all, a web page, a damaged file.
FEW_TRIES = 3


class NotFound(TodusError):
    """The server has no such file."""


class RetryableError(Exception):
    """A try failed, and another may succeed.

    Args:
      reason: a few words for the message.
      wait: seconds to wait before the next try, as requested by the server.
      hopeless: limits the tries to FEW_TRIES.
      final: raised after FEW_TRIES instead of a TodusError with the reason.
      unanswered: the server did not answer: FEW_TRIES at most until a byte has arrived.
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
    """The server sent a web page instead of the file."""

    def __init__(self) -> None:
        reason = "the server sent a web page instead of the file (a captive portal, or a wrong URL)"
        super().__init__(reason, hopeless=True)


class Policy(NamedTuple):
    """Timeouts and retries of a download.

    Attributes:
      timeout: seconds without a byte.
      retries: tries in a row without a byte before the download fails.
      wait: seconds before the first retry; doubles up to LONGEST_WAIT.
    """

    timeout: float = 60.0
    retries: int = 10
    wait: float = 1.0

    @staticmethod
    def from_environment() -> "Policy":
        """Reads TIMEOUT, RETRIES and RETRY_WAIT. Raises UsageError for a value out of its range."""
        names = ("TIMEOUT", "RETRIES", "RETRY_WAIT")
        return Policy(*(variables.value(name, "model") for name in names))

    def pause(self, failures: int, asked: float) -> float:
        """Seconds to wait after `failures` in a row, with jitter so that clients spread out.

        At least `asked`, the wait that the server requests, up to LONGEST_ASKED_WAIT.
        """
        backoff = min(self.wait * 2 ** (failures - 1), LONGEST_WAIT)
        return max(min(asked, LONGEST_ASKED_WAIT), backoff * random.uniform(0.75, 1.0))


def session(connections: int = 1) -> "requests.Session":
    """A session with keep-alive connections."""
    import requests
    import urllib3

    from todus.fetching import bounded

    urllib3.connection.HTTPConnection.response_class = bounded.Answer
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
    """An answer with status 200, 206 or 416, whose body is not yet read.

    Raises:
      RetryableError: no answer, or a temporary status (408, 425, 429, 5xx).
      NotFound: 403, 404 or 410.
      TodusError: any other status, or an invalid URL.
    """
    import requests
    import urllib3

    from todus.fetching import bounded

    timeouts = (min(policy.timeout, 30.0), policy.timeout)  # to connect, to read
    errors = requests.exceptions
    try:
        answer = connection.request(method, url, headers=headers, stream=True, timeout=timeouts)
    except bounded.Endless as error:
        raise RetryableError(str(error), hopeless=True)
    except (errors.InvalidURL, errors.InvalidSchema, errors.MissingSchema) as error:
        raise _no_url(url, error)
    except (errors.RequestException, urllib3.exceptions.HTTPError) as error:
        raise RetryableError(reason_of(error), unanswered=True)
    except ValueError as error:  # urllib.parse, of this URL or one that the server redirects to
        raise _no_url(url, error)
    status = answer.status_code
    if status in (200, 206, 416):
        return answer
    answer.close()
    if status in (403, 404, 410):
        raise NotFound("the server has no %s (%d); check the name and the URL" % (url, status))
    if status in (408, 425, 429) or status >= 500:
        asked = answer.headers.get("Retry-After", "")
        wait = float(number_in(asked) or 0)
        raise RetryableError("the server answers %d" % status, wait)
    raise TodusError("the server answers %d to %s; check the URL" % (status, url))


def _no_url(url: str, error: Exception) -> TodusError:
    return TodusError("%s leads to no URL to download from (%s)" % (url, one_line(str(error))))


def path_of(url: str) -> str:
    """The path in a URL. Raises TodusError for what is no URL."""
    try:
        return urlsplit(url).path
    except ValueError as error:
        raise _no_url(url, error)


def read(answer: "requests.Response", most: int, at_once: bool = False) -> bytes:
    """The next bytes of an answer's body, at most `most`; b"" at its end.

    Args:
      answer: from `get`.
      most: less is returned only at the end of the body.
      at_once: return what has arrived, instead of waiting for `most`.

    Raises:
      RetryableError: the connection fails.
    """
    import http.client

    import requests
    import urllib3

    from todus.fetching import bounded

    try:
        body = answer.raw._original_response if at_once else None  # urllib3 1 has no read1
        if body is not None:
            return body.read1(most)
        return answer.raw.read(most, decode_content=False)
    except bounded.Endless as error:
        raise RetryableError(str(error), hopeless=True)
    except http.client.HTTPException as error:
        raise RetryableError(reason_of(error))
    except (urllib3.exceptions.HTTPError, requests.RequestException, OSError, ValueError) as error:
        raise RetryableError(reason_of(error))


def reason_of(error: Exception) -> str:
    """A few words for an exception of requests or urllib3."""
    text = repr(error)
    known = (
        ("NameResolution", "unknown host name"),
        ("Name or service", "unknown host name"),
        ("Temporary failure in name", "unknown host name"),
        ("Connection refused", "connection refused"),
        ("unreachable", "the network is unreachable"),
        ("TooManyRedirects", "the server redirects without end"),
        ("CERTIFICATE", "the certificate cannot be verified"),
        ("imeout", "no answer in time"),
        ("timed out", "no answer in time"),
        ("IncompleteRead", CUT),
    )
    return next((words for mark, words in known if mark in text), CUT)


def size_of(connection: "requests.Session", url: str, policy: Policy) -> Optional[int]:
    """Bytes of the file at `url`; None if the server does not send it. Raises TodusError."""

    def ask() -> Optional[int]:
        with contextlib.closing(get(connection, url, policy, method="HEAD")) as answer:
            return length_of(answer.headers)

    return retry(ask, url, policy)


def length_of(headers: Mapping[str, str]) -> Optional[int]:
    """Content-Length; None if it is missing."""
    return number_in(headers.get("Content-Length", ""))


def number_in(text: str) -> Optional[int]:
    """A number in a header; None for anything else, as other digits than 0 to 9."""
    text = text.strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def retry(
    work: Callable[[], Any],
    url: str,
    policy: Policy,
    progress: Callable[[], int] = lambda: 0,
    note: Callable[[str], None] = say,
    stop: Optional[threading.Event] = None,
) -> Any:
    """Calls work() until it raises no RetryableError, and returns its result.

    Args:
      work: one try.
      url: for the message.
      policy: the number of tries, and the time between them.
      progress: returns a number that grows while bytes arrive; growth resets the count of tries.
      note: called with a message before each wait of a second or more.
      stop: ends the retries when set.

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
            is_unreachable = error.unanswered and not best and failures >= FEW_TRIES
            is_last = hopeless >= FEW_TRIES or failures >= policy.retries
            if stop.is_set() or is_last or is_unreachable:
                hint = "check the network and the URL, and run this again to resume"
                raise TodusError("%s: %s; %s" % (url, error, hint))
            pause = policy.pause(failures, error.wait)
            if pause >= 1:
                note("%s: %s; next try in %d s" % (path_of(url), error, pause))
            stop.wait(pause)
