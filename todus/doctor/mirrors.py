"""Whether the servers of datasets and models answer. All are requested at once."""

import threading
import time
from typing import Callable, Dict, List, NamedTuple
from urllib.parse import urlsplit

from todus import variables
from todus.doctor import findings
from todus.doctor.findings import Finding

SECONDS = 2.0

# One file that each server must have: variable, file, what the server is a mirror of.
FILES = (
    ("COCO_URL", "annotations/annotations_trainval2017.zip", "COCO"),
    ("ZOO_URL", "ssd_mobilenet_v1_coco_2018_01_28.tar.gz", "the detection zoo"),
    ("OPENIMAGES_URL", "v5/validation-annotations-bbox.csv", "Open Images"),
)
# The public servers of the variables that have no default.
PUBLIC = {"OPENIMAGES_URL": "https://storage.googleapis.com/openimages"}


class Mirror(NamedTuple):
    """A server and a file that it must have."""

    variable: str
    url: str
    what: str


def mirrors() -> List[Mirror]:
    """The servers that the environment names, else the public ones; not those that are folders."""
    found = []
    for name, file, what in FILES:
        url = variables.value(name, "doctor") or PUBLIC[name]
        if url.startswith(("http://", "https://")):
            found.append(Mirror(name, "%s/%s" % (url.rstrip("/"), file), what))
    return found


def ask(seconds: float = SECONDS) -> Callable[[], List[Finding]]:
    """Sends a request to every mirror in the background.

    Args:
      seconds: the timeout, from now.

    Returns:
      A function that waits for the answers, until the timeout at most, and returns the findings.
    """
    import requests

    from todus.fetching import transport

    asked = mirrors()
    reasons: Dict[str, str] = {}  # variable -> why it counts as unreachable, "" where it does not

    def send(mirror: Mirror) -> None:
        try:
            with transport.session() as connection:
                answer = connection.head(mirror.url, timeout=seconds, allow_redirects=True)
            failed = answer.status_code >= 400
            text = "answers %d to %s" % (answer.status_code, mirror.url)
            reasons[mirror.variable] = text if failed else ""
        except (requests.RequestException, ValueError) as error:
            reasons[mirror.variable] = transport.reason_of(error)

    until = time.monotonic() + seconds
    threads = [threading.Thread(target=send, args=(mirror,), daemon=True) for mirror in asked]
    for thread in threads:
        thread.start()

    def wait() -> List[Finding]:
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        late = "no answer in %g s" % seconds
        return [_finding(mirror, reasons.get(mirror.variable, late)) for mirror in asked]

    return wait


def _finding(mirror: Mirror, reason: str) -> Finding:
    host = urlsplit(mirror.url).netloc.rpartition("@")[2]
    if not reason:
        return findings.ok("mirrors", "%s: %s answers" % (mirror.what, host))
    remedy = "check the network, or set %s to a mirror; files on disk are used without it"
    text = "%s: %s: %s" % (mirror.what, host, reason)
    return findings.warning("mirrors", text, remedy % mirror.variable)
