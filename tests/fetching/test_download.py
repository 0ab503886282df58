"""Downloads from a loopback server with faults."""

import contextlib
import hashlib
import os
import socket
import threading
import time
import zipfile

import pytest

from demo.server import HTML, Fault, Server
from todus import files, locks, variables
from todus.errors import TodusError, UsageError
from todus.fetching import bounded, download, many, transport
from todus.progress import Progress

QUICK = transport.Policy(timeout=0.5, retries=4, wait=0.01)
CONTENT = bytes(range(256)) * 2000
PATH = "/data.bin"
# The digests of no bytes.
MD5, MD5_HEX = "1B2M2Y8AsgTpgAmY7PhCfg==", hashlib.md5().hexdigest()
SHA256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "site"
    root.mkdir()
    (root / "data.bin").write_bytes(CONTENT)
    with zipfile.ZipFile(str(root / "data.zip"), "w") as archive:
        archive.writestr("one", CONTENT)
    with Server(root) as server:
        yield server


def get(site, tmp_path, path=PATH, **more):
    target = tmp_path / "out" / path.strip("/")
    download.download(site.url + path, target, policy=QUICK, **more)
    names = [entry.name for entry in target.parent.iterdir()]
    assert names == [target.name], "temporary files are left"
    return target.read_bytes()


def test_a_file_is_downloaded_once(site, tmp_path):
    assert get(site, tmp_path) == CONTENT
    assert get(site, tmp_path) == CONTENT
    assert site.requests[PATH] == 1


@pytest.mark.parametrize("cut", [0, 1, 100000, len(CONTENT) - 1])
def test_an_interrupted_download_resumes(site, tmp_path, cut):
    site.faults.append(Fault(PATH, cut=cut, times=1))
    assert get(site, tmp_path) == CONTENT
    assert site.bytes_sent[PATH] == len(CONTENT)


def test_interruptions_are_not_an_error_while_bytes_arrive(site, tmp_path):
    site.faults.append(Fault(PATH, cut=40000, times=12))
    assert get(site, tmp_path) == CONTENT


def test_a_stalled_download_resumes(site, tmp_path):
    site.faults.append(Fault(PATH, cut=200000, stall=30, times=1))
    assert get(site, tmp_path) == CONTENT
    assert site.log[-1].range


def test_without_ranges_an_interrupted_download_restarts(site, tmp_path):
    site.faults += [Fault(PATH, cut=1000, times=1), Fault(PATH, ignore_range=True)]
    assert get(site, tmp_path) == CONTENT


def test_a_request_is_retried_after_503(site, tmp_path):
    site.faults.append(Fault(PATH, status=503, times=3))
    assert get(site, tmp_path) == CONTENT


def test_a_download_that_failed_with_503_resumes_in_the_next_run(site, tmp_path):
    site.faults += [Fault(PATH, cut=5000, times=1), Fault(PATH, status=503)]
    with pytest.raises(TodusError, match="answers 503.*run this again"):
        download.download(site.url + PATH, tmp_path / "out" / "data.bin", policy=QUICK)
    assert download.partial_size(tmp_path / "out" / "data.bin") == 5000
    site.faults.clear()
    assert get(site, tmp_path) == CONTENT
    assert site.log[-1].range == "bytes=5000-"


def test_a_download_restarts_if_the_file_changed_on_the_server(site, tmp_path):
    other = CONTENT[::-1]
    site.faults += [Fault(PATH, cut=5000, times=1), Fault(PATH, content=other)]
    assert get(site, tmp_path) == other


def test_a_part_is_not_joined_with_another_version_of_the_file(site, tmp_path):
    other = CONTENT[::-1]
    changed = Fault(PATH, content=other, ignore_if_range=True)
    site.faults += [Fault(PATH, cut=5000, times=1), changed]
    assert get(site, tmp_path) == other


def test_a_request_is_retried_after_a_web_page(site, tmp_path):
    site.faults.append(Fault(PATH, page=True, times=1))
    assert get(site, tmp_path) == CONTENT


@pytest.mark.parametrize("fault", [{"page": True}, {"content": HTML}], ids=["HTML", "binary"])
def test_a_web_page_instead_of_the_file_is_an_error(site, tmp_path, fault):
    """Of both content types, text/html and application/octet-stream."""
    site.faults.append(Fault(PATH, **fault))
    with pytest.raises(TodusError, match="web page.*captive portal"):
        download.download(site.url + PATH, tmp_path / "out", policy=QUICK)
    assert not (tmp_path / "out").exists()


def test_a_download_is_retried_after_a_content_length_that_is_too_large(site, tmp_path):
    site.faults.append(Fault(PATH, length=len(CONTENT) + 10, times=1))
    assert get(site, tmp_path) == CONTENT


@contextlib.contextmanager
def answering(*headers, status=b"200 OK", body=b"abc", pause=0.0, head=None):
    """The URL of a server that gives every request this answer, with a pause after each byte."""
    answer = b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"Connection: close", b"", b""])
    answer = answer if head is None else head

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.recv(65536)
                    connection.sendall(answer)
                    for part in map(bytes, zip(body)) if pause else [body]:
                        connection.sendall(part)
                        time.sleep(pause)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        yield "http://127.0.0.1:%d/x" % listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_body_without_an_end_is_an_error_and_leaves_no_part(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MOST_UNKNOWN", 1 << 20)
    with answering(body=bytes(5 << 20)) as url, pytest.raises(TodusError, match="does not end"):
        download.download(url, tmp_path / "out" / "x", policy=QUICK)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_body_that_arrives_too_slowly_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(bounded, "LEAST_SPEED", 100000)
    for length in (b"Content-Length: 100000", b"X: no length"):
        refused = pytest.raises(TodusError, match="fewer than 100000 bytes a second arrive; check")
        with answering(length, body=bytes(1000), pause=0.02) as url, refused:
            download.download(url, tmp_path / "x", policy=QUICK)


ENDLESS = {
    "informational answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("kind", sorted(ENDLESS))
def test_lines_without_end_are_an_error(kind, tmp_path):
    start, line = ENDLESS[kind]
    words = "the server sends (headers without end|chunks of a few bytes); check"
    with answering(head=start, body=line * 100000) as url:
        for fetch in (
            lambda: download.download(url, tmp_path / "x", policy=QUICK),
            lambda: fetch_many(url, tmp_path / "x"),
        ):
            with pytest.raises(TodusError, match=words):
                fetch()


def fetch_many(url, path):
    with Progress("files", None) as progress:
        many.download_many([many.Wanted(url, path)], lambda data: "", 1, progress, 0, QUICK)


def test_a_file_of_many_that_arrives_too_slowly_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(bounded, "LEAST_SPEED", 100000)
    refused = pytest.raises(TodusError, match="fewer than 100000 bytes a second arrive; check")
    with answering(b"Content-Length: 1000", body=bytes(1000), pause=0.02) as url, refused:
        fetch_many(url, tmp_path / "x")


def test_a_wait_that_the_server_asks_for_is_announced(capsys):
    busy = answering(b"Retry-After: 2", status=b"503 Busy")
    policy = QUICK._replace(retries=2, wait=0.01)
    with busy as url, pytest.raises(TodusError, match="503"), transport.session() as session:
        transport.size_of(session, url, policy)
    assert "the server answers 503; next try in 2 s" in capsys.readouterr().err


HEADERS = {
    "a length of another script": b"Content-Length: \xb2",
    "a negative length": b"Content-Length: -5",
    "a length of 5000 digits": b"Content-Length: " + b"9" * 5000,
    "a length after other spaces": b"Content-Length: \x1c\x1c3",
    "an infinite length": b"Content-Length: inf",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4",
    "a wrong chunk": b"Transfer-Encoding: chunked",
    "a range": b"Content-Range: bytes \xb2-\xb3/\xb9",
    "a digest": b"Digest: sha-256=\xff\xff, md5==",
    "no header": b"\xff\xfe",
    "many headers": b"\r\n".join(b"X-%d: y" % number for number in range(300)),
    "a long header": b"X: " + b"y" * 70000,
    "a redirect to no address": b"Location: http://[::1/",
}


@pytest.mark.parametrize("kind", sorted(HEADERS))
def test_a_damaged_header_is_the_file_or_an_error_of_one_line(kind, tmp_path):
    with answering(HEADERS[kind]) as url:
        try:
            download.download(url, tmp_path / "x", policy=QUICK)
        except TodusError as error:
            assert "\n" not in str(error)
        else:
            assert (tmp_path / "x").read_bytes() == b"abc"


@pytest.mark.parametrize("status", [b"302 Found", b"503 Busy"])
def test_a_damaged_header_of_another_status_is_an_error_of_one_line(status, tmp_path):
    headers = (b"Location: http://[::1/", b"Retry-After: \xb2", b"Content-Length: \xb2")
    with answering(*headers, status=status) as url, pytest.raises(TodusError):
        download.download(url, tmp_path / "x", policy=QUICK)


@pytest.mark.parametrize(
    "url", ["http://[::1/", "http://[::1/x.html", "http://x:y/", "http://\udcff/"]
)
def test_an_address_that_is_none_is_an_error_of_one_line(url, tmp_path):
    with pytest.raises(TodusError, match="URL"):
        download.download(url, tmp_path / "x", policy=QUICK)
    if "[" in url:
        with pytest.raises(UsageError, match="a web address"):
            variables.value("COCO_URL", "dataset-limited", {"COCO_URL": url})


def test_a_content_length_that_is_too_large_each_time_is_an_error(site, tmp_path):
    site.faults.append(Fault(PATH, length=len(CONTENT) + 10, ignore_range=True))
    with pytest.raises(TodusError, match="interrupted.*run this again"):
        download.download(site.url + PATH, tmp_path / "out" / "data.bin", policy=QUICK)
    assert site.requests[PATH] <= QUICK.retries + 1


def test_a_download_is_retried_after_a_truncated_archive(site, tmp_path):
    complete = site.file("/data.zip").read_bytes()
    site.faults.append(Fault("/data.zip", length=len(complete) // 2, times=1))
    assert get(site, tmp_path, "/data.zip") == complete


def test_an_archive_that_is_truncated_each_time_is_an_error(site, tmp_path):
    site.faults.append(Fault("/data.zip", length=1000))
    with pytest.raises(TodusError, match="not a complete zip"):
        download.download(site.url + "/data.zip", tmp_path / "data.zip", policy=QUICK)
    assert not (tmp_path / "data.zip").exists()


def test_a_request_is_not_retried_after_404(site, tmp_path):
    with pytest.raises(transport.NotFound, match="404"):
        download.download(site.url + "/nothing", tmp_path / "out", policy=QUICK)
    assert site.requests["/nothing"] == 1
    assert not list(tmp_path.glob("*out*"))


def test_a_refused_connection_is_an_error(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d/x" % closed.getsockname()[1]
    with pytest.raises(TodusError, match="connection refused.*check the network"):
        download.download(url, tmp_path / "out", policy=transport.Policy(1, 10, 0.01))


def test_a_wrong_digest_is_an_error(site, tmp_path):
    with pytest.raises(TodusError, match="SHA256"):
        download.download(site.url + PATH, tmp_path / "out", sha256="0" * 64, policy=QUICK)
    assert get(site, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest()) == CONTENT


def test_a_file_with_the_wrong_digest_is_downloaded_again(site, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data.bin").write_bytes(b"old")
    assert get(site, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest()) == CONTENT


def test_a_file_that_fails_the_given_check_is_an_error(site, tmp_path):
    def check(path):
        raise TodusError("no header")

    with pytest.raises(TodusError, match="the downloaded file is damaged: no header"):
        download.download(site.url + PATH, tmp_path / "out", check=check, policy=QUICK)


def test_a_temporary_file_of_another_url_is_discarded(site, tmp_path):
    target = tmp_path / "out" / "data.bin"
    target.parent.mkdir()
    files.beside(target, "part").write_bytes(b"x" * 1000)
    note = {"url": "http://elsewhere/data.bin", "etag": None, "size": len(CONTENT)}
    files.write_json(files.beside(target, "part.json"), note)
    assert get(site, tmp_path) == CONTENT


@pytest.mark.parametrize(
    "damage",
    [
        {"etag": 1},
        {"last_modified": [2]},
        {"digests": []},
        {"digests": {"md5": 3}},
        {"digests": {"crc99": "0"}},
        {"size": "x"},
    ],
)
def test_a_damaged_note_of_a_temporary_file_is_that_of_no_download(site, tmp_path, damage):
    target = tmp_path / "out" / "data.bin"
    target.parent.mkdir()
    files.beside(target, "part").write_bytes(b"x" * 1000)
    note = {"url": site.url + PATH, "etag": None, "size": len(CONTENT), "digests": {}}
    files.write_json(files.beside(target, "part.json"), dict(note, **damage))
    assert get(site, tmp_path) == CONTENT


def test_a_complete_temporary_file_is_renamed_without_a_download(site, tmp_path):
    target = tmp_path / "out" / "data.bin"
    site.faults += [Fault(PATH, cut=len(CONTENT) - 1, times=1), Fault(PATH, status=503)]
    with pytest.raises(TodusError):
        download.download(site.url + PATH, target, policy=QUICK)
    with files.beside(target, "part").open("ab") as part:
        part.write(CONTENT[-1:])
    site.faults.clear()
    before = site.bytes_sent[PATH]
    assert get(site, tmp_path) == CONTENT
    assert site.bytes_sent[PATH] == before


def test_a_file_that_another_process_downloads_is_locked(site, tmp_path):
    target = tmp_path / "data.bin"
    refused = pytest.raises(TodusError, match="in use by PID %d" % os.getpid())
    with locks.exclusive(target, "it"), refused:
        download.download(site.url + PATH, target, policy=QUICK)


@pytest.mark.parametrize(
    "headers, found",
    [
        ({"x-goog-hash": "crc32c=AAAAAA==,md5=" + MD5}, {"crc32c": "00000000", "md5": MD5_HEX}),
        ({"Content-MD5": MD5}, {"md5": MD5_HEX}),
        ({"Digest": "md5=" + MD5}, {"md5": MD5_HEX}),
        ({"Digest": "md5=" + MD5, "Content-MD5": ""}, {"md5": MD5_HEX}),
        ({"Repr-Digest": "sha-256=:%s:" % SHA256}, {"sha256": hashlib.sha256().hexdigest()}),
        ({"Repr-Digest": "sha-512=:%s:" % SHA256}, {}),
        ({"ETag": '"%s"' % MD5_HEX, "Server": "AmazonS3"}, {"md5": MD5_HEX}),
        ({"ETag": '"%s-12"' % MD5_HEX, "Server": "AmazonS3"}, {}),
        ({"ETag": '"%s"' % MD5_HEX, "Server": "nginx"}, {}),
        ({"Content-MD5": "not base64!"}, {}),
    ],
)
def test_digests_are_read_from_the_headers_of_object_stores(headers, found):
    assert download.digests(headers) == found


def test_timeouts_and_retries_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("TIMEOUT", "2.5")
    monkeypatch.setenv("RETRIES", "3")
    assert transport.Policy.from_environment() == transport.Policy(2.5, 3, 1.0)
    monkeypatch.setenv("TIMEOUT", "soon")
    with pytest.raises(UsageError, match="TIMEOUT=soon"):
        transport.Policy.from_environment()
