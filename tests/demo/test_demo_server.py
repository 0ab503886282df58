"""The server that puts the drawn COCO up."""

import http.client
import threading
import time

import pytest

from demo import shapes
from demo.server import HTML, Fault, Server, byte_range

FILE = "/zips/val2017.zip"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write(folder, train=24, val=12)
    return folder


class Answer:
    def __init__(self, status, headers, body, whole=True):
        self.status, self.headers, self.body, self.whole = status, headers, body, whole


def ask(server, path=FILE, method="GET", timeout=5, **headers):
    connection = http.client.HTTPConnection(server.url[len("http://") :], timeout=timeout)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        try:
            return Answer(response.status, response.headers, response.read())
        except http.client.IncompleteRead as error:
            return Answer(response.status, response.headers, error.partial, whole=False)
    finally:
        connection.close()


@pytest.fixture
def content(root):
    return (root / FILE.strip("/")).read_bytes()


@pytest.fixture
def server(root):
    with Server(root) as running:
        yield running


def test_a_file_comes_with_what_a_resume_needs(server, content):
    answer = ask(server)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] and answer.headers["Last-Modified"]
    assert server.url + "/models/object_detection" == server.zoo_url


def test_head_has_the_headers_alone(server, content):
    answer = ask(server, method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (
        200,
        str(len(content)),
        b"",
    )
    assert server.bytes_sent[FILE] == 0


@pytest.mark.parametrize(
    "header, start, stop",
    [
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=5-999999999", 5, None),
    ],
)
def test_a_range_is_answered_with_206(server, content, header, start, stop):
    answer = ask(server, Range=header)
    assert (answer.status, answer.body) == (206, content[start:stop])
    first = start % len(content)
    assert answer.headers["Content-Range"] == "bytes %d-%d/%d" % (
        first,
        first + len(answer.body) - 1,
        len(content),
    )


def test_a_range_past_the_end_is_answered_with_416(server, content):
    answer = ask(server, Range="bytes=%d-" % len(content))
    assert (answer.status, answer.headers["Content-Range"], answer.body) == (
        416,
        "bytes */%d" % len(content),
        b"",
    )


@pytest.mark.parametrize("header", ["bytes=5-3", "bytes=1-2,4-5", "lines=1-2", "bytes=-"])
def test_a_range_that_is_not_one_is_ignored(header):
    assert byte_range(header, 100) is None


def test_if_range_gives_the_rest_of_the_same_file_and_the_whole_of_another(server, content):
    facts = ask(server, method="HEAD").headers
    assert ask(server, Range="bytes=10-", If_Range=facts["ETag"]).body == content[10:]
    assert ask(server, Range="bytes=10-", If_Range=facts["Last-Modified"]).body == content[10:]
    assert ask(server, Range="bytes=10-", If_Range='"another"').body == content


def test_a_connection_is_kept_alive(server, content):
    connection = http.client.HTTPConnection(server.url[len("http://") :], timeout=5)
    connection.request("GET", FILE)
    connection.getresponse().read()
    first = connection.sock
    connection.request("GET", FILE)
    assert connection.getresponse().read() == content
    assert connection.sock is first
    connection.close()


def test_requests_and_bytes_are_counted_by_path(server, content):
    ask(server)
    ask(server, Range="bytes=0-9")
    ask(server, "/nothing")
    assert server.requests == {FILE: 2, "/nothing": 1}
    assert server.bytes_sent[FILE] == len(content) + 10
    assert [(each.range, each.status) for each in server.log] == [
        (None, 200),
        ("bytes=0-9", 206),
        (None, 404),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/zips/../../secret",
        "/zips",
        "/",
        "/models/object_detection/../../secret",
    ],
)
def test_nothing_outside_the_root_is_served(root, server, path):
    (root.parent / "secret").write_text("secret")
    assert ask(server, path).status == 404


def test_zoo_archives_of_the_root_come_before_the_repo_s(tmp_path):
    folder = tmp_path / "models" / "object_detection"
    folder.mkdir(parents=True)
    (folder / "one.tar.gz").write_bytes(b"one")
    with Server(tmp_path) as server:
        assert ask(server, "/models/object_detection/one.tar.gz").body == b"one"


def test_cut_ends_the_body_early_as_often_as_asked(root, content):
    with Server(root, [Fault(FILE, cut=1000, times=2)]) as server:
        answers = [ask(server) for _ in range(3)]
    assert [each.whole for each in answers] == [False, False, True]
    assert answers[0].body == content[:1000]
    assert answers[0].headers["Content-Length"] == str(len(content))


def test_cut_counts_from_the_start_of_a_range(root, content):
    with Server(root, [Fault(FILE, cut=10)]) as server:
        assert ask(server, Range="bytes=50-").body == content[50:60]


def test_a_wrong_content_length_is_claimed(root, content):
    with Server(root, [Fault(FILE, length=len(content) + 5)]) as server:
        answer = ask(server)
    assert (answer.whole, answer.body) == (False, content)
    with Server(root, [Fault(FILE, length=5)]) as server:
        answer = ask(server)
    assert (answer.whole, answer.body) == (True, content[:5])


def test_status_strikes_the_first_requests(root):
    with Server(root, [Fault("/zips/*", status=503, times=2)]) as server:
        assert [ask(server).status for _ in range(3)] == [503, 503, 200]
        assert ask(server, "/annotations/annotations_trainval2017.zip").status == 200


def test_status_strikes_after_some_requests(root):
    with Server(root, [Fault(FILE, status=404, skip=1)]) as server:
        assert [ask(server).status for _ in range(3)] == [200, 404, 404]


def test_a_page_comes_in_place_of_the_file(root):
    with Server(root, [Fault(FILE, page=True)]) as server:
        answer = ask(server)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/html", HTML)


def test_the_file_changes_between_requests(root, content):
    with Server(root, [Fault(FILE, content=b"another file", skip=1)]) as server:
        before, after = ask(server), ask(server)
        resumed = ask(server, Range="bytes=8-", If_Range=before.headers["ETag"])
    assert (before.body, after.body) == (content, b"another file")
    assert before.headers["ETag"] != after.headers["ETag"]
    assert (resumed.status, resumed.body) == (200, b"another file")


def test_a_server_may_not_know_ranges(root, content):
    with Server(root, [Fault(FILE, ignore_range=True)]) as server:
        answer = ask(server, Range="bytes=10-")
    assert (answer.status, answer.body) == (200, content)


def test_stall_keeps_the_client_waiting(root):
    with Server(root, [Fault(FILE, stall=60, cut=10)]) as server:
        with pytest.raises(OSError):
            ask(server, timeout=0.3)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_leaving_the_server_hangs_up_on_clients(root):
    with Server(root) as server:
        connection = http.client.HTTPConnection(server.url[len("http://") :], timeout=5)
        connection.request("GET", FILE)
        connection.getresponse().read()
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.request("GET", FILE)
        connection.getresponse()
    connection.close()


def test_requests_at_once_are_all_answered(server, content):
    bodies = []
    threads = [threading.Thread(target=lambda: bodies.append(ask(server).body)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [content] * 16
    assert server.requests[FILE] == 16
