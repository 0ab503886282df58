"""Downloads of many small files from a loopback server with faults."""

import pytest

from demo.server import Fault, Server
from todus.errors import TodusError
from todus.fetching import transport
from todus.fetching.many import Wanted, download_many
from todus.progress import Progress

QUICK = transport.Policy(timeout=0.5, retries=4, wait=0.01)
COUNT = 40


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "site"
    root.mkdir()
    for index in range(COUNT):
        (root / ("%d.bin" % index)).write_bytes(content(index))
    with Server(root) as server:
        yield server


def content(index):
    return b"whole" + bytes([index]) * 5000 + b"end"


def check(data):
    return "" if data.endswith(b"end") else "it has no end"


def get(site, tmp_path, most_missing=0):
    out = tmp_path / "out"
    out.mkdir()
    expected = {"%d.bin" % index: content(index) for index in range(COUNT)}
    wanted = [Wanted("%s/%s" % (site.url, name), out / name) for name in expected]
    with Progress("files", None) as progress:
        missing = download_many(wanted, check, 8, progress, most_missing, QUICK)
    for each in missing:
        del expected[each.path.name]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
    return [(each.path.name, each.reason) for each in missing]


def test_each_file_is_downloaded_once(site, tmp_path):
    assert get(site, tmp_path) == []
    assert list(site.requests.values()) == [1] * COUNT


@pytest.mark.parametrize(
    "fault",
    [
        {"cut": 100},
        {"cut": 0},
        {"cut": 100, "stall": 30},
        {"status": 503},
        {"page": True},
        {"length": 9000},
        {"length": 100},
        {"content": b"begin only"},
    ],
    ids=str,
)
def test_a_file_is_downloaded_again_after_a_temporary_fault(site, tmp_path, fault):
    site.faults += [Fault("/%d.bin" % index, times=1, **fault) for index in (0, 7, 8, 39)]
    assert get(site, tmp_path) == []


def test_a_missing_file_is_returned(site, tmp_path):
    site.faults.append(Fault("/3.bin", status=404))
    assert get(site, tmp_path, most_missing=1) == [("3.bin", "the server does not have it")]
    assert site.requests["/3.bin"] == 1


def test_a_file_that_is_damaged_on_the_server_is_returned_after_a_few_tries(site, tmp_path):
    site.faults.append(Fault("/3.bin", content=b"begin"))
    assert get(site, tmp_path, most_missing=1) == [("3.bin", "it has no end")]
    assert site.requests["/3.bin"] == transport.FEW_TRIES


def test_too_many_missing_files_are_an_error(site, tmp_path):
    site.faults.append(Fault("/*.bin", status=404))
    message = "3 files are missing, more than MAX_MISSING allows: .*does not have it"
    with pytest.raises(TodusError, match=message):
        get(site, tmp_path, most_missing=2)
    assert sum(site.requests.values()) < COUNT


@pytest.mark.parametrize(
    "fault, words", [({"page": True}, "captive portal"), ({"status": 500}, "answers 500")], ids=str
)
def test_a_server_that_always_fails_is_an_error(site, tmp_path, fault, words):
    site.faults.append(Fault("/*.bin", skip=10, **fault))
    with pytest.raises(TodusError, match=words):
        get(site, tmp_path, most_missing=COUNT)
