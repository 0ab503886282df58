"""Downloads that go on after a cut, are verified, and are whole when they have their name. See fetch_many for many small files."""

import contextlib
import os
import random
import re
import threading
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Optional
from urllib.parse import urlsplit

from todus import __version__
from todus.errors import TodusError, UsageError
from todus.text import one_line

if TYPE_CHECKING:  # imported where a connection is made: a build that has everything on disk does without
    import requests


BLOCK = 1 << 16
LONGEST_WAIT = 60.0
FEW = 3  # tries where waiting does not help: no first contact, a web page, a damaged file


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
