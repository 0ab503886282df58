"""demo.server: HTTP ranges, request counts and faults."""

import http.client
import threading
import time
from collections import namedtuple

import pytest

from demo.server import HTML, Fault, Server, byte_range

FILE = "/zips/val2017.zip"

# body: as far as it arrived; whole: whether that is Content-Length bytes.
Answer = namedtuple("Answer", "status headers body whole")


@pytest.fixture
def content():
    return bytes(range(256)) * 40


@pytest.fixture
def root(tmp_path, content):
    folder = tmp_path / "root"
    (folder / "zips").mkdir(parents=True)
    (folder / FILE.strip("/")).write_bytes(content)
    (folder / "other").write_bytes(b"other")
    return folder


@pytest.fixture
def server(root):
    with Server(root) as running:
        yield running


def connect(server, timeout=5):
    return http.client.HTTPConnection(server.url[len("http://") :], timeout=timeout)


def request(server, path=FILE, method="GET", timeout=5, **headers):
    connection = connect(server, timeout)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        response = connection.getresponse()
        try:
            return Answer(response.status, response.headers, response.read(), True)
        except http.client.IncompleteRead as error:
            return Answer(response.status, response.headers, error.partial, False)
    finally:
        connection.close()


def test_a_file_is_served_with_the_headers_that_a_resume_needs(server, content):
    answer = request(server)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] and answer.headers["Last-Modified"]
    assert server.url + "/models/object_detection" == server.zoo_url


def test_head_sends_no_body(server, content):
    answer = request(server, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(content))
    assert server.bytes_sent[FILE] == 0


RANGES = [("10-19", 10, 20), ("100-", 100, None), ("-7", -7, None), ("5-999999999", 5, None)]


@pytest.mark.parametrize("span, start, stop", RANGES)
def test_a_range_is_answered_with_206(server, content, span, start, stop):
    answer = request(server, Range="bytes=" + span)
    assert (answer.status, answer.body) == (206, content[start:stop])
    first = start % len(content)
    facts = (first, first + len(answer.body) - 1, len(content))
    assert answer.headers["Content-Range"] == "bytes %d-%d/%d" % facts


def test_a_range_past_the_end_is_answered_with_416(server, content):
    answer = request(server, Range="bytes=%d-" % len(content))
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["Content-Range"] == "bytes */%d" % len(content)


@pytest.mark.parametrize("header", ["bytes=5-3", "bytes=1-2,4-5", "lines=1-2", "bytes=-"])
def test_an_invalid_range_is_ignored(header):
    assert byte_range(header, 100) is None


def test_if_range_sends_the_rest_of_the_same_file_and_the_whole_of_a_changed_one(server, content):
    facts = request(server, method="HEAD").headers
    assert request(server, Range="bytes=10-", If_Range=facts["ETag"]).body == content[10:]
    assert request(server, Range="bytes=10-", If_Range=facts["Last-Modified"]).body == content[10:]
    assert request(server, Range="bytes=10-", If_Range='"another"').body == content


def test_a_connection_is_kept_alive(server, content):
    connection = connect(server)
    connection.request("GET", FILE)
    connection.getresponse().read()
    first = connection.sock
    connection.request("GET", FILE)
    assert connection.getresponse().read() == content
    assert connection.sock is first
    connection.close()


def test_requests_and_bytes_are_counted_by_path(server, content):
    request(server)
    request(server, Range="bytes=0-9")
    request(server, "/nothing")
    assert server.requests == {FILE: 2, "/nothing": 1}
    assert server.bytes_sent[FILE] == len(content) + 10
    answers = [(each.range, each.status) for each in server.log]
    assert answers == [(None, 200), ("bytes=0-9", 206), (None, 404)]


OUTSIDE = ["/../secret", "/%2e%2e/secret", "/zips/../../secret"]
OUTSIDE += ["/models/object_detection/../../secret"]


@pytest.mark.parametrize("path", OUTSIDE + ["/zips", "/"])
def test_nothing_outside_the_root_is_served(root, server, path):
    (root.parent / "secret").write_text("secret")
    assert request(server, path).status == 404


def test_zoo_archives_of_the_root_replace_those_of_the_repo(root, server):
    name = "/models/object_detection/ssd_mobilenet_v1_shapes.tar.gz"
    assert request(server, name, method="HEAD").status == 200
    (root / name[1:]).parent.mkdir(parents=True)
    (root / name[1:]).write_bytes(b"one")
    with Server(root) as server:
        assert request(server, name).body == b"one"


def test_cut_ends_the_body_early_for_the_given_number_of_requests(root, content):
    with Server(root, [Fault(FILE, cut=1000, times=2)]) as server:
        answers = [request(server) for _ in range(3)]
    assert [each.whole for each in answers] == [False, False, True]
    assert answers[0].body == content[:1000]
    assert answers[0].headers["Content-Length"] == str(len(content))


def test_cut_counts_from_the_start_of_a_range(root, content):
    with Server(root, [Fault(FILE, cut=10)]) as server:
        assert request(server, Range="bytes=50-").body == content[50:60]


def test_length_sends_a_wrong_content_length(root, content):
    with Server(root, [Fault(FILE, length=len(content) + 5)]) as server:
        answer = request(server)
    assert (answer.whole, answer.body) == (False, content)
    with Server(root, [Fault(FILE, length=5)]) as server:
        answer = request(server)
    assert (answer.whole, answer.body) == (True, content[:5])


def test_status_applies_to_the_first_requests_of_matching_paths(root):
    with Server(root, [Fault("/zips/*", status=503, times=2)]) as server:
        assert [request(server).status for _ in range(3)] == [503, 503, 200]
        assert request(server, "/other").status == 200


def test_skip_lets_the_first_requests_succeed(root):
    with Server(root, [Fault(FILE, status=404, skip=1)]) as server:
        assert [request(server).status for _ in range(3)] == [200, 404, 404]


def test_page_sends_html_instead_of_the_file(root):
    with Server(root, [Fault(FILE, page=True)]) as server:
        answer = request(server)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/html", HTML)


def test_content_replaces_the_file_and_its_etag(root, content):
    with Server(root, [Fault(FILE, content=b"another file", skip=1)]) as server:
        before, after = request(server), request(server)
        resumed = request(server, Range="bytes=8-", If_Range=before.headers["ETag"])
    assert (before.body, after.body) == (content, b"another file")
    assert before.headers["ETag"] != after.headers["ETag"]
    assert (resumed.status, resumed.body) == (200, b"another file")


def test_ignore_range_sends_the_whole_file(root, content):
    with Server(root, [Fault(FILE, ignore_range=True)]) as server:
        answer = request(server, Range="bytes=10-")
    assert (answer.status, answer.body) == (200, content)


def test_stall_makes_the_client_wait_and_ends_with_the_server(root):
    with Server(root, [Fault(FILE, stall=60, cut=10)]) as server:
        with pytest.raises(OSError):
            request(server, timeout=0.3)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_stopping_the_server_closes_connections(root):
    with Server(root) as server:
        connection = connect(server)
        connection.request("GET", FILE)
        connection.getresponse().read()
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.request("GET", FILE)
        connection.getresponse()
    connection.close()


def test_simultaneous_requests_are_all_answered(server, content):
    bodies = []

    def get():
        bodies.append(request(server).body)

    threads = [threading.Thread(target=get) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [content] * 16
    assert server.requests[FILE] == 16
