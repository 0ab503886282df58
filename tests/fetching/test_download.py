"""Downloads against a loopback server that misbehaves."""

import hashlib
import os
import socket
import zipfile

import pytest

from demo.server import HTML, Fault, Server
from todus import files, locks
from todus.errors import TodusError, UsageError
from todus.fetching import download, transport

QUICK = transport.Policy(timeout=0.5, retries=4, wait=0.01)
CONTENT = bytes(range(256)) * 2000
PATH = "/data.bin"


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
    assert [entry.name for entry in target.parent.iterdir()] == [target.name], (
        "nothing unfinished is left beside it"
    )
    return target.read_bytes()


def test_a_download_is_the_file(site, tmp_path):
    assert get(site, tmp_path) == CONTENT
    assert site.requests[PATH] == 1


def test_what_is_there_is_not_fetched_again(site, tmp_path):
    get(site, tmp_path)
    get(site, tmp_path)
    assert site.requests[PATH] == 1


@pytest.mark.parametrize("cut", [0, 1, 100000, len(CONTENT) - 1])
def test_a_cut_goes_on_from_where_it_was(site, tmp_path, cut):
    site.faults.append(Fault(PATH, cut=cut, times=1))
    assert get(site, tmp_path) == CONTENT
    assert site.bytes_sent[PATH] == len(CONTENT)


def test_many_cuts_in_a_row_are_no_failure_while_bytes_arrive(site, tmp_path):
    site.faults.append(Fault(PATH, cut=40000, times=12))
    assert get(site, tmp_path) == CONTENT


def test_a_stall_is_given_up_and_resumed(site, tmp_path):
    site.faults.append(Fault(PATH, cut=200000, stall=30, times=1))
    assert get(site, tmp_path) == CONTENT
    assert site.log[-1].range


def test_a_server_without_ranges_starts_again(site, tmp_path):
    site.faults += [Fault(PATH, cut=1000, times=1), Fault(PATH, ignore_range=True)]
    assert get(site, tmp_path) == CONTENT


def test_503_is_tried_again(site, tmp_path):
    site.faults.append(Fault(PATH, status=503, times=3))
    assert get(site, tmp_path) == CONTENT


def test_503_for_ever_fails_and_keeps_what_came(site, tmp_path):
    site.faults += [Fault(PATH, cut=5000, times=1), Fault(PATH, status=503)]
    with pytest.raises(TodusError, match="answers 503.*run this again"):
        download.download(site.url + PATH, tmp_path / "out" / "data.bin", policy=QUICK)
    assert download.partial_size(tmp_path / "out" / "data.bin") == 5000
    site.faults.clear()
    assert get(site, tmp_path) == CONTENT
    assert site.log[-1].range == "bytes=5000-"


def test_a_file_that_changed_between_resumes_starts_again(site, tmp_path):
    other = CONTENT[::-1]
    site.faults += [Fault(PATH, cut=5000, times=1), Fault(PATH, content=other)]
    assert get(site, tmp_path) == other


def test_a_web_page_in_place_of_the_file_is_not_taken(site, tmp_path):
    site.faults.append(Fault(PATH, page=True, times=1))
    assert get(site, tmp_path) == CONTENT


def test_a_web_page_for_ever_is_said(site, tmp_path):
    site.faults.append(Fault(PATH, page=True))
    with pytest.raises(TodusError, match="web page.*captive portal"):
        download.download(site.url + PATH, tmp_path / "out", policy=QUICK)
    assert not (tmp_path / "out").exists()


def test_a_web_page_under_another_content_type_is_not_taken(site, tmp_path):
    site.faults.append(Fault(PATH, content=HTML))
    with pytest.raises(TodusError, match="web page"):
        download.download(site.url + PATH, tmp_path / "out", policy=QUICK)


def test_a_length_that_is_too_long_is_found_out(site, tmp_path):
    site.faults.append(Fault(PATH, length=len(CONTENT) + 10, times=1))
    assert get(site, tmp_path) == CONTENT


def test_an_archive_that_is_shorter_than_it_should_be_is_found_out(site, tmp_path):
    whole = site.file("/data.zip").read_bytes()
    site.faults.append(Fault("/data.zip", length=len(whole) // 2, times=1))
    assert get(site, tmp_path, "/data.zip") == whole


def test_an_archive_that_is_never_whole_fails(site, tmp_path):
    site.faults.append(Fault("/data.zip", length=1000))
    with pytest.raises(TodusError, match="not a whole zip"):
        download.download(site.url + "/data.zip", tmp_path / "data.zip", policy=QUICK)
    assert not (tmp_path / "data.zip").exists()


def test_404_is_not_tried_again(site, tmp_path):
    with pytest.raises(transport.NotFound, match="404"):
        download.download(site.url + "/nothing", tmp_path / "out", policy=QUICK)
    assert site.requests["/nothing"] == 1
    assert not list(tmp_path.glob("*out*"))


def test_nobody_there_fails_after_a_few_tries(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d/x" % taken.getsockname()[1]
    with pytest.raises(TodusError, match="refuses the connection.*check the network"):
        download.download(url, tmp_path / "out", policy=transport.Policy(1, 10, 0.01))


def test_the_wrong_digest_is_not_taken(site, tmp_path):
    with pytest.raises(TodusError, match="SHA256"):
        download.download(site.url + PATH, tmp_path / "out", sha256="0" * 64, policy=QUICK)
    assert get(site, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest()) == CONTENT


def test_what_is_there_with_the_wrong_digest_is_fetched_again(site, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data.bin").write_bytes(b"old")
    assert get(site, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest()) == CONTENT


def test_a_check_of_ones_own_is_asked(site, tmp_path):
    def check(path):
        raise TodusError("not for me")

    with pytest.raises(TodusError, match="not for me"):
        download.download(site.url + PATH, tmp_path / "out", check=check, policy=QUICK)


def test_a_part_of_another_url_is_not_used(site, tmp_path):
    target = tmp_path / "out" / "data.bin"
    target.parent.mkdir()
    files.beside(target, "part").write_bytes(b"x" * 1000)
    files.write_json(
        files.beside(target, "part.json"),
        {"url": "http://elsewhere/data.bin", "etag": None, "size": len(CONTENT)},
    )
    assert get(site, tmp_path) == CONTENT


def test_a_whole_part_that_was_not_renamed_is_used(site, tmp_path):
    target = tmp_path / "out" / "data.bin"
    site.faults.append(Fault(PATH, cut=len(CONTENT) - 1, times=1))
    site.faults.append(Fault(PATH, status=503))
    with pytest.raises(TodusError):
        download.download(site.url + PATH, target, policy=QUICK)
    with files.beside(target, "part").open("ab") as part:
        part.write(CONTENT[-1:])
    site.faults.clear()
    before = site.bytes_sent[PATH]
    assert get(site, tmp_path) == CONTENT
    assert site.bytes_sent[PATH] == before


def test_two_downloads_of_one_file_do_not_mix(site, tmp_path):
    target = tmp_path / "data.bin"
    with locks.exclusive(target, "it"), pytest.raises(
        TodusError, match="in use by PID %d" % os.getpid()
    ):
        download.download(site.url + PATH, target, policy=QUICK)


@pytest.mark.parametrize(
    "headers, found",
    [
        (
            {"x-goog-hash": "crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg=="},
            {"crc32c": "00000000", "md5": "d41d8cd98f00b204e9800998ecf8427e"},
        ),
        ({"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {"md5": "d41d8cd98f00b204e9800998ecf8427e"}),
        ({"Digest": "md5=1B2M2Y8AsgTpgAmY7PhCfg=="}, {"md5": "d41d8cd98f00b204e9800998ecf8427e"}),
        (
            {"Repr-Digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"},
            {"sha256": hashlib.sha256().hexdigest()},
        ),
        (
            {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"', "Server": "AmazonS3"},
            {"md5": "d41d8cd98f00b204e9800998ecf8427e"},
        ),
        ({"ETag": '"d41d8cd98f00b204e9800998ecf8427e-12"', "Server": "AmazonS3"}, {}),
        ({"ETag": '"d41d8cd98f00b204e9800998ecf8427e"', "Server": "nginx"}, {}),
        ({"Content-MD5": "not base64!"}, {}),
    ],
)
def test_digests_that_servers_send(headers, found):
    assert download.digests(headers) == found


def test_patience_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TIMEOUT", "2.5")
    monkeypatch.setenv("RETRIES", "3")
    assert transport.Policy.from_environment() == transport.Policy(2.5, 3, 1.0)
    monkeypatch.setenv("TIMEOUT", "soon")
    with pytest.raises(UsageError, match="TIMEOUT=soon"):
        transport.Policy.from_environment()
