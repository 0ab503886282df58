"""Whether the servers that datasets and models come from answer. All are asked at once, for a few seconds at most."""

import threading
import time
from typing import Callable, Dict, List, NamedTuple
from urllib.parse import urlsplit

from todus import variables
from todus.doctor.findings import Finding

SECONDS = 2.0

# A small file or an archive that each server must have: variable, file, what it is a mirror of.
FILES = (
    ("COCO_URL", "annotations/annotations_trainval2017.zip", "COCO"),
    ("ZOO_URL", "ssd_mobilenet_v1_coco_2018_01_28.tar.gz", "the detection zoo"),
    ("OPENIMAGES_URL", "v5/validation-annotations-bbox.csv", "Open Images"),
)
PUBLIC = {
    "OPENIMAGES_URL": "https://storage.googleapis.com/openimages"
}  # of the variables without a default


class Mirror(NamedTuple):
    """A server and a file that it must have."""

    variable: str
    url: str
    what: str


def mirrors() -> List[Mirror]:
    """Those that the environment names, else the public ones. OPENIMAGES_URL may be a folder, which is not asked."""
    found = []
    for name, file, what in FILES:
        url = variables.value(name, "doctor") or PUBLIC[name]
        found.append(Mirror(name, "%s/%s" % (url.rstrip("/"), file), what))
    return [mirror for mirror in found if mirror.url.startswith(("http://", "https://"))]


def ask(seconds: float = SECONDS) -> Callable[[], List[Finding]]:
    """Asks every mirror in the background; what it returns waits for the answers, until `seconds` from now at most."""
    import requests

    from todus.fetching import transport

    asked = mirrors()
    answers: Dict[str, str] = {}

    def one(mirror: Mirror) -> None:
        """Notes "" for a server that has the file, else why it does not count as reachable."""
        try:
            with transport.session() as connection:
                answer = connection.head(mirror.url, timeout=seconds, allow_redirects=True)
            answers[mirror.variable] = (
                ""
                if answer.status_code < 400
                else "answers %d to %s" % (answer.status_code, mirror.url)
            )
        except (requests.RequestException, ValueError) as error:
            answers[mirror.variable] = transport.reason_of(error)

    until = time.monotonic() + seconds
    threads = [threading.Thread(target=one, args=(mirror,), daemon=True) for mirror in asked]
    for thread in threads:
        thread.start()

    def findings() -> List[Finding]:
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return [
            _finding(mirror, answers.get(mirror.variable, "no answer in %g s" % seconds))
            for mirror in asked
        ]

    return findings


def _finding(mirror: Mirror, reason: str) -> Finding:
    host = urlsplit(mirror.url).netloc.rpartition("@")[2]
    if not reason:
        return Finding("ok", "mirrors", "%s: %s answers" % (mirror.what, host))
    remedy = (
        "what is on disk needs no network; else check it, or set %s to a mirror" % mirror.variable
    )
    return Finding("warning", "mirrors", "%s: %s: %s" % (mirror.what, host, reason), remedy)
